//! The network in memory: delay, loss, reordering, tiny windows and resets, from the machine's seed.
//!
//! One idea: an end is a record in a table under one lock, and what is sent lies in its peer's record with the time at which it
//! arrives. Nobody is woken: who waits looks again every few milliseconds. A test holds the other ends, see [`Peers`].

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a peer waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections that wait to be accepted.
const BACKLOG: usize = 128;

/// What the network in memory does to what is sent over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// What is sent arrives after at most this long.
    pub delay: Duration,
    /// Bytes that a stream holds between its ends.
    pub window: usize,
    /// One datagram of so many is lost; 0 for none.
    pub loses_one_in: u32,
    /// Datagrams arrive in the order of their own delays.
    pub reorders: bool,
    /// One piece of a stream of so many is a reset instead; 0 for none.
    pub resets_one_in: u32,
}

impl Default for Weather {
    fn default() -> Self {
        Self { delay: Duration::ZERO, window: 64 * 1024, loses_one_in: 0, reorders: false, resets_one_in: 0 }
    }
}

/// The error that the host would give.
fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about one end")]
struct Record {
    stream: bool,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    peer: Option<u64>,
    listening: bool,
    arrived: VecDeque<u64>,
    /// When the connection that was asked for stands.
    connecting: Option<Instant>,
    inbox: VecDeque<u8>,
    flight: VecDeque<(Instant, Vec<u8>)>,
    /// When the peer's FIN arrives.
    fin: Option<Instant>,
    shut: bool,
    reset: bool,
    datagrams: Vec<(Instant, Vec<u8>, SocketAddr)>,
}

impl Record {
    fn deliver(&mut self, now: Instant) {
        while self.flight.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, bytes)) = self.flight.pop_front() {
                self.inbox.extend(bytes);
            }
        }
    }

    fn ended(&self, now: Instant) -> bool {
        self.flight.is_empty() && self.fin.is_some_and(|due| due <= now)
    }

    fn held(&self) -> usize {
        self.inbox.len() + self.flight.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }
}

#[derive(Default)]
struct State {
    weather: Weather,
    random: u64,
    records: HashMap<u64, Record>,
    last: u64,
    last_port: u16,
}

impl State {
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn one_in(&mut self, chances: u32) -> bool {
        chances != 0 && self.random().is_multiple_of(chances.into())
    }

    fn due(&mut self) -> Instant {
        let most = u64::try_from(self.weather.delay.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        Instant::now() + Duration::from_micros(self.random() % most)
    }

    fn add(&mut self, record: Record) -> u64 {
        self.last += 1;
        self.records.insert(self.last, record);
        self.last
    }

    fn get(&mut self, number: u64) -> io::Result<&mut Record> {
        self.records.get_mut(&number).ok_or_else(|| os(libc::ENOTCONN))
    }

    fn at(&self, address: SocketAddr, stream: bool) -> Option<u64> {
        let here = |record: &Record| record.stream == stream && record.local == Some(address);
        let free = |record: &Record| !stream || (record.peer.is_none() && record.remote.is_none());
        self.records.iter().find(|(_, record)| here(record) && free(record)).map(|(&number, _)| number)
    }

    fn reset(&mut self, number: u64) {
        let peer = self.records.get(&number).and_then(|record| record.peer);
        for end in [Some(number), peer].into_iter().flatten() {
            if let Some(record) = self.records.get_mut(&end) {
                record.reset = true;
                record.inbox.clear();
                record.flight.clear();
            }
        }
    }

    fn shut_down(&mut self, number: u64) {
        let due = self.due();
        let Some(record) = self.records.get_mut(&number) else {
            return;
        };
        if std::mem::replace(&mut record.shut, true) {
            return;
        }
        let peer = record.peer;
        if let Some(peer) = peer.and_then(|peer| self.records.get_mut(&peer)) {
            peer.fin = Some(peer.flight.back().map_or(due, |(last, _)| due.max(*last)));
        }
    }
}

/// The network in memory of one machine.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

/// One end of it. Dropping it ends it gracefully.
pub struct End {
    net: Net,
    number: u64,
}

impl Net {
    /// A network whose choices follow from `seed`.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State { weather, random: seed | 1, last_port: 1024, ..State::default() })))
    }

