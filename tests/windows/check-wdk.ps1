<#
.SYNOPSIS
Says what building on Windows lacks, before anything is built.
.DESCRIPTION
NOT RUN: this project has no Windows machine. Exit code 0 when everything is there, 3 when something is missing.
#>
[CmdletBinding()]
param()

$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'WskClientVm.psm1') -Force

$missing = @()
foreach ($tool in 'stampinf.exe', 'inf2cat.exe', 'signtool.exe', 'infverif.exe') {
    $found = Get-Command -Name $tool -ErrorAction SilentlyContinue
    if (-not $found -and -not (Get-VmWdkTool -Name $tool)) { $missing += "$tool (Windows Driver Kit)" }
}
foreach ($tool in 'cargo.exe', 'rustup.exe') {
    if (-not (Get-Command -Name $tool -ErrorAction SilentlyContinue)) { $missing += "$tool (https://rustup.rs)" }
}
if (-not $env:LIBCLANG_PATH -and -not (Get-Command -Name clang.exe -ErrorAction SilentlyContinue)) {
    $missing += 'clang.exe (LLVM, for bindgen)'
}
if ($missing) {
    [Console]::Error.WriteLine("Missing, and needed for building:`r`n- " + ($missing -join "`r`n- "))
    exit 3
}
Write-Output 'everything that building needs is there'
