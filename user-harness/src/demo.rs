//! `wskctl demo`: the driver's life in one run.
//!
//! Three references, traffic with real peers, two cleanups that change nothing, the last one that ends everything, and a restart at
//! once. Every claim is checked against what requests answer, what peers see and what the ledger counts; the first that does not hold
//! ends the demo.

mod echo;
mod events;

use crate::{
    Client, Error, Exit, Started,
    abi::{Kind, Ledger, Provider, WinsockVersion},
    backend::{Backend, Choice, Kind as BackendKind},
    commands::{driver_version, kind_name},
    output::Output,
    peer::{Ending, Listener, Peer},
    standing::{Connection, Held, KernelListener, PATIENCE, connect_to},
    status::STATUS_CANCELLED,
};
use events::{Ended, Step, Summary};
use std::time::Instant;

const APPLICATION: Provider = Provider::Application;
const VERSION: WinsockVersion = WinsockVersion::new(2, 2);
/// Startups before the traffic.
const REFERENCES: u32 = 3;
/// Connections that kernel sockets make, and as many that they accept.
const CONNECTIONS: usize = 4;
/// The kinds of requests that the demo keeps pending.
const HELD: [Kind; 4] = [Kind::Accept, Kind::Connect, Kind::Send, Kind::Receive];

pub(crate) fn run(choice: &Choice, output: &mut Output) -> Exit {
    let mut summary = Summary { result: "ok", ..Summary::default() };
    let mut exit = Exit::Success;
    let mut failed = |error: &Error, summary: &mut Summary, output: &mut Output| {
        output.fail(error);
        // A broken rule explains whatever failed with it.
        if exit != Exit::Violation {
            exit = error.exit();
            // One line: the lab's report goes to standard error.
            summary.error = error.to_string().lines().next().map(str::to_owned);
        }
        summary.result = "failed";
    };
    match choice.open() {
        Ok(backend) => {
            if let Err(error) = on_backend(&backend, choice, output, &mut summary) {
                failed(&error, &mut summary, output);
            }
            if let Err(error) = finish(backend, output, &mut summary) {
                failed(&error, &mut summary, output);
            }
        }
        Err(error) => failed(&error, &mut summary, output),
    }
    match output.emit(&Step::Summary(summary)) {
        Err(error) if exit == Exit::Success => error.exit(),
        _ => exit,
    }
}

fn on_backend(backend: &Backend, choice: &Choice, output: &mut Output, summary: &mut Summary) -> Result<(), Error> {
    let client = Client::open(backend.device())?;
    let version = client.version()?;
    let seed = (choice.kind == BackendKind::Lab).then_some(choice.seed);
    output.emit(&Step::Open { driver: driver_version(version.driver), backend: choice.kind.name(), seed })?;
    let mut demo = Demo { client: &client, output, summary, abortive: backend.close_is_abortive() };
    demo.up_to_the_last_cleanup()?;
    demo.restart(choice.seed)?;
    client.close();
    Ok(())
}

/// Ends the process; in the lab, unloads the driver and asks the rules.
fn finish(backend: Backend, output: &mut Output, summary: &mut Summary) -> Result<(), Error> {
    let Some(verdict) = backend.finish() else {
        return Ok(());
    };
    summary.violations = Some(verdict.violations);
    summary.leaks = Some(verdict.leaks);
    if !verdict.is_clean() {
        return Err(verdict.into_error());
    }
    output.emit(&Step::Unload { violations: verdict.violations, leaks: verdict.leaks })
}

struct Demo<'a> {
    client: &'a Client,
    output: &'a mut Output,
    summary: &'a mut Summary,
    /// Whether peers see a reset at a kernel socket's close.
    abortive: bool,
}

/// What is set up before the cleanups.
struct Scene {
    held: Vec<Held>,
    connections: Vec<Connection>,
}

