//! Spin locks with an owner: the lock word holds the owning thread's token.
//!
//! Models "Introduction to Spin Locks", "Using Spin Locks: An Example" and Driver Verifier's "Deadlock Detection".

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::{KLOCK_QUEUE_HANDLE, KSPIN_LOCK};
use crate::thread::{Held, LockKind, MOST_HELD, this};
use crate::{irql, rules};

/// The orders in which locks were taken together.
#[derive(Default)]
pub(crate) struct Order {
    edges: Mutex<HashMap<usize, HashSet<usize>>>,
    known: AtomicUsize,
}

impl Order {
    /// Notes that `second` was taken under `first`; false when the opposite order is known.
    fn note(&self, first: usize, second: usize) -> bool {
        let mut edges = self.edges.lock();
        if edges.get(&first).is_some_and(|after| after.contains(&second)) {
            return true;
        }
        let (mut open, mut seen) = (vec![second], HashSet::new());
        while let Some(lock) = open.pop() {
            if lock == first {
                return false;
            }
            if seen.insert(lock) {
                open.extend(edges.get(&lock).into_iter().flatten());
            }
        }
        edges.entry(first).or_default().insert(second);
        self.known.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Forgets locks in memory that is freed.
    pub(crate) fn forget(&self, start: usize, size: usize) {
        if self.known.load(Ordering::Relaxed) == 0 {
            return;
        }
        let inside = |lock: &usize| lock.wrapping_sub(start) < size;
        let mut edges = self.edges.lock();
        edges.retain(|lock, _| !inside(lock));
        for after in edges.values_mut() {
            after.retain(|lock| !inside(lock));
        }
    }
}

/// Takes a lock and returns the IRQL before.
pub(crate) fn acquire(lock: &KSPIN_LOCK, kind: LockKind) -> Result<u8, Stopped> {
    let (thread, machine) = (this(), machine::current());
    let address = std::ptr::from_ref(lock) as usize;
    let before = thread.irql.get();
    let held = Held { lock: address, kind, caller: thread.caller.get() };
    if kind == LockKind::AtDpcLevel && before < irql::DISPATCH {
        let message = format!("KeAcquireSpinLockAtDpcLevel was called at IRQL {before}");
        return Err(rules::record(&rules::LOCK_IRQL, message, Vec::new()));
    }
    let count = thread.held_count.get();
    if let Some(own) = thread.locks().find(|own| own.lock == address) {
        let message = format!("the thread holds {} already", machine.describe_lock(&own));
        return Err(rules::record(&rules::RECURSIVE_LOCK, message, Vec::new()));
    }
    if count == MOST_HELD {
        return Err(rules::record(&rules::RECURSIVE_LOCK, "too many spin locks are held", Vec::new()));
    }
    if let Some(own) = thread.locks().next()
        && !machine.lock_order.note(own.lock, address)
    {
        let message = format!(
            "spin lock {address:#x} is taken under {}, elsewhere the other way round",
            machine.describe_lock(&own)
        );
        return Err(rules::record(&rules::LOCK_ORDER, message, Vec::new()));
    }
    irql::set(before.max(irql::DISPATCH));
    spin(&machine, lock)?;
    thread.held[count].set(Some(held));
    thread.held_count.set(count + 1);
    Ok(before)
}

fn spin(machine: &Inner, lock: &KSPIN_LOCK) -> Result<(), Stopped> {
    let token = this().token();
    let mut since = None;
    loop {
        if lock.compare_exchange(0, token, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Ok(());
        }
        for _ in 0..64 {
            if lock.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::hint::spin_loop();
        }
        machine.hand_turn_over();
        if machine.is_stopped() {
            return Err(Stopped);
        }
        if since.get_or_insert_with(Instant::now).elapsed() > machine.options.hang {
            let message = format!("spin lock {:#x} does not come free", std::ptr::from_ref(lock) as usize);
            return Err(rules::record(&rules::HANGS, message, Vec::new()));
        }
        std::thread::yield_now();
    }
}

/// Releases a lock and restores `to`.
pub(crate) fn release(lock: &KSPIN_LOCK, kind: LockKind, to: u8) -> Result<(), Stopped> {
    let (thread, machine) = (this(), machine::current());
    let address = std::ptr::from_ref(lock) as usize;
    let count = thread.held_count.get();
    let rule = if kind == LockKind::Cancel { &rules::CANCEL_LOCK_NOT_OWNED } else { &rules::LOCK_NOT_OWNED };
    let broken = |message: String| Err(rules::record(rule, message, Vec::new()));
    let position = thread.held[..count].iter().position(|held| held.get().is_some_and(|held| held.lock == address));
    let Some((position, held)) = position.and_then(|index| Some((index, thread.held[index].get()?))) else {
        return broken(format!("the thread releases {} without holding it", machine.name_lock(address)));
    };
    if held.kind != kind {
        return broken(format!("{} is released as {kind:?}", machine.describe_lock(&held)));
    }
    if lock.load(Ordering::Relaxed) != thread.token() {
        return broken(format!("the memory of {} was written to", machine.describe_lock(&held)));
    }
    for index in position..count - 1 {
        thread.held[index].set(thread.held[index + 1].get());
    }
    thread.held_count.set(count - 1);
    lock.store(0, Ordering::Release);
    let now = thread.irql.get();
    if now < irql::DISPATCH || to > now || (count > 1 && to < irql::DISPATCH) {
        let message = format!("{} is released at IRQL {now} to IRQL {to}", machine.describe_lock(&held));
        return Err(rules::record(&rules::LOCK_IRQL, message, Vec::new()));
    }
    thread.irql.set(to);
    machine.at_point();
    Ok(())
}

/// `IoAcquireCancelSpinLock`.
pub(crate) fn acquire_cancel() -> Result<u8, Stopped> {
    acquire(&machine::current().cancel_lock, LockKind::Cancel)
}

/// `IoReleaseCancelSpinLock`.
pub(crate) fn release_cancel(to: u8) -> Result<(), Stopped> {
    release(&machine::current().cancel_lock, LockKind::Cancel, to)
}

impl Inner {
    fn name_lock(&self, lock: usize) -> String {
        if lock == &raw const self.cancel_lock as usize {
            "the cancel spin lock".to_owned()
        } else {
            format!("spin lock {lock:#x}")
        }
    }

