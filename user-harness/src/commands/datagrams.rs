//! Datagrams, joined to standard input and output: each chunk of the input is one, and each that comes is written as it is.

use super::{
    pump::Moved,
    session::Session,
    standard::{Standard, Told, write_out},
};
use crate::{
    Cause, Error, Operation, Received, Sent, Socket,
    abi::{Address, MAX_DATAGRAM},
    inbox::Wake,
};
use std::{collections::VecDeque, time::Duration};

/// How many bytes of the input go into one datagram: a frame of Ethernet carries it whole.
pub(super) const CHUNK: usize = 1400;
/// How many sends, and how many receives, are in flight.
const IN_FLIGHT: usize = 4;

/// Whom the datagrams go to, and whose are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// This one. The socket is connected to it.
    Known(Address),
    /// The first that sends one.
    First,
    /// Whoever sent the last one; everybody's are taken.
    Last(Option<Address>),
}

impl Peer {
    fn address(self) -> Option<Address> {
        match self {
            Self::Known(address) => Some(address),
            Self::First => None,
            Self::Last(address) => address,
        }
    }
}

/// Datagrams under way. They have no end: Ctrl-C is theirs, or a time in which nothing comes and goes.
pub(super) struct Datagrams<'a, 'b> {
    session: &'a mut Session,
    socket: &'a Socket,
    standard: &'a mut Standard<'b>,
    peer: Peer,
    sends: VecDeque<Operation<Sent>>,
    receives: VecDeque<Operation<Received>>,
    moved: Moved,
}

impl<'a, 'b> Datagrams<'a, 'b> {
    /// Moves datagrams until nothing has come or gone for the time that may be.
    ///
    /// # Errors
    /// The socket or standard output failed, or Ctrl-C was pressed. What is pending is cancelled then.
    pub fn run(
        session: &'a mut Session,
        socket: &'a Socket,
        standard: &'a mut Standard<'b>,
        peer: Peer,
    ) -> Result<Moved, Error> {
        let (sends, receives) = (VecDeque::new(), VecDeque::new());
        let moved = Moved::default();
        Self { session, socket, standard, peer, sends, receives, moved }.until_idle()
    }

    fn until_idle(mut self) -> Result<Moved, Error> {
        loop {
            self.keep_busy();
            match self.session.inbox.wait_within(&self.session.backend, self.standard.idle)? {
                None => return Ok(self.moved),
                Some(Wake::Interrupt) => return Err(Error::new("the datagrams", Cause::Interrupted)),
                Some(Wake::Input(data)) => self.standard.source.take(data),
                Some(Wake::InputEnd(error)) => self.standard.source.end(error)?,
                Some(Wake::Ended(_)) => {
                    self.take_sent()?;
                    self.take_received()?;
                }
            }
        }
    }

    fn keep_busy(&mut self) {
        while self.receives.len() < IN_FLIGHT {
            let mut receive = self.socket.begin_receive_from(MAX_DATAGRAM as usize);
            self.session.inbox.watch(&mut receive);
            self.receives.push_back(receive);
        }
        let Some(address) = self.peer.address() else { return };
        while self.sends.len() < IN_FLIGHT
            && let Some(data) = self.standard.source.next()
        {
            let mut send = self.socket.begin_send_to(data, address);
            self.session.inbox.watch(&mut send);
            self.sends.push_back(send);
        }
        self.standard.source.ask(IN_FLIGHT.saturating_sub(self.sends.len()));
    }

    fn take_sent(&mut self) -> Result<(), Error> {
        while let Some(send) = self.sends.front_mut().filter(|send| send.is_complete()) {
            self.moved.sent += send.wait(Duration::ZERO)?.bytes as u64;
            self.sends.pop_front();
        }
        Ok(())
    }

    /// Receives are filled in their order.
    fn take_received(&mut self) -> Result<(), Error> {
        while let Some(receive) = self.receives.front_mut().filter(|receive| receive.is_complete()) {
            let Received { data, address, .. } = receive.wait(Duration::ZERO)?;
            self.receives.pop_front();
            self.hear(address)?;
            self.moved.received += data.len() as u64;
            write_out(&data)?;
        }
        Ok(())
    }

    /// A datagram came from there.
    fn hear(&mut self, address: Address) -> Result<(), Error> {
        let before = self.peer;
        match before {
            Peer::Known(_) => return Ok(()),
            Peer::First => {
                self.socket.connect(address)?;
                self.peer = Peer::Known(address);
            }
            Peer::Last(_) => self.peer = Peer::Last(Some(address)),
        }
        if before == self.peer {
            return Ok(());
        }
        self.standard.tell(&Told::Connected { address: format!("{address:?}") })
    }
}
