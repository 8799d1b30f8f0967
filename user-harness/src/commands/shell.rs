//! `wskctl shell`: one handle held, requests typed. At a terminal with history and completion; otherwise the lines of standard input.

mod control;
mod jobs;
mod lines;
mod requests;
mod words;

use crate::{
    Cause, Client, Error, Exit, Operation, Reply,
    abi::Provider,
    backend::{Backend, Choice},
    inbox::{Inbox, Wake},
    interrupt::Interrupt,
    output::{Event, Output},
    status_name,
};
use jobs::{Done, Job, Then};
use lines::{Lines, Words};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// What the shell tells.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    /// A request has ended.
    Answer {
        #[serde(skip_serializing_if = "Option::is_none")]
        job: Option<u32>,
        what: String,
        outcome: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        socket: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<usize>,
    },
    /// A request goes on in the background.
    Job { job: u32, what: String, state: &'static str },
    /// A socket that there is.
    Socket { socket: String, about: String },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Answer { job: Some(job), what, outcome, .. } => format!("[{job}] {what}: {outcome}"),
            Self::Answer { outcome, .. } => outcome.clone(),
            Self::Job { job, what, state } => format!("[{job}] {what}: {state}"),
            Self::Socket { socket, about } => format!("{socket:<4} {about}"),
        }
    }
}

/// A socket, by the name that the shell gave it.
struct Named {
    socket: crate::Socket,
    provider: Provider,
    family: u16,
    bound: bool,
    about: String,
}

struct Shell<'a> {
    choice: &'a Choice,
    backend: &'a Backend,
    client: Client,
    inbox: Inbox,
    interrupt: Interrupt,
    output: &'a mut Output,
    sockets: BTreeMap<u32, Named>,
    jobs: BTreeMap<u32, Job>,
    next_socket: u32,
    next_job: u32,
    leaving: bool,
}

pub(super) fn run(choice: &Choice, output: &mut Output) -> Result<Exit, Error> {
    let interrupt = Interrupt::watch()?;
    let backend = choice.open()?;
    let client = Client::open(backend.device())?;
    let result = {
        let inbox = Inbox::new(interrupt);
        let (sockets, jobs) = (BTreeMap::new(), BTreeMap::new());
        let backend = &backend;
        let client = client.clone();
        let mut shell = Shell {
            choice,
            backend,
            client,
            inbox,
            interrupt,
            output,
            sockets,
            jobs,
            next_socket: 1,
            next_job: 1,
            leaving: false,
        };
        shell.read_and_do()
    };
    // Closing the last handle gives back whatever is still held.
    client.close();
    backend.finish_clean().and(result)
}

