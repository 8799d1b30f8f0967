//! Dispatcher objects and waiting for them.
//!
//! The state of an object is in the object itself, in the driver's memory. Who signals one satisfies waits then and
//! there, in the order of their arrival. Models "Kernel Dispatcher Objects" and "Event Objects".

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::{
    DISPATCHER_HEADER, KEVENT, KMUTANT, KSEMAPHORE, LIST_ENTRY, MUTANT_OBJECT, NOTIFICATION_EVENT, SEMAPHORE_OBJECT,
    SYNCHRONIZATION_EVENT, SYNCHRONIZATION_TIMER,
};
use crate::status::NtStatus;
use crate::thread::this;
use crate::turns::Name;
use crate::{irql, rules};

const WAITING: u32 = u32::MAX;

struct Waiter {
    /// The token of the thread that waits: a mutex becomes its.
    thread: usize,
    objects: Vec<usize>,
    all: bool,
    /// Whom to wake, where threads take turns.
    turn: Option<Name>,
    /// The index of the object that satisfied the wait.
    result: AtomicU32,
    satisfied: Condvar,
}

/// Who waits in a machine. Its lock guards the state of every dispatcher object.
#[derive(Default)]
pub(crate) struct Dispatcher(Mutex<Vec<Arc<Waiter>>>);

/// The header of a dispatcher object in the driver's memory.
///
/// The caller has touched the object before it took the dispatcher's lock, so that a fault comes without it.
fn header<'a>(object: usize) -> &'a DISPATCHER_HEADER {
    // SAFETY: the driver vouches for the object; if it is none, the fault is its own.
    unsafe { &*(object as *const DISPATCHER_HEADER) }
}

/// A mutex is free, or the thread's own.
fn is_signalled(object: usize, thread: usize) -> bool {
    header(object).SignalState.load(Ordering::Acquire) > 0 || owner(object).is_some_and(|owner| owner.get() == thread)
}

/// The owner of a mutex.
fn owner<'a>(object: usize) -> Option<&'a Cell<usize>> {
    let is_mutex = header(object).Type.load(Ordering::Relaxed) == MUTANT_OBJECT;
    // SAFETY: the header's type says that the object is a mutex.
    is_mutex.then(|| &unsafe { &*(object as *const KMUTANT) }.OwnerThread)
}

