//! The requests that steps make.

use super::{
    super::step::{Call, Linger},
    Named, Runner,
};
use crate::{
    Operation, Socket, Wanted,
    abi::{AF_INET6, Address, Provider, Role, hints},
    device::Completion,
    peer::free_port,
};

/// How many addresses of a name there is room for.
const ADDRESSES: usize = 64;

impl Runner<'_> {
    pub(super) fn issue(&mut self, client: &str, call: &Call) -> Result<Operation<Completion>, String> {
        let client = self.living(client)?.client.clone();
        let socket = |name: &str| self.named(name).map(|named| Socket::new(client.clone(), named.socket.handle()));
        Ok(match call {
            Call::Startup { provider: Provider::Namespace, guid, .. } => {
                client.begin_startup_namespace(*guid).untyped()
            }
            Call::Startup { provider, version, catalog_id, .. } => {
                client.begin_startup(*provider, *version, *catalog_id).untyped()
            }
            Call::Cleanup { provider: Provider::Namespace, guid } => client.begin_cleanup_namespace(*guid).untyped(),
            Call::Cleanup { provider, .. } => client.begin_cleanup(*provider).untyped(),
            Call::Socket { provider, role, family, .. } => client.begin_socket_of(*provider, *family, *role).untyped(),
            Call::Bind { socket: name, address } => {
                let (socket, named) = (socket(name)?, self.named(name)?);
                let address = address.map_or_else(|| default_address(named), Ok)?;
                if let Some(named) = self.sockets.get_mut(name.as_str()) {
                    named.address = Some(address);
                }
                socket.begin_bind(address).untyped()
            }
            Call::Listen { socket: name, backlog } => socket(name)?.begin_listen(*backlog).untyped(),
            Call::Accept { socket: name, .. } => socket(name)?.begin_accept().untyped(),
            Call::Connect { socket: name, to } => socket(name)?.begin_connect(self.address_of(to)?).untyped(),
            Call::Send { socket: name, data } => socket(name)?.begin_send(data.0.clone()).untyped(),
            Call::Receive { socket: name, length, all: false } => {
                socket(name)?.begin_receive(*length as usize).untyped()
            }
            Call::Receive { socket: name, length, all: true } => {
                socket(name)?.begin_receive_all(*length as usize).untyped()
            }
            Call::Shutdown { socket: name, how } => socket(name)?.begin_shutdown(*how).untyped(),
            Call::Close { socket: name, linger: None } => socket(name)?.begin_close().untyped(),
            Call::Close { socket: name, linger: Some(linger) } => {
                let milliseconds = match linger {
                    Linger::Default => None,
                    Linger::For(time) => Some(u32::try_from(time.as_millis()).map_err(|_| "that linger is too long")?),
                };
                socket(name)?.begin_close_gracefully(milliseconds).untyped()
            }
            Call::SendTo { socket: name, to, data } => {
                socket(name)?.begin_send_to(data.0.clone(), self.address_of(to)?).untyped()
            }
            Call::ReceiveFrom { socket: name, length } => socket(name)?.begin_receive_from(*length as usize).untyped(),
            Call::SetOption { socket: name, option, value } => {
                socket(name)?.begin_set_option(*option, *value).untyped()
            }
            Call::GetOption { socket: name, option } => socket(name)?.begin_option(*option).untyped(),
            Call::Events { socket: name, mask } => socket(name)?.begin_events(*mask).untyped(),
            Call::Resolve { guid, node, service, family } => {
                let wanted = Wanted {
                    node: Some(node),
                    service: service.as_deref(),
                    family: *family,
                    socket_type: hints::STREAM,
                    ..Wanted::default()
                };
                client.begin_resolve(*guid, &wanted, ADDRESSES).untyped()
            }
            Call::NamesOf { guid, address } => client.begin_names_of(*guid, self.address_of(address)?, 0).untyped(),
            Call::CancelBlocking => client.begin_cancel_blocking().untyped(),
            Call::AddressOf { socket: name, end } => socket(name)?.begin_address(*end).untyped(),
        })
    }
}

/// Where a socket that listens does so. One that names no address listens on a port of this host that was free a moment ago, because
/// not every WSK tells which port it chose.
fn default_address(named: &Named) -> Result<Address, String> {
    let v6 = named.family == AF_INET6;
    let port = match named.role {
        Role::Listen => free_port().map_err(|error| error.to_string())?,
        Role::Connection | Role::Datagram => 0,
    };
    Ok(match (named.role, v6) {
        (Role::Listen | Role::Datagram, false) => Address::v4([127, 0, 0, 1], port),
        (Role::Listen | Role::Datagram, true) => Address::v6(std::net::Ipv6Addr::LOCALHOST.octets(), port, 0),
        (_, false) => Address::v4([0; 4], 0),
        (_, true) => Address::v6([0; 16], 0, 0),
    })
}
