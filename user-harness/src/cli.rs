//! The command line.

use crate::{
    backend::{Choice, Kind},
    commands::{bench, completions, connect, echo, help, resolve, service, status, stress, timeline},
    output::Format,
};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Drives wskclient.sys: sockets that live in the kernel, started up and cleaned up as Winsock is
#[derive(Parser)]
#[command(
    name = "wskctl",
    version,
    after_help = EXAMPLES_AND_CODES,
    max_term_width = 100,
    disable_help_subcommand = true,
)]
pub struct Wskctl {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES_AND_CODES: &str = "\
Examples:
  wskctl status --watch                what the driver holds, once a second
  wskctl demo                          startup, traffic, last cleanup, restart: shown step by step
  wskctl --format json demo | tail -1  the demo's summary
  wskctl --backend lab --driver target/lab/out/debug/wskclient.sys demo

Exit codes:
  0    it worked
  1    it did not: the error says what failed
  2    the command line has no meaning
  3    there is no device, or no driver to load
  4    the device does not admit you: use an elevated prompt
  5    the driver is too old or too new for this wskctl
  6    the driver broke a rule of the lab: the report is on standard error
  130  Ctrl-C ended it early, in good order
`wskctl help json` documents the objects that --format json writes.";

#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// How to report on standard output
    #[arg(long, value_enum, value_name = "human|json", hide_possible_values = true, default_value_t, global = true)]
    pub format: Format,
    /// Where the driver runs: in Windows, or in this process
    #[arg(long, value_enum, value_name = "device|lab", hide_possible_values = true, default_value_t, global = true)]
    pub backend: Kind,
    /// The lab's driver image [default: `WSKCLIENT_SYS`, or this workspace's]
    #[arg(long, value_name = "PATH", global = true)]
    pub driver: Option<PathBuf>,
    /// The lab's seed: the same seed makes the same choices
    #[arg(long, value_name = "N", default_value_t = 1, global = true)]
    pub seed: u64,
    /// In the lab: shows the driver's ETW events on standard error at the end
    #[arg(long, global = true)]
    pub trace: bool,
}

