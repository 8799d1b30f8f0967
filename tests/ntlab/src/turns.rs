//! Whose turn it is: where the seed delays calls, the threads of a machine run one at a time, in an order that follows from it.
//!
//! One idea: a thread that runs on behalf of the machine has the turn. It gives the turn up where it waits, and hands it over where the
//! seed has another thread come in between. Who was woken is awaited before the next one is chosen, so that the choice does not
//! depend on how fast the host wakes threads. A thread that waits where the lab does not know of it, or for something outside of
//! the machine, loses its turn after a while; only then does the host decide.
//!
//! Half of the seeds choose anew at each turn. The others give each thread a rank, and the turn goes to the highest; who is delayed falls
//! to the lowest rank, and is delayed seldom: then everybody else gets as far as they can while one thread stands where it stands, which
//! finds what needs a long delay at the one right place. (Burckhardt and others, *A Randomized Scheduler with Probabilistic
//! Guarantees of Finding Bugs*.)

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::chaos::{mixed, state_for};
use crate::machine::{self, Inner, Machine};
use crate::thread::this;

/// A thread of a machine, by what it is for and its number among those.
pub(crate) type Name = (&'static str, u64);

/// How long a thread may have the turn without coming past a point, or take to wake up.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it is looked whether who has the turn sleeps; when it does so three times in a row, it waits for something.
const LOOK: Duration = Duration::from_millis(1);

/// The turns of a machine.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    holder: Option<Name>,
    /// The host's number of the holder's thread; 0 until it has come.
    thread: i32,
    /// Who wants the turn.
    ready: BTreeSet<Name>,
    /// Who was woken, and has not come yet.
    woken: BTreeSet<Name>,
    /// Turns so far.
    count: u64,
    /// How many threads of each kind have come.
    known: HashMap<&'static str, u64>,
    /// Who has been delayed, with the number of its last delay: the lowest ranks, the last one lowest.
    delayed: HashMap<Name, u64>,
    delays: u64,
}

/// How the seed chooses who has the turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Anew each time.
    Drawn,
    /// By rank.
    Ranked,
}

impl Order {
    const fn of(seed: u64) -> Self {
        if mixed(seed) >> 32 & 1 == 0 { Self::Drawn } else { Self::Ranked }
    }
}

impl State {
    fn new_name(&mut self, kind: &'static str) -> Name {
        let count = self.known.entry(kind).or_default();
        *count += 1;
        (kind, *count)
    }

    /// Gives the turn to one of those who want it, when it is free and nobody is awaited.
    fn choose(&mut self, seed: u64) {
        if self.holder.is_some() || !self.woken.is_empty() || self.ready.is_empty() {
            return;
        }
        let next = match Order::of(seed) {
            Order::Drawn => {
                let choice = usize::try_from(mixed(seed ^ self.count) >> 1).unwrap_or(0) % self.ready.len();
                self.ready.iter().nth(choice)
            }
            Order::Ranked => self.ready.iter().max_by_key(|name| self.rank(**name, seed)),
        };
        let Some(&next) = next else { return };
        self.ready.remove(&next);
        (self.holder, self.thread) = (Some(next), 0);
        self.count += 1;
    }
}

impl State {
    /// The higher is to run. Who was delayed is below everybody who was not.
    fn rank(&self, name: Name, seed: u64) -> (Reverse<u64>, u64) {
        let delayed = self.delayed.get(&name).copied().unwrap_or(0);
        (Reverse(delayed), state_for(seed, name))
    }

    /// The lowest rank is a thread's from now on.
    fn delay(&mut self, name: Name) {
        self.delays += 1;
        self.delayed.insert(name, self.delays);
    }
}

/// Whom to wake when something has happened; see [`Inner::sleep_until`].
#[derive(Default)]
pub(crate) struct Sleeper(Mutex<Option<Name>>);

impl Sleeper {
    /// What the thread waits for has happened. Called before it is told so.
    pub(crate) fn wake(&self) {
        if let Some(name) = self.0.lock().take() {
            machine::current().wake_turn(name);
        }
    }
}

impl Machine {
    /// Runs `body` on `count` threads of the test at once, each with its number, and gives what they return. Where calls are delayed
    /// they take turns from the start: which of them comes when follows from the seed.
    ///
    /// # Panics
    /// When one of them does.
    pub fn in_threads<R: Send>(&self, count: usize, body: impl Fn(usize) -> R + Sync) -> Vec<R> {
        let (machine, body) = (&*self.inner, &body);
        let names: Vec<Name> = (0..count).map(|_| machine.announce_thread("thread of the test")).collect();
        machine.without_turn(|| {
            std::thread::scope(|scope| {
                let start = |(index, name)| scope.spawn(move || machine.as_thread(name, || body(index)));
                let threads: Vec<_> = names.into_iter().enumerate().map(start).collect();
                threads.into_iter().map(|thread| thread.join().expect("the thread does not panic")).collect()
            })
        })
    }
}

/// Whether the host's thread waits for something, or is gone.
fn sleeps(thread: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // The state follows the program's name, which is in parentheses.
    !status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('R'))
}

impl Inner {
    /// Whether threads take turns.
    fn has_turns(&self) -> bool {
        self.options.chaos.delays != 0
    }