/// What a satisfied wait does to the object.
fn consume(object: usize, thread: usize) {
    let header = header(object);
    match header.Type.load(Ordering::Relaxed) {
        SYNCHRONIZATION_EVENT | SYNCHRONIZATION_TIMER => header.SignalState.store(0, Ordering::Release),
        SEMAPHORE_OBJECT => {
            header.SignalState.fetch_sub(1, Ordering::AcqRel);
        }
        _ => {
            if let Some(owner) = owner(object) {
                owner.set(thread);
                header.SignalState.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// Satisfies a wait of `thread` if it can be.
fn try_satisfy(objects: &[usize], all: bool, thread: usize) -> Option<usize> {
    if all {
        if !objects.iter().all(|&object| is_signalled(object, thread)) {
            return None;
        }
        for &object in objects {
            consume(object, thread);
        }
        return Some(0);
    }
    let index = objects.iter().position(|&object| is_signalled(object, thread))?;
    consume(objects[index], thread);
    Some(index)
}

/// The moment at which a wait ends: `timeout` is in 100 ns, negative from now, else since 1601.
pub(crate) fn deadline(timeout: i64) -> Instant {
    let now = Instant::now();
    let ticks =
        if timeout < 0 { timeout.unsigned_abs() } else { timeout.cast_unsigned().saturating_sub(system_time()) };
    now + Duration::from_micros(ticks / 10) + Duration::from_nanos(ticks % 10 * 100)
}

/// The system time: 100 ns since 1601.
pub(crate) fn system_time() -> u64 {
    const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + u64::try_from(since.as_nanos() / 100).unwrap_or(0)
}

impl Dispatcher {
    /// Wakes everybody, who then see that the machine has stopped.
    pub(crate) fn wake(&self) {
        for waiter in &*self.0.lock() {
            waiter.satisfied.notify_all();
        }
    }

    /// Whether a thread waits for an object in the given memory.
    pub(crate) fn waits_in(&self, start: usize, size: usize) -> bool {
        self.0.lock().iter().any(|waiter| waiter.objects.iter().any(|object| object.wrapping_sub(start) < size))
    }
}

impl Inner {
    /// Waits for one or all of `objects`; the index of the one that satisfied the wait, or none at the deadline.
    pub(crate) fn wait(&self, objects: &[usize], all: bool, until: Option<Instant>) -> Result<Option<usize>, Stopped> {
        for &object in objects {
            header(object).Type.load(Ordering::Relaxed); // a fault comes here, before the lock
        }
        let mut waiters = self.dispatcher.0.lock();
        let thread = this().token();
        if let Some(index) = try_satisfy(objects, all, thread) {
            return Ok(Some(index));
        }
        let waiter = Arc::new(Waiter {
            thread,
            objects: objects.to_vec(),
            all,
            turn: self.sleeping_turn(),
            result: AtomicU32::new(WAITING),
            satisfied: Condvar::new(),
        });
        waiters.push(Arc::clone(&waiter));
        self.give_turn_up();
        let mut over = false;
        let result = loop {
            let result = waiter.result.load(Ordering::Acquire);
            if result != WAITING {
                break Ok(Some(result as usize));
            }
            let stopped = self.is_stopped();
            if over || stopped {
                waiters.retain(|other| !Arc::ptr_eq(other, &waiter));
                break if stopped { Err(Stopped) } else { Ok(None) };
            }
            match until {
                Some(until) => over = waiter.satisfied.wait_until(&mut waiters, until).timed_out(),
                None => waiter.satisfied.wait(&mut waiters),
            }
        };
        drop(waiters);
        self.take_turn();
        result
    }

    /// Adds `by` to an object's state (an event or timer becomes 1) and satisfies waits; the state before.
    pub(crate) fn signal(&self, object: usize, by: i32) -> i32 {
        let header = header(object);
        header.Type.load(Ordering::Relaxed); // a fault comes here, before the lock
        let mut waiters = self.dispatcher.0.lock();
        let before = header.SignalState.load(Ordering::Acquire);
        let counts = matches!(header.Type.load(Ordering::Relaxed), SEMAPHORE_OBJECT | MUTANT_OBJECT);
        header.SignalState.store(if counts { before + by } else { 1 }, Ordering::Release);
        waiters.retain(|waiter| {
            let Some(index) = waiter.objects.iter().position(|&other| other == object) else { return true };
            if !is_signalled(object, waiter.thread) {
                return true;
            }
            let result = if waiter.all {
                try_satisfy(&waiter.objects, true, waiter.thread)
            } else {
                consume(object, waiter.thread);
                Some(index)
            };
            let Some(result) = result else { return true };
            waiter.result.store(u32::try_from(result).unwrap_or(0), Ordering::Release);
            if let Some(name) = waiter.turn {
                self.wake_turn(name);
            }
            waiter.satisfied.notify_all();
            false
        });
        before
    }
}

/// Fills the header of a new dispatcher object.
pub(crate) fn initialize(header: &DISPATCHER_HEADER, kind: u8, size: usize, state: i32) {
    machine::current().require_resident(std::ptr::from_ref(header) as usize, "a dispatcher object");
    header.Type.store(kind, Ordering::Relaxed);
    header.Size.store(u8::try_from(size / 4).unwrap_or(0), Ordering::Relaxed);
    header.SignalState.store(state, Ordering::Release);
    let list = header.WaitListHead.as_ptr();
    header.WaitListHead.set(LIST_ENTRY { Flink: list, Blink: list });
}

extern "win64" fn initialize_event(event: &KEVENT, kind: u32, state: u8) {
    let kind = if kind == 0 { NOTIFICATION_EVENT } else { SYNCHRONIZATION_EVENT };
    initialize(&event.Header, kind, size_of::<KEVENT>(), i32::from(state != 0));
}

extern "win64" fn set_event(event: &KEVENT, _increment: i32, _wait: u8) -> i32 {
    machine::current().signal(std::ptr::from_ref(event) as usize, 1)
}

extern "win64" fn reset_event(event: &KEVENT) -> i32 {
    event.Header.SignalState.swap(0, Ordering::AcqRel)
}

extern "win64" fn clear_event(event: &KEVENT) {
    event.Header.SignalState.store(0, Ordering::Release);
}

extern "win64" fn read_state_event(event: &KEVENT) -> i32 {
    event.Header.SignalState.load(Ordering::Acquire)
}

extern "win64" fn initialize_semaphore(semaphore: &KSEMAPHORE, count: i32, limit: i32) {
    initialize(&semaphore.Header, SEMAPHORE_OBJECT, size_of::<KSEMAPHORE>(), count);
    semaphore.Limit.store(limit, Ordering::Relaxed);
}

extern "win64" fn release_semaphore(semaphore: &KSEMAPHORE, _increment: i32, by: i32, _wait: u8) -> i32 {
    machine::current().signal(std::ptr::from_ref(semaphore) as usize, by)
}

extern "win64" fn initialize_mutex(mutex: &KMUTANT, _level: u32) {
    initialize(&mutex.Header, MUTANT_OBJECT, size_of::<KMUTANT>(), 1);
    mutex.MutantListEntry.set(LIST_ENTRY::NULL);
    mutex.OwnerThread.set(0);
    mutex.Abandoned.set(0);
}

extern "win64" fn release_mutex(mutex: &KMUTANT, _increment: i32, _wait: u8) -> i32 {
    if mutex.OwnerThread.get() != this().token() {
        rules::violate(&rules::LOCK_NOT_OWNED, "KeReleaseMutex by a thread that does not own the mutex", Vec::new());
    }
    // The last release of several makes it free.
    if mutex.Header.SignalState.load(Ordering::Acquire) == 0 {
        mutex.OwnerThread.set(0);
    }
    machine::current().signal(std::ptr::from_ref(mutex) as usize, 1)
}

extern "win64" fn read_state_mutex(mutex: &KMUTANT) -> i32 {
    mutex.Header.SignalState.load(Ordering::Acquire)
}

/// The checks and the wait that all waiting routines share.
fn wait(objects: &[usize], all: bool, timeout: *const i64) -> i32 {
    // SAFETY: null, or a time that the driver vouches for.
    let timeout = unsafe { timeout.as_ref() }.copied();
    if irql::current() >= irql::DISPATCH && timeout != Some(0) {
        rules::violate(
            &rules::WAIT_AT_DISPATCH,
            format!("a wait with a timeout other than zero at IRQL {}", irql::current()),
            Vec::new(),
        );
    }
    let until = timeout.map(deadline);
    match or_escape(machine::current().wait(objects, all, until)) {
        Some(index) => i32::try_from(index).unwrap_or(0),
        None => NtStatus::TIMEOUT.0,
    }
}

extern "win64" fn wait_for_single_object(
    object: usize,
    _reason: u32,
    _mode: i8,
    _alertable: u8,
    timeout: *const i64,
) -> i32 {
    wait(&[object], false, timeout)
}

extern "win64" fn zw_wait_for_single_object(handle: usize, _alertable: u8, timeout: *const i64) -> i32 {
    let machine = machine::current();
    let Some(object) = machine.handles.object(handle) else {
        rules::violate(&rules::BAD_OBJECT, format!("{handle:#x} is no kernel handle"), Vec::new())
    };
    // The wait's own reference: the handle may be closed meanwhile. No guard, because the wait may escape.
    machine.reference(object);
    let status = wait(&[object as usize], false, timeout);
    or_escape(machine.dereference(object));
    status
}

extern "win64" fn wait_for_multiple_objects(
    count: u32,
    objects: *const usize,
    wait_type: u32,
    _reason: u32,
    _mode: i8,
    _alertable: u8,
    timeout: *const i64,
    _blocks: usize,
) -> i32 {
    const WAIT_ALL: u32 = 0;
    // SAFETY: the driver vouches for the array. The wait copies it, so nothing is left to drop when it escapes.
    let objects = unsafe { std::slice::from_raw_parts(objects, count as usize) };
    wait(objects, wait_type == WAIT_ALL, timeout)
}

extern "win64" fn delay_execution_thread(_mode: i8, _alertable: u8, interval: &i64) -> i32 {
    // A wait for one of no objects ends at its deadline only.
    or_escape(machine::current().wait(&[], false, Some(deadline(*interval))));
    NtStatus::SUCCESS.0
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: KeInitializeEvent => initialize_event, KeInitializeMutex => initialize_mutex;
        DISPATCH: KeReleaseMutex => release_mutex, KeReadStateMutex => read_state_mutex, KeSetEvent => set_event, KeResetEvent => reset_event, KeClearEvent => clear_event,
            KeReadStateEvent => read_state_event, KeReleaseSemaphore => release_semaphore,
            KeWaitForSingleObject => wait_for_single_object, KeWaitForMultipleObjects => wait_for_multiple_objects;
        APC: KeDelayExecutionThread => delay_execution_thread;
        PASSIVE: ZwWaitForSingleObject => zw_wait_for_single_object, KeInitializeSemaphore => initialize_semaphore;
    ]
}
