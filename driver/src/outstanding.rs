//! What has not ended: pending requests, and what the driver itself waits for, each with its age (contract: ).
//!
//! Nobody keeps a list of this: whoever asks walks the clients, one after the other, and takes one lock at a time. `PASSIVE_LEVEL`.

use crate::client::Client;
use crate::clock;
use crate::driver::Driver;
use crate::instance::Instance;
use crate::socket::Socket;
use crate::target::Target;
use core::sync::atomic::AtomicBool;
use wsk::Ref;
use wskclient_abi::{Awaited, Kind, Outstanding, Provider, SocketHandle, Waiter};

/// A request that is pending.
pub struct Pending {
    /// The socket that it is about, or none.
    pub socket: SocketHandle,
    /// The provider that it is about.
    pub provider: Provider,
    /// What it is counted as.
    pub kind: Kind,
    /// When it was taken.
    pub since: u64,
}

/// Something that the driver waits for.
pub struct Wait<'a> {
    /// The socket that it is about, or none.
    pub socket: SocketHandle,
    /// The provider that it is about.
    pub provider: Option<Provider>,
    /// Who waits.
    pub waiter: Waiter,
    /// What for.
    pub awaited: Awaited,
    /// If that is a request: its kind.
    pub kind: Option<Kind>,
    /// Since when.
    pub since: u64,
    /// Whether it has been noted that the wait lasts.
    pub noted: &'a AtomicBool,
}

/// What a socket that is being closed waits for.
pub struct Closing {
    /// Its handle, or none.
    pub socket: SocketHandle,
    /// What it waits for.
    pub awaited: Awaited,
    /// The kind of its oldest request that is pending.
    pub kind: Option<Kind>,
    /// When it began to be closed.
    pub since: u64,
}

impl Pending {
    /// As the ledger writes it.
    pub fn entry(&self, process: u32, now: u64) -> Outstanding {
        Outstanding {
            socket: self.socket,
            process,
            age: clock::milliseconds(self.since, now),
            waiter: Waiter::Caller as u8,
            awaited: Awaited::Request as u8,
            provider: self.provider as u8,
            kind: self.kind as u8,
            reserved: 0,
        }
    }
}

impl Wait<'_> {
    /// As the ledger writes it.
    pub fn entry(&self, process: u32, now: u64) -> Outstanding {
        Outstanding {
            socket: self.socket,
            process,
            age: clock::milliseconds(self.since, now),
            waiter: self.waiter as u8,
            awaited: self.awaited as u8,
            provider: self.provider.map_or(Outstanding::NONE, |provider| provider as u8),
            kind: self.kind.map_or(Outstanding::NONE, |kind| kind as u8),
            reserved: 0,
        }
    }
}

/// Visits everybody's pending requests, with the client whose each is. `visit` may be called under a spin lock.
pub fn pending(driver: &Driver, mut visit: impl FnMut(&Client, Pending)) {
    parked(driver.san(), &mut visit);
    let mut next = driver.next_client(None);
    while let Some(client) = next {
        for target in Target::ALL.into_iter().filter(|target| !target.is_drivers()) {
            parked(client.instance(target), &mut visit);
        }
        client.table.for_each_kept(|socket| {
            let provider = socket.spec().target.provider();
            socket.requests(|socket, kind, since| visit(&client, Pending { socket, provider, kind, since }));
        });
        next = driver.next_client(Some(&client));
    }
}

fn parked(instance: &Instance, visit: &mut impl FnMut(&Client, Pending)) {
    let provider = instance.target().provider();
    instance.parked(|client, kind, since| visit(client, Pending { socket: SocketHandle(0), provider, kind, since }));
}

/// Visits what the driver waits for, with the identifier of the process that it is about, or 0. `visit` is called with no lock held.
pub fn waits(driver: &Driver, mut visit: impl FnMut(&Wait<'_>, u32)) {
    if let Some(wait) = driver.subsystem.wait() {
        visit(&wait, 0);
    }
    of_instance(driver, driver.san(), &mut |wait| visit(wait, 0));
    let mut next = driver.next_client(None);
    while let Some(client) = next {
        let process = client.process().identifier();
        for target in Target::ALL.into_iter().filter(|target| !target.is_drivers()) {
            of_instance(driver, client.instance(target), &mut |wait| visit(wait, process));
        }
        client.table.for_each_kept(|socket| of_socket(socket, &mut |wait| visit(wait, process)));
        next = driver.next_client(Some(&client));
    }
}

fn of_instance(driver: &Driver, instance: &Instance, visit: &mut dyn FnMut(&Wait<'_>)) {
    let provider = Some(instance.target().provider());
    if let Some(since) = instance.stopping_since() {
        let closing = instance.first_ending().and_then(|socket| socket.closing());
        let closing =
            closing.unwrap_or(Closing { socket: SocketHandle(0), awaited: Awaited::Worker, kind: None, since });
        let noted = &instance.long_teardown;
        let Closing { socket, awaited, kind, .. } = closing;
        visit(&Wait { socket, provider, waiter: Waiter::Teardown, awaited, kind, since, noted });
    }
    if let Some((since, awaited)) = instance.startup_waits(driver) {
        let (noted, waiter, socket) = (&instance.long_startup, Waiter::Startup, SocketHandle(0));
        visit(&Wait { socket, provider, waiter, awaited, kind: None, since, noted });
    }
}

fn of_socket(socket: &Ref<Socket>, visit: &mut dyn FnMut(&Wait<'_>)) {
    if let Some(Closing { socket: handle, awaited, kind, since }) = socket.closing() {
        let (provider, noted, waiter) = (Some(socket.spec().target.provider()), &socket.long_close, Waiter::Close);
        visit(&Wait { socket: handle, provider, waiter, awaited, kind, since, noted });
    }
}