impl Shell<'_> {
    fn read_and_do(&mut self) -> Result<Exit, Error> {
        let mut lines = Lines::open()?;
        let mut exit = Exit::Success;
        if lines.at_a_terminal() {
            self.output.text("`help` tells what can be typed; Ctrl-C cancels what is waited for, Ctrl-D leaves")?;
        }
        loop {
            let words = self.words();
            if lines.at_a_terminal() {
                // One that came when its request had just ended.
                self.interrupt.reset();
            }
            // While a line is typed at a terminal, Ctrl-C is a key, and gives the line up.
            let Some(line) = self.interrupt.ending_the_process("the shell", || lines.next(words))? else { break };
            match self.line(&line) {
                Ok(()) => {}
                Err(error) if self.is_fatal(&error) => return Err(error),
                Err(error) => {
                    if !lines.at_a_terminal() {
                        exit = Exit::Failed;
                        anstream::eprintln!("wskctl: line {}: `{}`", lines.number(), line.trim());
                    }
                    self.output.fail(&error);
                }
            }
            self.report_ended()?;
            if self.leaving {
                break;
            }
        }
        Ok(exit)
    }

    /// Whether nothing more can be done after this error.
    fn is_fatal(&self, error: &Error) -> bool {
        matches!(error.cause(), Cause::NobodyReads) || !self.backend.is_alive()
    }

    /// What can be completed.
    fn words(&self) -> Words {
        let sockets = self.sockets.keys().map(|number| format!("s{number}")).collect();
        Words { sockets, jobs: self.jobs.keys().map(u32::to_string).collect() }
    }

    /// Waits for a request, or leaves it to the background.
    fn do_request<R: Reply>(&mut self, operation: Operation<R>, then: Then, background: bool) -> Result<(), Error> {
        let mut operation = operation.untyped();
        let number = self.inbox.watch(&mut operation);
        let job = Job { operation, then };
        if background { self.leave_to_background(job) } else { self.finish(job, number) }
    }

    fn leave_to_background(&mut self, job: Job) -> Result<(), Error> {
        let (number, what) = (self.next_job, job.operation.what().to_owned());
        self.next_job += 1;
        self.jobs.insert(number, job);
        self.output.emit(&Told::Job { job: number, what, state: "in the background" })
    }

    /// Waits for a request's end; Ctrl-C cancels it, and then it ends, too.
    fn finish(&mut self, job: Job, number: u64) -> Result<(), Error> {
        while !job.operation.is_complete() {
            match self.inbox.wait(self.backend)? {
                Wake::Interrupt => {
                    self.interrupt.reset();
                    job.operation.cancel();
                    if !self.backend.cancels_reach_requests() {
                        return self.leave_to_background(job);
                    }
                }
                Wake::Ended(ended) if ended == number => break,
                Wake::Ended(_) | Wake::Input(_) | Wake::InputEnd(_) => {}
            }
        }
        self.conclude(job, None)
    }

    /// Takes what a request that has ended answered.
    fn conclude(&mut self, mut job: Job, number: Option<u32>) -> Result<(), Error> {
        let what = job.operation.what().to_owned();
        let completion = job.operation.completion(Duration::ZERO)?;
        if !job.then.is_answer(completion.status) {
            let what = number.map_or_else(|| what.clone(), |number| format!("[{number}] {what}"));
            return Err(Error::status(what, completion.status));
        }
        let Done { outcome, socket, bytes, released } =
            job.then.conclude(&self.client, completion).map_err(|cause| Error::new(&*what, cause))?;
        if let Some(provider) = released {
            self.forget_if_torn_down(provider)?;
        }
        let socket = socket.map(|named| self.name(named));
        let outcome = match (&socket, outcome.as_str()) {
            (Some(socket), "") => socket.clone(),
            (Some(socket), outcome) => format!("{socket}: {outcome}"),
            (None, "") => "ok".into(),
            (None, outcome) => outcome.to_owned(),
        };
        self.output.emit(&Told::Answer { job: number, what, outcome, socket, bytes })
    }

    /// Sockets go with their provider's last reference.
    fn forget_if_torn_down(&mut self, provider: Provider) -> Result<(), Error> {
        if self.client.ledger()?.references(provider) == 0 {
            self.sockets.retain(|_, named| named.provider != provider);
        }
        Ok(())
    }

    fn name(&mut self, named: Named) -> String {
        let number = self.next_socket;
        self.next_socket += 1;
        self.sockets.insert(number, named);
        format!("s{number}")
    }

    /// Tells of background requests that have ended.
    fn report_ended(&mut self) -> Result<(), Error> {
        let ended: Vec<_> =
            self.jobs.iter().filter(|(_, job)| job.operation.is_complete()).map(|(&number, _)| number).collect();
        for number in ended {
            self.conclude_job(number)?;
        }
        Ok(())
    }

    /// A background request's end is news, also when it is a failure: the line that started it was right.
    fn conclude_job(&mut self, number: u32) -> Result<(), Error> {
        let Some(job) = self.jobs.remove(&number) else { return Ok(()) };
        let what = job.operation.what().to_owned();
        match self.conclude(job, Some(number)) {
            Err(error) if error.ntstatus().is_some() => {
                let status = error.ntstatus().unwrap_or_default();
                let name = error.winsock().map(|error| format!(" ({}, {})", error.name(), error.code()));
                let outcome = format!("{}{}", status_name(status).unwrap_or("ended"), name.unwrap_or_default());
                self.output.emit(&Told::Answer { job: Some(number), what, outcome, socket: None, bytes: None })
            }
            result => result,
        }
    }
}