    /// The calling thread's name; the first threads of a kind are told apart by the order in which they come.
    fn turn_name(&self) -> Name {
        let thread = this();
        let (machine, name) = thread.turn.get();
        if machine == self.number {
            return name;
        }
        let name = self.turns.state.lock().new_name(thread.name.get());
        thread.turn.set((self.number, name));
        name
    }

    /// Names a thread that is about to be started; it is awaited.
    pub(crate) fn announce_thread(&self, kind: &'static str) -> Name {
        let name = self.turns.state.lock().new_name(kind);
        self.wake_turn(name);
        name
    }

    /// Does a piece of work, or what a thread is there for, as the thread called `name`: its choices and its turns follow from that.
    pub(crate) fn as_thread<R>(&self, name: Name, body: impl FnOnce() -> R) -> R {
        this().turn.set((self.number, name));
        self.begin_random(name);
        self.take_turn();
        let result = body();
        self.give_turn_up();
        result
    }

    /// The name of the calling thread if it has to be woken by it.
    pub(crate) fn sleeping_turn(&self) -> Option<Name> {
        self.has_turns().then(|| self.turn_name())
    }

    /// Waits for the calling thread's turn, unless it has it.
    pub(crate) fn take_turn(&self) {
        if !self.has_turns() {
            return;
        }
        let me = self.turn_name();
        let mut state = self.turns.state.lock();
        if state.holder == Some(me) {
            return;
        }
        state.woken.remove(&me);
        state.ready.insert(me);
        self.await_turn(me, state);
    }

    fn await_turn(&self, me: Name, mut state: MutexGuard<'_, State>) {
        state.choose(self.options.seed);
        self.turns.change.notify_all();
        let (mut since, mut count, mut asleep) = (Instant::now(), state.count, 0);
        while state.holder != Some(me) {
            if self.is_stopped() {
                state.ready.remove(&me);
                return;
            }
            let timed_out = self.turns.change.wait_for(&mut state, LOOK).timed_out();
            if state.count != count {
                (since, count, asleep) = (Instant::now(), state.count, 0);
            } else if timed_out {
                // Not under the lock: the holder may want it, and would sleep for that.
                let thread = state.thread;
                let is_asleep = MutexGuard::unlocked(&mut state, || thread != 0 && sleeps(thread));
                asleep = if is_asleep { asleep + 1 } else { 0 };
            }
            if state.count == count && (asleep == 3 || since.elapsed() > PATIENCE) {
                state.woken.clear();
                state.holder = None;
                state.choose(self.options.seed);
                self.turns.change.notify_all();
            }
        }
        state.thread = this().shared().tid.load(Ordering::Relaxed);
    }

    /// Lets others have the turn: the calling thread is going to wait, or is done. It takes the turn again where it comes past a
    /// point at the latest.
    pub(crate) fn give_turn_up(&self) {
        if !self.has_turns() {
            return;
        }
        let me = self.turn_name();
        let mut state = self.turns.state.lock();
        if state.holder == Some(me) {
            state.holder = None;
            state.choose(self.options.seed);
            self.turns.change.notify_all();
        }
    }

    /// Has the turn go to whoever the seed chooses, the calling thread included; false when nobody else wants it.
    pub(crate) fn hand_turn_over(&self) -> bool {
        if !self.has_turns() {
            return false;
        }
        let me = self.turn_name();
        let mut state = self.turns.state.lock();
        if state.holder != Some(me) || state.ready.is_empty() && state.woken.is_empty() {
            return false;
        }
        state.holder = None;
        state.ready.insert(me);
        state.delay(me);
        self.await_turn(me, state);
        true
    }

    /// How the turns are given.
    pub(crate) const fn order(&self) -> Order {
        Order::of(self.options.seed)
    }

    /// How often, of a thousand points each, a thread hands its turn over: by rank it is delayed for long.
    pub(crate) fn delays(&self) -> u32 {
        let delays = self.options.chaos.delays;
        match self.order() {
            Order::Drawn => delays,
            Order::Ranked => delays.div_ceil(16),
        }
    }

    /// A thread is about to come: the next turn is not given before it has.
    pub(crate) fn wake_turn(&self, name: Name) {
        if !self.has_turns() {
            return;
        }
        let mut state = self.turns.state.lock();
        if state.holder != Some(name) && !state.ready.contains(&name) {
            state.woken.insert(name);
        }
    }

    /// Runs `body`, which waits for what ends `sleeper`'s sleep, without the turn.
    pub(crate) fn sleep_until<R>(&self, sleeper: &Sleeper, body: impl FnOnce() -> R) -> R {
        let name = self.sleeping_turn();
        *sleeper.0.lock() = name;
        self.give_turn_up();
        let result = body();
        sleeper.0.lock().take();
        self.take_turn();
        result
    }

    /// Runs `body`, which waits for something, without the turn.
    pub(crate) fn without_turn<R>(&self, body: impl FnOnce() -> R) -> R {
        self.give_turn_up();
        let result = body();
        self.take_turn();
        result
    }

    /// Waits a moment for what other threads do.
    pub(crate) fn pause(&self) {
        self.without_turn(|| std::thread::sleep(Duration::from_millis(1)));
    }

    /// Tells waiting threads that the machine has stopped.
    pub(crate) fn stop_turns(&self) {
        drop(self.turns.state.lock());
        self.turns.change.notify_all();
    }
}
