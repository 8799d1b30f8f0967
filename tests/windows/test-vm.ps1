<#
.SYNOPSIS
Runs the harness's scenarios under Driver Verifier and writes one report.
.DESCRIPTION
NOT RUN: this project has no Windows machine. Driver Verifier's settings take a restart, so this script runs twice for each
level: the first run sets the level and asks for a restart, the second one tests. Levels: Standard (verifier /standard), then
Stress (standard, randomized low resources, force pending I/O, IRP logging, synchronization delay fuzzing).
Under Stress a scenario may fail for lack of resources, which is right; a bug check, a leak or a hang is not.
.PARAMETER Level
Standard or Stress.
.PARAMETER Rounds
How often each scenario is run.
.PARAMETER Restart
Restarts Windows when the level needs it.
.PARAMETER Report
The folder that the report goes to.
#>
[CmdletBinding(SupportsShouldProcess)]
param(
    [ValidateSet('Standard', 'Stress')][string] $Level = 'Standard',
    [ValidateRange(1, 10000)][int] $Rounds = 20,
    [switch] $Restart,
    [string] $Report = (Join-Path (Split-Path -Parent $PSScriptRoot) 'report')
)

$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'WskClientVm.psm1') -Force
Assert-Vm -Package -SecureBootOff -TestSigning -NotInUse

$names = Get-VmName
$package = Get-VmPackage
if (-not (Get-VmService)) { throw 'The driver is not installed: run install.ps1. Nothing was changed.' }
$others = @(Get-VmVerifiedDriver | Where-Object { $_ -ne $names.Driver })
if ($others) {
    throw "Driver Verifier is set up for $($others -join ', '): this would overwrite it. Nothing was changed."
}

$state = Get-VmState
$booted = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime
$active = ($state.VerifierLevel -eq $Level) -and ((Get-VmVerifiedDriver) -contains $names.Driver) -and
    ($booted -gt [datetime]$state.VerifierSince)
if (-not $active) {
    if (-not $PSCmdlet.ShouldProcess($names.Driver, "set Driver Verifier to $Level")) { return }
    # Rule classes, as `verifier /?` numbers them. 3 low resources, 10 pending I/O, 11 IRP logging, 24 delay fuzzing.
    $options = if ($Level -eq 'Standard') { , '/standard' } else {
        '/ruleclasses', '1', '2', '3', '4', '5', '6', '8', '9', '10', '11', '12', '18', '24', '34'
    }
    # Driver Verifier answers 2 when a restart is needed.
    Invoke-VmProgram -Program verifier.exe -Argument ($options + @('/driver', $names.Driver)) -Allowed 0, 2
    $state.VerifierLevel = $Level
    $state.VerifierSince = (Get-Date).ToString('o')
    Save-VmState -State $state
    Request-VmRestart -Reason "Driver Verifier is at $Level from the next start; then run this again." -Restart:$Restart
    return
}
if (-not $PSCmdlet.ShouldProcess($names.Driver, "run $Rounds rounds at level $Level")) { return }

New-Item -Path $Report -ItemType Directory -Force | Out-Null
$prefix = Join-Path $Report $Level.ToLowerInvariant()
$results = @()

function Invoke-Scenario {
    # One run of the harness: its last line of JSON is the summary.
    [CmdletBinding()]
    param([string] $Name, [string[]] $Argument)
    # Windows PowerShell would take a line on standard error for an error of its own.
    $ErrorActionPreference = 'Continue'
    $started = Get-Date
    $lines = @(& $package.Control --backend device --format json @Argument 2>> "$prefix-errors.txt")
    $exit = $LASTEXITCODE
    $lines | Add-Content -Path "$prefix-$Name.jsonl" -Encoding ASCII
    [pscustomobject]@{ Scenario = $Name; ExitCode = $exit; Seconds = ((Get-Date) - $started).TotalSeconds; Last = $lines | Select-Object -Last 1 }
}

