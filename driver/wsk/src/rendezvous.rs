//! Two parties, of which the second does what needs both to have been there.

use crate::sync::{AtomicU8, Ordering, constructor};

/// A meeting of two.
///
/// # Invariants
/// - [`arrive`](Self::arrive) is called at most twice.
#[derive(Debug)]
pub struct Rendezvous(AtomicU8);

impl Rendezvous {
    constructor! {
        /// Nobody has come.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicU8::new(0))
        }
    }

    /// Comes. True for the second, which sees all that the first had done.
    #[must_use = "the second of two does what is to be done"]
    pub fn arrive(&self) -> bool {
        self.0.fetch_add(1, Ordering::AcqRel) == 1
    }

    /// Whether anybody has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

impl Default for Rendezvous {
    fn default() -> Self {
        Self::new()
    }
}
