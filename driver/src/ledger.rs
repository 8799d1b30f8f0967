//! The ledger request: a snapshot that adds up (contract: X-7).

use crate::client::Client;
use crate::driver::KINDS;
use crate::target::Target;
use core::sync::atomic::Ordering;
use wskclient_abi::{Kind, Ledger, SocketCounts, Tally};
use wskclient_lifecycle::Count;
use zerocopy::FromZeros;

/// What the driver holds, as a client sees it.
pub fn of(client: &Client) -> Ledger {
    let driver = client.driver();
    let mut ledger = Ledger::new_zeroed();
    for target in Target::ALL {
        add(&mut ledger.references, target, client);
    }
    for &kind in Kind::ALL {
        set(&mut ledger.requests, kind as usize, tally(client.ledger.read(kind as usize)));
    }
    ledger.sockets = SocketCounts {
        open: client.open.load(Ordering::Relaxed),
        closing: client.closing.load(Ordering::Relaxed),
        lingering: client.lingering.load(Ordering::Relaxed),
        reserved: 0,
    };
    ledger.clients = driver.clients();
    ledger.registered = driver.subsystem.is_registered().into();
    ledger.teardowns = driver.teardowns();
    ledger.lingers_cut = driver.lingers_cut();
    add_totals(&mut ledger, client);
    ledger
}

/// Adds up every client: those that are gone, and those that are there.
fn add_totals(ledger: &mut Ledger, client: &Client) {
    let driver = client.driver();
    let (mut totals, mut gone) = ([Count::default(); KINDS], [Count::default(); KINDS]);
    let visit = |client: &Client| {
        read(&client.ledger, &mut totals);
        ledger.driver_sockets = ledger.driver_sockets.wrapping_add(client.sockets().into());
        for target in Target::ALL.into_iter().filter(|target| !target.is_drivers()) {
            add(&mut ledger.driver_references, target, client);
        }
    };
    driver.for_each_client(visit, |retired| read(retired, &mut gone));
    for target in Target::ALL.into_iter().filter(|target| target.is_drivers()) {
        add(&mut ledger.driver_references, target, client);
    }
    for ((&kind, mut total), gone) in Kind::ALL.iter().zip(totals).zip(gone) {
        total.add(gone);
        set(&mut ledger.driver_requests, kind as usize, tally(total));
    }
}

/// Adds a target's references to its provider's.
fn add(references: &mut [u32], target: Target, client: &Client) {
    if let Some(total) = references.get_mut(target.provider() as usize) {
        *total = total.wrapping_add(client.instance(target).references());
    }
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
