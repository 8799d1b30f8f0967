<#
.SYNOPSIS
Installs the driver from its INF and starts it.
.DESCRIPTION
NOT RUN: this project has no Windows machine. The catalogue, which only Windows can make, is made here and signed with the
certificate that prepare-vm.ps1 made: by New-FileCatalog, or by the WDK's inf2cat and signtool with -UseWdk. Microsoft documents
inf2cat for driver packages and New-FileCatalog for folders of any kind: if Windows refuses the latter's, this says so, has
changed nothing, and -UseWdk or -WithoutInf is the way.
.PARAMETER UseWdk
Makes and signs the catalogue with the tools of an installed WDK.
.PARAMETER WithoutInf
Makes the service by sc.exe instead, without INF and catalogue: the driver carries a signature of its own.
#>
[CmdletBinding(SupportsShouldProcess)]
param([switch] $UseWdk, [switch] $WithoutInf)

$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'WskClientVm.psm1') -Force
Assert-Vm -Package -SecureBootOff -TestSigning -NotInstalled -Wdk:$UseWdk

$names = Get-VmName
$package = Get-VmPackage
$signer = Get-ChildItem -Path Cert:\LocalMachine\My | Where-Object { $_.Subject -eq $names.CatalogueSubject } |
    Select-Object -First 1
if (-not $signer -and -not $WithoutInf) {
    throw 'The certificate for the catalogue is missing: run prepare-vm.ps1. Nothing was changed.'
}
$signature = Get-AuthenticodeSignature -FilePath $package.Sys
if ($signature.Status -ne 'Valid') {
    throw "The signature of wskclient.sys is $($signature.Status), not Valid: run prepare-vm.ps1. Nothing was changed."
}
if (-not $PSCmdlet.ShouldProcess($env:COMPUTERNAME, 'install and start wskclient.sys')) { return }

if ($WithoutInf) {
    $target = Join-Path $env:SystemRoot 'System32\drivers\wskclient.sys'
    Copy-Item -Path $package.Sys -Destination $target
    Invoke-VmProgram -Program sc.exe -Argument 'create', $names.Service, 'type=', 'kernel', 'start=', 'demand',
        'binPath=', $target | Out-Null
} else {
    $staging = Join-Path $env:TEMP 'wskclient-install'
    if (Test-Path -Path $staging) { Remove-Item -Path $staging -Recurse }
    New-Item -Path $staging -ItemType Directory | Out-Null
    Copy-Item -Path $package.Inf, $package.Sys -Destination $staging
    $catalogue = Join-Path $staging 'wskclient.cat'
    if ($UseWdk) {
        $system = if ((Get-VmArchitecture) -eq 'arm64') { 'Server10_arm64' } else { '10_x64' }
        Invoke-VmProgram -Program (Get-VmWdkTool -Name inf2cat.exe) -Argument "/driver:$staging", "/os:$system",
            '/uselocaltime' | Out-Null
        Invoke-VmProgram -Program (Get-VmWdkTool -Name signtool.exe) -Argument 'sign', '/sm', '/s', 'My', '/fd', 'SHA256',
            '/sha1', $signer.Thumbprint, $catalogue | Out-Null
    } else {
        New-FileCatalog -Path $staging -CatalogFilePath $catalogue -CatalogVersion 2.0 | Out-Null
        $signed = Set-AuthenticodeSignature -FilePath $catalogue -Certificate $signer -HashAlgorithm SHA256
        if ($signed.Status -ne 'Valid') { throw "The catalogue's signature is $($signed.Status): $($signed.StatusMessage)" }
    }
    # 259: no device uses it, as none is to; 3010: a restart is wanted, of which a driver without a device has no need.
    try {
        Invoke-VmProgram -Program pnputil.exe -Argument '/add-driver', (Join-Path $staging 'wskclient.inf'), '/install' `
            -Allowed 0, 259, 3010
    } catch {
        $way = if ($UseWdk) { 'try -WithoutInf' } else { 'try -UseWdk where the WDK is installed, or -WithoutInf' }
        throw "$_`r`nNothing was installed: $way. %SystemRoot%\INF\setupapi.dev.log says why."
    } finally {
        Remove-Item -Path $staging -Recurse
    }
}
if (-not (Get-VmService)) {
    throw 'The installation made no service: run uninstall.ps1. %SystemRoot%\INF\setupapi.dev.log says why.'
}
Invoke-VmProgram -Program sc.exe -Argument 'start', $names.Service | Out-Null
Invoke-VmProgram -Program $package.Control -Argument '--backend', 'device', 'status'
Write-Output 'installed and running; next: wskctl.exe --backend device demo, or test-vm.ps1'
