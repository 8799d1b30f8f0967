//! What the demo tells, as one type: each step is an object for programs and a short paragraph for people.

use crate::{
    StatusText,
    output::{BAD, Event, GOOD, HEAD, Table, counted},
    status_name,
};
use serde::Serialize;

/// One request that was pending at the last cleanup, and how it ended.
#[derive(Serialize)]
pub(super) struct Ended {
    pub kind: String,
    pub place: String,
    pub status: String,
    pub status_name: Option<&'static str>,
    pub information: usize,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Step {
    Open {
        driver: String,
        backend: &'static str,
        seed: Option<u64>,
    },
    Startup {
        provider: &'static str,
        version: String,
        references: u32,
        highest_version: String,
    },
    Listen {
        address: String,
    },
    Connections {
        connected: usize,
        accepted: usize,
    },
    Send {
        bytes: usize,
    },
    Standing {
        references: u32,
        sockets: u32,
        pending: usize,
    },
    Cleanup {
        references: u32,
        sockets: u32,
        pending: usize,
        cancelled: u64,
    },
    Receive {
        bytes: usize,
        place: String,
    },
    LastCleanup {
        teardown_us: u64,
        requests: Vec<Ended>,
        peers_reset: Option<usize>,
        peers_ended: usize,
        registered: bool,
    },
    Restart {
        startup_us: u64,
        references: u32,
    },
    Echo {
        bytes: usize,
        crc32: String,
        echo_us: u64,
    },
    Unload {
        violations: usize,
        leaks: usize,
    },
    Summary(Summary),
}

/// The demo's last line. `null` where the backend can't supply a field, and where the demo did not come so far.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Summary {
    pub result: &'static str,
    pub references: Option<u32>,
    pub pending_at_last_cleanup: Option<usize>,
    pub cancelled: Option<usize>,
    pub peers_reset: Option<usize>,
    pub restart_echo_bytes: Option<usize>,
    pub violations: Option<usize>,
    pub leaks: Option<usize>,
    pub teardown_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A paragraph: a bold head, then text.
fn paragraph(head: &str, text: &str) -> String {
    format!("{HEAD}{head:<13}{HEAD:#}{text}")
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}

impl Event for Step {
    fn human(&self) -> String {
        match self {
            Self::Open { driver, backend, seed } => {
                let place = match seed {
                    Some(seed) => format!("in the {backend}, seed {seed}"),
                    None => format!("through the {backend}"),
                };
                paragraph("open", &format!("wskclient.sys {driver} {place}"))
            }
            Self::Startup { provider, version, references, .. } => {
                paragraph("startup", &format!("{provider} {version}, {}", counted((*references).into(), "reference")))
            }
            Self::Listen { address } => {
                paragraph("listen", &format!("a kernel socket on {address}, an accept pending"))
            }
            Self::Connections { connected, accepted } => paragraph(
                "connect",
                &format!(
                    "{connected} kernel sockets connected to a peer program, {accepted} accepted from peer programs;\n{:13}a \
                     receive pending on each",
                    ""
                ),
            ),
            Self::Send { bytes } => {
                paragraph("send", &format!("{} MiB to a peer that reads nothing: the send can't finish", bytes >> 20))
            }
            Self::Standing { references, sockets, pending } => {
                paragraph("ledger", &format!("{references} references, {sockets} sockets, {pending} requests pending"))
            }
            Self::Cleanup { references, sockets, pending, cancelled } => paragraph(
                "cleanup",
                &format!(
                    "{} left; {sockets} sockets and {pending} pending requests as before, {cancelled} cancelled",
                    counted((*references).into(), "reference")
                ),
            ),
            Self::Receive { bytes, place } => paragraph(
                "receive",
                &format!(
                    "{bytes} bytes come through {place};\n{:13}the receive that was pending gets them, and is posted again",
                    ""
                ),
            ),
            Self::LastCleanup { teardown_us, requests, peers_reset, peers_ended, registered } => {
                last_cleanup(*teardown_us, requests, *peers_reset, *peers_ended, *registered)
            }
            Self::Restart { startup_us, references } => paragraph(
                "restart",
                &format!(
                    "startup at once, in {}; {}",
                    milliseconds(*startup_us),
                    counted((*references).into(), "reference")
                ),
            ),
            Self::Echo { bytes, crc32, echo_us } => paragraph(
                "echo",
                &format!(
                    "{bytes} bytes out and back through a new socket in {}, CRC-32 {crc32} both ways",
                    milliseconds(*echo_us)
                ),
            ),
            Self::Unload { violations, leaks } => {
                paragraph("unload", &format!("{violations} violations of the lab's rules, {leaks} leaks"))
            }
            Self::Summary(summary) => summary.human(),
        }
    }
}

fn last_cleanup(teardown_us: u64, requests: &[Ended], reset: Option<usize>, ended: usize, registered: bool) -> String {
    let mut table = Table::new(&["request", "on the socket", "ended with", "bytes"], &[3]);
    for request in requests {
        let status = request.status_name.unwrap_or(&request.status);
        table.row([&*request.kind, &*request.place, status, &request.information.to_string()]);
    }
    let peers = match reset {
        Some(reset) => format!("{reset} peer programs saw a reset"),
        None => format!("{ended} peer programs saw their connection end"),
    };
    let registration =
        if registered { "still registered, for other clients" } else { "no longer registered as a WSK client" };
    let text = format!("the last one: teardown took {}", milliseconds(teardown_us));
    format!("{}\n{}\n{:13}{peers}; {registration}", paragraph("cleanup", &text), table.text(12), "")
}

impl Summary {
    fn human(&self) -> String {
        if self.result != "ok" {
            return format!("\n{BAD}failed{BAD:#}: {}", self.error.as_deref().unwrap_or("see above"));
        }
        let count = |value: Option<usize>| value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        format!(
            "\n{GOOD}ok{GOOD:#}: {} requests pending at the last cleanup, {} ended STATUS_CANCELLED; peers reset {}, violations {}, \
             leaks {}",
            count(self.pending_at_last_cleanup),
            count(self.cancelled),
            count(self.peers_reset),
            count(self.violations),
            count(self.leaks),
        )
    }
}

impl Ended {
    pub fn new(kind: String, place: String, status: i32, information: usize) -> Self {
        let text = format!("{status:#010X}");
        debug_assert!(StatusText(status).to_string().contains(&text));
        Self { kind, place, status: text, status_name: status_name(status), information }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_exactly_its_fields_in_their_order() {
        let summary = Summary {
            result: "ok",
            references: Some(3),
            pending_at_last_cleanup: Some(10),
            cancelled: Some(10),
            peers_reset: Some(9),
            restart_echo_bytes: Some(1 << 20),
            violations: Some(0),
            leaks: Some(0),
            teardown_us: Some(1234),
            error: None,
        };
        assert_eq!(
            serde_json::to_string(&Step::Summary(summary)).unwrap(),
            r#"{"event":"summary","result":"ok","references":3,"pending_at_last_cleanup":10,"cancelled":10,"peers_reset":9,"restart_echo_bytes":1048576,"violations":0,"leaks":0,"teardown_us":1234}"#
        );
    }

    #[test]
    fn a_failed_summary_says_why_and_leaves_null_what_is_not_known() {
        let summary =
            Summary { result: "failed", references: Some(3), error: Some("why".into()), ..Summary::default() };
        assert_eq!(
            serde_json::to_string(&Step::Summary(summary)).unwrap(),
            r#"{"event":"summary","result":"failed","references":3,"pending_at_last_cleanup":null,"cancelled":null,"peers_reset":null,"restart_echo_bytes":null,"violations":null,"leaks":null,"teardown_us":null,"error":"why"}"#
        );
    }

    #[test]
    fn the_last_cleanup_reads_as_a_table_within_100_columns() {
        let ended = |kind: &str, place: &str| Ended::new(kind.into(), place.into(), 0xC000_0120_u32.cast_signed(), 0);
        let step = Step::LastCleanup {
            teardown_us: 12_345,
            requests: vec![
                ended("accept", "127.0.0.1:65535 listening"),
                ended("receive", "127.0.0.1:65535 accepted from 127.0.0.1:65534"),
            ],
            peers_reset: Some(9),
            peers_ended: 9,
            registered: false,
        };
        let text = anstream::adapter::strip_str(&step.human()).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "cleanup      the last one: teardown took 12.345 ms");
        assert_eq!(
            lines[2],
            "             accept   127.0.0.1:65535 listening                      STATUS_CANCELLED      0"
        );
        assert_eq!(lines[4], "             9 peer programs saw a reset; no longer registered as a WSK client");
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
    }
}
