<#
.SYNOPSIS
Lays what `cargo make` built out as `cargo lab package` does, in target/vm-package, for the other scripts.
.DESCRIPTION
NOT RUN: this project has no Windows machine. Changes nothing outside that folder.
#>
[CmdletBinding()]
param(
    [ValidateSet('x64', 'arm64')][string] $Architecture = 'x64'
)

$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent (Split-Path -Parent $PSScriptRoot)
$built = Join-Path $root 'target\release'
$package = Join-Path $root 'target\vm-package'
$parts = @{
    (Join-Path $built 'wskclient_package\wskclient.sys')          = "$Architecture\wskclient.sys"
    (Join-Path $built 'wskclient_package\wskclient.inf')          = "$Architecture\wskclient.inf"
    (Join-Path $built 'wskclient_package\wskclient.pdb')          = "$Architecture\wskclient.pdb"
    (Join-Path $built 'wskclient_package\WDRLocalTestCert.cer')   = 'wskclient.cer'
    (Join-Path $built 'wskctl.exe')                               = 'wskctl.exe'
}
$missing = @($parts.Keys | Where-Object { -not (Test-Path -Path $_) })
if ($missing) { throw "Build first (cargo make vm-package). Missing: $($missing -join ', ')" }

if (Test-Path -Path $package) { Remove-Item -Path $package -Recurse }
foreach ($folder in $Architecture, 'scripts', 'scenarios', 'contract') {
    New-Item -Path (Join-Path $package $folder) -ItemType Directory | Out-Null
}
foreach ($part in $parts.GetEnumerator()) { Copy-Item -Path $part.Key -Destination (Join-Path $package $part.Value) }
Copy-Item -Path (Join-Path $PSScriptRoot '*') -Destination (Join-Path $package 'scripts')
Copy-Item -Path (Join-Path $root 'user-harness\scenarios\*.toml') -Destination (Join-Path $package 'scenarios')
# The contract's tests, where they were built (`cargo test --release --package contract --no-run`), without cargo's hashes.
$tests = @(Get-ChildItem -Path (Join-Path $built 'deps') -Filter *.exe -ErrorAction SilentlyContinue |
        Where-Object { Test-Path -Path (Join-Path $root "tests\contract\tests\$($_.BaseName -replace '-[0-9a-f]+$').rs") } |
        Sort-Object -Property LastWriteTime)
foreach ($test in $tests) {
    Copy-Item -Path $test.FullName -Destination (Join-Path $package "contract\$($test.BaseName -replace '-[0-9a-f]+$').exe") -Force
}
$sums = Get-ChildItem -Path $package -Recurse -File | ForEach-Object {
    $name = $_.FullName.Substring($package.Length + 1).Replace('\', '/')
    "$((Get-FileHash -Path $_.FullName -Algorithm SHA256).Hash.ToLowerInvariant())  $name"
}
$sums | Set-Content -Path (Join-Path $package 'SHA256SUMS') -Encoding ASCII
Write-Output $package
