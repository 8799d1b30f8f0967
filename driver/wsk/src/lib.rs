//! Winsock Kernel (WSK) for client drivers.
//!
//! One idea: a WSK call hands memory to somebody else until its IRP completes, so the terms of every hand-over stand in one place.
//!
//! There are two layers. Both are for drivers with any bindings of the kernel, or none; the image's global allocator must give nonpaged
//! pool, aligned to 16 bytes (`wdk-alloc` does), and a call that finds no pool fails.
//!
//! # The safe layer (Windows targets only)
//!
//! | type | subject |
//! |---|---|
//! | `Client` | registered, captured, deregistered with nothing left; threads that it stays registered for |
//! | `Listener`, `Stream`, `Datagram` | sockets; what they have in common is the trait `Socket` |
//! | `Operation` | a call that is under way: waited for, cancelled, dropped, or given a closure |
//! | `Buffer` | memory for a send or a receive, with its MDL |
//! | [`Passive`], [`MayCall`] | where the code runs |
//! | [`Error`] | what failed |
//!
//! What its types see to, so that no client has to:
//!
//! - **Everything that WSK is told of outlives the IRP.** An operation owns its IRP, `WSK_BUF`, MDL, buffer, addresses and values.
//!   Dropped early it is cancelled, and freed by its completion; no drop waits.
//! - **An IRP is ended once**, by the completion, by who cancelled it meanwhile, or by the caller if the call failed without having taken
//!   the IRP ([`Claim`]; both layers use it, and so does `wskclient.sys`).
//! - **A close overlaps no call.** Calls on a socket go through a [`Gate`], which a close shuts; whoever is last gives the socket to
//!   `WskCloseSocket`. Later calls fail with [`Error::Closed`].
//! - **One accept at a time** is out on a listener; another fails with [`Error::Busy`].
//! - **No call in a completion.** What calls WSK takes a [`MayCall`]; closures that completions and event callbacks call have none.
//!   A socket may be dropped there: a thread of the client's closes it.
//! - **A `WSK_BUF` never reaches beyond its MDL**, as both belong to one buffer.
//! - **The client is deregistered last**: sockets, operations and threads hold it, and no routine of the crate runs any more.
//! - **Only `STATUS_SUCCESS` is a success**: `STATUS_TIMEOUT` is none.
//!
//! What they can't: a driver deregisters its client before it is unloaded, drops nothing with a spin lock held that a completion takes,
//! and waits in no completion closure. `DISPATCH_LEVEL` is as high as anything here may be called, `PASSIVE_LEVEL` what takes a [`Passive`].
//!
//! # The low layer
//!
//! - [`sys`]: `wsk.h` by hand. It compiles anywhere; a WSK provider in a Linux process speaks the same types.
//! - [`Provider`], [`SocketRef`]: the calls, with an IRP that somebody owns: the I/O manager's own, for one.
//! - `Registration`, [`Callbacks`], `OwnIrp`, [`Claim`], `Running`, [`Ref`]: what the safe layer stands on, for drivers that do it themselves.
//!
//! # A worked example
//!
//! The driver in `examples/echo`, which runs in the lab's tests and in stock Wine:
//!
//! ```ignore
#![doc = include_str!("../examples/echo/src/lib.rs")]
//! ```
#![cfg_attr(not(any(test, loom)), no_std)]

extern crate alloc;

mod address;
#[cfg(windows)]
mod buffer;
mod calls;
mod claim;
#[cfg(windows)]
mod client;
#[cfg(windows)]
mod datagram;
mod error;
mod events;
mod gate;
mod irql;
#[cfg(windows)]
mod kernel;
#[cfg(windows)]
mod listener;
mod objects;
#[cfg(windows)]
mod operation;
mod pool;
#[cfg(windows)]
mod registration;
mod rendezvous;
#[cfg(windows)]
mod rundown;
#[cfg(windows)]
mod socket;
#[cfg(windows)]
mod stream;
mod sync;
pub mod sys;
#[cfg(windows)]
mod thread;
#[cfg(windows)]
mod worker;

pub use address::{Family, Storage};
#[cfg(windows)]
pub use buffer::Buffer;
pub use calls::{Category, NOT_IMPLEMENTED, NameQuestion, Provider, SocketRef};
pub use claim::{Arrived, Claim, Ended, Returned};
#[cfg(windows)]
pub use client::Client;
#[cfg(windows)]
pub use datagram::{Datagram, Received};
pub use error::Error;
pub use events::{Callbacks, Event, Sink};
pub use gate::{Closed, Gate};
pub use irql::{MayCall, Passive};
#[cfg(windows)]
pub use kernel::{CompletionRoutine, MORE_PROCESSING_REQUIRED, OwnIrp};
#[cfg(windows)]
pub use listener::{Accepted, Listener};
#[cfg(windows)]
pub use operation::{Operation, Outcome};
pub use pool::{OutOfPool, Ref, try_box};
#[cfg(windows)]
pub use registration::Registration;
pub use rendezvous::Rendezvous;
#[cfg(windows)]
pub use rundown::{Running, wait_for_routines};
#[cfg(windows)]
pub use socket::{Socket, SocketOption};
#[cfg(windows)]
pub use stream::{NotStarted, Shutdown, Stream, Transfer};
