//! One stressing thread: lives of startup, work and cleanup, one after the other.

use super::{Nature, plan::Ending, plan::Plan, process::Signals, tally::Tally};
use crate::{
    Cause, Client, Error, Operation, Socket, Started,
    abi::{Provider, WinsockVersion, WsaError},
    device::{Completion, Device},
    peer::Peer,
    standing::PATIENCE,
    status::STATUS_CANCELLED,
};
use std::sync::atomic::Ordering;

/// The catalog's first entry.
const CATALOG_ID: u32 = crate::abi::CATALOG[0].id;
/// How many steps of work a life has at most.
const STEPS: u32 = 6;

/// A request that stays pending, the socket that ends it, and the peer that does not.
pub(super) struct Left {
    pub operation: Operation<Completion>,
    pub socket: Socket,
    pub peer: Option<Peer>,
}

pub(super) struct Thread<'a> {
    pub(super) client: Client,
    pub(super) device: &'a dyn Device,
    plan: &'a Plan,
    pub(super) choices: fastrand::Rng,
    pub(super) nature: Nature,
    signals: &'a Signals,
    pub(super) tally: Tally,
    /// Requests of this life that wait for its end.
    pub(super) left: Vec<Left>,
}

impl<'a> Thread<'a> {
    pub fn new(
        client: Client,
        device: &'a dyn Device,
        plan: &'a Plan,
        index: u32,
        nature: Nature,
        signals: &'a Signals,
    ) -> Self {
        let choices = plan.thread(index);
        Self { client, device, plan, choices, nature, signals, tally: Tally::default(), left: Vec::new() }
    }

    pub fn run(mut self) -> Tally {
        for life in 1..=self.plan.lives {
            if self.is_over() {
                break;
            }
            let last = life == self.plan.lives;
            if let Err(error) = self.life(last) {
                self.judge(&error);
            }
            self.tally.lives += 1;
        }
        self.tally
    }

    fn is_over(&self) -> bool {
        self.signals.stop.load(Ordering::Relaxed) || self.signals.killed.load(Ordering::SeqCst)
    }

    /// Whether the process leaves everything as it is at the end of its last life.
    fn leaves_all(&self) -> bool {
        self.plan.ending != Ending::Orderly
    }

    /// Tells an error that may be from one that may not.
    fn judge(&mut self, error: &Error) {
        if self.signals.killed.load(Ordering::SeqCst) || is_shortage(error) || (self.plan.wild && is_a_cut(error)) {
            self.tally.cut_by(error);
        } else {
            self.tally.fail(self.plan.seed, error);
            self.signals.stop.store(true, Ordering::Relaxed);
        }
    }

    fn life(&mut self, last: bool) -> Result<(), Error> {
        let provider = if self.choices.bool() { Provider::Application } else { Provider::Transport };
        let mut startups = Vec::new();
        for _ in 0..self.choices.u32(1..4) {
            startups.push(self.start_up(provider)?);
        }
        let mut worked = Ok(());
        for _ in 0..self.choices.u32(1..=STEPS) {
            worked = self.work(provider);
            if worked.is_err() || self.is_over() {
                break;
            }
        }
        if self.plan.wild && self.choices.u32(0..4) == 0 {
            // Somebody else's reference, if there is one: what it was for ends now.
            drop(self.client.cleanup(provider));
        }
        if last && self.leaves_all() {
            startups.into_iter().for_each(Started::keep);
            self.left.clear();
            return worked;
        }
        let ended = self.clean_up(startups);
        worked.and(ended)
    }

    fn start_up(&mut self, provider: Provider) -> Result<Started, Error> {
        let catalog_id = if provider == Provider::Transport { CATALOG_ID } else { 0 };
        let started = self.client.startup(provider, WinsockVersion::new(2, 2), catalog_id)?;
        self.tally.startups += 1;
        Ok(started)
    }

    /// Gives the references back, and sees every request end that was left pending.
    fn clean_up(&mut self, startups: Vec<Started>) -> Result<(), Error> {
        let mut first = Ok(());
        for started in startups {
            match started.cleanup() {
                Ok(()) => self.tally.cleanups += 1,
                Err(error) => first = first.and(Err(error)),
            }
        }
        for Left { mut operation, socket, peer } in std::mem::take(&mut self.left) {
            if !operation.is_complete() {
                // Another thread's reference keeps the provider up. A socket that is gone by now has ended its requests.
                drop(socket.close());
            }
            let completion = operation.completion(PATIENCE)?;
            // What was begun after somebody else's cleanup was refused.
            let refused = Error::status(operation.what(), completion.status);
            let cut = self.plan.wild && completion.status < 0 && is_a_cut(&refused);
            if !cut && !ended_as_it_may(&completion) {
                let seen = format!("{} and {} bytes", crate::StatusText(completion.status), completion.information);
                return Err(Error::unexpected(format!("{} at a cleanup", operation.what()), seen));
            }
            drop(peer);
        }
        first
    }
}

/// A request that was pending at a teardown: cancelled without data, or done with what it moved, or with the connection's end.
fn ended_as_it_may(completion: &Completion) -> bool {
    match completion.status {
        STATUS_CANCELLED => completion.information == 0,
        0.. => true,
        other => {
            matches!(WsaError::from_status(other), Some(WsaError::ConnectionReset | WsaError::ConnectionAborted))
        }
    }
}

/// What the machine may run out of at any time.
fn is_shortage(error: &Error) -> bool {
    matches!(
        error.winsock(),
        Some(WsaError::NoBuffers | WsaError::TooManySockets | WsaError::NotEnoughMemory | WsaError::AddressInUse)
    )
}

/// How it shows that another thread cleaned up.
fn is_a_cut(error: &Error) -> bool {
    use std::io::ErrorKind as Kind;
    match error.cause() {
        Cause::Status(status) => matches!(
            WsaError::from_status(*status),
            Some(
                WsaError::OperationAborted
                    | WsaError::NotInitialised
                    | WsaError::NotSocket
                    | WsaError::ConnectionReset
                    | WsaError::ConnectionAborted
                    | WsaError::ConnectionRefused
                    | WsaError::NotConnected
                    | WsaError::Shutdown
                    | WsaError::Invalid
            )
        ),
        Cause::Host(error) => matches!(
            error.kind(),
            Kind::ConnectionReset
                | Kind::ConnectionAborted
                | Kind::ConnectionRefused
                | Kind::BrokenPipe
                | Kind::NotConnected
                | Kind::UnexpectedEof
        ),
        _ => false,
    }
}
