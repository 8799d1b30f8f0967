//! `wskctl echo`: a server in the kernel that sends back what it gets, on many connections at a time, or in datagrams.

mod datagrams;

use super::{
    connect::listener,
    place::{Family, Over, Port},
    pump::CHUNK,
    session::{Session, with_session},
};
use crate::{
    Accepted, Error, Operation, Sent, Socket,
    abi::{Shutdown, WsaError},
    backend::Choice,
    inbox::Wake,
    output::{Event, Output, counted},
};
use clap::Args;
use serde::Serialize;
use std::{collections::HashMap, time::Duration};

#[derive(Args)]
pub(crate) struct Echo {
    /// A local address, if not every one
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
    /// The port, or a service's name; 0 lets the stack choose
    #[arg(value_name = "PORT", required = true)]
    port: Port,
    #[command(flatten)]
    family: Family,
    /// Datagrams (UDP) instead of connections (TCP)
    #[arg(short, long)]
    udp: bool,
    /// Ends after so many connections
    #[arg(long, value_name = "N", conflicts_with = "udp", value_parser = clap::value_parser!(u64).range(1..))]
    connections: Option<u64>,
    /// Ends after so many datagrams
    #[arg(long, value_name = "N", requires = "udp", value_parser = clap::value_parser!(u64).range(1..))]
    datagrams: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Listening { address: String },
    Connected { connection: u64, address: String },
    Ended { connection: u64, bytes: u64, error: Option<String> },
    Datagram { address: String, bytes: usize },
    Summary { connections: u64, datagrams: u64, bytes: u64 },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Listening { address } => format!("echo on {address}; Ctrl-C ends it"),
            Self::Connected { connection, address } => format!("{connection:4}  {address}"),
            Self::Ended { connection, bytes, error: None } => format!("{connection:4}  ended, {bytes} bytes"),
            Self::Ended { connection, bytes, error: Some(error) } => {
                format!("{connection:4}  ended, {bytes} bytes: {error}")
            }
            Self::Datagram { address, bytes } => format!("{address}  {bytes} bytes"),
            Self::Summary { connections, datagrams: 0, bytes } => {
                format!("{}, {bytes} bytes", counted(*connections, "connection"))
            }
            Self::Summary { datagrams, bytes, .. } => format!("{}, {bytes} bytes", counted(*datagrams, "datagram")),
        }
    }
}

/// What is pending: one accept, and one request for each connection.
enum Pending {
    Accept(Operation<Accepted>),
    Receive(Connection, Operation<Vec<u8>>),
    Send(Connection, Operation<Sent>),
    Shutdown(Connection, Operation<()>),
}

struct Connection {
    number: u64,
    socket: Socket,
    bytes: u64,
}

struct Server<'a> {
    session: &'a mut Session,
    output: &'a mut Output,
    listener: Socket,
    pending: HashMap<u64, Pending>,
    accepted: u64,
    ended: u64,
    bytes: u64,
}

pub(super) fn run(choice: &Choice, arguments: &Echo, output: &mut Output) -> Result<(), Error> {
    let Echo { address, port, family, .. } = arguments;
    let over = Over::of(arguments.udp);
    with_session(choice, |session| {
        let (listener, address) = listener(session, address.as_deref(), port, *family, over)?;
        output.emit(&Told::Listening { address: format!("{address:?}") })?;
        if arguments.udp {
            return datagrams::serve(session, &listener, arguments.datagrams.unwrap_or(u64::MAX), output);
        }
        let (pending, accepted, ended, bytes) = (HashMap::new(), 0, 0, 0);
        let mut server = Server { session, output, listener, pending, accepted, ended, bytes };
        server.serve(arguments.connections.unwrap_or(u64::MAX))?;
        let Server { accepted: connections, bytes, .. } = server;
        output.emit(&Told::Summary { connections, datagrams: 0, bytes })
    })
}

impl Server<'_> {
    /// Serves until so many connections have ended, or Ctrl-C, which is how a server is ended.
    fn serve(&mut self, connections: u64) -> Result<(), Error> {
        self.accept(connections);
        while self.ended < connections {
            match self.session.inbox.wait(&self.session.backend)? {
                Wake::Interrupt => return Ok(()),
                Wake::Ended(number) => match self.pending.remove(&number) {
                    Some(Pending::Accept(mut accept)) => {
                        let Accepted { socket, remote, .. } = accept.wait(Duration::ZERO)?;
                        self.accepted += 1;
                        let connection = self.accepted;
                        self.output.emit(&Told::Connected { connection, address: format!("{remote:?}") })?;
                        self.receive(Connection { number: connection, socket, bytes: 0 });
                        self.accept(connections);
                    }
                    Some(Pending::Receive(connection, mut receive)) => match receive.wait(Duration::ZERO) {
                        Ok(data) if data.is_empty() => self.shut_down(connection),
                        Ok(data) => self.send(connection, data),
                        Err(error) => self.end(&connection, Some(error))?,
                    },
                    Some(Pending::Send(mut connection, mut send)) => match send.wait(Duration::ZERO) {
                        Ok(moved) => {
                            connection.bytes += moved.bytes as u64;
                            self.receive(connection);
                        }
                        Err(error) => self.end(&connection, Some(error))?,
                    },
                    Some(Pending::Shutdown(connection, mut shutdown)) => {
                        let error = shutdown.wait(Duration::ZERO).err();
                        // Stock Wine's WSK can't shut down, and closes gracefully anyway.
                        let error = error.filter(|error| error.winsock() != Some(WsaError::NotSupported));
                        self.end(&connection, error)?;
                    }
                    None => {}
                },
                Wake::Input(_) | Wake::InputEnd(_) => {}
            }
        }
        Ok(())
    }

    fn accept(&mut self, connections: u64) {
        if self.accepted < connections {
            let mut accept = self.listener.begin_accept();
            let number = self.session.inbox.watch(&mut accept);
            self.pending.insert(number, Pending::Accept(accept));
        }
    }

    fn receive(&mut self, connection: Connection) {
        let mut receive = connection.socket.begin_receive(CHUNK);
        let number = self.session.inbox.watch(&mut receive);
        self.pending.insert(number, Pending::Receive(connection, receive));
    }

    fn send(&mut self, connection: Connection, data: Vec<u8>) {
        let mut send = connection.socket.begin_send(data);
        let number = self.session.inbox.watch(&mut send);
        self.pending.insert(number, Pending::Send(connection, send));
    }

    /// The peer sends no more, and has got everything: nor does this end.
    fn shut_down(&mut self, connection: Connection) {
        let mut shutdown = connection.socket.begin_shutdown(Shutdown::SEND);
        let number = self.session.inbox.watch(&mut shutdown);
        self.pending.insert(number, Pending::Shutdown(connection, shutdown));
    }

    fn end(&mut self, connection: &Connection, error: Option<Error>) -> Result<(), Error> {
        let Connection { number, socket, bytes } = connection;
        self.ended += 1;
        self.bytes += bytes;
        socket.close()?;
        let error = error.map(|error| error.to_string());
        self.output.emit(&Told::Ended { connection: *number, bytes: *bytes, error })
    }
}
