//! What a scenario consists of, once its file is understood.

use super::{
    fields::At,
    problem::Source,
    value::{Data, Statuses},
};
use crate::{
    abi::{Address, Guid, Provider, Role, WinsockVersion},
    backend::Feature,
};
use serde_json::Value;
use std::{ops::Range, time::Duration};

/// A scenario: see the module's documentation for its file.
#[derive(Debug)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub title: String,
    /// Clauses of the contract.
    pub proves: Vec<String>,
    /// What the driver's surroundings must be able to do.
    pub needs: Vec<Feature>,
    /// The processes.
    pub(crate) clients: Vec<String>,
    /// How long a step waits unless it says so itself.
    pub(crate) within: Duration,
    pub(crate) steps: Vec<Step>,
    /// Where it came from.
    pub source: Source,
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    /// Where it stands.
    pub span: Range<usize>,
    pub note: Option<String>,
    pub within: Option<Duration>,
    pub action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// A request to the driver; without a client, that of the socket or the file's first.
    Request {
        client: Option<String>,
        call: Call,
        background: Option<String>,
        expected: Expected,
    },
    /// What a peer program does.
    Peer {
        act: PeerAct,
        background: Option<String>,
        expected: Expected,
    },
    /// Joins what runs in the background.
    Wait {
        name: String,
        expected: Expected,
    },
    /// None of these has ended, and none does for a while.
    Pending {
        names: Vec<String>,
        watch: Duration,
    },
    Cancel {
        name: String,
    },
    CancelAll {
        client: String,
    },
    Kill {
        client: String,
    },
    Exit {
        client: String,
    },
    Ledger {
        client: String,
        expected: Vec<Figure>,
    },
    Repeat {
        times: u32,
        steps: Vec<Step>,
    },
}

/// A request to the driver. Sockets go by their names.
#[derive(Debug)]
pub(crate) enum Call {
    Startup { provider: Provider, version: WinsockVersion, catalog_id: u32, guid: Guid },
    Cleanup { provider: Provider, guid: Guid },
    Socket { name: String, provider: Provider, role: Role, family: u16 },
    Bind { socket: String, address: Option<Address> },
    Listen { socket: String, backlog: u32 },
    Accept { socket: String, name: String },
    Connect { socket: String, to: Target },
    Send { socket: String, data: Data },
    Receive { socket: String, length: u32, all: bool },
    Shutdown { socket: String, how: u32 },
    Close { socket: String, linger: Option<Linger> },
    AddressOf { socket: String, end: u32 },
}

/// How long a graceful close may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Linger {
    Default,
    For(Duration),
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A socket that listens, or a peer's listener.
    Named(String),
    Address(Address),
}

/// What a peer program does. Its listeners and connections go by their names.
#[derive(Debug)]
pub(crate) enum PeerAct {
    Listen {
        name: String,
        family: u16,
    },
    Accept {
        listener: String,
        name: String,
    },
    Connect {
        name: String,
        to: Target,
        refused: bool,
    },
    Send {
        peer: String,
        data: Data,
    },
    /// So many bytes, or all until the end of the stream.
    Receive {
        peer: String,
        length: Option<usize>,
    },
    Shutdown {
        peer: String,
    },
    Close {
        peer: String,
    },
    Reset {
        peer: String,
    },
    Ends {
        peer: String,
        how: Ends,
    },
}

/// How a peer sees its connection end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Reset,
    EndOfStream,
    Any,
}

/// What must come back.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub statuses: Statuses,
    pub bytes: Option<usize>,
    pub data: Option<Data>,
    /// Of a startup.
    pub negotiated: Option<WinsockVersion>,
    /// Of a startup.
    pub references: Option<u32>,
    /// Of a question for an address.
    pub is: Option<Target>,
}

impl Default for Expected {
    fn default() -> Self {
        Self { statuses: Statuses::success(), bytes: None, data: None, negotiated: None, references: None, is: None }
    }
}

/// A figure of the ledger: the path to it in `wskctl --format json status`, and its value.
#[derive(Debug)]
pub(crate) struct Figure {
    pub path: Vec<String>,
    pub value: At<Value>,
}