    /// An end that is not bound.
    pub fn end(&self, stream: bool) -> End {
        let number = self.0.lock().add(Record { stream, ..Record::default() });
        End { net: self.clone(), number }
    }
}

impl End {
    pub fn bind(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let mut state = self.net.0.lock();
        let mut address = address;
        if address.port() == 0 {
            state.last_port += 1;
            address.set_port(state.last_port);
        }
        let stream = state.get(self.number)?.stream;
        if state.at(address, stream).is_some() {
            return Err(os(libc::EADDRINUSE));
        }
        state.get(self.number)?.local = Some(address);
        Ok(address)
    }

    pub fn listen(&self) -> io::Result<()> {
        self.net.0.lock().get(self.number)?.listening = true;
        Ok(())
    }

    pub fn accept(&self) -> io::Result<(Self, SocketAddr)> {
        let mut state = self.net.0.lock();
        let number = state.get(self.number)?.arrived.pop_front().ok_or_else(|| os(libc::EAGAIN))?;
        let from = state.get(number)?.remote.ok_or_else(|| os(libc::ENOTCONN))?;
        Ok((Self { net: self.net.clone(), number }, from))
    }

    pub fn connect(&self, remote: SocketAddr) -> io::Result<bool> {
        let mut state = self.net.0.lock();
        if !state.get(self.number)?.stream {
            state.get(self.number)?.remote = Some(remote);
            return Ok(true);
        }
        let due = state.due();
        let started = *state.get(self.number)?.connecting.get_or_insert(due);
        if started > Instant::now() {
            return Ok(false);
        }
        state.get(self.number)?.connecting = None;
        let listener = state.at(remote, true).ok_or_else(|| os(libc::ECONNREFUSED))?;
        let accepting = state.get(listener)?;
        if !accepting.listening || accepting.arrived.len() >= BACKLOG {
            return Err(os(libc::ECONNREFUSED));
        }
        let local = state.get(self.number)?.local;
        let other =
            Record { stream: true, local: Some(remote), remote: local, peer: Some(self.number), ..Record::default() };
        let other = state.add(other);
        state.get(listener)?.arrived.push_back(other);
        let own = state.get(self.number)?;
        (own.peer, own.remote) = (Some(other), Some(remote));
        Ok(true)
    }

    pub fn disconnect(&self) -> io::Result<()> {
        self.net.0.lock().get(self.number)?.remote = None;
        Ok(())
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        self.net.0.lock().get(self.number)?.local.ok_or_else(|| os(libc::ENOTCONN))
    }

    /// At most `most` bytes that have arrived; they stay, or are taken.
    pub fn read(&self, most: usize, take: bool) -> io::Result<Vec<u8>> {
        let mut state = self.net.0.lock();
        let record = state.get(self.number)?;
        let now = Instant::now();
        record.deliver(now);
        if record.reset {
            return Err(os(libc::ECONNRESET));
        }
        if record.inbox.is_empty() {
            return if record.ended(now) { Ok(Vec::new()) } else { Err(os(libc::EAGAIN)) };
        }
        let count = most.min(record.inbox.len());
        Ok(if take {
            record.inbox.drain(..count).collect()
        } else {
            record.inbox.iter().take(count).copied().collect()
        })
    }

