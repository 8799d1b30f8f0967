# What the scripts share: where the package is, what Windows says of itself, and checks that change nothing.
# Written for Windows PowerShell 5.1. NOT RUN: this project has no Windows machine.

Set-StrictMode -Version 2.0
# A script's own preference does not reach into a module.
$ErrorActionPreference = 'Stop'

$script:Service = 'WskClient'
$script:Subject = 'CN=wskclient test certificate'
$script:CatalogueSubject = 'CN=wskclient catalogue certificate'
$script:StateFile = Join-Path $env:ProgramData 'wskclient-vm.json'
$script:Stores = 'Root', 'TrustedPublisher'
# Windows 10 version 2004: the first with ExAllocatePool2.
$script:FirstBuild = 19041
# Windows 11: the first on ARM64 that runs x64 programs, such as wskctl.exe.
$script:FirstEmulatingBuild = 22000
# The trace's provider, as README.md says.
$script:TraceProvider = '{3f5fd28a-20f9-5528-b597-e912993917af}'

function Get-VmName {
    # The names that the scripts agree on.
    [CmdletBinding()]
    param()
    [pscustomobject]@{
        Service          = $script:Service
        Driver           = 'wskclient.sys'
        Subject          = $script:Subject
        CatalogueSubject = $script:CatalogueSubject
        Stores           = $script:Stores
        TraceProvider    = $script:TraceProvider
    }
}

function Get-VmArchitecture {
    # The machine's, also when this PowerShell is an emulated x64 program.
    [CmdletBinding()]
    param()
    $processor = Get-CimInstance -ClassName Win32_Processor | Select-Object -First 1
    switch ($processor.Architecture) {
        9 { 'x64' }
        12 { 'arm64' }
        default { throw "The processor is neither x64 nor ARM64 (Win32_Processor.Architecture is $_)." }
    }
}

function Get-VmPackage {
    # The package's folders: this script lies in its folder `scripts`.
    [CmdletBinding()]
    param()
    $root = Split-Path -Parent $PSScriptRoot
    $drivers = Join-Path $root (Get-VmArchitecture)
    [pscustomobject]@{
        Root        = $root
        Inf         = Join-Path $drivers 'wskclient.inf'
        Sys         = Join-Path $drivers 'wskclient.sys'
        Certificate = Join-Path $root 'wskclient.cer'
        Control     = Join-Path $root 'wskctl.exe'
        Scenarios   = Join-Path $root 'scenarios'
        Contract    = Join-Path $root 'contract'
        Sums        = Join-Path $root 'SHA256SUMS'
    }
}

function Get-VmStartOption {
    # The options that this boot was started with.
    [CmdletBinding()]
    param()
    (Get-ItemProperty -Path 'HKLM:\SYSTEM\CurrentControlSet\Control').SystemStartOptions
}

function Test-VmTestSigning {
    [CmdletBinding()]
    param()
    (Get-VmStartOption) -match 'TESTSIGNING'
}

function Test-VmSecureBoot {
    [CmdletBinding()]
    param()
    $key = 'HKLM:\SYSTEM\CurrentControlSet\Control\SecureBoot\State'
    if (-not (Test-Path -Path $key)) { return $false }
    (Get-ItemProperty -Path $key).UEFISecureBootEnabled -eq 1
}

function Get-VmInstalledPackage {
    # Every wskclient.inf in the driver store.
    [CmdletBinding()]
    param()
    Get-WindowsDriver -Online | Where-Object { (Split-Path -Leaf $_.OriginalFileName) -eq 'wskclient.inf' }
}

function Get-VmService {
    # The driver's service, or nothing.
    [CmdletBinding()]
    param()
    Get-CimInstance -ClassName Win32_SystemDriver -Filter "Name='$script:Service'"
}

function Get-VmUser {
    # Processes of the harness that may hold the device open.
    [CmdletBinding()]
    param()
    Get-Process -Name wskctl -ErrorAction SilentlyContinue
}

