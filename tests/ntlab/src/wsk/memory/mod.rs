//! The network in memory: delay, loss, reordering, tiny windows and resets, from the machine's seed.
//!
//! One idea: what happens to the nth piece of a flow follows from the seed, the flow and n alone, so that no thread's speed can
//! change it: where a stream is cut, which piece is a reset, which datagrams are lost, and in which order the others arrive. Time
//! is virtual: it stands still while anybody has something to do, and then jumps to the next arrival. A delay of an hour
//! costs a millisecond.
//!
//! The driver's ends are made by [`Net::end`]; a test holds the others, see [`Peers`]. An end that has news is named to the network
//! thread ([`Net::take_news`]), a peer that waits is woken.

mod end;
mod flow;
mod peers;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub use end::End;
use flow::{Datagrams, Stream};
pub use peers::{Echo, Peer, Peers};

/// How long nobody must have done anything before time jumps.
const GRACE: Duration = Duration::from_millis(1);
/// How long nobody must have done anything before datagrams that wait to be overtaken arrive all the same.
const FLUSH: Duration = Duration::from_millis(200);
/// Who asks for any port gets one after this.
const FIRST_PORT: u16 = 1024;

/// What the network in memory does to what is sent over it. Times are virtual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// What is sent arrives after at most this long.
    pub delay: Duration,
    /// Bytes that a stream holds between its ends.
    pub window: usize,
    /// One datagram of so many is lost; 0 for none.
    pub loses_one_in: u32,
    /// A datagram may be overtaken by up to three later ones of its sender.
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

/// What is chosen, so that no two choices about one piece are the same.
#[derive(Clone, Copy)]
enum Choice {
    Delay = 1,
    Cut,
    Reset,
    Loss,
    Overtaking,
}

/// A number that follows from the seed, the flow, the piece and the choice (`SplitMix64`).
fn chosen(seed: u64, flow: u64, piece: u64, choice: Choice) -> u64 {
    let mut z = seed;
    for part in [flow, piece, choice as u64] {
        z = (z ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    z
}

/// One end of a connection, a listener, or an end for datagrams.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about one end")]
struct Record {
    stream: bool,
    /// The driver's socket, if it is the driver's.
    socket: Option<usize>,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    peer: Option<u64>,
    listening: bool,
    arrived: std::collections::VecDeque<u64>,
    /// When the connection that was asked for stands.
    connecting: Option<u64>,
    /// What the peer has sent.
    incoming: Stream,
    shut: bool,
    reset: bool,
    /// Pieces and datagrams that this end has sent, lost ones included.
    sent: u64,
    /// Where in its stream this end is, and where the piece that it is in ends.
    offset: u64,
    cut: u64,
    datagrams: Datagrams,
}

struct State {
    weather: Weather,
    seed: u64,
    /// Virtual time, in microseconds.
    now: u64,
    /// When somebody last did something, by the host's clock.
    stirred: Instant,
    records: HashMap<u64, Record>,
    last: u64,
    /// The port that was given last to who asked for any: each is given once.
    last_port: u16,
    /// Sockets of the driver that there is news for.
    news: Vec<usize>,
}

impl State {
    fn one_in(&self, chances: u32, flow: u64, piece: u64, choice: Choice) -> bool {
        chances != 0 && chosen(self.seed, flow, piece, choice).is_multiple_of(chances.into())
    }

    /// When the piece arrives.
    fn due(&self, flow: u64, piece: u64) -> u64 {
        let most = u64::try_from(self.weather.delay.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        self.now + chosen(self.seed, flow, piece, Choice::Delay) % most
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

    /// That address with the next port that nobody has; none when the ports are used up.
    fn free_port(&mut self, mut address: SocketAddr, stream: bool) -> Option<SocketAddr> {
        loop {
            self.last_port = self.last_port.checked_add(1)?;
            address.set_port(self.last_port);
            if self.at(address, stream).is_none() {
                return Some(address);
            }
        }
    }

    /// Names an end to whoever has it.
    fn tell(&mut self, number: u64) {
        if let Some(socket) = self.records.get(&number).and_then(|record| record.socket)
            && !self.news.contains(&socket)
        {
            self.news.push(socket);
        }
    }

    fn reset(&mut self, number: u64) {
        let peer = self.records.get(&number).and_then(|record| record.peer);
        for end in [Some(number), peer].into_iter().flatten() {
            if let Some(record) = self.records.get_mut(&end) {
                record.reset = true;
                record.incoming.clear();
            }
            self.tell(end);
        }
    }

    /// The connection ends for this end at once, and for its peer behind what was sent before.
    fn reset_behind(&mut self, number: u64, peer: u64, piece: u64) {
        let (due, now) = (self.due(number, piece), self.now);
        if let Some(record) = self.records.get_mut(&number) {
            record.reset = true;
            record.incoming.clear();
        }
        if let Some(record) = self.records.get_mut(&peer) {
            record.incoming.end_with_reset(due);
            record.incoming.deliver(now);
        }
        self.tell(number);
        self.tell(peer);
    }

    fn shut_down(&mut self, number: u64) {
        let Some(record) = self.records.get_mut(&number) else {
            return;
        };
        if std::mem::replace(&mut record.shut, true) {
            return;
        }
        record.sent += 1;
        let (piece, peer) = (record.sent, record.peer);
        let due = self.due(number, piece);
        if let Some(peer) = peer {
            let now = self.now;
            if let Some(record) = self.records.get_mut(&peer) {
                record.incoming.end(due);
                record.incoming.deliver(now);
            }
            self.tell(peer);
        }
        self.tell(number);
    }

    /// Lets arrive what is due, and tells whom it concerns.
    fn deliver(&mut self) {
        let now = self.now;
        let mut concerned = Vec::new();
        for (&number, record) in &mut self.records {
            let connected = record.connecting.is_some_and(|due| due <= now);
            let arrived = record.incoming.deliver(now) | record.datagrams.deliver(now);
            if connected || arrived {
                concerned.push(number);
                concerned.extend(record.peer); // it waits for its FIN to be acknowledged
            }
        }
        concerned.sort_unstable();
        for number in concerned {
            self.tell(number);
        }
    }

    fn next_due(&self) -> Option<u64> {
        let dues = self.records.values().flat_map(|record| {
            [record.connecting, record.incoming.next_due(), record.datagrams.next_due()].into_iter().flatten()
        });
        dues.filter(|&due| due > self.now).min()
    }
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when something has changed.
    change: Condvar,
    /// Wakes the network thread: there may be news, or something on its way.
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The network in memory of one machine.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

/// The state for one operation; at its end whoever waits looks again.
struct Stir<'a> {
    state: Option<MutexGuard<'a, State>>,
    shared: &'a Shared,
    /// When somebody did something before this.
    before: Instant,
}

impl Stir<'_> {
    /// Nothing could be done: to try is not to do.
    fn undone(&mut self) -> io::Error {
        self.stirred = self.before;
        os(libc::EAGAIN)
    }
}

impl std::ops::Deref for Stir<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("it is there until the end")
    }
}

impl std::ops::DerefMut for Stir<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("it is there until the end")
    }
}