    /// A lock that is held, for messages.
    pub(crate) fn describe_lock(&self, held: &Held) -> String {
        let name = self.name_lock(held.lock);
        format!("{name} ({:?}, taken at {})", held.kind, self.describe_code(held.caller))
    }
}

extern "win64" fn initialize(lock: &KSPIN_LOCK) {
    lock.store(0, Ordering::Relaxed);
}

extern "win64" fn acquire_raise_to_dpc(lock: &KSPIN_LOCK) -> u8 {
    or_escape(acquire(lock, LockKind::Raising))
}

extern "win64" fn release_and_lower(lock: &KSPIN_LOCK, to: u8) {
    or_escape(release(lock, LockKind::Raising, to));
}

extern "win64" fn acquire_at_dpc_level(lock: &KSPIN_LOCK) {
    or_escape(acquire(lock, LockKind::AtDpcLevel));
}

extern "win64" fn release_from_dpc_level(lock: &KSPIN_LOCK) {
    or_escape(release(lock, LockKind::AtDpcLevel, this().irql.get()));
}

extern "win64" fn acquire_in_stack(lock: &KSPIN_LOCK, handle: &KLOCK_QUEUE_HANDLE) {
    let before = or_escape(acquire(lock, LockKind::InStackQueued));
    handle.Next.store(0, Ordering::Relaxed);
    handle.Lock.set(std::ptr::from_ref(lock).cast_mut());
    handle.OldIrql.set(before);
}

extern "win64" fn release_in_stack(handle: &KLOCK_QUEUE_HANDLE) {
    // SAFETY: the handle holds the lock that the acquire stored; if the driver made it up, the fault is its own.
    let lock = unsafe { &*handle.Lock.get() };
    or_escape(release(lock, LockKind::InStackQueued, handle.OldIrql.get()));
}

extern "win64" fn io_acquire_cancel(saved: &std::cell::Cell<u8>) {
    saved.set(or_escape(acquire_cancel()));
}

extern "win64" fn io_release_cancel(to: u8) {
    or_escape(release_cancel(to));
}

extern "win64" fn raise_irql(to: u8) -> u8 {
    irql::raise(to)
}

extern "win64" fn lower_irql(to: u8) {
    if to < irql::DISPATCH
        && let Some(lock) = this().locks().next()
    {
        let message = format!("KeLowerIrql({to}) under {}", machine::current().describe_lock(&lock));
        rules::violate(&rules::LOCK_IRQL, message, Vec::new());
    }
    irql::lower(to);
}

extern "win64" fn current_irql() -> u8 {
    irql::current()
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: KeInitializeSpinLock => initialize, KfRaiseIrql => raise_irql, KeRaiseIrql => raise_irql,
            KeLowerIrql => lower_irql, KeGetCurrentIrql => current_irql;
        DISPATCH: KeAcquireSpinLockRaiseToDpc => acquire_raise_to_dpc, KeReleaseSpinLock => release_and_lower,
            KeAcquireSpinLockAtDpcLevel => acquire_at_dpc_level,
            KeReleaseSpinLockFromDpcLevel => release_from_dpc_level,
            KeAcquireInStackQueuedSpinLock => acquire_in_stack, KeReleaseInStackQueuedSpinLock => release_in_stack,
            IoAcquireCancelSpinLock => io_acquire_cancel, IoReleaseCancelSpinLock => io_release_cancel;
    ]
}
