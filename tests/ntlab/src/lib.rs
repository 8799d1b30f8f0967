//! A small strict NT kernel that runs a WDM driver's .sys inside a Linux process and judges it as Driver Verifier would.
//!
//! One [`Machine`] per test: its own mapping of the driver, pool, devices, processes, network and rules. Exports find
//! their machine through the thread that calls them, so tests run side by side in one process. A broken rule stops the
//! machine as a bug check would, and only that machine: the driver's frames are abandoned, every thread of the machine
//! leaves at its next call, and the [`Report`] says what happened.
//!
//! The crate knows no particular driver. What a driver imports and the lab lacks is an error at load that names it.
//! Drivers can also be made of Rust functions ([`Machine::load_builtin`], [`builtin`]), which is how each rule is proven.
//!
//! Only Linux on x86-64 can run PE code of its own instruction set in process; elsewhere the crate is empty.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

pub mod nt;
pub mod rules;
pub mod status;

mod call;
mod exports;
mod fault;
mod irp;
mod irql;
mod locks;
mod machine;
mod memory;
mod thread;
pub mod wsk;

pub use machine::{Machine, Options};
pub use rules::{Rule, Violation};
pub use status::NtStatus;
