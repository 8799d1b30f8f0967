//! The ledger requests: a snapshot that adds up, and the list of what is pending (contract: X-7).
//!
//! Both write their answer where the I/O manager takes it from. `PASSIVE_LEVEL`; linear in the sockets and requests that there are.

use crate::client::Client;
use crate::clock;
use crate::driver::{Driver, KINDS};
use crate::outstanding::{self, Pending};
use crate::target::Target;
use core::sync::atomic::Ordering;
use wskclient_abi::{Kind, Ledger, Outstanding, PendingList, SocketCounts, Tally};
use wskclient_lifecycle::Count;
use zerocopy::IntoBytes;

/// What the driver holds, as a client sees it. `ledger` is all zeros before.
pub fn write(ledger: &mut Ledger, client: &Client) {
    let driver = client.driver();
    ledger.clients = driver.clients();
    ledger.registered = driver.subsystem.is_registered().into();
    ledger.teardowns = driver.teardowns();
    ledger.lingers_cut = driver.lingers_cut();
    ledger.long_waits = driver.watchdog.long_waits();
    add_counts(ledger, client);
    add_ages(ledger, client);
    add_waits(ledger, driver);
}

/// The client's own numbers, and everybody's: those who are gone, and those who are there. Each number is read once, so that what is
/// the client's is part of what is everybody's.
fn add_counts(ledger: &mut Ledger, client: &Client) {
    let driver = client.driver();
    let (mut totals, mut gone) = ([Count::default(); KINDS], [Count::default(); KINDS]);
    let visit = |visited: &Client| {
        let is_own = core::ptr::eq(visited, client);
        for (&kind, total) in Kind::ALL.iter().zip(&mut totals) {
            let count = visited.ledger.read(kind as usize);
            total.add(count);
            if is_own {
                set(&mut ledger.requests, kind as usize, tally(count));
            }
        }
        let sockets = SocketCounts {
            open: visited.open.load(Ordering::Relaxed),
            closing: visited.closing.load(Ordering::Relaxed),
            lingering: visited.lingering.load(Ordering::Relaxed),
            reserved: 0,
        };
        let sum = sockets.open.wrapping_add(sockets.closing).wrapping_add(sockets.lingering);
        ledger.driver_sockets = ledger.driver_sockets.wrapping_add(sum.into());
        if is_own {
            ledger.sockets = sockets;
        }
        for target in Target::ALL.into_iter().filter(|target| !target.is_drivers()) {
            let references = visited.instance(target).references();
            add(&mut ledger.driver_references, target, references);
            if is_own {
                add(&mut ledger.references, target, references);
            }
        }
    };
    driver.for_each_client(visit, |retired| read(retired, &mut gone));
    for target in Target::ALL.into_iter().filter(|target| target.is_drivers()) {
        let references = client.instance(target).references();
        add(&mut ledger.driver_references, target, references);
        add(&mut ledger.references, target, references);
    }
    for ((&kind, mut total), gone) in Kind::ALL.iter().zip(totals).zip(gone) {
        total.add(gone);
        set(&mut ledger.driver_requests, kind as usize, tally(total));
    }
}

/// Adds a target's references to its provider's.
fn add(references: &mut [u32], target: Target, more: u32) {
    if let Some(total) = references.get_mut(target.provider() as usize) {
        *total = total.wrapping_add(more);
    }
}

/// The oldest pending request of each kind.
fn add_ages(ledger: &mut Ledger, client: &Client) {
    let now = clock::now();
    outstanding::pending(client.driver(), |whose, Pending { kind, since, .. }| {
        // A request that is pending has an age, however young it is.
        let age = clock::milliseconds(since, now).max(1);
        raise(&mut ledger.driver_oldest, kind as usize, age);
        if core::ptr::eq(whose, client) {
            raise(&mut ledger.oldest, kind as usize, age);
        }
    });
}

/// What the driver waits for: the oldest waits that there is room for, oldest first.
fn add_waits(ledger: &mut Ledger, driver: &Driver) {
    let now = clock::now();
    let (waits, waiting) = (&mut ledger.waits, &mut ledger.waiting);
    outstanding::waits(driver, |wait, process| {
        *waiting = waiting.wrapping_add(1);
        let mut entry = wait.entry(process, now);
        entry.age = entry.age.max(1);
        for place in waits.iter_mut() {
            // What is free has no age.
            if place.age < entry.age {
                core::mem::swap(place, &mut entry);
            }
        }
    });
}

/// Lists pending requests behind the head, as many as there is room for, and returns the length of the answer, bytes.
pub fn list(output: &mut [u8], client: &Client, everybody: bool) -> usize {
    let Some((head, entries)) = output.split_at_mut_checked(size_of::<PendingList>()) else { return 0 };
    let now = clock::now();
    let mut answer = PendingList { total: 0, listed: 0 };
    let mut places = entries.chunks_exact_mut(size_of::<Outstanding>());
    outstanding::pending(client.driver(), |whose, pending| {
        if everybody || core::ptr::eq(whose, client) {
            answer.total = answer.total.wrapping_add(1);
            let entry = pending.entry(whose.process().identifier(), now);
            let written = places.next().is_some_and(|place| entry.write_to(place).is_ok());
            answer.listed = answer.listed.wrapping_add(written.into());
        }
    });
    if answer.write_to(head).is_err() {
        return 0;
    }
    let listed = usize::try_from(answer.listed).unwrap_or(0).wrapping_mul(size_of::<Outstanding>());
    size_of::<PendingList>().wrapping_add(listed)
}

fn read(ledger: &wskclient_lifecycle::Ledger<KINDS>, counts: &mut [Count; KINDS]) {
    for (kind, count) in counts.iter_mut().enumerate() {
        count.add(ledger.read(kind));
    }
}

fn tally(count: Count) -> Tally {
    Tally { taken: count.taken, completed: count.completed, cancelled: count.cancelled }
}

fn set<T>(places: &mut [T], index: usize, value: T) {
    if let Some(place) = places.get_mut(index) {
        *place = value;
    }
}

fn raise(places: &mut [u32], index: usize, value: u32) {
    if let Some(place) = places.get_mut(index) {
        *place = value.max(*place);
    }
}