function Get-VmClientCount {
    # How many other processes have the device open, as the driver itself counts them: 0 when it does not run, nothing when it
    # can't be asked, as an older driver can't.
    [CmdletBinding()]
    param()
    $service = Get-VmService
    if (-not $service -or $service.State -ne 'Running') { return 0 }
    $control = (Get-VmPackage).Control
    if (-not (Test-Path -Path $control)) { return }
    # Windows PowerShell would take a line on standard error for an error of its own.
    $ErrorActionPreference = 'Continue'
    $line = & $control --backend device --format json status 2>$null | Select-Object -Last 1
    if ($LASTEXITCODE -ne 0 -or -not $line) { return }
    # The one that asks is a client too.
    ($line | ConvertFrom-Json).clients - 1
}

function Get-VmWdkTool {
    # The newest copy of a tool in an installed WDK or SDK, or nothing. InfVerif lies under Tools, the others under bin.
    [CmdletBinding()]
    param([Parameter(Mandatory)][string] $Name)
    $kits = Join-Path ${env:ProgramFiles(x86)} 'Windows Kits\10'
    if ($env:WDKContentRoot) { $kits = $env:WDKContentRoot }
    $folders = @('bin', 'Tools' | ForEach-Object { Join-Path $kits $_ } | Where-Object { Test-Path -Path $_ })
    if (-not $folders) { return }
    Get-ChildItem -Path $folders -Filter $Name -Recurse -ErrorAction SilentlyContinue |
        Where-Object { $_.FullName -match '\\(x64|x86)\\' } |
        Sort-Object -Property FullName -Descending |
        Select-Object -First 1 -ExpandProperty FullName
}

function Assert-Vm {
    # Throws, with everything that is wrong and what to do about it, before a script has changed anything.
    [CmdletBinding()]
    param(
        [switch] $Package,
        [switch] $SecureBootOff,
        [switch] $TestSigning,
        [switch] $NotInstalled,
        [switch] $NotInUse,
        [switch] $Wdk
    )
    $identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
    if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'This needs an administrator: start PowerShell with "Run as administrator". Nothing was changed.'
    }
    $problems = @()
    $build = [Environment]::OSVersion.Version.Build
    if ($build -lt $script:FirstBuild) {
        $problems += "Windows build $build is too old: Windows 10 version 2004 (build $script:FirstBuild) is the first that does."
    } elseif ($build -lt $script:FirstEmulatingBuild -and (Get-VmArchitecture) -eq 'arm64') {
        $problems += "Windows build $build does not run wskctl.exe, an x64 program: on ARM64 this needs Windows 11."
    }
    if (-not [Environment]::Is64BitProcess) {
        $problems += 'This is the 32-bit PowerShell, which finds no bcdedit and no pnputil: start the other one.'
    }
    if ($Package) { $problems += @(Get-VmPackageProblem) }
    if ($SecureBootOff -and (Test-VmSecureBoot)) {
        $problems += 'Secure Boot is on, and Windows ignores test signing: turn it off in the firmware settings of the VM.'
    }
    if ($TestSigning -and -not (Test-VmTestSigning)) {
        $problems += 'Test signing is not on in this boot: run prepare-vm.ps1, then restart Windows.'
    }
    if ($NotInstalled) {
        foreach ($installed in @(Get-VmInstalledPackage)) {
            $problems += "Version $($installed.Version) is installed as $($installed.Driver): run uninstall.ps1 first."
        }
        $service = Get-VmService
        if ($service) {
            $problems += "The service $script:Service is there ($($service.State), $($service.PathName)): run uninstall.ps1 first."
        }
    }
    if ($NotInUse) {
        foreach ($user in @(Get-VmUser)) {
            $problems += "Process $($user.Id) ($($user.ProcessName)) may have the device open: end it first."
        }
        $clients = Get-VmClientCount
        if ($null -eq $clients) {
            Write-Warning 'The driver that runs can not be asked who has it open (another version?); it may unload late.'
        } elseif ($clients -gt 0) {
            $problems += "$clients process(es) have the device open: end them first."
        }
    }
    if ($Wdk) {
        foreach ($tool in 'inf2cat.exe', 'signtool.exe') {
            if (-not (Get-VmWdkTool -Name $tool)) {
                $problems += "$tool is missing: install the Windows Driver Kit, or leave -UseWdk out."
            }
        }
    }
    if ($problems) {
        throw ("Nothing was changed.`r`n- " + ($problems -join "`r`n- "))
    }
}

