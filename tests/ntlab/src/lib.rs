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

pub mod builtin;
pub mod etw;
pub mod nt;
pub mod rules;
pub mod status;
pub mod wsk;

mod call;
mod chaos;
mod debug;
mod device;
mod dispatcher;
mod documented;
mod driver;
mod exports;
mod fault;
mod file;
mod ip_helper;
mod irp;
mod irql;
mod loader;
mod locks;
mod machine;
mod mdl;
mod memory;
mod objects;
mod paged;
mod pool;
mod process;
mod report;
mod request;
mod rtl;
mod security;
mod services;
mod slist;
mod steps;
mod symbols;
mod system_thread;
mod systematic;
mod thread;
mod ticks;
mod timer;
mod turns;
mod unwind;
mod watchdog;
mod work;

pub use chaos::Chaos;
pub use driver::{Driver, Stop};
pub use ip_helper::Change;
pub use loader::LoadError;
pub use machine::{Machine, Options};
pub use process::{Handle, Process};
pub use report::Report;
pub use request::{Completion, RawIoctl, Request};
pub use rules::{Rule, Violation, rules};
pub use security::Token;
pub use services::RegistryValue;
pub use status::NtStatus;
pub use steps::Steps;
pub use symbols::Place;
pub use systematic::{Judged, LowResources, Replays, low_resources, replay};
