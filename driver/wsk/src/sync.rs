//! Atomics, by one name: a model checker's take their place.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};

/// A constructor that is `const` where atomics allow it: a model checker's don't.
macro_rules! constructor {
    ($(#[$attribute:meta])* pub const fn $name:ident($($argument:ident: $kind:ty)?) -> Self $body:block) => {
        $(#[$attribute])*
        #[cfg(not(loom))]
        pub const fn $name($($argument: $kind)?) -> Self $body

        $(#[$attribute])*
        #[cfg(loom)]
        pub fn $name($($argument: $kind)?) -> Self $body
    };
}
pub(crate) use constructor;
