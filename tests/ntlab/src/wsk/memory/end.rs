//! What can be done with one end of the network in memory. Nothing waits: what cannot be done now is `WouldBlock`.

use std::io;
use std::net::SocketAddr;

use super::{Choice, Net, Record, chosen, os};

/// Connections that wait to be accepted.
const BACKLOG: usize = 128;
/// By how many later datagrams one is overtaken at most, and one more.
const OVERTAKING: u64 = 4;

/// One end. Dropping it ends it gracefully.
pub struct End {
    net: Net,
    number: u64,
}

impl End {
    pub(super) fn new(net: Net, number: u64) -> Self {
        Self { net, number }
    }

    /// The network that it is an end of.
    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    /// News of it is news of this socket of the driver, from now on.
    pub fn belongs_to(&self, socket: usize) {
        let mut state = self.net.stir();
        if let Ok(record) = state.get(self.number) {
            record.socket = Some(socket);
        }
        state.tell(self.number);
    }

    pub fn bind(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let mut state = self.net.stir();
        let mut address = address;
        let stream = state.get(self.number)?.stream;
        if address.port() == 0 {
            address = state.free_port(address, stream).ok_or_else(|| os(libc::EADDRINUSE))?;
        } else if state.at(address, stream).is_some() {
            return Err(os(libc::EADDRINUSE));
        }
        state.get(self.number)?.local = Some(address);
        Ok(address)
    }

    pub fn listen(&self) -> io::Result<()> {
        self.net.stir().get(self.number)?.listening = true;
        Ok(())
    }

    pub fn accept(&self) -> io::Result<(Self, SocketAddr)> {
        let mut state = self.net.0.state.lock();
        let number = state.get(self.number)?.arrived.pop_front().ok_or_else(|| os(libc::EAGAIN))?;
        let from = state.get(number)?.remote.ok_or_else(|| os(libc::ENOTCONN))?;
        Ok((Self::new(self.net.clone(), number), from))
    }

    pub fn connect(&self, remote: SocketAddr) -> io::Result<bool> {
        let mut state = self.net.stir();
        if !state.get(self.number)?.stream {
            state.get(self.number)?.remote = Some(remote);
            return Ok(true);
        }
        let due = state.due(self.number, 0);
        let asked = state.get(self.number)?.connecting.is_some();
        if *state.get(self.number)?.connecting.get_or_insert(due) > state.now {
            if asked {
                state.undone();
            }
            return Ok(false);
        }
        state.get(self.number)?.connecting = None;
        let listener = state.at(remote, true).ok_or_else(|| os(libc::ECONNREFUSED))?;
        let accepting = state.get(listener)?;
        if !accepting.listening || accepting.arrived.len() >= BACKLOG {
            return Err(os(libc::ECONNREFUSED));
        }
        let local = state.get(self.number)?.local;
        let peer = Some(self.number);
        let other = state.add(Record { stream: true, local: Some(remote), remote: local, peer, ..Record::default() });
        state.get(listener)?.arrived.push_back(other);
        state.tell(listener);
        let own = state.get(self.number)?;
        (own.peer, own.remote) = (Some(other), Some(remote));
        Ok(true)
    }

    /// Undoes what a connection for datagrams has fixed.
    pub fn disconnect(&self) -> io::Result<()> {
        self.net.stir().get(self.number)?.remote = None;
        Ok(())
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        self.net.0.state.lock().get(self.number)?.local.ok_or_else(|| os(libc::ENOTCONN))
    }

    /// At most `most` bytes of the next piece that has arrived; they stay, or are taken. Empty: the end of the stream.
    pub fn read(&self, most: usize, take: bool) -> io::Result<Vec<u8>> {
        let mut state = self.net.0.state.lock();
        let record = state.get(self.number)?;
        if record.reset || record.incoming.is_reset_next() {
            return Err(os(libc::ECONNRESET));
        }
        let Some(bytes) = record.incoming.read(most, take) else {
            return if record.incoming.has_ended() { Ok(Vec::new()) } else { Err(os(libc::EAGAIN)) };
        };
        if take {
            // The FIN may have waited for the last piece; the sender has more room.
            let now = state.now;
            let record = state.get(self.number)?;
            record.incoming.deliver(now);
            let peer = record.peer;
            drop(state);
            let mut state = self.net.stir();
            if let Some(peer) = peer {
                state.tell(peer);
            }
            state.tell(self.number);
        }
        Ok(bytes)
    }

    /// Bytes that have arrived.
    pub fn waiting(&self) -> io::Result<usize> {
        Ok(self.net.0.state.lock().get(self.number)?.incoming.waiting())
    }

