//! Drivers made of Rust functions, run by the lab: what is right passes, what is wrong is caught by its rule.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod bench;
mod chaos;
mod completion;
mod lifetime;
mod locking;
mod memory;
mod objects;
mod requests;
mod services;
mod waiting;