impl Global {
    pub fn choice(&self) -> Choice {
        Choice {
            kind: self.backend,
            driver: self.driver.clone(),
            seed: self.seed,
            delays: 0,
            trace: self.trace,
            recorder: None,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Shows what the driver holds: references, sockets, requests
    #[command(
        after_help = "Examples:\n  wskctl status\n  wskctl status --watch 5\n  wskctl --format json status --watch --times \
                      10\n\nThe driver of the lab lives as long as this command: status shows it as it starts."
    )]
    Status(status::Arguments),
    /// Shows the driver's life: three startups, real traffic, the last cleanup, a restart
    #[command(
        after_help = "Examples:\n  wskctl demo\n  wskctl --format json demo\n\nThe peers are TCP programs on 127.0.0.1 in \
                      threads of this process. With --format json the last\nline is the \
                      summary; its fields are null where the backend can't supply them."
    )]
    Demo,
    /// Joins standard input and output to a kernel socket that connects, as netcat does
    #[command(
        after_help = "Examples:\n  wskctl connect 127.0.0.1 7 < file\n  wskctl connect -v -6 localhost http\n  echo hello | wskctl connect \
                      -u -w 1 127.0.0.1 7\n\nThe end of the input ends the sending direction; what the peer still sends is \
                      received.\nAt a terminal the peer's end ends it all. Of a name's addresses the first that answers is \
                      taken.\nDatagrams have no end: --wait or Ctrl-C is theirs; each has up to 1400 bytes of the \
                      input.\nObjects of --format json go to standard error."
    )]
    Connect(connect::Connect),
    /// Joins standard input and output to a connection to a kernel socket, as netcat does
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:\n  wskctl listen 8080 > file\n  wskctl listen --keep-open 127.0.0.1 8080\n  wskctl listen -6 8080\n  wskctl \
                      listen -u -w 5 5353\n\nWith --keep-open connections are served one after the other; the input goes to \
                      the first\nthat is there to take it. Datagrams are taken from the first that sends one, with\n--keep-open \
                      from everybody, and the input goes to whoever sent last.\nObjects of --format json go to standard \
                      error."
    )]
    Listen(connect::Listen),
    /// Sends back what it gets, on many connections at a time, until Ctrl-C
    #[command(
        allow_missing_positional = true,
        after_help = "Examples:\n  wskctl echo 7777\n  wskctl echo --connections 1 127.0.0.1 7777\n  wskctl echo -u 7777"
    )]
    Echo(echo::Echo),
    /// Looks names and addresses up, through a namespace provider of the driver
    #[command(
        after_help = "Examples:\n  wskctl resolve localhost\n  wskctl resolve -6 localhost http\n  wskctl resolve 127.0.0.1 80\n  wskctl \
                      resolve --namespace numeric 127.0.0.1 80\n\nThe lab asks nobody: it knows localhost, numbers and \
                      services. Stock Wine has no names of addresses."
    )]
    Resolve(resolve::Resolve),
    /// Holds one handle, and does what is typed, in the background too
    #[command(
        after_help = "Examples:\n  wskctl shell\n  printf 'startup application 2.2\\nledger\\n' | wskctl shell\n\n`help` in the shell \
                      tells what can be typed. Without a terminal the lines come from standard\ninput; the exit code is 1 if one of \
                      them failed."
    )]
    Shell,
    /// Runs scenario files: what clients and their peers do, and what must come of it
    #[command(
        after_help = "Examples:\n  wskctl run user-harness/scenarios/*.toml\n  wskctl run --check my.toml\n  wskctl --format json \
                      --seed 7 run my.toml\n\nuser-harness/scenarios/README.md describes the files. Nothing runs before every file is \
                      understood;\none that is wrong ends with exit code 2. Each file has a fresh lab, or the device as it is."
    )]
    Run(Run),
    /// Makes requests for another wskctl, which sends them through standard input
    #[command(hide = true)]
    Agent,
    /// Holds references, sockets and pending requests until it is killed
    #[command(
        after_help = "Examples:\n  wskctl hold --seconds 5\n  wskctl --format json hold\n\nTells on one line when everything is \
                      pending. Ctrl-C, or the end of the time, cleans up\nas a program should; killing it leaves that to the \
                      driver."
    )]
    Hold(Hold),
    /// Stresses the driver from a seed: threads, cancels, kills; nothing may be left
    #[command(
        after_help = "Examples:\n  wskctl stress\n  wskctl stress --seconds 60 --processes 4 --threads 8 --seed 7\n  wskctl \
                      --format json stress --delays 50 | tail -1\n\nThe peers are TCP programs on 127.0.0.1. Everything comes \
                      from --seed; how threads meet does not.\nAt the end the ledger must balance: every request completed, \
                      no reference, no socket, no\nregistration left; in the lab also the pool as before, and no rule \
                      broken. Otherwise the exit\ncode is 1 (or 6), and the last line is the command that does it again."
    )]
    Stress(stress::Arguments),
    /// Measures requests, restarts, round trips, throughput, beside the host's sockets
    #[command(
        after_help = "Examples:\n  wskctl bench\n  wskctl --format json bench --repeats 20 > before.jsonl\n\nAnother program's \
                      load shows in the extremes: compare medians only when they lie further apart\nthan those. In the lab the \
                      kernel is a model and the peers share its processors: the figures\ncompare two drivers, and say nothing \
                      about Windows."
    )]
    Bench(bench::Arguments),
    /// Records a run and draws it: references, sockets, requests from issue to completion
    #[command(
        after_help = "Examples:\n  wskctl timeline demo\n  wskctl timeline --html demo.html --svg demo.svg demo\n  wskctl timeline \
                      --save run.jsonl stress --rounds 2\n  wskctl timeline --from run.jsonl --html run.html\n\nTimes are \
                      those of this program: a request begins when it is issued and ends when the\ndevice tells \
                      of its completion. A teardown is the cleanup, or the process's end, that releases\nthe last reference."
    )]
    Timeline(timeline::Arguments),
    /// Windows: installs the driver from its INF
    #[command(
        after_help = "Examples:\n  wskctl install\n  wskctl install C:\\package\\x64\\wskclient.inf\n\nNeeds an \
                            elevated prompt. Not run on Windows: this project has no Windows machine."
    )]
    Install(service::Inf),
    /// Windows: stops the driver and removes it
    #[command(
        after_help = "Examples:\n  wskctl uninstall\n\nNeeds an elevated prompt. Wine, which has no driver store, needs \
                            the INF. Not run on Windows."
    )]
    Uninstall(service::Inf),
    /// Windows: starts the driver, as `sc start WskClient` does
    #[command(after_help = "Examples:\n  wskctl start\n\nNeeds an elevated prompt. Not run on Windows.")]
    Start,
    /// Windows: stops the driver, and waits until it has unloaded
    #[command(
        after_help = "Examples:\n  wskctl stop\n\nNeeds an elevated prompt. It unloads when its last handle closes. Not \
                            run on Windows."
    )]
    Stop,
    /// Windows: shows and sets Driver Verifier's settings for the driver
    #[command(
        after_help = "Examples:\n  wskctl verifier\n  wskctl verifier --set standard\n  wskctl verifier --reset\n\nNeeds an \
                      elevated prompt. Settings take effect when Windows restarts; --set replaces the\nsettings for other drivers, \
                      --reset takes all of them back. Not run on Windows."
    )]
    Verifier(service::Verifier),
    /// Writes a shell's completion script to standard output
    #[command(
        after_help = "Examples:\n  wskctl completions bash > ~/.local/share/bash-completion/completions/wskctl\n  wskctl \
                      completions powershell >> $PROFILE"
    )]
    Completions(completions::Arguments),
    /// Writes the manual page (roff) to standard output
    #[command(after_help = "Examples:\n  wskctl man > wskctl.1\n  wskctl man | man -l -")]
    Man,
    /// Shows the help of a command, or a topic: `json`, `exit-codes`
    #[command(after_help = "Examples:\n  wskctl help status\n  wskctl help json")]
    Help(help::Arguments),
}

#[derive(Args)]
pub(crate) struct Run {
    /// Scenario files (TOML)
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Only say whether the files are right
    #[arg(long)]
    pub check: bool,
}

#[derive(Args)]
pub(crate) struct Hold {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub seconds: u64,
    /// How many connections, each with a receive pending
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub connections: u16,
}
