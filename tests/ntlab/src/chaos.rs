//! What may go differently than usual and still be lawful: delays, requests forced to pend, cancellation, death, a lost network.
//!
//! One idea: every choice follows from the seed and from what the choosing thread has done so far in its machine, not from
//! what other threads do meanwhile, so that the same seed makes the same choices at the same places.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::call::Stopped;
use crate::machine::Inner;
use crate::process;
use crate::request;
use crate::thread::this;
use crate::turns::{Name, Order};
use crate::wsk::ProviderState;

/// How often, of a thousand occasions each, something goes differently. Zero everywhere: never.
///
/// Written and read as text: `delays=100,pending=1000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chaos {
    /// Calls into the kernel, and steps of a lock's release, a completion and a cancellation, at which another thread of the machine
    /// gets the turn. With any at all, its threads run one at a time.
    pub delays: u32,
    /// IRPs that a driver passes on, to another driver or to WSK, that pend although they could complete at once.
    pub pending: u32,
    /// Requests that are cancelled: before the driver gets them, while it has them, or when they pend.
    pub cancels: u32,
    /// Requests at which their process is killed: while the driver gets them, or afterwards.
    pub kills: u32,
    /// Requests at which the WSK provider is lost, and comes back.
    pub provider: u32,
}

impl Chaos {
    /// Something of everything.
    pub const STORM: Self = Self { delays: 50, pending: 300, cancels: 100, kills: 10, provider: 10 };

    /// Whether requests may end otherwise than they would by themselves: then only the rules can judge.
    #[must_use]
    pub const fn disturbs(&self) -> bool {
        self.cancels != 0 || self.kills != 0 || self.provider != 0
    }

    fn fields(&mut self) -> [(&'static str, &mut u32); 5] {
        [
            ("delays", &mut self.delays),
            ("pending", &mut self.pending),
            ("cancels", &mut self.cancels),
            ("kills", &mut self.kills),
            ("provider", &mut self.provider),
        ]
    }
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut copy = *self;
        let parts: Vec<String> = copy
            .fields()
            .into_iter()
            .filter(|(_, value)| **value != 0)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Chaos {
    type Err = String;

    /// `storm`, or `name=N` for each of what there is to be, N of a thousand, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "storm" {
            return Ok(Self::STORM);
        }
        let mut chaos = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not of the form name=N"))?;
            let value = value.parse().ok().filter(|value| *value <= 1000);
            let value = value.ok_or_else(|| format!("`{part}`: a number up to 1000 is wanted"))?;
            let mut fields = chaos.fields().into_iter();
            let field = fields.find(|(known, _)| *known == name);
            *field.ok_or_else(|| format!("`{name}`: there are delays, pending, cancels, kills and provider"))?.1 =
                value;
        }
        Ok(chaos)
    }
}

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    None,
    /// Its `Cancel` is set when the driver gets it.
    CancelledBefore,
    /// Another thread cancels it, from when the driver gets it.
    CancelledMeanwhile,
    /// Cancelled when its dispatch routine has returned.
    CancelledAfter,
    /// Another thread kills the process, from when the driver gets the request.
    KilledMeanwhile,
    /// The process is killed when the dispatch routine has returned.
    KilledAfter,
}

/// How long the host's network may take to bring something that is on its way.
const MOMENT: Duration = Duration::from_millis(2);

/// `SplitMix64`.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What follows from the seed for a thread.
pub(crate) fn state_for(seed: u64, (kind, number): Name) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, kind, number).hash(&mut hasher);
    hasher.finish()
}

