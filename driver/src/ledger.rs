//! The ledger request: a snapshot that adds up (contract: X-7).

use crate::client::Client;
use crate::driver::KINDS;
use core::sync::atomic::Ordering;
use wskclient_abi::{Kind, Ledger, Provider, SocketCounts, Tally};
use wskclient_lifecycle::Count;
use zerocopy::FromZeros;

/// What the driver holds, as a client sees it.
pub fn of(client: &Client) -> Ledger {
    let driver = client.driver();
    let mut ledger = Ledger::new_zeroed();
    for provider in Provider::ALL {
        set(&mut ledger.references, provider as usize, client.instance(provider).references());
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
        for (provider, total) in Provider::ALL.iter().zip(&mut ledger.driver_references) {
            *total = total.wrapping_add(client.instance(*provider).references());
        }
    };
    driver.for_each_client(visit, |retired| read(retired, &mut gone));
    for ((&kind, mut total), gone) in Kind::ALL.iter().zip(totals).zip(gone) {
        total.add(gone);
        set(&mut ledger.driver_requests, kind as usize, tally(total));
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
