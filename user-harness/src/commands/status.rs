//! `wskctl status`: the ledger, for a person or as one object.

use crate::{
    Client, Error,
    abi::{Kind, Ledger, Provider, Tally},
    backend::Choice,
    output::{Event, Output, Table},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

pub(super) fn run(choice: &Choice, output: &mut Output) -> Result<(), Error> {
    let backend = choice.open()?;
    let client = Client::open(backend.device())?;
    let version = client.version()?;
    let status =
        Status { driver: driver_version(version.driver), backend: choice.kind.name(), ledger: client.ledger()? };
    client.close();
    output.emit(&status)?;
    backend.finish_clean()
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
}

fn tally(of: Tally) -> Value {
    json!({ "taken": of.taken, "completed": of.completed, "cancelled": of.cancelled, "pending": of.pending() })
}

fn at<T: Copy + Default>(array: &[T], index: usize) -> T {
    array.get(index).copied().unwrap_or_default()
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ledger = &self.ledger;
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
                });
                (kind_name(kind), counts)
            })
            .collect();
        json!({
            "event": "status",
            "driver": self.driver,
            "backend": self.backend,
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
        })
        .serialize(serializer)
    }
}

impl Event for Status {
    fn human(&self) -> String {
        let ledger = &self.ledger;
        let registered =
            if ledger.registered == 0 { "not registered as a WSK client" } else { "registered as a WSK client" };
        let mut references = Table::new(&["references", "all clients"], &[1]);
        for provider in Provider::ALL {
            references.row([provider.name().to_owned(), at(&ledger.driver_references, provider as usize).to_string()]);
        }
        let mut requests = Table::new(&["requests", "taken", "completed", "cancelled", "pending"], &[1, 2, 3, 4]);
        for &kind in Kind::ALL {
            let of = at(&ledger.driver_requests, kind as usize);
            let counts = [of.taken, of.completed, of.cancelled, of.pending()].map(|count| count.to_string());
            requests.row([kind_name(kind)].into_iter().chain(counts));
        }
        format!(
            "wskclient.sys {} ({}), {registered}\n{} client(s), {} socket(s), {} teardown(s) since it was loaded\n\n{}\n\n{}",
            self.driver,
            self.backend,
            ledger.clients,
            ledger.driver_sockets,
            ledger.teardowns,
            references.text(0),
            requests.text(0),
        )
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
        Status { driver: driver_version(0x0102_0300), backend: "lab", ledger }
    }

    #[test]
    fn a_person_reads_every_clients_counts_in_two_tables() {
        let text = status().human();
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], "wskclient.sys 1.2.3 (lab), registered as a WSK client");
        assert_eq!(lines[1], "2 client(s), 1 socket(s), 0 teardown(s) since it was loaded");
        assert!(lines.contains(&" application            3"), "{text}");
        assert!(lines.contains(&" receive      50         40         10       10"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn json_tells_the_clients_counts_from_the_drivers() {
        let value = serde_json::to_value(status()).expect("it serializes");
        assert_eq!(value["references"]["application"], json!({ "client": 2, "driver": 3 }));
        assert_eq!(
            value["requests"]["receive"]["client"],
            json!({ "taken": 5, "completed": 4, "cancelled": 1, "pending": 1 })
        );
        assert_eq!((&value["registered"], &value["driver"]), (&json!(true), &json!("1.2.3")));
    }
}
