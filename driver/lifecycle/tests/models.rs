//! Every interleaving of the pieces that must be right, as far as the bound on preemptions goes: with loom's atomics in the place of the
//! processor's. `cargo lab test` runs this file with `--cfg loom`; without that it is empty.
//!
//! What the pieces guard is modelled by relaxed atomics: a value that is not ordered before its reader may be read stale, and loom
//! tries that too.
#![cfg(loom)]

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Relaxed},
        },
    },
    thread,
};
use wskclient_lifecycle::{Closed, Gate, Ledger, Left, Lifecycle, Released, Share, Startup, State};

/// What a gate guards: visitors use it, and whoever is told that the last one has left takes it down.
struct Guarded {
    gate: Gate,
    down: AtomicBool,
    takedowns: AtomicUsize,
    /// What each visitor did inside.
    traces: [AtomicBool; 2],
    /// Of that, what whoever took it down saw.
    seen: [AtomicBool; 2],
}

impl Guarded {
    fn open() -> (Arc<Self>, u32) {
        let flags = || [AtomicBool::new(false), AtomicBool::new(false)];
        let gate = Gate::closed();
        let generation = gate.open().unwrap();
        let (down, takedowns) = (AtomicBool::new(false), AtomicUsize::new(0));
        (Arc::new(Self { gate, down, takedowns, traces: flags(), seen: flags() }), generation)
    }

    /// Goes in and out again, if the gate lets it. Whether it did.
    fn visit(&self, visitor: usize, generation: u32) -> bool {
        let entered = self.gate.enter(generation);
        if entered {
            assert!(!self.down.load(Relaxed), "inside something that is taken down");
            self.traces[visitor].store(true, Relaxed);
            if self.gate.leave() == Left::Last {
                self.take_down();
            }
        }
        entered
    }

    fn close(&self) {
        if self.gate.close() == Closed::Empty {
            self.take_down();
        }
    }

    fn take_down(&self) {
        // Nothing here may order what the gate does not.
        for (trace, seen) in self.traces.iter().zip(&self.seen) {
            seen.store(trace.load(Relaxed), Relaxed);
        }
        self.down.store(true, Relaxed);
        self.takedowns.fetch_add(1, Relaxed);
    }

    /// When everybody is gone: it was taken down, once, by somebody who saw all that the visitors did.
    fn was_taken_down_after(&self, entered: [bool; 2]) {
        assert_eq!(self.takedowns.load(Relaxed), 1, "how often it was taken down");
        for (entered, seen) in entered.into_iter().zip(&self.seen) {
            assert_eq!(seen.load(Relaxed), entered, "what was done inside is seen by whoever takes it down");
        }
    }
}

#[test]
fn a_closed_gate_is_drained_once_and_after_everything_that_was_done_inside() {
    loom::model(|| {
        let (guarded, generation) = Guarded::open();
        let visitors = [0, 1].map(|visitor| {
            let guarded = guarded.clone();
            thread::spawn(move || guarded.visit(visitor, generation))
        });
        guarded.close();
        guarded.was_taken_down_after(visitors.map(|visitor| visitor.join().unwrap()));
    });
}

#[test]
fn two_who_close_a_gate_at_once_take_down_what_it_guards_once() {
    loom::model(|| {
        let (guarded, generation) = Guarded::open();
        let closer = guarded.clone();
        let closer = thread::spawn(move || closer.close());
        let entered = guarded.visit(0, generation);
        guarded.close();
        closer.join().unwrap();
        guarded.was_taken_down_after([entered, false]);
    });
}

#[test]
fn a_gate_that_is_opened_again_lets_nobody_in_with_an_old_ticket_and_shows_the_new_ones_what_was_prepared() {
    loom::model(|| {
        let (gate, prepared) = (Arc::new(Gate::closed()), Arc::new(AtomicUsize::new(1)));
        let first = gate.open().unwrap();
        let visitor = {
            let (gate, prepared) = (gate.clone(), prepared.clone());
            thread::spawn(move || {
                if gate.enter(first) {
                    assert_eq!(prepared.load(Relaxed), 1, "inside the first generation");
                    let _ = gate.leave();
                }
                let now = gate.generation();
                if now != first && gate.enter(now) {
                    assert_eq!(prepared.load(Relaxed), 2, "inside the second generation");
                    let _ = gate.leave();
                }
            })
        };
        let _ = gate.close();
        if gate.is_drained() {
            prepared.store(2, Relaxed);
            assert_eq!(gate.open(), Some(first + 1));
        }
        visitor.join().unwrap();
    });
}

#[test]
fn a_gate_is_not_opened_again_while_somebody_is_inside() {
    loom::model(|| {
        let gate = Arc::new(Gate::closed());
        let first = gate.open().unwrap();
        let inside = gate.clone();
        let visitor = thread::spawn(move || {
            if inside.enter(first) {
                assert_eq!(inside.generation(), first);
                let _ = inside.leave();
            }
        });
        let _ = gate.close();
        let _ = gate.open();
        visitor.join().unwrap();
    });
}

/// A provider as the driver has it: the lifecycle under a lock, a gate, startups that wait, and work for one worker, which is queued
/// by a flag.
struct Instance {
    lifecycle: Mutex<(Lifecycle, [Share; 2])>,
    gate: Gate,
    waiting: [AtomicBool; 2],
    counted: [AtomicBool; 2],
    work: AtomicBool,
    up: AtomicBool,
    teardowns: AtomicUsize,
}

