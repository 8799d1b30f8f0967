//! A kernel connection, joined to standard input and output: several requests in flight both ways, and each direction ends by itself.

use super::{
    session::Session,
    standard::{Standard, write_out},
};
use crate::{Cause, Error, Operation, Sent, Socket, abi::WsaError, inbox::Wake};
use std::{collections::VecDeque, time::Duration};

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

/// A connection under way.
pub(super) struct Pump<'a, 'b> {
    session: &'a mut Session,
    socket: &'a Socket,
    standard: &'a mut Standard<'b>,
    sends: VecDeque<Operation<Sent>>,
    receives: VecDeque<Operation<Vec<u8>>>,
    moved: Moved,
    /// This end sends no more.
    shut_down: bool,
    /// The peer sends no more.
    peer_ended: bool,
}

impl<'a, 'b> Pump<'a, 'b> {
    /// Moves bytes until both directions have ended, or, at a terminal, until the peer's has.
    ///
    /// # Errors
    /// The connection or standard output failed, or Ctrl-C was pressed. What is pending is cancelled then.
    pub fn run(session: &'a mut Session, socket: &'a Socket, standard: &'a mut Standard<'b>) -> Result<Moved, Error> {
        let (sends, receives) = (VecDeque::new(), VecDeque::new());
        let moved = Moved::default();
        let pump = Self { session, socket, standard, sends, receives, moved, shut_down: false, peer_ended: false };
        pump.until_both_ended()
    }

    fn until_both_ended(mut self) -> Result<Moved, Error> {
        loop {
            self.keep_busy()?;
            if self.peer_ended && (self.shut_down || self.standard.source.is_terminal()) {
                return Ok(self.moved);
            }
            match self.session.inbox.wait_within(&self.session.backend, self.standard.idle)? {
                None => return Ok(self.moved),
                Some(Wake::Interrupt) => return Err(Error::new("the connection", Cause::Interrupted)),
                Some(Wake::Input(data)) => self.standard.source.take(data),
                Some(Wake::InputEnd(error)) => self.standard.source.end(error)?,
                Some(Wake::Ended(_)) => {
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
            self.session.inbox.watch(&mut receive);
            self.receives.push_back(receive);
        }
        let source = &mut self.standard.source;
        while self.sends.len() < IN_FLIGHT
            && let Some(data) = source.next()
        {
            let mut send = self.socket.begin_send(data);
            self.session.inbox.watch(&mut send);
            self.sends.push_back(send);
        }
        source.ask(IN_FLIGHT.saturating_sub(self.sends.len()));
        if source.has_ended() && self.sends.is_empty() && !self.shut_down {
            self.shut_down = true;
            return self.shut_down();
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    fn shut_down(&mut self) -> Result<(), Error> {
        match self.socket.shutdown() {
            Err(error) if error.winsock() == Some(WsaError::NotSupported) => {
                self.standard.remark("this WSK can't shut one direction down: the peer sees no end of the input")
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
