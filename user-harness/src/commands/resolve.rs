//! `wskctl resolve`: names to addresses and addresses to names, as a namespace provider of the driver knows them.

use super::{
    place::{Family, Over, Port},
    session::Session,
};
use crate::{
    Client, Error, Wanted,
    abi::{Address, Namespace, ResolvedAddress, hints},
    backend::Choice,
    inbox::Inbox,
    interrupt::Interrupt,
    output::{DIM, Event, Output},
};
use clap::Args;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// How many addresses there is room for.
const ROOM: usize = 256;

#[derive(Args)]
pub(crate) struct Resolve {
    /// A host's name; or an address, to get its name
    #[arg(value_name = "NAME")]
    name: String,
    /// A service's name, or a port
    #[arg(value_name = "SERVICE")]
    service: Option<Port>,
    #[command(flatten)]
    family: Family,
    /// The service of datagrams (UDP), not of connections (TCP)
    #[arg(short, long)]
    udp: bool,
    /// Tell the canonical name, too
    #[arg(short, long)]
    canonical: bool,
    /// Who is asked: `dns`, or `numeric`, who asks nobody
    #[arg(long, value_name = "dns|numeric", hide_possible_values = true, value_enum, default_value_t)]
    namespace: Provider,
}

/// A namespace provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Provider {
    /// The domain name system
    #[default]
    Dns,
    /// Numbers only
    Numeric,
}

impl From<Provider> for Namespace {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Dns => Self::Dns,
            Provider::Numeric => Self::Numeric,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Canonical { name: String },
    Address { address: String, port: u16, protocol: Option<&'static str> },
    Name { address: String, name: String, service: Option<String> },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Canonical { name } => format!("{DIM}canonical name{DIM:#} {name}"),
            Self::Address { address, port: 0, .. } => address.clone(),
            Self::Address { address, port, .. } => format!("{address}  port {port}"),
            Self::Name { address, name, service: None } => format!("{address}  {name}"),
            Self::Name { address, name, service: Some(service) } => format!("{address}  {name}  {service}"),
        }
    }
}

pub(super) fn run(choice: &Choice, arguments: &Resolve, output: &mut Output) -> Result<(), Error> {
    let inbox = Inbox::new(Interrupt::watch()?);
    let backend = choice.open()?;
    let mut session = Session { client: Client::open(backend.device())?, backend, inbox };
    let provider = Namespace::from(arguments.namespace).guid();
    let started = session.client.startup_namespace(provider)?;
    let worked = match arguments.name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => names(&mut session, arguments, address, output),
        Err(_) => addresses(&mut session, arguments, output),
    };
    let cleaned = started.cleanup();
    session.client.close();
    session.backend.finish_clean().and(worked).and(cleaned)
}

fn addresses(session: &mut Session, arguments: &Resolve, output: &mut Output) -> Result<(), Error> {
    let over = Over::of(arguments.udp);
    let wanted = Wanted {
        node: Some(&arguments.name),
        service: arguments.service.as_ref().map(Port::text),
        flags: if arguments.canonical { hints::CANONICAL_NAME } else { 0 },
        family: arguments.family.number(),
        socket_type: over.socket_type(),
        protocol: over.protocol(),
    };
    let provider = Namespace::from(arguments.namespace).guid();
    let found = session.finish(session.client.begin_resolve(provider, &wanted, ROOM), None)?;
    if arguments.canonical {
        output.emit(&Told::Canonical { name: found.canonical_name })?;
    }
    found.addresses.iter().try_for_each(|found| output.emit(&Told::from(found)))
}

impl From<&ResolvedAddress> for Told {
    fn from(found: &ResolvedAddress) -> Self {
        let protocol = match found.protocol {
            hints::TCP => Some("tcp"),
            hints::UDP => Some("udp"),
            _ => None,
        };
        let at = crate::peer::host_address(found.address);
        Self::Address { address: at.ip().to_string(), port: at.port(), protocol }
    }
}

fn names(session: &mut Session, arguments: &Resolve, ip: IpAddr, output: &mut Output) -> Result<(), Error> {
    let port = arguments.service.as_ref().and_then(Port::number);
    let address = Address::from(SocketAddr::new(ip, port.unwrap_or(0)));
    let flags = hints::NAME_REQUIRED | if arguments.udp { hints::OF_DATAGRAMS } else { 0 };
    let flags = match arguments.namespace {
        Provider::Dns => flags,
        Provider::Numeric => flags & !hints::NAME_REQUIRED,
    };
    let provider = Namespace::from(arguments.namespace).guid();
    let named = session.finish(session.client.begin_names_of(provider, address, flags), None)?;
    let service = port.map(|_| named.service);
    output.emit(&Told::Name { address: ip.to_string(), name: named.node, service })
}
