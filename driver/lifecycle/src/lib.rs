//! The lifecycles of Winsock's providers, without the kernel around them.
//!
//! One idea: everything that must be right about starting, ending and counting is small, takes no pointer, and can be tried out on
//! any machine, one interleaving at a time. The driver adds IRPs, sockets and threads; it takes no decision of its own.
//!
//! ```text
//!                    first startup                 provider captured
//!          Down ────────────────────▶ Starting ────────────────────▶ Up ◀──┐ startup: +1
//!           ▲ ▲                          │                           │ └───┘ cleanup, not the last: -1
//!           │ └──────────────────────────┘                           │
//!           │          start failed                                  │ last reference released
//!           │                                                        ▼
//!           └──────────────────────────────────────────────────── Stopping
//!                              nothing is inside any more
//! ```
//!
//! - [`Lifecycle`]: that picture, and the references that drive it.
//! - [`References`], [`Share`]: who holds how many of them, so that a dying handle gives back its own.
//! - [`Gate`]: who is inside something that may be closed, and who is the last to leave.
//! - [`Ledger`]: taken, completed, cancelled, by kind.
//!
//! `tests/models.rs` tries the interleavings of the three that threads share, with [loom](https://docs.rs/loom)'s atomics.
//!
//! Nothing here blocks, allocates or panics, so everything may be called at any IRQL.
#![cfg_attr(not(any(test, loom)), no_std)]
#![forbid(unsafe_code)]

mod gate;
mod ledger;
mod references;
mod state;

pub use gate::{Closed, Gate, Left};
pub use ledger::{Count, Ledger};
pub use references::{References, Released, Share};
pub use state::{Lifecycle, Startup, State};

/// Atomics, by one name: a model checker's take their place.
mod sync {
    #[cfg(not(loom))]
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering};
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    /// A constructor that is `const` where atomics allow it: a model checker's don't.
    macro_rules! constructor {
        ($(#[$attribute:meta])* pub const fn $name:ident() -> Self $body:block) => {
            $(#[$attribute])*
            #[cfg(not(loom))]
            pub const fn $name() -> Self $body

            $(#[$attribute])*
            #[cfg(loom)]
            pub fn $name() -> Self $body
        };
    }
    pub(crate) use constructor;
}