function Invoke-Kill {
    # A process with requests pending is killed: the driver must take everything back.
    [CmdletBinding()]
    param()
    $started = Get-Date
    $output = "$prefix-hold.jsonl"
    $holder = Start-Process -FilePath $package.Control -PassThru -WindowStyle Hidden -RedirectStandardOutput $output `
        -ArgumentList '--backend', 'device', '--format', 'json', 'hold'
    while (-not (Select-String -Path $output -Pattern '"holding"' -Quiet)) {
        if ($holder.HasExited -or ((Get-Date) - $started).TotalSeconds -gt 60) { break }
        Start-Sleep -Milliseconds 50
    }
    $held = -not $holder.HasExited
    if ($held) { Stop-Process -Id $holder.Id -Force }
    $gone = $holder.WaitForExit(30000)
    $exit = if ($held -and $gone) { 0 } else { 1 }
    [pscustomobject]@{ Scenario = 'kill'; ExitCode = $exit; Seconds = ((Get-Date) - $started).TotalSeconds; Last = "held $held, gone $gone" }
}

foreach ($round in 1..$Rounds) {
    Write-Progress -Activity "Driver Verifier: $Level" -Status "round $round of $Rounds" -PercentComplete (100 * $round / $Rounds)
    if ((Get-VmService).State -ne 'Running') { Invoke-VmProgram -Program sc.exe -Argument 'start', $names.Service | Out-Null }
    $results += Invoke-Scenario -Name demo -Argument demo
    $results += Invoke-Kill
    $results += Invoke-Scenario -Name demo -Argument demo
    $results += Invoke-Scenario -Name ledger -Argument status
    # Unloading is when Driver Verifier looks for what was not given back.
    Invoke-VmProgram -Program sc.exe -Argument 'stop', $names.Service | Out-Null
    $deadline = (Get-Date).AddSeconds(30)
    while ((Get-VmService).State -ne 'Stopped' -and (Get-Date) -lt $deadline) { Start-Sleep -Milliseconds 100 }
    $unloaded = (Get-VmService).State -eq 'Stopped'
    $results += [pscustomobject]@{ Scenario = 'unload'; ExitCode = [int](-not $unloaded); Seconds = 0; Last = "unloaded $unloaded" }
    if (-not $unloaded) { break }
}

# Everything that a reader needs, in one folder.
Invoke-VmProgram -Program verifier.exe -Argument '/query' -Allowed 0, 1, 2 | Set-Content -Path "$prefix-verifier.txt"
Invoke-VmProgram -Program verifier.exe -Argument '/querysettings' -Allowed 0, 1, 2 | Add-Content -Path "$prefix-verifier.txt"
$dumps = @(Join-Path $env:SystemRoot 'MEMORY.DMP') + @(Get-ChildItem -Path (Join-Path $env:SystemRoot 'Minidump') -Filter *.dmp `
        -ErrorAction SilentlyContinue | ForEach-Object { $_.FullName })
$since = [datetime]$state.VerifierSince
$dumps = @($dumps | Where-Object { (Test-Path -Path $_) -and (Get-Item -Path $_).LastWriteTime -gt $since })
foreach ($dump in $dumps) { Copy-Item -Path $dump -Destination $Report }
$bugchecks = @(Get-WinEvent -FilterHashtable @{ LogName = 'System'; Id = 1001; ProviderName = 'Microsoft-Windows-WER-SystemErrorReporting'; StartTime = $since } `
        -ErrorAction SilentlyContinue | ForEach-Object { $_.Message })

$failed = @($results | Where-Object { $_.ExitCode -ne 0 })
# Under Stress the harness may fail for lack of resources; a process that stays or a driver that does not unload may not.
$bad = if ($Level -eq 'Standard') { $failed } else { @($failed | Where-Object { $_.Scenario -eq 'unload' }) }
$holds = -not $bad -and -not $dumps -and -not $bugchecks
[pscustomobject]@{
    event      = 'summary'
    result     = if ($holds) { 'ok' } else { 'failed' }
    level      = $Level
    rounds     = $Rounds
    windows    = [Environment]::OSVersion.Version.ToString()
    scenarios  = @($results | Group-Object -Property Scenario | ForEach-Object {
            @{ name = $_.Name; runs = $_.Count; failed = @($_.Group | Where-Object { $_.ExitCode -ne 0 }).Count }
        })
    dumps      = @($dumps | ForEach-Object { Split-Path -Leaf $_ })
    bugchecks  = $bugchecks
    report     = $Report
} | ConvertTo-Json -Depth 4 | Tee-Object -FilePath "$prefix-summary.json"
Invoke-VmProgram -Program sc.exe -Argument 'start', $names.Service -Allowed 0, 1056 | Out-Null
if (-not $holds) { exit 1 }
