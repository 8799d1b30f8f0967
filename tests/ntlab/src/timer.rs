//! The clock: timers, and the DPCs that one thread at `DISPATCH_LEVEL` runs.
//!
//! Models "Timer Objects and DPCs" and "Introduction to DPCs".

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::call::{self, Stopped, or_escape};
use crate::dispatcher::{deadline, initialize, system_time};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner, Machine};
use crate::nt::{KDPC, KTIMER, NOTIFICATION_TIMER, PVOID, SYNCHRONIZATION_TIMER};
use crate::process::Context;
use crate::thread::this;
use crate::{irql, rules};

type Due = (Instant, u64);

#[derive(Clone, Copy)]
struct Set {
    timer: usize,
    dpc: usize,
    period: u32,
    /// Return address of the call that set it.
    by: usize,
}

/// How long an unload waits for the end of a DPC routine that has done its work.
const ENDING: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    queue: BTreeMap<Due, Set>,
    set: HashMap<usize, Due>,
    dpcs: VecDeque<usize>,
    running: usize,
    number: u64,
    started: bool,
}

/// The clock of a machine.
#[derive(Default)]
pub(crate) struct Clock {
    state: Mutex<State>,
    change: Condvar,
    /// Set timers and queued DPCs, readable without the lock.
    active: AtomicUsize,
}

enum Next {
    Timer(Set),
    Dpc(usize),
    Stop,
}

impl Clock {
    /// Wakes the clock's thread, which then sees that the machine has stopped.
    pub(crate) fn wake(&self) {
        drop(self.state.lock());
        self.change.notify_all();
    }

    fn count(&self, state: &State) {
        self.active.store(state.set.len() + state.dpcs.len(), Ordering::Release);
    }

    /// A set timer or queued DPC in the given memory.
    pub(crate) fn active_in(&self, start: usize, size: usize) -> Option<&'static str> {
        if self.active.load(Ordering::Acquire) == 0 {
            return None;
        }
        let state = self.state.lock();
        let inside = |address: &usize| address.wrapping_sub(start) < size;
        if state.set.keys().any(inside) {
            return Some("a set timer");
        }
        state.dpcs.iter().any(inside).then_some("a queued DPC")
    }

    /// Set timers, one line each.
    pub(crate) fn live_timers(&self) -> Vec<String> {
        let (machine, state) = (machine::current(), self.state.lock());
        let line = |set: &Set| format!("timer {:#x} set by {}", set.timer, machine.describe_code(set.by));
        state.queue.values().map(line).collect()
    }

    /// DPCs that are queued or run, one line each. A routine that is about to return is awaited.
    pub(crate) fn live_dpcs(&self) -> Vec<String> {
        let machine = machine::current();
        let mut state = self.state.lock();
        let since = Instant::now();
        while state.running != 0 && since.elapsed() < ENDING && !machine.is_stopped() {
            machine.give_turn_up();
            self.change.wait_for(&mut state, Duration::from_millis(5));
        }
        let running = Some(state.running).filter(|&dpc| dpc != 0).map(|dpc| format!("DPC {dpc:#x} that runs"));
        state.dpcs.iter().map(|dpc| format!("DPC {dpc:#x}")).chain(running).collect()
    }

    fn next(&self, machine: &Inner) -> Next {
        let mut state = self.state.lock();
        loop {
            if machine.is_stopped() {
                return Next::Stop;
            }
            if let Some(dpc) = state.dpcs.pop_front() {
                state.running = dpc;
                self.count(&state);
                return Next::Dpc(dpc);
            }
            let first = state.queue.first_key_value().map(|(due, set)| (*due, *set));
            match first {
                Some((due, set)) if due.0 <= Instant::now() => {
                    state.queue.remove(&due);
                    state.set.remove(&set.timer);
                    if set.period != 0 {
                        let next = due.0 + Duration::from_millis(u64::from(set.period));
                        insert(&mut state, next, set);
                    }
                    self.count(&state);
                    return Next::Timer(set);
                }
                Some((due, _)) => {
                    self.change.wait_until(&mut state, due.0);
                }
                None => self.change.wait(&mut state),
            }
        }
    }
}

impl Machine {
    /// How many timers are set and DPCs queued, whoever set them.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.inner.clock.active.load(Ordering::Acquire)
    }

    /// How long it takes until the last of the timers that are set is due; none when none is set.
    #[must_use]
    pub fn last_timer(&self) -> Option<Duration> {
        let state = self.inner.clock.state.lock();
        state.queue.last_key_value().map(|(due, _)| due.0.saturating_duration_since(Instant::now()))
    }
}

