//! What a stressing thread does between startup and cleanup: each step is a small story with a real peer.

use super::worker::{Left, Thread};
use crate::{
    Client, Error, Operation, Socket,
    abi::{Address, Kind, Provider, Role, WsaError},
    device::Completion,
    peer::{Ending, Listener, Peer, free_port},
    standing::{Connection, KernelListener, PATIENCE},
    status::STATUS_CANCELLED,
};

/// The most bytes that one side sends at once: what the host's socket buffers take without anybody reading.
const MESSAGE: usize = 32 << 10;
/// More than they take.
const FLOOD: usize = 8 << 20;

impl Thread<'_> {
    /// One step, by choice.
    pub(super) fn work(&mut self, provider: Provider) -> Result<(), Error> {
        match self.choices.u32(0..16) {
            0..=4 => self.talk(provider),
            5..=6 => self.be_called(provider),
            7..=9 => self.cancel_some(provider),
            10 => self.be_refused(provider),
            11..=12 if self.nature.graceful => self.part_gracefully(provider),
            13 => self.flood(provider),
            14 => self.open_and_close(),
            _ => self.ask(),
        }
    }

    /// Connects to a peer program.
    fn connection(&mut self, provider: Provider) -> Result<Connection, Error> {
        let listener = Listener::start()?;
        let socket = self.client.socket(provider, Role::Connection)?;
        socket.bind(Address::v4([0, 0, 0, 0], 0))?;
        // The host completes the handshake by itself: there is nothing to accept before the connect has ended.
        socket.connect(listener.address())?;
        let peer = listener.accept()?;
        self.tally.connections += 1;
        Ok(Connection { socket, peer, place: String::new() })
    }

    /// Messages out and back, compared; then the connection ends one way or the other, or stays for the cleanup.
    fn talk(&mut self, provider: Provider) -> Result<(), Error> {
        let mut connection = self.connection(provider)?;
        for _ in 0..self.choices.u32(1..4) {
            self.exchange(&mut connection)?;
        }
        self.leave(connection)
    }

    fn exchange(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let message = self.message();
        connection.socket.send(message.clone())?;
        let arrived = connection.peer.receive(message.len())?;
        same("what a peer received", &arrived, &message)?;
        let mut receive = connection.socket.begin_receive_all(message.len());
        connection.peer.send(&message)?;
        let arrived = receive.wait(PATIENCE)?;
        same("what a kernel socket received", &arrived, &message)?;
        self.tally.bytes += 2 * message.len() as u64;
        Ok(())
    }

    fn message(&mut self) -> Vec<u8> {
        let length = self.choices.usize(1..=MESSAGE);
        let mut message = vec![0; length];
        self.choices.fill(&mut message);
        message
    }

    /// Closes a connection, or leaves a receive pending on it.
    fn leave(&mut self, connection: Connection) -> Result<(), Error> {
        let Connection { socket, .. } = &connection;
        match self.choices.u32(0..4) {
            0 => socket.close(),
            1 if self.nature.graceful => socket.close_gracefully(None),
            2 if self.nature.graceful => socket.shutdown().and_then(|()| socket.close()),
            _ => {
                let operation = socket.begin_receive(MESSAGE).untyped();
                self.keep(operation, connection.socket, Some(connection.peer));
                Ok(())
            }
        }
    }

    fn keep(&mut self, operation: Operation<Completion>, socket: Socket, peer: Option<Peer>) {
        self.tally.left += 1;
        self.left.push(Left { operation, socket, peer });
    }

    /// Peer programs connect to a kernel listener.
    fn be_called(&mut self, provider: Provider) -> Result<(), Error> {
        let mut listener = KernelListener::start(&self.client, provider)?;
        for _ in 0..self.choices.u32(0..3) {
            let mut connection = listener.take_peer()?;
            self.tally.connections += 1;
            self.exchange(&mut connection)?;
            self.leave(connection)?;
        }
        let (operation, socket) = listener.into_parts();
        if self.choices.bool() {
            socket.close()?;
            return cancelled("an accept at the listener's close", operation.untyped());
        }
        self.keep(operation.untyped(), socket, None);
        Ok(())
    }

    /// Receives that nothing comes for, cancelled one by one in any order.
    fn cancel_some(&mut self, provider: Provider) -> Result<(), Error> {
        let connection = self.connection(provider)?;
        let mut pending: Vec<_> =
            (0..self.choices.usize(1..8)).map(|_| connection.socket.begin_receive(MESSAGE)).collect();
        if !self.nature.cancels_reach_requests {
            // Only the close ends them there.
            connection.socket.close()?;
            return pending.into_iter().try_for_each(|one| cancelled("a receive at its socket's close", one.untyped()));
        }
        while !pending.is_empty() {
            let one = pending.swap_remove(self.choices.usize(0..pending.len()));
            one.cancel();
            cancelled("a receive after its cancel", one.untyped())?;
            self.tally.cancels += 1;
        }
        self.leave(connection)
    }

    /// Nobody listens there.
    fn be_refused(&mut self, provider: Provider) -> Result<(), Error> {
        let socket = self.client.socket(provider, Role::Connection)?;
        socket.bind(Address::v4([0, 0, 0, 0], 0))?;
        match socket.connect(Address::v4([127, 0, 0, 1], free_port()?)) {
            // Another thread's listener may have got the port.
            Ok(()) => {}
            Err(error) if error.winsock() == Some(WsaError::ConnectionRefused) => {}
            Err(error) => return Err(error),
        }
        socket.close()
    }

    /// A graceful close with data on its way: every byte arrives, and then the end of the stream.
    fn part_gracefully(&mut self, provider: Provider) -> Result<(), Error> {
        let Connection { socket, mut peer, .. } = self.connection(provider)?;
        let message = self.message();
        socket.send(message.clone())?;
        socket.close_gracefully(None)?;
        let arrived = peer.receive(message.len())?;
        same("what arrived after a graceful close", &arrived, &message)?;
        match peer.ending()? {
            Ending::EndOfFile => {
                self.tally.graceful += 1;
                self.tally.bytes += message.len() as u64;
                Ok(())
            }
            // In a process whose threads clean up for each other a teardown may have cut it short.
            Ending::Reset => Err(Error::status("part gracefully", WsaError::ConnectionReset.status())),
        }
    }

    /// Sends more than the host takes, to a peer that reads nothing: the send ends with the socket.
    fn flood(&mut self, provider: Provider) -> Result<(), Error> {
        let connection = self.connection(provider)?;
        let send = connection.socket.begin_send(vec![0x5A; FLOOD]);
        if self.choices.bool() && self.nature.cancels_reach_requests {
            send.cancel();
            self.tally.cancels += 1;
        }
        self.keep(send.untyped(), connection.socket, Some(connection.peer));
        Ok(())
    }

    /// Another handle of the same process: its coming and going changes nothing.
    fn open_and_close(&mut self) -> Result<(), Error> {
        let other = Client::open(self.device)?;
        other.ledger()?;
        other.close();
        Ok(())
    }

    /// The ledger adds up at any moment.
    fn ask(&mut self) -> Result<(), Error> {
        let ledger = self.client.ledger()?;
        for &kind in Kind::ALL {
            let tally = ledger.tally(kind);
            if tally.completed > tally.taken || tally.cancelled > tally.completed {
                return Err(Error::unexpected("the ledger while requests come and go", format!("{kind:?}: {tally:?}")));
            }
        }
        Ok(())
    }
}

fn same(what: &str, seen: &[u8], sent: &[u8]) -> Result<(), Error> {
    if seen == sent {
        return Ok(());
    }
    let at = seen.iter().zip(sent).position(|(seen, sent)| seen != sent);
    let differ = match at {
        Some(at) => format!("byte {at} of {} is another than was sent", sent.len()),
        None => format!("{} bytes came where {} were sent", seen.len(), sent.len()),
    };
    Err(Error::unexpected(what, differ))
}

/// Waits for a request that is to end `STATUS_CANCELLED` without data.
fn cancelled(what: &str, mut operation: Operation<Completion>) -> Result<(), Error> {
    let completion = operation.completion(PATIENCE)?;
    if (completion.status, completion.information) == (STATUS_CANCELLED, 0) {
        return Ok(());
    }
    if completion.status < 0 {
        return Err(Error::status(what, completion.status));
    }
    Err(Error::unexpected(what, format!("it ended well, with {} bytes", completion.information)))
}