impl Drop for Stir<'_> {
    fn drop(&mut self) {
        self.state = None;
        self.shared.change.notify_all();
        (self.shared.wake)();
    }
}

impl Net {
    /// A network whose choices follow from `seed`; `wake` wakes the thread that asks for news.
    pub fn new(seed: u64, weather: Weather, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let state = State {
            weather,
            seed,
            now: 0,
            stirred: Instant::now(),
            records: HashMap::new(),
            last: 0,
            last_port: FIRST_PORT,
            news: Vec::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), change: Condvar::new(), wake }))
    }

    /// An end that is not bound.
    pub fn end(&self, stream: bool) -> End {
        let number = self.stir().add(Record { stream, ..Record::default() });
        End::new(self.clone(), number)
    }

    /// Somebody does something.
    fn stir(&self) -> Stir<'_> {
        let mut state = self.0.state.lock();
        let before = std::mem::replace(&mut state.stirred, Instant::now());
        Stir { state: Some(state), shared: &self.0, before }
    }

    /// The driver's sockets that there is news for.
    pub fn take_news(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.state.lock().news)
    }

    /// How long the network thread waits for somebody else to do something: none if nothing is on its way.
    pub fn patience(&self) -> Option<Duration> {
        let state = self.0.state.lock();
        let waits = || state.records.values().any(|record| record.datagrams.waits_to_be_overtaken());
        if !state.news.is_empty() {
            Some(Duration::ZERO)
        } else if state.next_due().is_some() {
            Some(GRACE)
        } else if waits() {
            Some(FLUSH.saturating_sub(state.stirred.elapsed()).max(GRACE))
        } else {
            None
        }
    }

    /// Time jumps to the next arrival, if nobody has done anything for a while. The network thread's, when it has nothing to do.
    pub fn pass_time(&self) {
        let mut state = self.0.state.lock();
        let idle = state.stirred.elapsed();
        if let Some(due) = state.next_due().filter(|_| idle >= GRACE) {
            state.now = due;
        } else if idle >= FLUSH {
            let now = state.now;
            state.records.values_mut().for_each(|record| record.datagrams.flush(now));
        } else {
            return;
        }
        state.deliver();
        let before = state.stirred;
        drop(Stir { state: Some(state), shared: &self.0, before });
    }
}
