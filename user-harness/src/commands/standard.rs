//! Standard input and output, for one peer or for several after each other; and where it is told what becomes of them.

use crate::{
    Cause, Error,
    inbox::{Inbox, Input},
    output::{Event, Output},
};
use serde::Serialize;
use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// What is told of a connection: on standard error, because standard output is the connection's.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Told {
    Listening { address: String },
    Connected { address: String },
    Ended { sent: u64, received: u64 },
    Remark { text: &'static str },
}

impl Event for Told {
    fn human(&self) -> String {
        match self {
            Self::Listening { address } => format!("wskctl: listening on {address}"),
            Self::Connected { address } => format!("wskctl: connected to {address}"),
            Self::Ended { sent, received } => format!("wskctl: ended: {sent} bytes sent, {received} received"),
            Self::Remark { text } => format!("wskctl: {text}"),
        }
    }
}

/// Standard input and output, and what is told besides.
pub(super) struct Standard<'a> {
    pub source: Source,
    /// How long nothing may come and go.
    pub idle: Option<Duration>,
    output: &'a mut Output,
    verbose: bool,
}

impl<'a> Standard<'a> {
    /// Input is read in chunks of so many bytes.
    pub fn new(inbox: &Inbox, chunk: usize, idle: Option<Duration>, verbose: bool, output: &'a mut Output) -> Self {
        Self { source: Source::standard(inbox, chunk), idle, output, verbose }
    }

    /// Tells people who asked for it, and programs.
    pub fn tell(&mut self, told: &Told) -> Result<(), Error> {
        if self.verbose { self.output.emit(told) } else { self.output.emit_json(told) }
    }

    /// Tells everybody.
    pub fn remark(&mut self, text: &'static str) -> Result<(), Error> {
        self.output.emit(&Told::Remark { text })
    }

    /// Tells of an error that ends nothing but one connection.
    pub fn fail(&mut self, error: &Error) {
        self.output.fail(error);
    }
}

/// Writes to standard output, at once.
pub(super) fn write_out(data: &[u8]) -> Result<(), Error> {
    let mut output = io::stdout().lock();
    output.write_all(data).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::new("write to standard output", Cause::NobodyReads),
        _ => Error::host("write to standard output", error),
    })
}

/// Standard input, for one peer or for several after each other.
pub(super) struct Source {
    input: Input,
    /// Chunks that nobody has taken yet.
    left: VecDeque<Vec<u8>>,
    /// How many chunks have been asked for and have not come.
    asked: usize,
    ended: bool,
    terminal: bool,
}

impl Source {
    fn standard(inbox: &Inbox, chunk: usize) -> Self {
        let (input, left) = (inbox.read(io::stdin(), chunk), VecDeque::new());
        Self { input, left, asked: 0, ended: false, terminal: io::stdin().is_terminal() }
    }

    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A chunk has come.
    pub fn take(&mut self, data: Vec<u8>) {
        self.asked -= 1;
        self.left.extend((!data.is_empty()).then_some(data));
    }

    /// There is no more.
    ///
    /// # Errors
    /// It ended badly.
    pub fn end(&mut self, error: Option<io::Error>) -> Result<(), Error> {
        self.ended = true;
        error.map_or(Ok(()), |error| Err(Error::host("read standard input", error)))
    }

    /// The next chunk, if one has come.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.left.pop_front()
    }

    /// Whether there is no more, and all of it was taken.
    pub fn has_ended(&self) -> bool {
        self.ended && self.left.is_empty()
    }

    /// Keeps so many chunks on their way.
    pub fn ask(&mut self, room: usize) {
        while !self.ended && self.asked + self.left.len() < room {
            self.input.more();
            self.asked += 1;
        }
    }
}
