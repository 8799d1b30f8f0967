//! Steps in words.

use super::{
    step::{Call, Ends, PeerAct, Target},
    value::{OptionWord, describe},
};
use crate::{
    abi::{AddressOf, Provider, Role, Shutdown},
    words::{event_names, option_name},
};
use std::fmt;

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(formatter, "{name}"),
            Self::Address(address) => write!(formatter, "{address:?}"),
        }
    }
}

impl Call {
    /// The socket that the request is on.
    pub fn socket(&self) -> Option<&str> {
        match self {
            Self::Startup { .. }
            | Self::Cleanup { .. }
            | Self::Socket { .. }
            | Self::Resolve { .. }
            | Self::NamesOf { .. }
            | Self::CancelBlocking => None,
            Self::Bind { socket, .. }
            | Self::Listen { socket, .. }
            | Self::Accept { socket, .. }
            | Self::Connect { socket, .. }
            | Self::Send { socket, .. }
            | Self::Receive { socket, .. }
            | Self::Shutdown { socket, .. }
            | Self::Close { socket, .. }
            | Self::AddressOf { socket, .. }
            | Self::SendTo { socket, .. }
            | Self::ReceiveFrom { socket, .. }
            | Self::SetOption { socket, .. }
            | Self::GetOption { socket, .. }
            | Self::Events { socket, .. } => Some(socket),
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Startup { provider: Provider::Namespace, guid, .. } => format!("startup of namespace {guid}"),
            Self::Cleanup { provider: Provider::Namespace, guid } => format!("cleanup of namespace {guid}"),
            Self::Startup { provider, version, .. } => format!("startup of {} {version}", provider.name()),
            Self::Cleanup { provider, .. } => format!("cleanup of {}", provider.name()),
            Self::Socket { name, provider, role: Role::Listen, .. } => {
                format!("listening socket {name} of {}", provider.name())
            }
            Self::Socket { name, provider, role: Role::Datagram, .. } => {
                format!("datagram socket {name} of {}", provider.name())
            }
            Self::Socket { name, provider, .. } => format!("socket {name} of {}", provider.name()),
            Self::Bind { socket, address: Some(address) } => format!("bind {socket} to {address:?}"),
            Self::Bind { socket, address: None } => format!("bind {socket}"),
            Self::Listen { socket, .. } => format!("listen on {socket}"),
            Self::Accept { socket, name } if name.is_empty() => format!("accept on {socket}"),
            Self::Accept { socket, name } => format!("accept {name} on {socket}"),
            Self::Connect { socket, to } => format!("connect {socket} to {to}"),
            Self::Send { socket, data } => format!("send {} on {socket}", describe(&data.0)),
            Self::Receive { socket, length, all: true } => format!("receive all of {length} bytes on {socket}"),
            Self::Receive { socket, length, .. } => format!("receive up to {length} bytes on {socket}"),
            Self::Shutdown { socket, how: Shutdown::ABORT } => format!("abort {socket}"),
            Self::Shutdown { socket, .. } => format!("shut {socket} down for sending"),
            Self::Close { socket, linger: Some(_) } => format!("close {socket} gracefully"),
            Self::Close { socket, linger: None } => format!("close {socket}"),
            Self::AddressOf { socket, end: AddressOf::PEER } => format!("peer's address of {socket}"),
            Self::AddressOf { socket, .. } => format!("local address of {socket}"),
            Self::SendTo { socket, to, data } => format!("send {} on {socket} to {to}", describe(&data.0)),
            Self::ReceiveFrom { socket, length } => format!("receive a datagram of up to {length} bytes on {socket}"),
            Self::SetOption { socket, option, value } => {
                format!("set {} of {socket} to {}", option_name(*option), OptionWord::of(*option, *value))
            }
            Self::GetOption { socket, option } => format!("{} of {socket}", option_name(*option)),
            Self::Events { socket, mask } => format!("events of {socket}: {}", event_names(*mask).join(", ")),
            Self::Resolve { node, service: None, .. } => format!("look {node} up"),
            Self::Resolve { node, service: Some(service), .. } => format!("look {node} and {service} up"),
            Self::NamesOf { address, .. } => format!("look {address} up"),
            Self::CancelBlocking => "cancel blocking calls".into(),
        }
    }
}

impl PeerAct {
    pub fn describe(&self) -> String {
        match self {
            Self::Listen { name, .. } => format!("peer {name} listens"),
            Self::Accept { listener, name } => format!("peer {listener} accepts {name}"),
            Self::Connect { name, to, .. } => format!("peer {name} connects to {to}"),
            Self::Send { peer, data } => format!("peer {peer} sends {}", describe(&data.0)),
            Self::Receive { peer, length: Some(length) } => format!("peer {peer} receives {length} bytes"),
            Self::Receive { peer, length: None } => format!("peer {peer} receives to the end of the stream"),
            Self::Shutdown { peer } => format!("peer {peer} shuts down for sending"),
            Self::Close { peer } => format!("peer {peer} closes"),
            Self::Reset { peer } => format!("peer {peer} resets its connection"),
            Self::Ends { peer, how: Ends::Any } => format!("peer {peer} sees its connection end"),
            Self::Socket { name, .. } => format!("peer {name} has a socket for datagrams"),
            Self::SendTo { peer, to, data } => format!("peer {peer} sends {} to {to}", describe(&data.0)),
            Self::ReceiveFrom { peer } => format!("peer {peer} receives a datagram"),
            Self::Ends { peer, how } => format!("peer {peer} sees {}", how.name()),
        }
    }
}
