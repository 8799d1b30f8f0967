<#
.SYNOPSIS
Runs the harness's scenarios and the contract's tests under Driver Verifier and writes one report.
.DESCRIPTION
NOT RUN: this project has no Windows machine. Driver Verifier's settings take a restart, so this script runs twice for each
level: the first run sets the level and asks for a restart, the second one tests. Levels: Standard (verifier /standard), then
Stress (standard, randomized low resources, force pending I/O, IRP logging, synchronization delay fuzzing).
Each round starts the driver, runs the demonstration, kills a process with requests pending, runs every scenario file and a
stress from a seed, and unloads the driver. Then, at level Standard, come the tests of the contract that need no lab: the
folder contract.
Under Stress a scenario may fail for lack of resources, which is right; a bug check, a leak or a hang is not.
The report: a summary, what each run told, the ledger, the trace, Driver Verifier's statistics and settings, and dumps.
.PARAMETER Level
Standard or Stress.
.PARAMETER Rounds
How often everything is run.
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
    $options = @('/standard')
    if ($Level -eq 'Stress') {
        $options = @('/ruleclasses', '1', '2', '3', '4', '5', '6', '8', '9', '10', '11', '12', '18', '24', '34')
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
$scenarios = @(Get-ChildItem -Path $package.Scenarios -Filter *.toml | ForEach-Object { $_.FullName })
$results = @()

function ConvertTo-Result {
    # What became of one run.
    [CmdletBinding()]
    param([string] $Name, [bool] $Good, [double] $Seconds, [string] $Last)
    [pscustomobject]@{ Name = $Name; Good = $Good; Seconds = $Seconds; Last = $Last }
}

function Invoke-Run {
    # Runs a program, and adds all that it writes to the report.
    [CmdletBinding()]
    param([string] $Name, [string] $Program, [string[]] $Argument)
    # Windows PowerShell would take a line on standard error for an error of its own.
    $ErrorActionPreference = 'Continue'
    $started = Get-Date
    $lines = @(& $Program @Argument 2>> "$prefix-errors.txt")
    $good = $LASTEXITCODE -eq 0
    $lines | Add-Content -Path "$prefix-$Name.txt" -Encoding UTF8
    ConvertTo-Result -Name $Name -Good $good -Seconds ((Get-Date) - $started).TotalSeconds -Last ($lines | Select-Object -Last 1)
}

function Invoke-Scenario {
    # One command of the harness.
    [CmdletBinding()]
    param([string] $Name, [string[]] $Argument)
    Invoke-Run -Name $Name -Program $package.Control -Argument (@('--backend', 'device', '--format', 'json') + $Argument)
}

function Invoke-Kill {
    # A process with requests pending is killed: the driver must take everything back.
    [CmdletBinding()]
    param()
    $started = Get-Date
    $information = New-Object -TypeName Diagnostics.ProcessStartInfo
    $information.FileName = $package.Control
    $information.Arguments = '--backend device --format json hold'
    $information.UseShellExecute = $false
    $information.CreateNoWindow = $true
    $information.RedirectStandardOutput = $true
    $holder = [Diagnostics.Process]::Start($information)
    $line = $holder.StandardOutput.ReadLineAsync()
    $held = $line.Wait(60000) -and "$($line.Result)".Contains('"holding"')
    if (-not $holder.HasExited) { $holder.Kill() }
    $gone = $holder.WaitForExit(30000)
    ConvertTo-Result -Name 'kill' -Good ($held -and $gone) -Seconds ((Get-Date) - $started).TotalSeconds -Last "held $held, gone $gone"
}

# ETW keeps the driver's events, at every level, in nonpaged memory as a driver's must be.
$session = 'WskClientVm'
$trace = "$prefix-trace.etl"
# 0x80300002: there is no such session.
$sessionEnd = @{ Program = 'logman.exe'; Argument = 'stop', $session, '-ets'; Allowed = 0, -2144337918 }
Invoke-VmProgram @sessionEnd | Out-Null
Invoke-VmProgram -Program logman.exe -Argument 'create', 'trace', $session, '-p', $names.TraceProvider, '0xffffffffffffffff',
    '5', '-o', $trace, '-ow', '-ets' | Out-Null
try {
    for ($round = 1; $round -le $Rounds; $round++) {
        Write-Progress -Activity "Driver Verifier: $Level" -Status "round $round of $Rounds" -PercentComplete (100 * $round / $Rounds)
        if ((Get-VmService).State -ne 'Running') { Invoke-VmProgram -Program sc.exe -Argument 'start', $names.Service | Out-Null }
        $results += Invoke-Scenario -Name demo -Argument demo
        $results += Invoke-Kill
        $results += Invoke-Scenario -Name demo -Argument demo
        $results += Invoke-Scenario -Name scenarios -Argument (@('run') + $scenarios)
        $results += Invoke-Scenario -Name stress -Argument 'stress', '--seconds', '10', '--seed', "$round"
        $results += Invoke-Scenario -Name ledger -Argument status
        # The statistics are of drivers that are loaded.
        Invoke-VmProgram -Program verifier.exe -Argument '/query' -Allowed 0, 1, 2 | Set-Content -Path "$prefix-verifier.txt"
        # Unloading is when Driver Verifier looks for what was not given back.
        $unloaded = Invoke-VmUnload
        $results += ConvertTo-Result -Name 'unload' -Good $unloaded -Seconds 0 -Last "unloaded $unloaded"
        if (-not $unloaded) { break }
    }
    if ($unloaded -and $Level -eq 'Standard') {
        # Each of these tests starts the driver and unloads it. Those that stock Wine can't carry are included here.
        $env:WSKCTL = $package.Control
        $env:WSKCLIENT_SCENARIOS = $package.Scenarios
        foreach ($program in Get-ChildItem -Path $package.Contract -Filter *.exe) {
            $results += Invoke-Run -Name "contract-$($program.BaseName)" -Program $program.FullName `
                -Argument '--include-ignored', '--test-threads', '1'
        }
    }
} finally {
    Invoke-VmProgram @sessionEnd | Out-Null
}

# Everything that a reader needs, in one folder.
Invoke-VmProgram -Program tracerpt.exe -Argument $trace, '-o', "$prefix-trace.xml", '-of', 'XML', '-lr', '-y' -Allowed 0, 1 | Out-Null
Invoke-VmProgram -Program verifier.exe -Argument '/querysettings' -Allowed 0, 1, 2 | Add-Content -Path "$prefix-verifier.txt"
$dumps = @(Join-Path $env:SystemRoot 'MEMORY.DMP') + @(Get-ChildItem -Path (Join-Path $env:SystemRoot 'Minidump') -Filter *.dmp `
        -ErrorAction SilentlyContinue | ForEach-Object { $_.FullName })
$since = [datetime]$state.VerifierSince
$dumps = @($dumps | Where-Object { (Test-Path -Path $_) -and (Get-Item -Path $_).LastWriteTime -gt $since })
foreach ($dump in $dumps) { Copy-Item -Path $dump -Destination $Report }
$bugchecks = @(Get-WinEvent -FilterHashtable @{ LogName = 'System'; Id = 1001; ProviderName = 'Microsoft-Windows-WER-SystemErrorReporting'; StartTime = $since } `
        -ErrorAction SilentlyContinue | ForEach-Object { $_.Message })

$failed = @($results | Where-Object { -not $_.Good })
# Under Stress the harness may fail for lack of resources; a process that stays or a driver that does not unload may not.
if ($Level -eq 'Stress') { $failed = @($failed | Where-Object { $_.Name -eq 'unload' }) }
$holds = ($failed.Count -eq 0) -and ($dumps.Count -eq 0) -and ($bugchecks.Count -eq 0)
$summary = [pscustomobject]@{
    event     = 'summary'
    result    = if ($holds) { 'ok' } else { 'failed' }
    level     = $Level
    rounds    = $Rounds
    windows   = [Environment]::OSVersion.Version.ToString()
    scenarios = @($results | Group-Object -Property Name | ForEach-Object {
            [pscustomobject]@{ name = $_.Name; runs = $_.Count; failed = @($_.Group | Where-Object { -not $_.Good }).Count }
        })
    failures  = @($failed | ForEach-Object { "$($_.Name): $($_.Last)" })
    dumps     = @($dumps | ForEach-Object { Split-Path -Leaf $_ })
    bugchecks = $bugchecks
    report    = $Report
} | ConvertTo-Json -Depth 4
$summary | Set-Content -Path "$prefix-summary.json" -Encoding UTF8
$summary
if ((Get-VmService).State -ne 'Running') { Invoke-VmProgram -Program sc.exe -Argument 'start', $names.Service | Out-Null }
if (-not $holds) { exit 1 }