    /// As much of `bytes` as the window has room for, cut into pieces where the seed says.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.net.stir();
        let (weather, seed) = (state.weather, state.seed);
        let window = weather.window.max(1);
        let mut done = 0;
        loop {
            let record = state.get(self.number)?;
            if record.reset || record.incoming.is_reset_here() {
                return Err(os(libc::ECONNRESET));
            }
            let peer = record.peer.ok_or_else(|| os(libc::ENOTCONN))?;
            if done == bytes.len() {
                return Ok(done);
            }
            if record.offset == record.cut {
                record.sent += 1;
                let (piece, start) = (record.sent, record.offset);
                if state.one_in(weather.resets_one_in, self.number, piece, Choice::Reset) {
                    state.reset_behind(self.number, peer, piece);
                    continue;
                }
                let longest = if weather == super::Weather::default() { u64::MAX } else { window as u64 };
                let length = 1 + chosen(seed, self.number, piece, Choice::Cut) % longest.min(u64::MAX - 1);
                state.get(self.number)?.cut = start.saturating_add(length);
            }
            let record = state.get(self.number)?;
            let (left, piece) = (record.cut - record.offset, record.sent);
            let due = state.due(self.number, piece);
            let now = state.now;
            let Some(other) = state.records.get_mut(&peer) else {
                return Err(os(libc::ECONNRESET)); // it is closed
            };
            let room = window.saturating_sub(other.incoming.held());
            let count = (bytes.len() - done).min(room).min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return if done == 0 { Err(state.undone()) } else { Ok(done) };
            }
            // A piece ends where the seed says, and where the sender has no more for now; not where the window is full.
            let whole = count as u64 == left || done + count == bytes.len();
            other.incoming.push(due, &bytes[done..done + count], whole);
            other.incoming.deliver(now);
            state.tell(peer);
            let record = state.get(self.number)?;
            record.offset += count as u64;
            if whole {
                record.cut = record.offset;
            }
            done += count;
        }
    }

    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        let mut state = self.net.stir();
        let (weather, seed) = (state.weather, state.seed);
        let record = state.get(self.number)?;
        let from = record.local.ok_or_else(|| os(libc::ENOTCONN))?;
        record.sent += 1;
        let number = record.sent;
        let Some(other) = state.at(to, false) else {
            return Ok(bytes.len());
        };
        let lost = state.one_in(weather.loses_one_in, self.number, number, Choice::Loss);
        let (due, now) = (state.due(self.number, number), state.now);
        let behind =
            if weather.reorders { chosen(seed, self.number, number, Choice::Overtaking) % OVERTAKING } else { 0 };
        let datagrams = &mut state.get(other)?.datagrams;
        if !lost {
            datagrams.push((self.number, number), behind, due, bytes, from);
        }
        datagrams.count(self.number, number);
        datagrams.deliver(now);
        state.tell(other);
        Ok(bytes.len())
    }

    pub fn receive_from(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut state = self.net.0.state.lock();
        state.get(self.number)?.datagrams.pop().ok_or_else(|| os(libc::EAGAIN))
    }

    pub fn shut_down(&self) {
        self.net.stir().shut_down(self.number);
    }

    /// Whether the peer has this side's FIN.
    pub fn fin_acknowledged(&self) -> bool {
        let mut state = self.net.0.state.lock();
        let Ok(record) = state.get(self.number) else {
            return true;
        };
        let (reset, peer) = (record.reset, record.peer);
        reset || peer.and_then(|peer| state.records.get(&peer)).is_none_or(|peer| peer.incoming.is_fin_here())
    }

    pub fn both_shut(&self) -> bool {
        let mut state = self.net.0.state.lock();
        state.get(self.number).is_ok_and(|record| record.shut && record.incoming.has_ended())
    }

    /// Whether the peer has ended the connection: gracefully (false) or with a reset (true).
    pub fn peer_ended(&self) -> Option<bool> {
        let mut state = self.net.0.state.lock();
        let record = state.get(self.number).ok()?;
        if record.reset || record.incoming.is_reset_next() {
            Some(true)
        } else {
            record.incoming.is_fin_here().then_some(false)
        }
    }

    pub fn reset(&self) {
        self.net.stir().reset(self.number);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.net.stir();
        state.shut_down(self.number);
        if let Some(record) = state.records.remove(&self.number) {
            for arrived in record.arrived {
                state.reset(arrived);
                state.records.remove(&arrived);
            }
        }
    }
}
