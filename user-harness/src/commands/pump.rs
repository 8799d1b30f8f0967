//! A kernel connection, joined to standard input and output: several requests in flight both ways, and each direction ends by itself.

use crate::{
    Cause, Error, Operation, Sent, Socket,
    abi::WsaError,
    backend::Backend,
    inbox::{Inbox, Input, Wake},
};
use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// How many bytes one request carries.
pub(super) const CHUNK: usize = 64 << 10;
/// How many sends, and how many receives, are in flight.
const IN_FLIGHT: usize = 4;

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub sent: u64,
    pub received: u64,
}

/// Standard input, for one connection or for several after each other.
pub(super) struct Source {
    input: Input,
    /// A chunk that no connection has taken yet.
    left: VecDeque<Vec<u8>>,
    /// How many chunks have been asked for and have not come.
    asked: usize,
    ended: bool,
    terminal: bool,
}

impl Source {
    pub fn standard(inbox: &Inbox) -> Self {
        let (input, left) = (inbox.read(io::stdin(), CHUNK), VecDeque::new());
        Self { input, left, asked: 0, ended: false, terminal: io::stdin().is_terminal() }
    }

    /// A chunk has come.
    pub fn take(&mut self, data: Vec<u8>) {
        self.asked -= 1;
        self.left.extend((!data.is_empty()).then_some(data));
    }

    /// There is no more.
    ///
    /// # Errors
    /// It ended badly.
    pub fn end(&mut self, error: Option<io::Error>) -> Result<(), Error> {
        self.ended = true;
        error.map_or(Ok(()), |error| Err(Error::host("read standard input", error)))
    }

    /// Keeps as many chunks on their way as there is room for.
    fn ask(&mut self, in_flight: usize) {
        while !self.ended && self.asked + self.left.len() + in_flight < IN_FLIGHT {
            self.input.more();
            self.asked += 1;
        }
    }
}

/// A connection under way.
pub(super) struct Pump<'a> {
    backend: &'a Backend,
    inbox: &'a mut Inbox,
    socket: &'a Socket,
    source: &'a mut Source,
    sends: VecDeque<Operation<Sent>>,
    receives: VecDeque<Operation<Vec<u8>>>,
    moved: Moved,
    /// This end sends no more.
    shut_down: bool,
    /// The peer sends no more.
    peer_ended: bool,
}

impl<'a> Pump<'a> {
    /// Moves bytes until both directions have ended, or, at a terminal, until the peer's has.
    ///
    /// # Errors
    /// The connection or standard output failed, or Ctrl-C was pressed. What is pending is cancelled then.
    pub fn run(
        backend: &'a Backend,
        inbox: &'a mut Inbox,
        socket: &'a Socket,
        source: &'a mut Source,
    ) -> Result<Moved, Error> {
        let (sends, receives) = (VecDeque::new(), VecDeque::new());
        let moved = Moved::default();
        let pump = Self { backend, inbox, socket, source, sends, receives, moved, shut_down: false, peer_ended: false };
        pump.until_both_ended()
    }

    fn until_both_ended(mut self) -> Result<Moved, Error> {
        loop {
            self.keep_busy()?;
            if self.peer_ended && (self.shut_down || self.source.terminal) {
                return Ok(self.moved);
            }
            match self.inbox.wait(self.backend)? {
                Wake::Interrupt => return Err(Error::new("the connection", Cause::Interrupted)),
                Wake::Input(data) => self.source.take(data),
                Wake::InputEnd(error) => self.source.end(error)?,
                Wake::Ended(_) => {
                    self.take_sent()?;
                    self.take_received()?;
                }
            }
        }
    }

    /// Posts receives and sends up to their number, and ends this direction when all is sent.
    fn keep_busy(&mut self) -> Result<(), Error> {
        while !self.peer_ended && self.receives.len() < IN_FLIGHT {
            let mut receive = self.socket.begin_receive(CHUNK);
            self.inbox.watch(&mut receive);
            self.receives.push_back(receive);
        }
        while self.sends.len() < IN_FLIGHT
            && let Some(data) = self.source.left.pop_front()
        {
            let mut send = self.socket.begin_send(data);
            self.inbox.watch(&mut send);
            self.sends.push_back(send);
        }
        self.source.ask(self.sends.len());
        if self.source.ended && self.source.left.is_empty() && self.sends.is_empty() && !self.shut_down {
            self.shut_down = true;
            return self.shut_down();
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    fn shut_down(&self) -> Result<(), Error> {
        match self.socket.shutdown() {
            Err(error) if error.winsock() == Some(WsaError::NotSupported) => {
                anstream::eprintln!(
                    "wskctl: this WSK can't shut one direction down: the peer sees no end of the input"
                );
                Ok(())
            }
            // The peer was faster; what it has sent can still be received.
            Err(error) if self.peer_ended && error.winsock() == Some(WsaError::NotConnected) => Ok(()),
            result => result,
        }
    }

    /// Sends end in their order.
    fn take_sent(&mut self) -> Result<(), Error> {
        while let Some(send) = self.sends.front_mut().filter(|send| send.is_complete()) {
            self.moved.sent += send.wait(Duration::ZERO)?.bytes as u64;
            self.sends.pop_front();
        }
        Ok(())
    }

    /// Receives are filled in their order, so that is the order of their bytes.
    fn take_received(&mut self) -> Result<(), Error> {
        while !self.peer_ended
            && let Some(receive) = self.receives.front_mut().filter(|receive| receive.is_complete())
        {
            let data = receive.wait(Duration::ZERO)?;
            self.receives.pop_front();
            if data.is_empty() {
                self.peer_ended = true;
                self.receives.clear();
                return Ok(());
            }
            self.moved.received += data.len() as u64;
            write_out(&data)?;
        }
        Ok(())
    }
}

/// Writes to standard output, at once.
pub(super) fn write_out(data: &[u8]) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    output.write_all(data).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::new("write to standard output", Cause::NobodyReads),
        _ => Error::host("write to standard output", error),
    })
}
