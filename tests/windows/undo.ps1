<#
.SYNOPSIS
Takes back everything: the driver, Driver Verifier's settings, the certificates, test signing.
.DESCRIPTION
NOT RUN: this project has no Windows machine. Test signing is turned off only if prepare-vm.ps1 turned it on, and Driver
Verifier is reset only if it checks wskclient.sys and nothing else. A restart is asked for and never done unless -Restart is given.
.PARAMETER Restart
Restarts Windows at the end, if something needs it.
#>
[CmdletBinding(SupportsShouldProcess)]
param([switch] $Restart)

$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'WskClientVm.psm1') -Force
Assert-Vm -NotInUse
if (-not $PSCmdlet.ShouldProcess($env:COMPUTERNAME, 'take back everything that these scripts changed')) { return }

& (Join-Path $PSScriptRoot 'uninstall.ps1')
$names = Get-VmName
$needsRestart = $false

$verified = @(Get-VmVerifiedDriver)
if ($verified -contains $names.Driver) {
    if ($verified.Count -eq 1) {
        Invoke-VmProgram -Program verifier.exe -Argument '/reset' -Allowed 0, 2 | Out-Null
        $needsRestart = $true
        Write-Output 'Driver Verifier is off from the next start'
    } else {
        Write-Warning "Driver Verifier also checks $($verified -join ', '): its settings are left as they are."
    }
}

$trusted = New-Object -TypeName Security.Cryptography.X509Certificates.X509Certificate2 -ArgumentList (Get-VmPackage).Certificate
foreach ($store in @($names.Stores) + 'My') {
    $ours = @(Get-ChildItem -Path "Cert:\LocalMachine\$store" | Where-Object {
            $_.Subject -eq $names.Subject -or $_.Subject -eq $names.CatalogueSubject -or $_.Thumbprint -eq $trusted.Thumbprint
        })
    foreach ($certificate in $ours) {
        $path = "Cert:\LocalMachine\$store\$($certificate.Thumbprint)"
        # The one in My has the catalogue's key.
        if ($store -eq 'My') { Remove-Item -Path $path -DeleteKey } else { Remove-Item -Path $path }
    }
}
Write-Output 'the test certificates are gone'

$state = Get-VmState
if ($state.TestSigningTurnedOn) {
    Invoke-VmProgram -Program bcdedit.exe -Argument '/deletevalue', 'testsigning' | Out-Null
    $needsRestart = $true
    Write-Output 'test signing is off from the next start'
}
Clear-VmState
if ($needsRestart) { Request-VmRestart -Reason 'To finish, Windows must be restarted.' -Restart:$Restart }
