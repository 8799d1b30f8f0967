//! `wskctl connect` and `wskctl listen`: standard input and output through a kernel socket.

use super::{
    pump::{Moved, Pump, Source},
    session::{PROVIDER, Session, any_like, resolve, with_session},
};
use crate::{
    Accepted, Cause, Error, Operation, Reply, Socket,
    abi::{Address, Role},
    backend::Choice,
    inbox::{Inbox, Wake},
    output::{Event, Format, Output},
};
use clap::Args;
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};

#[derive(Args)]
pub(crate) struct Connect {
    /// A name or an address
    #[arg(value_name = "HOST")]
    host: String,
    /// The port
    #[arg(value_name = "PORT")]
    port: u16,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Tells on standard error who is connected and how much was moved
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Args)]
pub(crate) struct Listen {
    /// A local address, if not every one, and the port
    #[arg(value_names = ["ADDRESS", "PORT"], num_args = 1..=2, required = true)]
    place: Vec<String>,
    /// IPv6 where no address is given
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Goes on with the next connection when one has ended, until Ctrl-C
    #[arg(short, long)]
    keep_open: bool,
    /// Tells on standard error who is connected and how much was moved
    #[arg(short, long)]
    verbose: bool,
}

/// What is told of a connection: on standard error, because standard output is the connection's.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Listening { address: String },
    Connected { address: String },
    Ended { sent: u64, received: u64 },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Listening { address } => format!("listening on {address}"),
            Self::Connected { address } => format!("connected to {address}"),
            Self::Ended { sent, received } => format!("ended: {sent} bytes sent, {received} received"),
        }
    }
}

/// Tells people who asked for it, and programs.
struct Teller {
    format: Format,
    verbose: bool,
}

impl Teller {
    fn tell(&self, told: &Told) {
        match self.format {
            Format::Human if self.verbose => anstream::eprintln!("wskctl: {}", told.human()),
            Format::Human => {}
            Format::Json => eprintln!("{}", serde_json::to_string(told).unwrap_or_default()),
        }
    }
}

pub(super) fn connect(choice: &Choice, arguments: &Connect, output: &Output) -> Result<(), Error> {
    let teller = Teller { format: output.format(), verbose: arguments.verbose };
    let address = resolve(&arguments.host, arguments.port, arguments.ipv6)?;
    with_session(choice, |session, inbox| {
        let socket = session.client.socket_of(PROVIDER, Address::from(address).family, Role::Connection)?;
        socket.bind(any_like(address))?;
        let mut source = Source::standard(inbox);
        finish(session, inbox, &mut source, socket.begin_connect(address.into()))?;
        teller.tell(&Told::Connected { address: address.to_string() });
        let moved = carry(session, inbox, &socket, &mut source)?;
        teller.tell(&moved.into());
        Ok(())
    })
}

pub(super) fn listen(choice: &Choice, arguments: &Listen, output: &Output) -> Result<(), Error> {
    let teller = Teller { format: output.format(), verbose: arguments.verbose };
    let address = place(&arguments.place, arguments.ipv6)?;
    with_session(choice, |session, inbox| {
        let (listener, address) = listener(session, address)?;
        teller.tell(&Told::Listening { address: format!("{address:?}") });
        let mut source = Source::standard(inbox);
        loop {
            let Accepted { socket, remote, .. } = finish(session, inbox, &mut source, listener.begin_accept())?;
            teller.tell(&Told::Connected { address: format!("{remote:?}") });
            match carry(session, inbox, &socket, &mut source) {
                Ok(moved) => teller.tell(&moved.into()),
                // One connection's failure is not the next one's.
                Err(error) if arguments.keep_open && error.ntstatus().is_some() => crate::output::report(&error),
                Err(error) => return Err(error),
            }
            if !arguments.keep_open {
                return Ok(());
            }
        }
    })
}

/// `[ADDRESS] PORT`
pub(super) fn place(words: &[String], v6: bool) -> Result<SocketAddr, Error> {
    let wrong = |why: String| Error::new("understand where to listen", Cause::Usage(why));
    let (host, port) = match words {
        [host, port] => (host.as_str(), port),
        [port] => (if v6 { "::" } else { "0.0.0.0" }, port),
        _ => return Err(wrong("give a port, or an address and a port".into())),
    };
    let port = port.parse().map_err(|_| wrong(format!("`{port}` is no port")))?;
    resolve(host, port, v6)
}

/// A kernel socket that listens there.
pub(super) fn listener(session: &Session, address: SocketAddr) -> Result<(Socket, Address), Error> {
    let socket = session.client.socket_of(PROVIDER, Address::from(address).family, Role::Listen)?;
    socket.bind(address.into())?;
    socket.listen(16)?;
    // Stock Wine's WSK does not tell which port it chose.
    let address = socket.local_address().unwrap_or_else(|_| address.into());
    Ok((socket, address))
}

impl From<Moved> for Told {
    fn from(Moved { sent, received }: Moved) -> Self {
        Self::Ended { sent, received }
    }
}

/// Waits for an operation, as long as it takes; Ctrl-C cancels it.
fn finish<R: Reply>(
    session: &Session,
    inbox: &mut Inbox,
    source: &mut Source,
    mut operation: Operation<R>,
) -> Result<R, Error> {
    let number = inbox.watch(&mut operation);
    loop {
        match inbox.wait(&session.backend)? {
            Wake::Ended(ended) if ended == number => return operation.wait(Duration::ZERO),
            Wake::Interrupt => return Err(Error::new(operation.what(), Cause::Interrupted)),
            // What an earlier connection left behind.
            Wake::Ended(_) => {}
            Wake::Input(data) => source.take(data),
            Wake::InputEnd(error) => source.end(error)?,
        }
    }
}

/// Carries one connection, and closes its socket.
fn carry(session: &Session, inbox: &mut Inbox, socket: &Socket, source: &mut Source) -> Result<Moved, Error> {
    let moved = Pump::run(&session.backend, inbox, socket, source);
    let closed = socket.close();
    let moved = moved?;
    closed.map(|()| moved)
}
