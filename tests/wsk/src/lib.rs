//! What the tests of the `wsk` crate's safe layer stand on: drivers that use it, loaded by the lab.
//!
//! `cargo lab test` builds the drivers and says where they are. `WSK_SEED` chooses the lab's seed.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![forbid(unsafe_code)]

use std::{
    env,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// How long anything that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The image that the environment variable `name` says.
///
/// # Panics
/// There is none.
#[must_use]
pub fn image(name: &str) -> PathBuf {
    env::var_os(name)
        .map_or_else(|| panic!("{name} names no driver: run `cargo lab test --lab`, which builds one"), PathBuf::from)
}

/// The machine that the environment asks for, with other choices for each `round` of a test.
///
/// # Panics
/// `WSK_SEED` is no number.
#[must_use]
pub fn options(round: u64) -> ntlab::Options {
    let seed: u64 = env::var("WSK_SEED").map_or(1, |seed| seed.parse().expect("WSK_SEED is a number"));
    ntlab::Options { seed: seed.wrapping_mul(1000).wrapping_add(round), ..ntlab::Options::default() }
}

/// Waits until `condition` holds.
///
/// # Panics
/// It does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
