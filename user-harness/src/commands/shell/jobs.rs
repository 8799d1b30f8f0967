//! What a request's answer means to the shell.

use super::Named;
use crate::{
    Accepted, Cause, Client, Operation, Received, Reply, Resolved, Sent, Socket,
    abi::{Address, EventsReply, Linger, Outstanding, Provider, SocketOption, StartupReply},
    commands::kind_name,
    device::Completion,
    words::event_names,
};

/// A request under way.
pub(super) struct Job {
    pub operation: Operation<Completion>,
    pub then: Then,
}

/// What its answer is.
pub(super) enum Then {
    Nothing,
    Startup,
    Cleanup(Provider),
    Socket { provider: Provider, family: u16, about: String },
    Accept(Provider),
    Send,
    Receive,
    ReceiveFrom,
    Address,
    Option(SocketOption),
    Number,
    Events,
    Addresses,
    Names,
    Pending,
}

/// An answer.
#[derive(Default)]
pub(super) struct Done {
    pub outcome: String,
    pub socket: Option<Named>,
    pub bytes: Option<usize>,
    /// A reference on it was released.
    pub released: Option<Provider>,
}

impl Done {
    fn said(outcome: impl Into<String>) -> Self {
        Self { outcome: outcome.into(), ..Self::default() }
    }

    fn moved(outcome: String, bytes: usize) -> Self {
        Self { bytes: Some(bytes), ..Self::said(outcome) }
    }
}

impl Then {
    /// Whether a request that ended so has an answer.
    pub fn is_answer(&self, status: crate::abi::NtStatus) -> bool {
        match self {
            Self::ReceiveFrom => Received::is_answer(status),
            _ => status >= 0,
        }
    }

    /// Reads the answer.
    pub fn conclude(self, client: &Client, completion: Completion) -> Result<Done, Cause> {
        Ok(match self {
            Self::Nothing => Done::default(),
            Self::Cleanup(provider) => Done { released: Some(provider), ..Done::default() },
            Self::Startup => {
                let reply = StartupReply::decode(client, completion)?;
                Done::said(format!(
                    "version {}, highest {}, {} reference(s)",
                    reply.version, reply.highest_version, reply.references
                ))
            }
            Self::Socket { provider, family, about } => {
                let socket = Socket::decode(client, completion)?;
                Done { socket: Some(Named { socket, provider, family, bound: false, about }), ..Done::default() }
            }
            Self::Accept(provider) => {
                let Accepted { socket, local, remote } = Accepted::decode(client, completion)?;
                let about = format!("accepted on {local:?} from {remote:?}");
                let named = Named { socket, provider, family: remote.family, bound: true, about: about.clone() };
                Done { socket: Some(named), ..Done::said(about) }
            }
            Self::Send => {
                let Sent { bytes, .. } = Sent::decode(client, completion)?;
                Done::moved(format!("{bytes} bytes"), bytes)
            }
            Self::Receive => {
                let data = Vec::decode(client, completion)?;
                let outcome = if data.is_empty() { "the peer's end".to_owned() } else { shown(&data) };
                Done::moved(outcome, data.len())
            }
            Self::ReceiveFrom => {
                let Received { data, address, is_truncated, .. } = Received::decode(client, completion)?;
                let cut = if is_truncated { ", cut off" } else { "" };
                Done::moved(format!("{}{cut} from {address:?}", shown(&data)), data.len())
            }
            Self::Address => Done::said(format!("{:?}", Address::decode(client, completion)?)),
            Self::Option(option) => Done::said(option_text(option, u32::decode(client, completion)?)),
            Self::Number => Done::said(u32::decode(client, completion)?.to_string()),
            Self::Events => Done::said(events_text(&EventsReply::decode(client, completion)?)),
            Self::Addresses => {
                let found = Resolved::decode(client, completion)?;
                let addresses: Vec<_> = found.addresses.iter().map(|found| format!("{:?}", found.address)).collect();
                Done::said(addresses.join(", "))
            }
            Self::Names => {
                let crate::Named { node, service } = Reply::decode(client, completion)?;
                Done::said(format!("{node} {service}"))
            }
            Self::Pending => {
                let (_, list) = <(u32, Vec<Outstanding>)>::decode(client, completion)?;
                Done::said(pending_text(&list))
            }
        })
    }
}

fn shown(data: &[u8]) -> String {
    format!("{} bytes \"{}\"", data.len(), data.escape_ascii())
}

fn option_text(option: SocketOption, value: u32) -> String {
    if option != SocketOption::Linger {
        return value.to_string();
    }
    let Linger { l_onoff, l_linger } = zerocopy::transmute!(value);
    if l_onoff == 0 { "off".into() } else { format!("{l_linger} s") }
}

fn events_text(reply: &EventsReply) -> String {
    let code = reply.codes.iter().find(|&&code| code != 0);
    let error = code.and_then(|code| crate::abi::WsaError::ALL.iter().find(|error| error.code() == *code));
    let error = error.map(|error| format!(", {} ({})", error.name(), error.code()));
    format!("{}{}", event_names(reply.events).join(", "), error.unwrap_or_default())
}

fn pending_text(list: &[Outstanding]) -> String {
    if list.is_empty() {
        return "nothing is pending".into();
    }
    let line = |one: &Outstanding| {
        let kind = one.kind().map(kind_name).unwrap_or_default();
        let socket = if one.socket.0 == 0 { String::new() } else { format!(" on {:#x}", one.socket.0) };
        format!("{kind}{socket} of process {}, since {} ms", one.process, one.age)
    };
    list.iter().map(line).collect::<Vec<_>>().join("\n")
}
