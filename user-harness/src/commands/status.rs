//! `wskctl status`: the ledger, for a person or as one object.

use crate::{
    Client, Error,
    abi::{Awaited, Kind, Ledger, Outstanding, Provider, Tally, Waiter},
    backend::Choice,
    interrupt::Interrupt,
    output::{DIM, Event, Format, GOOD, HEAD, Output, Table, WARN, counted},
};
use anstyle::Style;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::{
    fmt::Write,
    time::{Duration, Instant},
};

/// How wide lists of names are written.
const WIDTH: usize = 76;

/// What to show, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Show it again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = super::seconds)]
    watch: Option<Duration>,
    /// With --watch: end after showing it so often
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    times: Option<u64>,
}

impl Arguments {
    /// Whether it goes on until Ctrl-C.
    pub fn is_watch(&self) -> bool {
        self.watch.is_some()
    }
}

pub(super) fn run(choice: &Choice, arguments: &Arguments, output: &mut Output) -> Result<(), Error> {
    let backend = choice.open()?;
    let client = Client::open(backend.device())?;
    match arguments.watch {
        None => show_status(&client, choice, output)?,
        Some(every) => watch(&client, choice, every, arguments.times, output)?,
    }
    client.close();
    backend.finish_clean()
}

/// Shows the status once.
pub(crate) fn show_status(client: &Client, choice: &Choice, output: &mut Output) -> Result<(), Error> {
    output.emit(&Status::ask(client, choice, None)?)
}

/// Shows the status again and again, until Ctrl-C or as often as was asked for. On a screen each one takes the place of the last.
fn watch(
    client: &Client,
    choice: &Choice,
    every: Duration,
    times: Option<u64>,
    output: &mut Output,
) -> Result<(), Error> {
    const FROM_THE_TOP: &str = "\x1b[H\x1b[2J";
    let interrupt = Interrupt::watch()?;
    let mut before = None;
    for shown in 1.. {
        let asked = Instant::now();
        let status = Status::ask(client, choice, before.as_ref())?;
        if output.is_screen() {
            let seconds = every.as_secs_f64();
            output
                .text(&format!("{FROM_THE_TOP}{}\n\n{DIM}every {seconds} s; Ctrl-C ends it{DIM:#}", status.human()))?;
        } else {
            if shown > 1 && output.format() == Format::Human {
                output.text("")?;
            }
            output.emit(&status)?;
        }
        before = Some((asked, status.ledger));
        if times.is_some_and(|times| shown >= times) || interrupt.wait(every.saturating_sub(asked.elapsed())) {
            break;
        }
    }
    Ok(())
}

/// The driver's version as people write it: major, minor and patch lie in bytes 3, 2 and 1.
pub(crate) fn driver_version(word: u32) -> String {
    let [_, patch, minor, major] = word.to_le_bytes();
    format!("{major}.{minor}.{patch}")
}

/// The name of a request's kind, as reports write it.
pub(crate) fn kind_name(kind: Kind) -> String {
    kind.name().to_lowercase()
}

struct Status {
    driver: String,
    backend: &'static str,
    ledger: Ledger,
    /// Requests taken a second since the status before, by [`Kind`].
    rates: Option<Vec<f64>>,
}

impl Status {
    fn ask(client: &Client, choice: &Choice, before: Option<&(Instant, Ledger)>) -> Result<Self, Error> {
        let version = client.version()?;
        let ledger = client.ledger()?;
        let rates = before.map(|(when, before)| {
            let seconds = when.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            let taken = |of: &Ledger, kind: Kind| at(&of.driver_requests, kind as usize).taken;
            #[expect(clippy::cast_precision_loss, reason = "a rate is for a person to read")]
            let rate = |&kind: &Kind| taken(&ledger, kind).saturating_sub(taken(before, kind)) as f64 / seconds;
            Kind::ALL.iter().map(rate).collect()
        });
        Ok(Self { driver: driver_version(version.driver), backend: choice.kind.name(), ledger, rates })
    }
}

fn tally(of: Tally) -> Value {
    json!({ "taken": of.taken, "completed": of.completed, "cancelled": of.cancelled, "pending": of.pending() })
}

/// What the driver waits for, as a report writes it.
pub(crate) fn wait_object(wait: &Outstanding) -> Value {
    json!({
        "waiter": wait.waiter().map(Waiter::name),
        "awaited": wait.awaited().map(Awaited::name),
        "provider": wait.provider().map(Provider::name),
        "request": wait.kind().map(kind_name),
        "socket": (wait.socket.0 != 0).then(|| format!("{:#x}", wait.socket.0)),
        "process": (wait.process != 0).then_some(wait.process),
        "age_ms": wait.age,
    })
}