fn insert(state: &mut State, due: Instant, set: Set) {
    state.number += 1;
    let key = (due, state.number);
    state.queue.insert(key, set);
    state.set.insert(set.timer, key);
}

impl Inner {
    fn start_clock(&self) {
        if std::mem::replace(&mut self.clock.state.lock().started, true) {
            self.clock.change.notify_all();
            return;
        }
        let Some(machine) = self.arc() else { return };
        let same = machine.clone();
        machine.spawn("clock", move || same.run_clock());
    }

    fn run_clock(&self) {
        let context = Context::system(self);
        loop {
            match self.clock.next(self) {
                Next::Stop => return,
                Next::Timer(set) => {
                    self.take_turn();
                    self.signal(set.timer, 1);
                    if set.dpc != 0 {
                        self.insert_dpc(set.dpc as *const KDPC);
                    }
                    self.give_turn_up();
                }
                Next::Dpc(dpc) => {
                    self.take_turn();
                    let result = context.enter(|| self.run_dpc(dpc));
                    self.give_turn_up();
                    self.clock.state.lock().running = 0;
                    self.clock.change.notify_all();
                    if result.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn run_dpc(&self, address: usize) -> Result<(), Stopped> {
        // SAFETY: the driver vouches for a DPC that it queued; if it is gone, the fault is its own.
        let dpc = unsafe { &*(address as *const KDPC) };
        dpc.DpcData.store(0, Ordering::Release);
        let routine = dpc.DeferredRoutine.load(Ordering::Acquire);
        let arguments = [
            address,
            dpc.DeferredContext.get() as usize,
            dpc.SystemArgument1.get() as usize,
            dpc.SystemArgument2.get() as usize,
        ];
        irql::set(irql::DISPATCH);
        let result = self.bounded("a DPC routine", || call::driver("a DPC routine", routine, &arguments));
        this().irql.set(irql::PASSIVE);
        result.map(|_| ())
    }

    /// Queues a DPC; false when it is queued already.
    fn insert_dpc(&self, dpc: *const KDPC) -> bool {
        // SAFETY: the driver vouches for the DPC; if it is none, the fault is its own.
        if unsafe { &*dpc }.DpcData.swap(1, Ordering::AcqRel) != 0 {
            return false;
        }
        let mut state = self.clock.state.lock();
        state.dpcs.push_back(dpc as usize);
        self.clock.count(&state);
        drop(state);
        self.start_clock();
        self.clock.change.notify_all();
        true
    }

    fn set_timer(&self, timer: &KTIMER, due: i64, period: u32, dpc: *mut KDPC) -> bool {
        let address = std::ptr::from_ref(timer) as usize;
        timer.Header.SignalState.store(0, Ordering::Release);
        timer.Dpc.set(dpc);
        timer.Period.store(period, Ordering::Relaxed);
        let mut state = self.clock.state.lock();
        let was_set = remove(&mut state, address);
        insert(&mut state, deadline(due), Set { timer: address, dpc: dpc as usize, period, by: this().caller.get() });
        self.clock.count(&state);
        drop(state);
        self.start_clock();
        was_set
    }

    fn cancel_timer(&self, timer: &KTIMER) -> bool {
        let mut state = self.clock.state.lock();
        let was_set = remove(&mut state, std::ptr::from_ref(timer) as usize);
        self.clock.count(&state);
        was_set
    }

    fn flush_dpcs(&self) {
        self.without_turn(|| {
            let mut state = self.clock.state.lock();
            while (!state.dpcs.is_empty() || state.running != 0) && !self.is_stopped() {
                self.clock.change.wait_for(&mut state, Duration::from_millis(5));
            }
        });
    }
}

fn remove(state: &mut State, timer: usize) -> bool {
    let Some(due) = state.set.remove(&timer) else { return false };
    state.queue.remove(&due);
    true
}

extern "win64" fn initialize_timer(timer: &KTIMER) {
    initialize_timer_ex(timer, 0);
}

extern "win64" fn initialize_timer_ex(timer: &KTIMER, kind: u32) {
    let machine = machine::current();
    if machine.clock.active_in(std::ptr::from_ref(timer) as usize, size_of::<KTIMER>()).is_some() {
        rules::violate(&rules::TIMER_FREED, "KeInitializeTimer on a timer that is set", Vec::new());
    }
    let kind = if kind == 0 { NOTIFICATION_TIMER } else { SYNCHRONIZATION_TIMER };
    initialize(&timer.Header, kind, size_of::<KTIMER>(), 0);
    timer.Dpc.set(std::ptr::null_mut());
    timer.Period.store(0, Ordering::Relaxed);
}

extern "win64" fn set_timer(timer: &KTIMER, due: i64, dpc: *mut KDPC) -> u8 {
    u8::from(machine::current().set_timer(timer, due, 0, dpc))
}

extern "win64" fn set_timer_ex(timer: &KTIMER, due: i64, period: u32, dpc: *mut KDPC) -> u8 {
    u8::from(machine::current().set_timer(timer, due, period, dpc))
}

extern "win64" fn set_coalescable_timer(timer: &KTIMER, due: i64, period: u32, _delay: u32, dpc: *mut KDPC) -> u8 {
    u8::from(machine::current().set_timer(timer, due, period, dpc))
}

extern "win64" fn cancel_timer(timer: &KTIMER) -> u8 {
    u8::from(machine::current().cancel_timer(timer))
}

extern "win64" fn read_state_timer(timer: &KTIMER) -> u8 {
    u8::from(timer.Header.SignalState.load(Ordering::Acquire) > 0)
}

extern "win64" fn initialize_dpc(dpc: &KDPC, routine: usize, context: PVOID) {
    const DPC_OBJECT: u8 = 0x13;
    machine::current().require_resident(std::ptr::from_ref(dpc) as usize, "a DPC");
    dpc.Type.store(DPC_OBJECT, Ordering::Relaxed);
    dpc.Importance.store(1, Ordering::Relaxed);
    dpc.Number.set(0);
    dpc.DeferredRoutine.store(routine, Ordering::Relaxed);
    dpc.DeferredContext.set(context);
    dpc.DpcData.store(0, Ordering::Release);
}

extern "win64" fn insert_queue_dpc(dpc: &KDPC, a: PVOID, b: PVOID) -> u8 {
    if dpc.DpcData.load(Ordering::Acquire) != 0 {
        return 0;
    }
    dpc.SystemArgument1.set(a);
    dpc.SystemArgument2.set(b);
    u8::from(machine::current().insert_dpc(dpc))
}

extern "win64" fn remove_queue_dpc(dpc: &KDPC) -> u8 {
    let machine = machine::current();
    let mut state = machine.clock.state.lock();
    let address = std::ptr::from_ref(dpc) as usize;
    let before = state.dpcs.len();
    state.dpcs.retain(|&queued| queued != address);
    let removed = state.dpcs.len() != before;
    machine.clock.count(&state);
    drop(state);
    if removed {
        dpc.DpcData.store(0, Ordering::Release);
    }
    u8::from(removed)
}

extern "win64" fn flush_queued_dpcs() {
    let machine = machine::current();
    machine.flush_dpcs();
    if machine.is_stopped() {
        or_escape::<()>(Err(Stopped));
    }
}

extern "win64" fn query_unbiased_interrupt_time() -> u64 {
    ticks()
}

extern "win64" fn query_interrupt_time_precise(counter: &Cell<u64>) -> u64 {
    counter.set(ticks());
    ticks()
}

fn ticks() -> u64 {
    u64::try_from(machine::current().age().as_nanos() / 100).unwrap_or(0)
}

extern "win64" fn query_system_time_precise(time: &Cell<i64>) {
    time.set(system_time().cast_signed());
}

extern "win64" fn query_performance_counter(frequency: *mut i64) -> i64 {
    if !frequency.is_null() {
        // SAFETY: the driver vouches for the place.
        unsafe { frequency.write(10_000_000) };
    }
    ticks().cast_signed()
}

extern "win64" fn query_time_increment() -> u32 {
    156_250
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: KeInitializeDpc => initialize_dpc, KeInsertQueueDpc => insert_queue_dpc,
            KeRemoveQueueDpc => remove_queue_dpc, KeQueryUnbiasedInterruptTime => query_unbiased_interrupt_time,
            KeQueryInterruptTimePrecise => query_interrupt_time_precise,
            KeQuerySystemTimePrecise => query_system_time_precise,
            KeQueryPerformanceCounter => query_performance_counter, KeQueryTimeIncrement => query_time_increment;
        DISPATCH: KeInitializeTimer => initialize_timer, KeInitializeTimerEx => initialize_timer_ex,
            KeSetTimer => set_timer, KeSetTimerEx => set_timer_ex, KeSetCoalescableTimer => set_coalescable_timer,
            KeCancelTimer => cancel_timer, KeReadStateTimer => read_state_timer;
        PASSIVE: KeFlushQueuedDpcs => flush_queued_dpcs;
    ]
}
