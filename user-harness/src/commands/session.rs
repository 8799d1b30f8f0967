//! What commands have in common that hold a reference while they work: whatever becomes of the work, it is given back.

use crate::{
    Client, Error, Operation, Reply,
    abi::{Provider, WinsockVersion},
    backend::{Backend, Choice},
    inbox::Inbox,
    interrupt::Interrupt,
};
use std::time::Duration;

/// The provider whose sockets commands use.
pub(super) const PROVIDER: Provider = Provider::Application;

/// A client with a reference on `application`, and where it is told of what it waits for.
pub(super) struct Session {
    pub backend: Backend,
    pub client: Client,
    pub inbox: Inbox,
}

impl Session {
    /// Waits for an operation, for so long if a time is given; Ctrl-C ends it.
    ///
    /// # Errors
    /// As [`Inbox::finish`].
    pub fn finish<R: Reply>(&mut self, operation: Operation<R>, within: Option<Duration>) -> Result<R, Error> {
        self.inbox.finish(&self.backend, operation, within)
    }
}

/// Does `work` between a startup and its cleanup, which ends whatever the work left pending.
pub(super) fn with_session(choice: &Choice, work: impl FnOnce(&mut Session) -> Result<(), Error>) -> Result<(), Error> {
    let inbox = Inbox::new(Interrupt::watch()?);
    let backend = choice.open()?;
    let mut session = Session { client: Client::open(backend.device())?, backend, inbox };
    let started = session.client.startup(PROVIDER, WinsockVersion::new(2, 2), 0)?;
    let worked = work(&mut session);
    let cleaned = started.cleanup();
    session.client.close();
    // A broken rule explains whatever failed with it.
    session.backend.finish_clean().and(worked).and(cleaned)
}