impl Instance {
    fn down() -> Arc<Self> {
        let no = || AtomicBool::new(false);
        Arc::new(Self {
            lifecycle: Mutex::new((Lifecycle::new(), [Share::none(), Share::none()])),
            gate: Gate::closed(),
            waiting: [no(), no()],
            counted: [no(), no()],
            work: no(),
            up: no(),
            teardowns: AtomicUsize::new(0),
        })
    }

    /// Up, with a reference of handle 0.
    fn up() -> Arc<Self> {
        let instance = Self::down();
        instance.startup(0);
        instance.work();
        instance
    }

    fn event<R>(&self, handle: usize, event: impl FnOnce(&mut Lifecycle, &mut Share) -> R) -> R {
        let (lifecycle, shares) = &mut *self.lifecycle.lock().unwrap();
        event(lifecycle, &mut shares[handle])
    }

    fn state(&self) -> State {
        self.lifecycle.lock().unwrap().0.state()
    }

    fn queue_work(&self) {
        self.work.swap(true, AcqRel);
    }

    fn startup(&self, handle: usize) {
        match self.event(handle, Lifecycle::startup) {
            Startup::Counted(_) => self.counted[handle].store(true, Relaxed),
            Startup::Waits(_) => {
                self.waiting[handle].swap(true, AcqRel);
                self.queue_work();
            }
            Startup::Refused => unreachable!("the count is not at its limit"),
        }
    }

    fn released(&self, released: Released) {
        if released == Released::Last {
            let _ = self.gate.close();
            self.queue_work();
        }
    }

    /// A socket is made and given back, if the provider is up.
    fn use_it(&self) {
        if self.gate.enter_any() {
            assert!(self.up.load(Relaxed), "whoever is inside has a provider");
            if self.gate.leave() == Left::Last {
                self.queue_work();
            }
        }
    }

    /// The worker, until nothing is queued.
    fn work(&self) {
        while self.work.swap(false, AcqRel) {
            if self.state() == State::Stopping {
                if !self.gate.is_drained() {
                    // Whoever leaves last queues work.
                    continue;
                }
                self.up.store(false, Relaxed);
                self.teardowns.fetch_add(1, Relaxed);
                self.event(0, |lifecycle, _| lifecycle.stopped());
            }
            for handle in 0..2 {
                if self.waiting[handle].swap(false, AcqRel) {
                    self.start(handle);
                }
            }
        }
    }

    fn start(&self, handle: usize) {
        if self.event(handle, |lifecycle, _| lifecycle.begin()) {
            self.up.store(true, Relaxed);
            assert!(self.gate.open().is_some(), "nobody is inside after a teardown");
            assert!(self.event(handle, Lifecycle::started));
            self.counted[handle].store(true, Relaxed);
        } else {
            // Up already; or the last reference went meanwhile, and it waits on.
            self.startup(handle);
        }
    }
}

#[test]
fn a_startup_that_meets_the_last_cleanup_is_counted_in_the_old_life_or_the_next() {
    loom::model(|| {
        let instance = Instance::up();
        let other = instance.clone();
        let starter = thread::spawn(move || {
            other.startup(1);
            other.use_it();
        });
        instance.released(instance.event(0, Lifecycle::cleanup));
        instance.work();
        starter.join().unwrap();
        // The worker runs whenever work is queued.
        instance.work();
        assert!(instance.counted[1].load(Relaxed), "no wake-up is lost");
        assert_eq!(instance.state(), State::Up);
        assert_eq!(instance.event(1, |lifecycle, _| lifecycle.references()), 1);
        assert!(instance.teardowns.load(Relaxed) <= 1);
        assert!(instance.up.load(Relaxed) && instance.gate.enter_any());
    });
}

#[test]
fn two_first_startups_at_once_are_both_counted_and_start_once() {
    loom::model(|| {
        let instance = Instance::down();
        let other = instance.clone();
        let starter = thread::spawn(move || {
            other.startup(1);
            other.use_it();
        });
        instance.startup(0);
        instance.work();
        starter.join().unwrap();
        instance.work();
        assert!(instance.counted.iter().all(|counted| counted.load(Relaxed)), "no wake-up is lost");
        assert_eq!(instance.event(1, |lifecycle, _| lifecycle.references()), 2);
    });
}

#[test]
fn a_cleanup_and_the_death_of_a_handle_at_once_tear_down_once_and_leave_nothing() {
    loom::model(|| {
        let instance = Instance::up();
        instance.startup(1);
        let other = instance.clone();
        let dying = thread::spawn(move || {
            other.use_it();
            other.released(other.event(1, Lifecycle::handle_died));
        });
        instance.released(instance.event(0, Lifecycle::cleanup));
        dying.join().unwrap();
        instance.released(instance.event(0, Lifecycle::handle_died));
        instance.work();
        assert_eq!((instance.state(), instance.teardowns.load(Relaxed)), (State::Down, 1));
        assert!(instance.gate.is_drained() && !instance.up.load(Relaxed));
    });
}

#[test]
fn a_ledger_that_is_read_while_others_count_adds_up() {
    loom::model(|| {
        let ledger = Arc::new(Ledger::<1>::new());
        let counting = [true, false].map(|cancelled| {
            let ledger = ledger.clone();
            thread::spawn(move || {
                ledger.take(0);
                ledger.complete(0, cancelled);
            })
        });
        let count = ledger.read(0);
        assert!(count.cancelled <= count.completed && count.completed <= count.taken, "{count:?}");
        counting.into_iter().for_each(|thread| thread.join().unwrap());
        let count = ledger.read(0);
        assert_eq!((count.taken, count.completed, count.cancelled), (2, 2, 1));
    });
}
