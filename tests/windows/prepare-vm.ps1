<#
.SYNOPSIS
Makes a test VM accept the package: test signing, the package's certificate, a certificate for the catalogue.
.DESCRIPTION
NOT RUN: this project has no Windows machine. For a VM that you can afford to lose; take a checkpoint first.
undo.ps1 takes everything back. A restart is asked for and never done unless -Restart is given.
.PARAMETER Restart
Restarts Windows at the end, if test signing was not on yet.
#>
[CmdletBinding(SupportsShouldProcess)]
param([switch] $Restart)

$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'WskClientVm.psm1') -Force
Assert-Vm -Package -SecureBootOff

$names = Get-VmName
$package = Get-VmPackage
if (-not $PSCmdlet.ShouldProcess($env:COMPUTERNAME, 'trust the test certificates and turn test signing on')) { return }

foreach ($store in $names.Stores) {
    Import-Certificate -FilePath $package.Certificate -CertStoreLocation "Cert:\LocalMachine\$store" | Out-Null
}
Write-Output "trusted: $($names.Subject)"

# The key of the package's certificate is gone; the catalogue is signed here, with a key that never leaves this VM.
$own = Get-ChildItem -Path Cert:\LocalMachine\My | Where-Object { $_.Subject -eq $names.CatalogueSubject }
if (-not $own) {
    $own = New-SelfSignedCertificate -Type CodeSigningCert -Subject $names.CatalogueSubject -KeyAlgorithm RSA `
        -KeyLength 3072 -HashAlgorithm SHA256 -KeyExportPolicy NonExportable -CertStoreLocation Cert:\LocalMachine\My
    $file = Join-Path $env:TEMP 'wskclient-catalogue.cer'
    Export-Certificate -Cert $own -FilePath $file | Out-Null
    foreach ($store in $names.Stores) {
        Import-Certificate -FilePath $file -CertStoreLocation "Cert:\LocalMachine\$store" | Out-Null
    }
    Remove-Item -Path $file
}
Write-Output "trusted: $($names.CatalogueSubject)"

if (Test-VmTestSigning) {
    Write-Output 'test signing is on already; next: install.ps1'
    return
}
Invoke-VmProgram -Program bcdedit.exe -Argument '/set', 'testsigning', 'on' | Out-Null
$state = Get-VmState
$state.TestSigningTurnedOn = $true
Save-VmState -State $state
Request-VmRestart -Reason 'Test signing is on from the next start; then run install.ps1.' -Restart:$Restart
