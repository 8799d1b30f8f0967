//! The command line: what each command takes, shown with examples by `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

/// Builds, runs and judges wskclient.sys on Linux.
#[derive(Parser)]
#[command(
    name = "cargo lab",
    bin_name = "cargo lab",
    version,
    after_help = "Exit codes:\n  0    everything holds\n  1    something was built or run, and did not hold\n  2    wrong \
                  usage\n  3    the machine lacks something that only you can add\n  4    the driver given to `run` cannot be \
                  loaded\n  130  interrupted"
)]
pub struct Lab {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Installs or makes what the other commands need: packages, Rust targets, a WDK-shaped folder
    #[command(
        after_help = "Example:\n  cargo lab setup\n\nEvery other command runs it by itself; a second run takes under \
                            two seconds."
    )]
    Setup,
    /// Builds the driver and the command-line harness, and checks the driver's image
    #[command(after_help = "Examples:\n  cargo lab build\n  cargo lab build --debug\n  cargo lab build --format json")]
    Build(Build),
    /// Runs `wskctl demo` against the driver in the in-process kernel
    #[command(after_help = "Examples:\n  cargo lab demo\n  cargo lab demo --format json\n  cargo lab demo --seed 7")]
    Demo(Demo),
    /// Makes target/lab/package and its zip, to carry to a Windows test VM: signed drivers for x64 and ARM64, INF, scripts
    #[command(
        after_help = "Examples:\n  cargo lab package\n  cargo lab package --format json\n\nEvery driver is built twice \
                            and compared; the first run takes some minutes."
    )]
    Package(Package),
    /// Runs the driver and the harness in stock Wine: install, demo, kill a process, start again, uninstall; then wsk's example
    #[command(
        after_help = "Examples:\n  cargo lab wine\n  cargo lab wine --format json\n  cargo lab wine --wine-debug \
                            +ntoskrnl,+debugstr\n\nThe logs of each program are in target/lab/wine/log."
    )]
    Wine(Wine),
    /// Runs every test there is: host, in-process kernel, Wine
    #[command(
        after_help = "Examples:\n  cargo lab test\n  cargo lab test --host\n  cargo lab test --lab -- every_field\n  cargo lab \
                            test --lab --seed 2 --seeds 50\n\nThe last \
                            line is the sum: `N passed, N failed`."
    )]
    Test(Test),
    /// Lists the contract's clauses, the tests that prove each, where those ran and how they ended
    #[command(
        after_help = "Examples:\n  cargo lab contract\n  cargo lab contract --format json\n  cargo lab contract --list\n\n\
                            What the tests write goes to standard error. Exit code 1: a clause is open, or a test failed."
    )]
    Contract(Contract),
    /// Counts what the driver costs: instructions and allocations per request, bytes per request, socket and client
    #[command(after_help = "Examples:\n  cargo lab bench\n  cargo lab bench --format json")]
    Bench(Bench),
    /// Runs clippy, warnings denied, on what is built for this machine and for Windows
    #[command(after_help = "Example:\n  cargo lab clippy")]
    Clippy,
    /// Runs any WDM driver in the in-process kernel, with the requests of a scenario file
    #[command(after_help = "Examples:
  cargo lab run my.sys                                    load, start, open and close every device, unload
  cargo lab run my.sys --scenario my.toml                 send the requests of a file
  cargo lab run my.sys --scenario my.toml --low-resources once for each allocation, with that one failing
  cargo lab run my.sys --scenario my.toml --seeds 50 --chaos storm --replays 10
                                                          fifty seeds with something of everything; what fails, ten times more
  cargo lab run my.sys --chaos delays=100,pending=1000    delay a tenth of the calls, have all lower drivers pend

