//! `wskctl hold`: keeps references, sockets and requests, so that somebody can kill this process and see that nothing is left.

use crate::{
    Client, Error,
    abi::{Provider, WinsockVersion},
    backend::Choice,
    cli::Hold,
    interrupt::Interrupt,
    output::{Event, Output},
    peer::Listener,
    standing::{Connection, Held, KernelListener, connect_to},
};
use serde::Serialize;
use std::time::Duration;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Holding { pending: usize, pid: u32, seconds: u64 },
    Released { pending: usize },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Holding { pending, pid, seconds } => {
                format!("holding {pending} pending requests in process {pid} for {seconds} s; Ctrl-C ends it")
            }
            Self::Released { pending } => format!("released: all {pending} requests ended"),
        }
    }
}

pub(super) fn run(choice: &Choice, arguments: &Hold, output: &mut Output) -> Result<(), Error> {
    let interrupt = Interrupt::watch()?;
    let backend = choice.open()?;
    let client = Client::open(backend.device())?;
    let started = client.startup(Provider::Application, WinsockVersion::new(2, 2), 0)?;

    let listener = KernelListener::start(&client, Provider::Application)?;
    let peers = Listener::start()?;
    let mut connections = Vec::new();
    for _ in 0..arguments.connections {
        connections.push(connect_to(&client, Provider::Application, &peers)?);
    }
    let mut held: Vec<Held> = connections.iter().map(Connection::receive).collect();
    held.push(listener.into_held());
    output.emit(&Told::Holding { pending: held.len(), pid: std::process::id(), seconds: arguments.seconds })?;

    // Either Ctrl-C comes or the time is over: both mean the same.
    let _ = interrupt.wait(Duration::from_secs(arguments.seconds));
    started.cleanup()?;
    output.emit(&Told::Released { pending: held.len() })?;
    drop(held);
    client.close();
    backend.finish_clean()
}