fn wait_text(wait: &Outstanding) -> String {
    let mut text = format!(
        "  {} waits for the {} since {} ms",
        wait.waiter().map_or("?", Waiter::name),
        wait.awaited().map_or("?", Awaited::name),
        wait.age
    );
    let parts = [
        wait.kind().map(|kind| format!(", {}", kind_name(kind))),
        (wait.socket.0 != 0).then(|| format!(", socket {:#x}", wait.socket.0)),
        wait.provider().map(|provider| format!(", {}", provider.name())),
        (wait.process != 0).then(|| format!(", process {}", wait.process)),
    ];
    text.extend(parts.into_iter().flatten());
    text
}

fn at<T: Copy + Default>(array: &[T], index: usize) -> T {
    array.get(index).copied().unwrap_or_default()
}

/// The ledger's figures, by name.
pub(crate) fn ledger_json(ledger: &Ledger) -> Value {
    let references: Map<String, Value> = Provider::ALL
        .iter()
        .map(|&provider| {
            let index = provider as usize;
            let counts =
                json!({ "client": at(&ledger.references, index), "driver": at(&ledger.driver_references, index) });
            (provider.name().into(), counts)
        })
        .collect();
    let requests: Map<String, Value> = Kind::ALL
        .iter()
        .map(|&kind| {
            let counts = json!({
                "client": tally(ledger.tally(kind)),
                "driver": tally(at(&ledger.driver_requests, kind as usize)),
                "oldest_ms": {
                    "client": at(&ledger.oldest, kind as usize), "driver": at(&ledger.driver_oldest, kind as usize)
                },
            });
            (kind_name(kind), counts)
        })
        .collect();
    json!({
        "registered": ledger.registered != 0,
        "clients": ledger.clients,
        "teardowns": ledger.teardowns,
        "lingers_cut": ledger.lingers_cut,
        "references": references,
        "sockets": {
            "client": {
                "open": ledger.sockets.open,
                "closing": ledger.sockets.closing,
                "lingering": ledger.sockets.lingering,
            },
            "driver": ledger.driver_sockets,
        },
        "requests": requests,
        "long_waits": ledger.long_waits,
        "waiting": ledger.waiting,
        "waits": ledger.waits().iter().map(wait_object).collect::<Vec<_>>(),
    })
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = json!({ "event": "status", "driver": self.driver, "backend": self.backend });
        if let (Value::Object(all), Value::Object(ledger)) = (&mut all, ledger_json(&self.ledger)) {
            all.extend(ledger);
            let rates = self.rates.as_ref().map(|rates| {
                let named = Kind::ALL.iter().map(|&kind| (kind_name(kind), Value::from(at(rates, kind as usize))));
                named.collect::<Map<_, _>>()
            });
            all.insert("taken_per_second".into(), rates.into());
        }
        all.serialize(serializer)
    }
}

impl Event for Status {
    fn human(&self) -> String {
        let ledger = &self.ledger;
        let registered = match ledger.registered {
            0 => format!("{DIM}not registered as a WSK client{DIM:#}"),
            _ => format!("{GOOD}registered as a WSK client{GOOD:#}"),
        };
        format!(
            "{HEAD}wskclient.sys {}{HEAD:#} ({}), {registered}\n{}; {}; {} since it was loaded\n\n{}\n\n{}{}",
            self.driver,
            self.backend,
            counted(ledger.clients.into(), "client"),
            counted(ledger.driver_sockets, "socket"),
            counted(ledger.teardowns, "teardown"),
            self.references(),
            self.requests(),
            self.waits(),
        )
    }
}

impl Status {
    fn references(&self) -> String {
        let mut table = Table::new(&["references", "all clients"], &[1]);
        for provider in Provider::ALL {
            let references = at(&self.ledger.driver_references, provider as usize);
            table.row([provider.name().to_owned(), number(references.into(), None)]);
        }
        table.text(0)
    }

    /// What the driver itself waits for.
    fn waits(&self) -> String {
        let waits: Vec<_> = self.ledger.waits().iter().map(wait_text).collect();
        if waits.is_empty() { String::new() } else { format!("\n\n{WARN}waits{WARN:#}\n{}", waits.join("\n")) }
    }

