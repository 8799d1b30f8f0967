//! A Winsock-like client of `wskclient.sys`, and what the `wskctl` command is made of.
//!
//! One idea: every request is overlapped. [`device`] carries a request to the driver and hands back its one completion; [`Client`]
//! gives each request Winsock's name and types its answer; a call is an [`Operation`] that was waited for.
//!
//! ```no_run
//! # fn main() -> Result<(), wskctl::Error> {
//! use wskctl::{Client, abi::{Address, Provider, Role, WinsockVersion}, backend};
//!
//! let backend = backend::Choice::default().open()?;
//! let client = Client::open(backend.device())?;
//! let startup = client.startup(Provider::Application, WinsockVersion::new(2, 2), 0)?;
//! let socket = client.socket(Provider::Application, Role::Connection)?;
//! socket.bind(Address::v4([0, 0, 0, 0], 0))?;
//! socket.connect(Address::v4([127, 0, 0, 1], 7))?;
//! socket.send(b"hello".to_vec())?;
//! let echoed = socket.receive(5)?;
//! startup.cleanup()?; // the last one: closes the socket, ends what is pending
//! # let _ = echoed; Ok(())
//! # }
//! ```
#![cfg_attr(not(windows), forbid(unsafe_code))]
#![cfg_attr(windows, deny(unsafe_code))]

pub mod backend;
mod bench;
pub mod cli;
pub mod device;
pub mod overlapped;
pub mod peer;
pub mod scenario;

mod client;
mod commands;
mod demo;
mod error;
mod help;
mod inbox;
mod interrupt;
mod names;
mod operation;
mod output;
mod progress;
mod record;
mod service;
mod socket;
mod standing;
mod status;
mod stress;
mod timeline;
mod words;

pub use client::{Client, Started};
pub use commands::run;
pub use error::{Advised, Cause, Error, Exit};
pub use names::{Named, Resolved, Wanted};
pub use operation::{Accepted, Operation, Received, Reply, Sent};
pub use record::Recorder;
pub use socket::Socket;
pub use status::{StatusText, status_name};
pub use wskclient_abi as abi;