pub(crate) const fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Inner {
    /// The next number of the calling thread's random source, which follows from the seed and from which thread of the
    /// machine it is: the first that entered it, the first worker, the clock.
    pub(crate) fn random(&self) -> u64 {
        let thread = this();
        let (machine, state) = thread.random.get();
        let state = if machine == self.number { state } else { self.first_state(thread.name.get()) };
        let next = state.wrapping_add(GOLDEN);
        thread.random.set((self.number, next));
        mixed(next)
    }

    /// Where the random source of a thread called `name` begins. Threads of the same name are told apart by their order.
    fn first_state(&self, name: &'static str) -> u64 {
        let mut names = self.thread_names.lock();
        let count = names.entry(name).or_default();
        *count += 1;
        state_for(self.options.seed, (name, *count))
    }

    /// Begins the calling thread's random source anew, as that of the given piece of work: which of several threads does it is the
    /// host's choice.
    pub(crate) fn begin_random(&self, name: Name) {
        this().random.set((self.number, state_for(self.options.seed, name)));
    }

    /// Whether something happens that happens `per_mille` times of a thousand; more of the same number.
    fn chance(&self, per_mille: u32) -> Option<u64> {
        if per_mille == 0 {
            return None;
        }
        let choice = self.random();
        (choice % 1000 < u64::from(per_mille)).then_some(choice >> 10)
    }

    /// Called wherever another thread may come in between: delays some, as the seed has it.
    ///
    /// The turn goes to another thread of the machine that could run. Where there is none, but the host's network may bring something
    /// at any time, the delay lasts until others have come past a number of such points, or a little while; by rank, until they are as
    /// far as they can come.
    pub(crate) fn at_point(&self) {
        let chances = self.delays();
        if chances == 0 {
            return;
        }
        self.take_turn(); // it may have been lost
        let passed = self.points.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(choice) = self.chance(chances) else { return };
        let handed_over = self.hand_turn_over();
        match self.order() {
            _ if !self.wsk.is_running() => {}
            Order::Drawn if handed_over => {}
            Order::Drawn => self.let_others_pass(passed + 1 + (choice & 15)),
            Order::Ranked => self.stand_still(),
        }
    }

    /// Waits until the machine's threads have come past so many points, or a little while.
    fn let_others_pass(&self, until: u64) {
        let since = Instant::now();
        self.without_turn(|| {
            while self.points.load(Ordering::SeqCst) < until && since.elapsed() < MOMENT && !self.is_stopped() {
                std::thread::yield_now();
            }
        });
    }

    /// Waits until nobody has come past a point for a little while.
    fn stand_still(&self) {
        const LONGEST: Duration = Duration::from_millis(100);
        let since = Instant::now();
        self.without_turn(|| {
            let (mut passed, mut quiet) = (self.points.load(Ordering::SeqCst), since);
            while quiet.elapsed() < MOMENT && since.elapsed() < LONGEST && !self.is_stopped() {
                std::thread::yield_now();
                let now = self.points.load(Ordering::SeqCst);
                if now != passed {
                    (passed, quiet) = (now, Instant::now());
                }
            }
        });
    }

    /// Whether an IRP that a driver passes on is to pend.
    pub(crate) fn forces_pending(&self) -> bool {
        self.chance(self.options.chaos.pending).is_some()
    }

    /// What befalls the next request. Loses the provider, too, if that is its turn.
    pub(crate) fn fate(&self) -> Fate {
        let chaos = self.options.chaos;
        if self.chance(chaos.provider).is_some() {
            self.lose_provider_for_a_while();
        }
        if let Some(choice) = self.chance(chaos.kills) {
            return if choice & 1 == 0 { Fate::KilledMeanwhile } else { Fate::KilledAfter };
        }
        match self.chance(chaos.cancels).map(|choice| choice % 3) {
            None => Fate::None,
            Some(0) => Fate::CancelledBefore,
            Some(1) => Fate::CancelledMeanwhile,
            Some(_) => Fate::CancelledAfter,
        }
    }

    fn lose_provider_for_a_while(&self) {
        self.run_later(Box::new(|machine| {
            let Some(machine) = machine.arc() else { return Ok(()) };
            let network = machine.network();
            network.set_provider(ProviderState::Lost);
            let time = Duration::from_micros(machine.random() & 0x7ff);
            machine.without_turn(|| std::thread::sleep(time));
            network.set_provider(ProviderState::Ready);
            Ok(())
        }));
    }

    /// What happens to a request from when the driver gets it.
    pub(crate) fn strike_meanwhile(&self, fate: Fate, request: &Arc<request::Shared>, process: &Arc<process::Shared>) {
        match fate {
            Fate::CancelledMeanwhile => {
                let request = Arc::clone(request);
                self.run_later(Box::new(move |machine| request.cancel(machine).map(drop)));
            }
            Fate::KilledMeanwhile => {
                let process = Arc::clone(process);
                self.run_later(Box::new(move |machine| process.end(machine)));
            }
            _ => {}
        }
    }

    /// What happens to a request when its dispatch routine has returned.
    pub(crate) fn strike_after(
        &self,
        fate: Fate,
        request: &request::Shared,
        process: &process::Shared,
    ) -> Result<(), Stopped> {
        match fate {
            Fate::CancelledAfter => request.cancel(self).map(drop),
            Fate::KilledAfter => process.end(self),
            _ => Ok(()),
        }
    }

    /// The number of the next machine of this process.
    pub(crate) fn next_number() -> u64 {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chaos_is_read_as_it_is_written() {
        for chaos in [Chaos::default(), Chaos::STORM, Chaos { kills: 1, ..Chaos::default() }] {
            assert_eq!(chaos.to_string().parse(), Ok(chaos));
        }
        assert_eq!("storm".parse(), Ok(Chaos::STORM));
        for wrong in ["kills", "kills=x", "kills=1001", "skills=1"] {
            assert!(wrong.parse::<Chaos>().is_err(), "{wrong}");
        }
    }
}
