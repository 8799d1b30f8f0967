//! Doing a scenario's steps, in order. The first that does not come out as its file says ends it.

mod issue;
mod judge;

use super::{
    ledger,
    peers::{PeerOutcome, Peers},
    problem::Problem,
    step::{Action, Call, Expected, Figure, Scenario, Step},
};
use crate::{
    Client, Error, Operation, Socket,
    abi::{Address, Kind, NtStatus, Role},
    backend::{Backend, Process},
    commands::ledger_json,
    device::Completion,
};
use serde::Serialize;
use std::{
    collections::HashMap,
    ops::Range,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How often a ledger is looked at that is to come to hold something.
const LOOK: Duration = Duration::from_millis(2);

/// A step that is done.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Its line in the file.
    pub line: usize,
    /// What it did.
    pub what: String,
    /// The file's note on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How it ended, for a person.
    pub outcome: String,
    /// The NTSTATUS that a request ended with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The bytes that a request moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// How long it took.
    pub elapsed_us: u64,
}

/// What a step came to.
#[derive(Default)]
struct Outcome {
    text: String,
    status: Option<NtStatus>,
    bytes: Option<usize>,
}

impl Outcome {
    fn said(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// Why a step did not come out.
pub(super) struct Failure {
    span: Range<usize>,
    what: String,
    why: String,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self::new(failure.span, failure.what, failure.why)
    }
}

/// A process of the scenario.
struct Participant {
    process: Process,
    client: Client,
    alive: bool,
}

/// A socket's owner, the socket, and where it listens if it does.
struct Named {
    owner: String,
    socket: Socket,
    role: Role,
    family: u16,
    address: Option<Address>,
}

/// What runs in the background.
enum Background<'a> {
    Request { call: &'a Call, client: String, operation: Operation<Completion> },
    Peer(mpsc::Receiver<Result<PeerOutcome, Error>>),
}

/// A scenario under way.
pub(super) struct Runner<'a> {
    scenario: &'a Scenario,
    backend: &'a Backend,
    clients: HashMap<&'a str, Participant>,
    sockets: HashMap<&'a str, Named>,
    peers: Peers,
    background: HashMap<&'a str, Background<'a>>,
}

impl<'a> Runner<'a> {
    /// Starts the scenario's processes, and opens the device in each.
    pub fn start(scenario: &'a Scenario, backend: &'a Backend) -> Result<Self, Error> {
        let mut clients = HashMap::new();
        for name in &scenario.clients {
            let process = backend.process(&format!("{}: {name}", scenario.source.stem()))?;
            let client = Client::open(process.device())?.with_patience(scenario.within);
            clients.insert(name.as_str(), Participant { process, client, alive: true });
        }
        let (sockets, background) = (HashMap::new(), HashMap::new());
        Ok(Self { scenario, backend, clients, sockets, peers: Peers::default(), background })
    }

    /// Does the steps, and tells of each.
    pub fn steps(&mut self, steps: &'a [Step], tell: &mut dyn FnMut(Done) -> Result<(), Error>) -> Result<(), Stopped> {
        for step in steps {
            if let Action::Repeat { times, steps } = &step.action {
                for _ in 0..*times {
                    self.steps(steps, tell)?;
                }
                continue;
            }
            let begun = Instant::now();
            let what = describe_action(&step.action);
            let outcome = self.step(step).map_err(|why| {
                Stopped::Failure(Failure {
                    span: step.span.clone(),
                    what: format!("{what}: {why}"),
                    why: "this step".into(),
                })
            })?;
            let Outcome { text, status, bytes } = outcome;
            let done = Done {
                line: self.scenario.source.position(step.span.start).0,
                what,
                note: step.note.clone(),
                outcome: text,
                status: status.map(|status| format!("{status:#010X}")),
                bytes,
                elapsed_us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            };
            tell(done).map_err(Stopped::Error)?;
        }
        Ok(())
    }

    /// Ends every process and every peer.
    pub fn finish(self) {
        drop(self.background);
        self.peers.finish();
        for participant in self.clients.into_values().filter(|participant| participant.alive) {
            participant.client.close();
            participant.process.exit();
        }
    }

    fn step(&mut self, step: &'a Step) -> Result<Outcome, String> {
        let within = step.within.unwrap_or(self.scenario.within);
        match &step.action {
            Action::Request { client, call, background, expected } => {
                let client = self.client_for(client.as_deref(), call)?;
                let operation = self.issue(&client, call)?;
                let under_way = Background::Request { call, client, operation };
                self.join_or_keep(under_way, background.as_deref(), expected, within)
            }
            Action::Peer { act, background, expected } => {
                let sockets = &self.sockets;
                let receiver = self.peers.start(act, within, |target| target_address(sockets, target))?;
                self.join_or_keep(Background::Peer(receiver), background.as_deref(), expected, within)
            }
            Action::Wait { name, expected } => {
                let under_way = self.background.remove(name.as_str()).ok_or("it was waited for already")?;
                self.join(under_way, expected, within)
            }
            Action::Pending { names, watch } => self.pending(names, *watch),
            Action::Cancel { name } => match self.background.get(name.as_str()) {
                Some(Background::Request { operation, .. }) => {
                    operation.cancel();
                    Ok(Outcome::said("asked for"))
                }
                Some(Background::Peer(_)) => Err("it is a peer's, not a request".into()),
                None => Err("it was waited for already".into()),
            },
            Action::CancelAll { client } => {
                self.living(client)?.client.cancel_all();
                Ok(Outcome::said("asked for"))
            }
            Action::Kill { client } => self.end(client, Process::kill),
            Action::Exit { client } => self.end(client, Process::exit),
            Action::Ledger { client, expected } => self.ledger(client, expected, step.within),
            Action::Repeat { .. } => Ok(Outcome::default()),
        }
    }

