//! `wskctl echo`: a server in the kernel that sends back what it gets, on many connections at a time.

use super::{
    connect::{listener, place},
    pump::CHUNK,
    session::{Session, with_session},
};
use crate::{
    Accepted, Error, Operation, Sent, Socket,
    abi::{Shutdown, WsaError},
    backend::Choice,
    inbox::{Inbox, Wake},
    output::{Event, Output},
};
use clap::Args;
use serde::Serialize;
use std::{collections::HashMap, time::Duration};

#[derive(Args)]
pub(crate) struct Echo {
    /// A local address, if not every one, and the port
    #[arg(value_names = ["ADDRESS", "PORT"], num_args = 1..=2, required = true)]
    place: Vec<String>,
    /// IPv6 where no address is given
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Ends after so many connections
    #[arg(long, value_name = "N")]
    connections: Option<u64>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Listening { address: String },
    Connected { connection: u64, address: String },
    Ended { connection: u64, bytes: u64, error: Option<String> },
    Summary { connections: u64, bytes: u64 },
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
            Self::Summary { connections, bytes } => format!("{connections} connections, {bytes} bytes"),
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
    session: &'a Session,
    inbox: &'a mut Inbox,
    output: &'a mut Output,
    listener: Socket,
    pending: HashMap<u64, Pending>,
    accepted: u64,
    ended: u64,
    bytes: u64,
}

pub(super) fn run(choice: &Choice, arguments: &Echo, output: &mut Output) -> Result<(), Error> {
    let address = place(&arguments.place, arguments.ipv6)?;
    with_session(choice, |session, inbox| {
        let (listener, address) = listener(session, address)?;
        output.emit(&Told::Listening { address: format!("{address:?}") })?;
        let (pending, accepted, ended, bytes) = (HashMap::new(), 0, 0, 0);
        let mut server = Server { session, inbox, output, listener, pending, accepted, ended, bytes };
        server.serve(arguments.connections.unwrap_or(u64::MAX))?;
        let Server { accepted: connections, bytes, .. } = server;
        output.emit(&Told::Summary { connections, bytes })
    })
}

impl Server<'_> {
    /// Serves until so many connections have ended, or Ctrl-C, which is how a server is ended.
    fn serve(&mut self, connections: u64) -> Result<(), Error> {
        self.accept(connections);
        while self.ended < connections {
            match self.inbox.wait(&self.session.backend)? {
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
            let number = self.inbox.watch(&mut accept);
            self.pending.insert(number, Pending::Accept(accept));
        }
    }

    fn receive(&mut self, connection: Connection) {
        let mut receive = connection.socket.begin_receive(CHUNK);
        let number = self.inbox.watch(&mut receive);
        self.pending.insert(number, Pending::Receive(connection, receive));
    }

    fn send(&mut self, connection: Connection, data: Vec<u8>) {
        let mut send = connection.socket.begin_send(data);
        let number = self.inbox.watch(&mut send);
        self.pending.insert(number, Pending::Send(connection, send));
    }

    /// The peer sends no more, and has got everything: nor does this end.
    fn shut_down(&mut self, connection: Connection) {
        let mut shutdown = connection.socket.begin_shutdown(Shutdown::SEND);
        let number = self.inbox.watch(&mut shutdown);
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