    /// As much of `bytes` as the window has room for.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.net.0.lock();
        let chances = state.weather.resets_one_in;
        if state.one_in(chances) {
            state.reset(self.number);
        }
        let record = state.get(self.number)?;
        if record.reset {
            return Err(os(libc::ECONNRESET));
        }
        let peer = record.peer.ok_or_else(|| os(libc::ENOTCONN))?;
        let (due, window) = (state.due(), state.weather.window.max(1));
        let Some(other) = state.records.get_mut(&peer) else {
            return Err(os(libc::ECONNRESET)); // it is closed
        };
        other.deliver(Instant::now());
        let count = bytes.len().min(window.saturating_sub(other.held()));
        if count == 0 {
            return Err(os(libc::EAGAIN));
        }
        let due = other.flight.back().map_or(due, |(last, _)| due.max(*last));
        other.flight.push_back((due, bytes[..count].to_vec()));
        Ok(count)
    }

    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        let mut state = self.net.0.lock();
        let from = state.get(self.number)?.local.ok_or_else(|| os(libc::ENOTCONN))?;
        let chances = state.weather.loses_one_in;
        let (lost, due) = (state.one_in(chances), state.due());
        let reorders = state.weather.reorders;
        if let Some(other) = state.at(to, false).filter(|_| !lost) {
            let other = state.get(other)?;
            let before = other.datagrams.last().map_or(due, |(before, ..)| *before);
            other.datagrams.push((if reorders { due } else { due.max(before) }, bytes.to_vec(), from));
        }
        Ok(bytes.len())
    }

    pub fn receive_from(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut state = self.net.0.lock();
        let record = state.get(self.number)?;
        let now = Instant::now();
        let next =
            record.datagrams.iter().enumerate().filter(|(_, (due, ..))| *due <= now).min_by_key(|(_, (due, ..))| *due);
        let index = next.map(|(index, _)| index).ok_or_else(|| os(libc::EAGAIN))?;
        let (_, bytes, from) = record.datagrams.remove(index);
        Ok((bytes, from))
    }

    pub fn shut_down(&self) {
        self.net.0.lock().shut_down(self.number);
    }

    /// Whether the peer has this side's FIN.
    pub fn fin_acknowledged(&self) -> bool {
        let mut state = self.net.0.lock();
        let Ok(record) = state.get(self.number) else {
            return true;
        };
        let (reset, peer) = (record.reset, record.peer);
        reset || peer.and_then(|peer| state.records.get(&peer)).is_none_or(|peer| peer.ended(Instant::now()))
    }

    pub fn both_shut(&self) -> bool {
        let mut state = self.net.0.lock();
        state.get(self.number).is_ok_and(|record| record.shut && record.ended(Instant::now()))
    }

    pub fn peer_ended(&self) -> Option<bool> {
        let mut state = self.net.0.lock();
        let record = state.get(self.number).ok()?;
        if record.reset { Some(true) } else { record.ended(Instant::now()).then_some(false) }
    }

    pub fn reset(&self) {
        self.net.0.lock().reset(self.number);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.net.0.lock();
        state.shut_down(self.number);
        if let Some(record) = state.records.remove(&self.number) {
            for arrived in record.arrived {
                state.reset(arrived);
                state.records.remove(&arrived);
            }
        }
    }
}

/// The other ends of the network in memory, in the hands of a test.
#[derive(Clone)]
pub struct Peers {
    pub(super) net: Net,
}

/// An end in the hands of a test. Dropping it ends it gracefully.
pub struct Peer(End);

fn wait<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

impl Peers {
    /// Changes the weather for what is sent from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.net.0.lock().weather = weather;
    }

    /// A listener.
    ///
    /// # Errors
    /// The address is taken.
    pub fn listen(&self, address: SocketAddr) -> io::Result<Peer> {
        let end = self.net.end(true);
        end.bind(address)?;
        end.listen()?;
        Ok(Peer(end))
    }

    /// A connection to the driver.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(&self, address: SocketAddr) -> io::Result<Peer> {
        let end = self.net.end(true);
        end.bind(SocketAddr::new(address.ip(), 0))?;
        wait(|| if end.connect(address)? { Ok(()) } else { Err(os(libc::EAGAIN)) })?;
        Ok(Peer(end))
    }

    /// An end for datagrams.
    ///
    /// # Errors
    /// The address is taken.
    pub fn bind(&self, address: SocketAddr) -> io::Result<Peer> {
        let end = self.net.end(false);
        end.bind(address)?;
        Ok(Peer(end))
    }
}

impl Peer {
    /// Where it is bound.
    ///
    /// # Errors
    /// It is not.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.0.local()
    }

    /// The next connection of the driver.
    ///
    /// # Errors
    /// None comes.
    pub fn accept(&self) -> io::Result<Self> {
        wait(|| self.0.accept()).map(|(end, _)| Self(end))
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The connection is reset.
    pub fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = wait(|| self.0.write(bytes))?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// At most `most` bytes; none at the end.
    ///
    /// # Errors
    /// The connection is reset.
    pub fn receive(&self, most: usize) -> io::Result<Vec<u8>> {
        wait(|| self.0.read(most, true))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// It is not bound.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.0.send_to(bytes, to).map(drop)
    }

    /// The next datagram, if one has arrived.
    #[must_use]
    pub fn receive_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.receive_from().ok()
    }

    /// Sends the FIN.
    pub fn shut_down(&self) {
        self.0.shut_down();
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        self.0.reset();
    }
}