    fn living(&self, name: &str) -> Result<&Participant, String> {
        let participant = self.clients.get(name).filter(|participant| participant.alive);
        participant.ok_or_else(|| format!("the client {name} has ended"))
    }

    fn end(&mut self, name: &str, how: fn(&Process)) -> Result<Outcome, String> {
        self.living(name)?;
        if let Some(participant) = self.clients.get_mut(name) {
            participant.alive = false;
            how(&participant.process);
        }
        self.background
            .retain(|_, under_way| !matches!(under_way, Background::Request { client, .. } if client == name));
        Ok(Outcome::said("ended"))
    }

    fn named(&self, socket: &str) -> Result<&Named, String> {
        self.sockets.get(socket).ok_or_else(|| format!("there is no socket {socket} yet: wait for what makes it"))
    }

    /// Who makes a request: whom the step names, or else the socket's owner, or else the first client.
    fn client_for(&self, named: Option<&str>, call: &Call) -> Result<String, String> {
        let owner = match (named, call.socket()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(socket)) => self.named(socket)?.owner.clone(),
            (None, None) => self.scenario.clients.first().cloned().unwrap_or_default(),
        };
        self.living(&owner).map(|_| owner)
    }

    fn join_or_keep(
        &mut self,
        under_way: Background<'a>,
        name: Option<&'a str>,
        expected: &Expected,
        within: Duration,
    ) -> Result<Outcome, String> {
        match name {
            None => self.join(under_way, expected, within),
            Some(name) => {
                self.background.insert(name, under_way);
                Ok(Outcome::said(format!("in the background as {name}")))
            }
        }
    }

    fn join(&mut self, under_way: Background<'a>, expected: &Expected, within: Duration) -> Result<Outcome, String> {
        match under_way {
            Background::Request { call, client, mut operation } => {
                let completion =
                    operation.completion(within).map_err(|_| format!("it did not end within {within:?}"))?;
                self.judge(call, &client, completion, expected)
            }
            Background::Peer(receiver) => match receiver.recv_timeout(within) {
                Ok(Ok(outcome)) => self.judge_peer(outcome, expected),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("it did not end within {within:?}")),
            },
        }
    }

    fn pending(&self, names: &[String], watch: Duration) -> Result<Outcome, String> {
        let until = Instant::now() + watch;
        loop {
            for name in names {
                match self.background.get(name.as_str()) {
                    Some(Background::Request { operation, .. }) if operation.is_complete() => {
                        return Err(format!("{name} has ended, and was to be pending"));
                    }
                    Some(_) => {}
                    None => return Err(format!("{name} was waited for already")),
                }
            }
            if Instant::now() >= until {
                return Ok(Outcome::said(format!("{} pending", names.len())));
            }
            thread::sleep(LOOK.min(watch));
        }
    }

    fn ledger(&self, client: &str, expected: &[Figure], within: Option<Duration>) -> Result<Outcome, String> {
        let client = &self.living(client)?.client;
        let until = Instant::now() + within.unwrap_or_default();
        loop {
            let mut ledger = client.ledger().map_err(|error| error.to_string())?;
            // The request that looks is itself pending while it is answered.
            let looking = &mut ledger.requests[Kind::Ledger as usize];
            looking.completed = looking.taken;
            let ledger = ledger_json(&ledger);
            let wrong = expected.iter().find_map(|figure| {
                let seen = ledger::look_up(&ledger, &figure.path).ok()?;
                let text = || format!("{} is {seen}, where {} was expected", figure.path.join("."), figure.value.value);
                (*seen != figure.value.value).then(text)
            });
            match wrong {
                None => return Ok(Outcome::said("as expected")),
                Some(wrong) if Instant::now() >= until => return Err(wrong),
                Some(_) => thread::sleep(LOOK),
            }
        }
    }
}

/// Why a scenario stopped before its end.
pub(super) enum Stopped {
    Failure(Failure),
    Error(Error),
}

fn target_address(sockets: &HashMap<&str, Named>, name: &str) -> Result<Address, String> {
    let bound = sockets.get(name).and_then(|named| named.address);
    bound.ok_or_else(|| format!("{name} is bound to no address"))
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::Request { call, .. } => call.describe(),
        Action::Peer { act, .. } => act.describe(),
        Action::Wait { name, .. } => format!("wait for {name}"),
        Action::Pending { names, .. } => format!("{} pending", names.join(", ")),
        Action::Cancel { name } => format!("cancel {name}"),
        Action::CancelAll { client } => format!("cancel all requests of {client}"),
        Action::Kill { client } => format!("kill the client {client}"),
        Action::Exit { client } => format!("the client {client} exits"),
        Action::Ledger { client, .. } => format!("the ledger, as {client} sees it"),
        Action::Repeat { times, .. } => format!("repeat {times} times"),
    }
}
