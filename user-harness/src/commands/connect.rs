//! `wskctl connect` and `wskctl listen`: standard input and output through a kernel socket.

use super::{
    datagrams::{self, Datagrams, Peer},
    place::{Family, Over, Port, addresses, any_like},
    pump::{self, Moved, Pump},
    session::{PROVIDER, Session, with_session},
    standard::{Standard, Told},
};
use crate::{
    Accepted, Cause, Error, Socket,
    abi::{Address, Role, WsaError},
    backend::Choice,
    output::Output,
};
use clap::Args;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct Connect {
    /// A name or an address
    #[arg(value_name = "HOST")]
    host: String,
    /// The port, or a service's name
    #[arg(value_name = "PORT")]
    port: Port,
    #[command(flatten)]
    way: Way,
}

#[derive(Args)]
pub(crate) struct Listen {
    /// A local address, if not every one
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
    /// The port, or a service's name; 0 lets the stack choose
    #[arg(value_name = "PORT", required = true)]
    port: Port,
    /// Goes on with the next peer when one has ended, until Ctrl-C
    #[arg(short, long)]
    keep_open: bool,
    #[command(flatten)]
    way: Way,
}

/// What both have in common.
#[derive(Args)]
struct Way {
    #[command(flatten)]
    family: Family,
    /// Datagrams (UDP) instead of a connection (TCP)
    #[arg(short, long)]
    udp: bool,
    /// Ends when for so many seconds nothing came and nothing went
    #[arg(short, long, value_name = "SECONDS", value_parser = super::seconds)]
    wait: Option<Duration>,
    /// Tells on standard error who is connected and how much was moved
    #[arg(short, long)]
    verbose: bool,
}

impl Way {
    fn over(&self) -> Over {
        Over::of(self.udp)
    }

    fn standard<'a>(&self, session: &Session, output: &'a mut Output) -> Standard<'a> {
        let chunk = if self.udp { datagrams::CHUNK } else { pump::CHUNK };
        Standard::new(&session.inbox, chunk, self.wait, self.verbose, output)
    }
}

pub(super) fn connect(choice: &Choice, arguments: &Connect, output: &mut Output) -> Result<(), Error> {
    let Connect { host, port, way } = arguments;
    with_session(choice, |session| {
        let addresses = addresses(session, Some(host), port, way.family, way.over())?;
        let (socket, address) = first_that_answers(session, &addresses, way)?;
        let mut standard = way.standard(session, output);
        standard.tell(&Told::Connected { address: format!("{address:?}") })?;
        let moved = if way.udp {
            closing(&socket, Datagrams::run(session, &socket, &mut standard, Peer::Known(address)))?
        } else {
            closing(&socket, Pump::run(session, &socket, &mut standard))?
        };
        standard.tell(&moved.into())
    })
}

/// A socket that is connected to the first of these addresses that takes it.
fn first_that_answers(session: &mut Session, addresses: &[Address], way: &Way) -> Result<(Socket, Address), Error> {
    let mut failed = Error::status("connect", WsaError::NoData.status());
    for &address in addresses {
        match connected(session, address, way) {
            Ok(socket) => return Ok((socket, address)),
            Err(error) if matches!(error.cause(), Cause::Interrupted) => return Err(error),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn connected(session: &mut Session, address: Address, way: &Way) -> Result<Socket, Error> {
    let socket = session.client.socket_of(PROVIDER, address.family, way.over().role())?;
    let connect = socket.bind(any_like(address)).map(|()| socket.begin_connect(address));
    match connect.and_then(|connect| session.finish(connect, way.wait)) {
        Ok(()) => Ok(socket),
        Err(error) => {
            socket.close()?;
            Err(error)
        }
    }
}

pub(super) fn listen(choice: &Choice, arguments: &Listen, output: &mut Output) -> Result<(), Error> {
    let Listen { address, port, keep_open, way } = arguments;
    with_session(choice, |session| {
        let (listener, address) = listener(session, address.as_deref(), port, way.family, way.over())?;
        let mut standard = way.standard(session, output);
        standard.tell(&Told::Listening { address: format!("{address:?}") })?;
        if way.udp {
            let peer = if *keep_open { Peer::Last(None) } else { Peer::First };
            let moved = Datagrams::run(session, &listener, &mut standard, peer)?;
            return standard.tell(&moved.into());
        }
        loop {
            let Accepted { socket, remote, .. } = session.finish(listener.begin_accept(), way.wait)?;
            standard.tell(&Told::Connected { address: format!("{remote:?}") })?;
            match closing(&socket, Pump::run(session, &socket, &mut standard)) {
                Ok(moved) => standard.tell(&moved.into())?,
                // One connection's failure is not the next one's.
                Err(error) if *keep_open && error.ntstatus().is_some() => standard.fail(&error),
                Err(error) => return Err(error),
            }
            if !keep_open {
                return Ok(());
            }
        }
    })
}

/// A kernel socket that listens there, or is bound there for datagrams; and the address that it has.
pub(super) fn listener(
    session: &mut Session,
    host: Option<&str>,
    port: &Port,
    family: Family,
    over: Over,
) -> Result<(Socket, Address), Error> {
    let address = *addresses(session, host, port, family, over)?
        .first()
        .ok_or_else(|| Error::status("find where to listen", WsaError::NoData.status()))?;
    let role = if over == Over::Stream { Role::Listen } else { Role::Datagram };
    let socket = session.client.socket_of(PROVIDER, address.family, role)?;
    socket.bind(address)?;
    if role == Role::Listen {
        socket.listen(16)?;
    }
    // Stock Wine's WSK does not tell which port it chose.
    let address = socket.local_address().unwrap_or(address);
    Ok((socket, address))
}

impl From<Moved> for Told {
    fn from(Moved { sent, received }: Moved) -> Self {
        Self::Ended { sent, received }
    }
}

/// Closes the socket, however its work ended.
fn closing(socket: &Socket, moved: Result<Moved, Error>) -> Result<Moved, Error> {
    let closed = socket.close();
    let moved = moved?;
    closed.map(|()| moved)
}