impl Demo<'_> {
    fn up_to_the_last_cleanup(&mut self) -> Result<(), Error> {
        let mut startups = self.start_up()?;
        let mut scene = self.set_the_scene()?;
        let before = self.standing(&scene, REFERENCES)?;
        self.output.emit(&Step::Standing {
            references: before.references(APPLICATION),
            sockets: before.sockets.open,
            pending: scene.held.len(),
        })?;
        let last = startups.pop();
        for startup in startups {
            startup.cleanup()?;
            self.nothing_changed(&scene, &before)?;
        }
        self.move_bytes(&mut scene)?;
        match last {
            Some(last) => self.clean_up(last, scene),
            None => Ok(()),
        }
    }

    fn start_up(&mut self) -> Result<Vec<Started>, Error> {
        let mut startups = Vec::new();
        for expected in 1..=REFERENCES {
            let started = self.client.startup(APPLICATION, VERSION, 0)?;
            let reply = *started.reply();
            expect("the references after a startup", reply.references, expected)?;
            self.output.emit(&Step::Startup {
                provider: APPLICATION.name(),
                version: reply.version.to_string(),
                references: reply.references,
                highest_version: reply.highest_version.to_string(),
            })?;
            startups.push(started);
        }
        self.summary.references = Some(REFERENCES);
        Ok(startups)
    }

    fn set_the_scene(&mut self) -> Result<Scene, Error> {
        let mut listener = KernelListener::start(self.client, APPLICATION)?;
        self.output.emit(&Step::Listen { address: format!("{:?}", listener.address()) })?;

        let peers = Listener::start()?;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(connect_to(self.client, APPLICATION, &peers)?);
            connections.push(listener.take_peer()?);
        }
        let mut held = vec![listener.into_held()];
        held.extend(connections.iter().map(Connection::receive));
        self.output.emit(&Step::Connections { connected: CONNECTIONS, accepted: CONNECTIONS })?;

        let deaf = connect_to(self.client, APPLICATION, &peers)?;
        let (send, bytes) = deaf.fill()?;
        held.push(send);
        connections.push(deaf);
        self.output.emit(&Step::Send { bytes })?;
        Ok(Scene { held, connections })
    }

    /// Checks that everything of the scene is there, by the ledger and by the requests themselves.
    fn standing(&self, scene: &Scene, references: u32) -> Result<Ledger, Error> {
        if let Some(ended) = scene.held.iter().find(|held| held.operation.is_complete()) {
            let what = format!("{} on the socket {}", ended.operation.what(), ended.place);
            return Err(Error::unexpected(what, "it ended, and was to stay pending"));
        }
        let ledger = self.client.ledger()?;
        expect("the ledger's references", ledger.references(APPLICATION), references)?;
        expect("the ledger's pending requests", pending(&ledger), scene.held.len() as u64)?;
        expect("the ledger's open sockets", ledger.sockets.open as usize, scene.connections.len() + 1)?;
        expect("the ledger's registration", ledger.registered, 1)?;
        Ok(ledger)
    }

    fn nothing_changed(&mut self, scene: &Scene, before: &Ledger) -> Result<(), Error> {
        let references = self.client.ledger()?.references(APPLICATION);
        let after = self.standing(scene, references)?;
        let cancelled = cancelled(&after) - cancelled(before);
        expect("requests cancelled by a cleanup that is not the last", cancelled, 0)?;
        expect("the sockets after a cleanup that is not the last", after.sockets, before.sockets)?;
        self.output.emit(&Step::Cleanup {
            references,
            sockets: after.sockets.open,
            pending: scene.held.len(),
            cancelled,
        })
    }

    /// One peer sends; the receive that was pending all the time gets it, and is posted again.
    fn move_bytes(&mut self, scene: &mut Scene) -> Result<(), Error> {
        const WORD: &[u8] = b"hello";
        let Scene { held, connections } = scene;
        let mut places = connections.iter_mut().zip(held.iter_mut().skip(1));
        let Some((connection, held)) = places.next() else {
            return Ok(());
        };
        connection.peer.send(WORD)?;
        let completion = held.operation.completion(PATIENCE)?;
        let got = completion.buffer.get(..completion.information).unwrap_or_default();
        if completion.status != 0 || got != WORD {
            let seen = format!("it ended with status {:#X} and {} bytes", completion.status, completion.information);
            return Err(Error::unexpected("the receive that a peer sent 5 bytes to", seen));
        }
        *held = connection.receive();
        let place = connection.place.clone();
        self.standing(scene, 1)?;
        self.output.emit(&Step::Receive { bytes: WORD.len(), place })
    }

    /// The last cleanup: every request ends cancelled, every peer sees its connection end, the registration is given back.
    fn clean_up(&mut self, last: Started, scene: Scene) -> Result<(), Error> {
        self.summary.pending_at_last_cleanup = Some(scene.held.len());
        let started = Instant::now();
        last.cleanup()?;
        let teardown_us = microseconds(started);
        self.summary.teardown_us = Some(teardown_us);

        let mut requests = Vec::new();
        for mut held in scene.held {
            let completion = held.operation.completion(PATIENCE)?;
            requests.push(Ended::new(kind_name(held.kind), held.place, completion.status, completion.information));
            if (completion.status, completion.information) != (STATUS_CANCELLED, 0) {
                let seen =
                    format!("it ended with status {:#X} and {} bytes", completion.status, completion.information);
                return Err(Error::unexpected(format!("{} at the last cleanup", held.operation.what()), seen));
            }
        }
        self.summary.cancelled = Some(requests.len());
        let (peers_ended, resets) = endings(scene.connections.into_iter().map(|connection| connection.peer))?;
        if self.abortive {
            expect("peers that saw a reset", resets, peers_ended)?;
            self.summary.peers_reset = Some(resets);
        }

        let ledger = self.nothing_left()?;
        self.output.emit(&Step::LastCleanup {
            teardown_us,
            requests,
            peers_reset: self.summary.peers_reset,
            peers_ended,
            registered: ledger.registered != 0,
        })
    }

    /// Checks that the client holds nothing, and that the driver is registered for other clients at most.
    fn nothing_left(&self) -> Result<Ledger, Error> {
        let ledger = self.client.ledger()?;
        expect("references after the last cleanup", ledger.references(APPLICATION), 0)?;
        expect("sockets after the last cleanup", (ledger.sockets.open, ledger.sockets.closing), (0, 0))?;
        expect("requests pending after the last cleanup", pending(&ledger), 0)?;
        if ledger.driver_references.iter().all(|&references| references == 0) {
            expect("the registration after the last cleanup in the driver", ledger.registered, 0)?;
            expect("the driver's sockets after the last cleanup", ledger.driver_sockets, 0)?;
        }
        Ok(ledger)
    }

    fn restart(&mut self, seed: u64) -> Result<(), Error> {
        let begun = Instant::now();
        let started = self.client.startup(APPLICATION, VERSION, 0)?;
        let references = started.reply().references;
        expect("the references after the restart", references, 1)?;
        self.output.emit(&Step::Restart { startup_us: microseconds(begun), references })?;

        let peer = Listener::start()?.echo();
        let socket = self.client.socket(APPLICATION, crate::abi::Role::Connection)?;
        socket.bind(crate::abi::Address::v4([0, 0, 0, 0], 0))?;
        socket.connect(peer.address())?;
        let begun = Instant::now();
        let checksum = echo::run(&socket, seed)?;
        let echo_us = microseconds(begun);
        socket.close()?;
        expect("bytes that the echo peer sent back", peer.join()?, echo::BYTES as u64)?;
        self.summary.restart_echo_bytes = Some(echo::BYTES);
        self.output.emit(&Step::Echo { bytes: echo::BYTES, crc32: format!("{checksum:08x}"), echo_us })?;
        started.cleanup()?;
        self.nothing_left().map(drop)
    }
}

/// Waits until every peer's connection has ended; tells how many they are, and how many saw a reset.
fn endings(peers: impl Iterator<Item = Peer>) -> Result<(usize, usize), Error> {
    let (mut ended, mut resets) = (0, 0);
    for mut peer in peers {
        ended += 1;
        resets += usize::from(peer.ending()? == Ending::Reset);
    }
    Ok((ended, resets))
}

fn pending(ledger: &Ledger) -> u64 {
    HELD.iter().map(|&kind| ledger.tally(kind).pending()).sum()
}

fn cancelled(ledger: &Ledger) -> u64 {
    HELD.iter().map(|&kind| ledger.tally(kind).cancelled).sum()
}

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn expect<T: Copy + PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Result<(), Error> {
    if seen == expected {
        return Ok(());
    }
    Err(Error::unexpected(what, format!("{seen:?} where {expected:?} was expected")))
}
