//! Winsock Kernel (WSK) for client drivers.
//!
//! One idea: a WSK call hands memory to somebody else until its IRP completes, so what was handed out is owned by a value that
//! can't be dropped before.
#![no_std]

pub mod sys;
