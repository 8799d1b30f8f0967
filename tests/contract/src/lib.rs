//! What the contract's tests stand on: the real `wskclient.sys` in the lab, its clients, and peers.
//!
//! One idea: a [`Lab`] is one machine with the driver running. When it goes, every process ends, the driver is unloaded, and the test
//! fails if a rule of the lab was broken or anything was left behind. A clause is named by a test's `/// contract: WSA-2` line.
//!
//! `cargo lab test` builds the driver and says where it is (`WSKCLIENT_SYS`). `WSKCLIENT_SEED` chooses the lab's seed, and
//! `WSKCLIENT_CHAOS` what the seed has go differently (`delays=100,pending=500`). A test that fails prints the command that repeats it.
//!
//! Tests that need nothing of the lab's own also run on Windows, and in Wine, from the same source: there the machine is the one that
//! they run on, with the driver installed. What stock Wine's WSK is without is ignored there, by name and with the reason.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]
#![forbid(unsafe_code)]

pub mod check;
#[cfg(not(windows))]
pub mod costs;
#[cfg(not(windows))]
mod lab;
pub mod raw;
pub mod traffic;
#[cfg(windows)]
mod windows;

use std::{
    thread,
    time::{Duration, Instant},
};
use wskctl::{
    Client, Started,
    abi::{Guid, Namespace, Provider, WinsockVersion},
};

#[cfg(not(windows))]
pub use lab::*;
#[cfg(windows)]
pub use windows::*;
pub use wskctl::abi;

/// The provider that most tests use.
pub const APPLICATION: Provider = Provider::Application;
/// The one that lets closed sockets finish sending.
pub const TRANSPORT: Provider = Provider::Transport;
/// The one that is counted for the driver.
pub const SAN: Provider = Provider::San;
/// The namespace provider of the domain name system.
pub const DNS: Guid = Namespace::Dns.guid();
/// The namespace provider that asks nobody.
pub const NUMERIC: Guid = Namespace::Numeric.guid();
/// Winsock 2.2.
pub const VERSION: WinsockVersion = WinsockVersion::new(2, 2);
/// How long anything that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long something is watched that must not happen.
pub const GLANCE: Duration = Duration::from_millis(50);

/// Starts a provider up once, and leaves the reference to the test.
///
/// # Panics
/// It can't be started.
pub fn started(client: &Client, provider: Provider) {
    startup(client, provider).keep();
}

/// Starts a provider up once.
///
/// # Panics
/// It can't be started.
pub fn startup(client: &Client, provider: Provider) -> Started {
    let catalog_id = if provider == TRANSPORT { abi::CATALOG[0].id } else { 0 };
    client.startup(provider, VERSION, catalog_id).expect("a startup")
}

impl Lab {
    /// A client in a new process.
    #[must_use]
    pub fn client(&self) -> Client {
        self.process().open()
    }

    /// A client in a new process, with `application` 2.2 started once. The reference stays until the test cleans up, or the end.
    #[must_use]
    pub fn started(&self) -> Client {
        let client = self.client();
        started(&client, APPLICATION);
        client
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// It does not within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
