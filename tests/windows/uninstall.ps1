<#
.SYNOPSIS
Stops the driver and removes it from the driver store, leaving no file, key or service.
.DESCRIPTION
NOT RUN: this project has no Windows machine. Stops before it changes anything when a process may have the device open: a
driver with open handles unloads only when the last one closes.
#>
[CmdletBinding(SupportsShouldProcess)]
param()

$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'WskClientVm.psm1') -Force
Assert-Vm -NotInUse

$names = Get-VmName
$service = Get-VmService
$installed = @(Get-VmInstalledPackage)
if (-not $service -and -not $installed) {
    Write-Output 'nothing is installed'
    return
}
if (-not $PSCmdlet.ShouldProcess($env:COMPUTERNAME, 'stop and remove wskclient.sys')) { return }

if (-not (Invoke-VmUnload)) {
    throw 'The driver does not unload: some process has the device open. End it; the driver then unloads. Run this again.'
}
foreach ($driver in $installed) {
    Invoke-VmProgram -Program pnputil.exe -Argument '/delete-driver', $driver.Driver, '/uninstall' -Allowed 0, 3010
}
if (Get-VmService) {
    # Made by install.ps1 -WithoutInf.
    Invoke-VmProgram -Program sc.exe -Argument 'delete', $names.Service | Out-Null
    $target = Join-Path $env:SystemRoot 'System32\drivers\wskclient.sys'
    if (Test-Path -Path $target) { Remove-Item -Path $target }
}

$left = @()
if (Get-VmService) { $left += "the service $($names.Service)" }
if (Test-Path -Path "HKLM:\SYSTEM\CurrentControlSet\Services\$($names.Service)") { $left += 'its key' }
$left += @(Get-VmInstalledPackage | ForEach-Object { $_.Driver })
$left += @(Get-ChildItem -Path (Join-Path $env:SystemRoot 'System32\DriverStore\FileRepository') -Filter 'wskclient.inf_*' `
        -Directory |
        ForEach-Object { $_.FullName })
if ($left) { throw "Left behind: $($left -join ', ')" }
Write-Output 'uninstalled; no file, key or service is left'