A scenario file:
  [[step]]
  open = '\\\\.\\Echo'
  [[step]]
  ioctl = { device_type = 0x8000, function = 0x800 }
  input = { text = \"hello\" }
  output_length = 16
  status = \"STATUS_SUCCESS\"

tests/ntlab/README.md describes scenario files and what is checked. A run that fails prints the command that repeats it.

Exit codes: 0 nothing was broken; 1 a rule was broken, something leaked or came back otherwise than expected;
2 wrong usage; 4 the file cannot be loaded.")]
    Run(Run),
    /// Lists the lab's rules, and runs a faulty driver for each to see whether it is caught
    #[command(after_help = "Examples:\n  cargo lab rules\n  cargo lab rules --format json")]
    Rules(Rules),
    /// Compares the structures written by hand in Rust with the C headers
    #[command(after_help = "Example:\n  cargo lab layouts")]
    Layouts,
}

#[derive(Args)]
pub struct Build {
    /// Build without optimisation, into target/lab/out/debug
    #[arg(long)]
    pub debug: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args)]
pub struct Package {
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args)]
pub struct Demo {
    /// Passed on to `wskctl demo`: `--format json`, `--seed N`, `--trace`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

#[derive(Args)]
pub struct Test {
    /// Only the tests that need nothing but Rust
    #[arg(long)]
    pub host: bool,
    /// Only the tests on the driver in the in-process kernel, and the layouts
    #[arg(long)]
    pub lab: bool,
    /// Only the tests in Wine
    #[arg(long)]
    pub wine: bool,
    /// The seed of the lab's choices
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// With how many seeds the driver's tests run, from `--seed` on
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seeds: u64,
    /// Passed on to the host's and the lab's test programs
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

#[derive(Args)]
pub struct Bench {
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args)]
pub struct Contract {
    /// Only say which tests there are, and run none
    #[arg(long)]
    pub list: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args)]
pub struct Run {
    /// The driver's image, built by whatever tools
    #[arg(value_name = "PATH.sys")]
    pub driver: PathBuf,
    /// What is sent to the driver (TOML); without one every device is opened and closed
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Where the lab's choices come from
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// How many seeds are run, from `--seed` on
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seeds: u64,
    /// What the seed has go differently, and how often of a thousand times: `storm`, or any of delays=N, pending=N, cancels=N,
    /// kills=N, provider=N, separated by commas
    #[arg(long, default_value_t, hide_default_value = true, value_name = "WHAT")]
    pub chaos: ntlab::Chaos,
    /// Plays a run that fails so often again, and tells how often it fails
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub replays: u32,
    /// Runs once for each allocation that the scenario reaches, with that one failing
    #[arg(long, conflicts_with_all = ["fail_allocation", "seeds"])]
    pub low_resources: bool,
    /// Has one allocation fail, counted from 0; then only broken rules count
    #[arg(long, value_name = "N")]
    pub fail_allocation: Option<u64>,
    /// The build of the Windows that the driver is for: what came later cannot be imported
    #[arg(long, default_value_t = ntlab::Options::default().windows, value_name = "BUILD")]
    pub windows: u32,
    /// After how many seconds a routine, an unload or a request hangs
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub hang: u64,
    /// Shows what the driver prints
    #[arg(long)]
    pub output: bool,
    /// Shows the events that the driver writes to ETW
    #[arg(long)]
    pub trace: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args)]
pub struct Rules {
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Args)]
pub struct Wine {
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Runs what `cargo lab package` made last, out of its zip, instead of what is built now
    #[arg(long)]
    pub package: bool,
    /// Wine's WINEDEBUG: which of its messages go to the logs
    #[arg(long = "wine-debug", default_value = "-all", value_name = "CHANNELS", allow_hyphen_values = true)]
    pub debug: String,
}

/// How a command reports on its standard output.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A few lines and tables
    #[default]
    Human,
    /// One JSON object for each event, a summary last
    Json,
}

impl Format {
    /// The last line of a run that failed, for programs; people read the error on standard error.
    pub fn summarize_failure(self, error: &anyhow::Error, more: &[(&str, &str)]) {
        if self == Self::Json {
            let mut summary = json!({"event": "summary", "result": "failed"});
            for (name, value) in more {
                summary[name] = json!(value);
            }
            summary["error"] = json!(format!("{error:#}"));
            println!("{summary}");
        }
    }
}