    /// Every kind that was ever taken; what is pending stands out.
    fn requests(&self) -> String {
        let mut header = vec!["requests", "taken", "completed", "cancelled", "pending", "oldest, ms"];
        if self.rates.is_some() {
            header.push("a second");
        }
        let mut table = Table::new(&header, &[1, 2, 3, 4, 5, 6]);
        let (seen, never): (Vec<Kind>, Vec<Kind>) =
            Kind::ALL.iter().partition(|&&kind| at(&self.ledger.driver_requests, kind as usize).taken != 0);
        for &kind in &seen {
            let of = at(&self.ledger.driver_requests, kind as usize);
            let mut row = vec![kind_name(kind), number(of.taken, None), number(of.completed, None)];
            let oldest = at(&self.ledger.driver_oldest, kind as usize).into();
            row.extend([number(of.cancelled, None), number(of.pending(), Some(WARN)), number(oldest, None)]);
            if let Some(rates) = &self.rates {
                let rate = at(rates, kind as usize);
                row.push(if rate == 0.0 { number(0, None) } else { format!("{rate:.1}") });
            }
            table.row(row);
        }
        if never.is_empty() {
            return table.text(0);
        }
        let mut text = table.text(0);
        let mut line = String::from("never:");
        for name in never.into_iter().map(kind_name) {
            if line.len() + name.len() > WIDTH {
                let _ = write!(text, "\n {DIM}{line}{DIM:#}");
                line = String::from("      ");
            }
            let _ = write!(line, " {name}");
        }
        // A string takes all that is written to it.
        let _ = write!(text, "\n {DIM}{line}{DIM:#}");
        text
    }
}

/// A number in a table: zero recedes, others have `style`.
fn number(value: u64, style: Option<Style>) -> String {
    match (value, style) {
        (0, _) => format!("{DIM}0{DIM:#}"),
        (_, Some(style)) => format!("{style}{value}{style:#}"),
        (_, None) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn status() -> Status {
        let mut ledger = Ledger::new_zeroed();
        ledger.references[0] = 2;
        ledger.driver_references[0] = 3;
        ledger.registered = 1;
        ledger.clients = 2;
        ledger.driver_sockets = 1;
        ledger.requests[Kind::Receive as usize] = Tally { taken: 5, completed: 4, cancelled: 1 };
        ledger.driver_requests[Kind::Receive as usize] = Tally { taken: 50, completed: 40, cancelled: 10 };
        ledger.driver_oldest[Kind::Receive as usize] = 1500;
        ledger.waiting = 1;
        ledger.waits[0] = Outstanding {
            socket: crate::abi::SocketHandle(0x1_0000_0002),
            process: 8,
            age: 1200,
            waiter: Waiter::Teardown as u8,
            awaited: Awaited::PeerClose as u8,
            provider: Provider::Transport as u8,
            kind: Kind::Send as u8,
            reserved: 0,
        };
        Status { driver: driver_version(0x0102_0300), backend: "lab", ledger, rates: None }
    }

    #[test]
    fn a_person_reads_every_clients_counts_in_two_tables() {
        let text = anstream::adapter::strip_str(&status().human()).to_string();
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], "wskclient.sys 1.2.3 (lab), registered as a WSK client");
        assert_eq!(lines[1], "2 clients; 1 socket; 0 teardowns since it was loaded");
        assert!(lines.contains(&" application            3"), "{text}");
        assert!(lines.contains(&" receive      50         40         10       10        1500"), "{text}");
        assert!(
            lines.contains(
                &"  teardown waits for the peer's close since 1200 ms, send, socket 0x100000002, transport, process 8"
            ),
            "{text}"
        );
        assert!(lines.iter().any(|line| line.starts_with(" never: version ledger ledgerpending startup")), "{text}");
    }

    #[test]
    fn what_is_pending_stands_out_and_zero_recedes() {
        let text = status().human();
        assert!(text.contains(&format!("{WARN}10{WARN:#}")), "{text:?}");
        assert!(text.contains(&format!("{DIM}0{DIM:#}")), "{text:?}");
    }

    #[test]
    fn a_watch_tells_how_many_requests_were_taken_a_second() {
        let status = Status { rates: Some(vec![0.0, 2.5]), ..status() };
        let value = serde_json::to_value(&status).expect("it serializes");
        assert_eq!(value["taken_per_second"]["ledger"], json!(2.5));
        assert!(anstream::adapter::strip_str(&status.human()).to_string().contains("a second"));
    }

    #[test]
    fn json_tells_the_clients_counts_from_the_drivers() {
        let value = serde_json::to_value(status()).expect("it serializes");
        assert_eq!(value["references"]["application"], json!({ "client": 2, "driver": 3 }));
        assert_eq!(
            value["requests"]["receive"]["client"],
            json!({ "taken": 5, "completed": 4, "cancelled": 1, "pending": 1 })
        );
        assert_eq!(value["requests"]["receive"]["oldest_ms"], json!({ "client": 0, "driver": 1500 }));
        assert_eq!(
            value["waits"],
            json!([{
                "waiter": "teardown", "awaited": "peer's close", "provider": "transport", "request": "send",
                "socket": "0x100000002", "process": 8, "age_ms": 1200,
            }])
        );
        assert_eq!((&value["registered"], &value["driver"]), (&json!(true), &json!("1.2.3")));
    }
}