function Get-VmPackageProblem {
    # Files of the package that are missing or differ from their sums.
    [CmdletBinding()]
    param()
    $package = Get-VmPackage
    if (-not (Test-Path -Path $package.Sums)) { return "$($package.Sums) is missing: unpack the whole zip." }
    foreach ($line in Get-Content -Path $package.Sums) {
        $sum, $name = $line -split '  ', 2
        $file = Join-Path $package.Root $name
        if (-not (Test-Path -Path $file)) {
            "$name is missing: unpack the whole zip."
        } elseif ((Get-FileHash -Path $file -Algorithm SHA256).Hash -ne $sum) {
            "$name differs from its sum: copy the package again."
        }
    }
}

function Invoke-VmProgram {
    # Runs a program and gives its output; throws when there is none of that name, or its exit code is none of those allowed.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory)][string] $Program,
        [string[]] $Argument = @(),
        [int[]] $Allowed = @(0)
    )
    $path = (Get-Command -Name $Program -CommandType Application | Select-Object -First 1).Path
    # Windows PowerShell would take a line on standard error for an error of its own.
    $ErrorActionPreference = 'Continue'
    $output = & $path @Argument 2>&1 | Out-String
    if ($Allowed -notcontains $LASTEXITCODE) {
        throw "$(Split-Path -Leaf $Program) $($Argument -join ' ') ended with $LASTEXITCODE`r`n$output"
    }
    $output
}

function Invoke-VmUnload {
    # Stops the driver, and tells whether it has unloaded within half a minute: it does when its last handle closes.
    [CmdletBinding()]
    param()
    $service = Get-VmService
    if (-not $service -or $service.State -eq 'Stopped') { return $true }
    # 1062: it does not run.
    Invoke-VmProgram -Program sc.exe -Argument 'stop', $script:Service -Allowed 0, 1062 | Out-Null
    $deadline = (Get-Date).AddSeconds(30)
    while ((Get-VmService).State -ne 'Stopped') {
        if ((Get-Date) -gt $deadline) { return $false }
        Start-Sleep -Milliseconds 200
    }
    $true
}

function Get-VmState {
    # What prepare-vm.ps1 and test-vm.ps1 changed, so that undo.ps1 undoes that and no more.
    [CmdletBinding()]
    param()
    if (Test-Path -Path $script:StateFile) {
        Get-Content -Path $script:StateFile -Raw | ConvertFrom-Json
    } else {
        [pscustomobject]@{ TestSigningTurnedOn = $false; VerifierLevel = ''; VerifierSince = '' }
    }
}

function Save-VmState {
    [CmdletBinding()]
    param([Parameter(Mandatory)] $State)
    $State | ConvertTo-Json | Set-Content -Path $script:StateFile -Encoding ASCII
}

function Clear-VmState {
    [CmdletBinding()]
    param()
    if (Test-Path -Path $script:StateFile) { Remove-Item -Path $script:StateFile }
}

function Get-VmVerifiedDriver {
    # The drivers that Driver Verifier checks after the next start, as configured.
    [CmdletBinding()]
    param()
    $key = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management'
    $property = Get-ItemProperty -Path $key -Name VerifyDrivers -ErrorAction SilentlyContinue
    if ($property) { @($property.VerifyDrivers -split '\s+' | Where-Object { $_ }) } else { @() }
}

function Request-VmRestart {
    # A restart is asked for, and never done unasked.
    [CmdletBinding()]
    param([Parameter(Mandatory)][string] $Reason, [switch] $Restart)
    if ($Restart) {
        Restart-Computer
    } else {
        Write-Warning "$Reason Restart Windows when it suits you (or give -Restart)."
    }
}

Export-ModuleMember -Function *-Vm*
