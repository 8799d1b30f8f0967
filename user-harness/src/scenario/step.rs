//! What a scenario consists of, once its file is understood.

use super::{
    fields::At,
    problem::Source,
    value::{Data, OptionWord, Statuses},
};
use crate::{
    abi::{Address, Guid, Provider, Role, SocketOption, WinsockVersion, WsaError},
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
    SendTo { socket: String, to: Target, data: Data },
    ReceiveFrom { socket: String, length: u32 },
    SetOption { socket: String, option: SocketOption, value: u32 },
    GetOption { socket: String, option: SocketOption },
    Events { socket: String, mask: u32 },
    Resolve { guid: Guid, node: String, service: Option<String>, family: u16 },
    NamesOf { guid: Guid, address: Target },
    CancelBlocking,
}

impl Call {
    /// What can be expected to come back, by the names that a file has for it.
    pub fn answers(&self) -> &'static [&'static str] {
        match self {
            Self::Startup { .. } => &["status", "negotiated", "references"],
            Self::Send { .. } | Self::SendTo { .. } => &["status", "bytes"],
            Self::Receive { .. } => &["status", "bytes", "data"],
            Self::ReceiveFrom { .. } => &["status", "bytes", "data", "from", "truncated"],
            Self::AddressOf { .. } => &["status", "is"],
            Self::GetOption { .. } => &["status", "value"],
            Self::Events { .. } => &["status", "told", "code"],
            Self::Resolve { .. } => &["status", "addresses"],
            Self::NamesOf { .. } => &["status", "name", "service"],
            _ => &["status"],
        }
    }
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
    /// A socket for datagrams, on loopback.
    Socket {
        name: String,
        family: u16,
    },
    SendTo {
        peer: String,
        to: Target,
        data: Data,
    },
    ReceiveFrom {
        peer: String,
    },
}

impl PeerAct {
    /// As [`Call::answers`].
    pub fn answers(&self) -> &'static [&'static str] {
        match self {
            Self::Receive { .. } => &["bytes", "data"],
            Self::ReceiveFrom { .. } => &["bytes", "data", "from"],
            _ => &[],
        }
    }
}

/// How a peer sees its connection end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    Reset,
    EndOfStream,
    Any,
}

/// What must come back.
#[derive(Clone, Debug, Default)]
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
    /// Of a datagram: who sent it.
    pub from: Option<Target>,
    /// Of a datagram: whether its end is missing.
    pub truncated: Option<bool>,
    /// Of an option.
    pub value: Option<OptionWord>,
    /// Of events: a mask of those that were told.
    pub told: Option<u32>,
    /// Of events: the error that one came with.
    pub code: Option<WsaError>,
    /// Of a name.
    pub addresses: Option<Vec<Address>>,
    /// Of an address.
    pub name: Option<String>,
    /// Of an address.
    pub service: Option<String>,
}

/// A figure of the ledger: the path to it in `wskctl --format json status`, and its value.
#[derive(Debug)]
pub(crate) struct Figure {
    pub path: Vec<String>,
    pub value: At<Value>,
}
