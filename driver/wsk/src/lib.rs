//! Winsock Kernel (WSK) for client drivers.
//!
//! One idea: a WSK call hands memory to somebody else until its IRP completes, so the terms of every hand-over stand in one place.
//!
//! - [`sys`]: `wsk.h` by hand. It compiles anywhere; a WSK provider in a Linux process speaks the same types.
//! - [`Registration`]: registering, capturing the provider, giving both back (Windows targets only).
//! - [`Provider`], [`SocketRef`]: the calls.
//! - [`Callbacks`]: what WSK tells of sockets without being asked.
//! - [`Passive`]: proof of `PASSIVE_LEVEL`.
#![no_std]

mod calls;
mod events;
mod irql;
#[cfg(windows)]
mod registration;
pub mod sys;

pub use calls::{Category, NOT_IMPLEMENTED, NameQuestion, Provider, SocketRef};
pub use events::{Callbacks, Event, Sink};
pub use irql::Passive;
#[cfg(windows)]
pub use registration::Registration;
