//! One thread that waits for many things: requests' ends, input, Ctrl-C.

use crate::{Cause, Error, Operation, Reply, backend::Backend, interrupt::Interrupt};
use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How often somebody who waits looks whether the machine goes on.
const LOOK: Duration = Duration::from_secs(1);

/// Something that was waited for.
pub(crate) enum Wake {
    /// The operation that was given this number has ended.
    Ended(u64),
    /// Bytes of the input.
    Input(Vec<u8>),
    /// The end of the input, or why there is no more.
    InputEnd(Option<io::Error>),
    /// Ctrl-C.
    Interrupt,
}

/// Where everything comes to be told.
pub(crate) struct Inbox {
    sender: mpsc::Sender<Wake>,
    receiver: mpsc::Receiver<Wake>,
    /// What came while something else was waited for.
    kept: VecDeque<Wake>,
    next: u64,
}

impl Inbox {
    /// An inbox that Ctrl-C comes to, too.
    pub fn new(interrupt: Interrupt) -> Self {
        let (sender, receiver) = mpsc::channel();
        let pressed = sender.clone();
        interrupt.observe(move || {
            // The inbox is gone: so is the command.
            let _ = pressed.send(Wake::Interrupt);
        });
        Self { sender, receiver, kept: VecDeque::new(), next: 0 }
    }

    /// Has the operation's end told, and gives the number that it will be told by.
    pub fn watch<R: Reply>(&mut self, operation: &mut Operation<R>) -> u64 {
        let (number, sender) = (self.next, self.sender.clone());
        self.next += 1;
        operation.on_completion(move || {
            // The inbox is gone: nobody waits.
            let _ = sender.send(Wake::Ended(number));
        });
        number
    }

    /// Reads `source` in a thread: a chunk for each call of [`Input::more`].
    pub fn read(&self, mut source: impl Read + Send + 'static, chunk: usize) -> Input {
        let (more, wanted) = mpsc::channel();
        let sender = self.sender.clone();
        thread::spawn(move || {
            for () in wanted {
                let mut data = vec![0; chunk];
                let wake = match source.read(&mut data) {
                    Ok(0) => Wake::InputEnd(None),
                    Ok(length) => {
                        data.truncate(length);
                        Wake::Input(data)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Wake::Input(Vec::new()),
                    Err(error) => Wake::InputEnd(Some(error)),
                };
                let last = matches!(wake, Wake::InputEnd(_));
                if sender.send(wake).is_err() || last {
                    return;
                }
            }
        });
        Input(more)
    }

    /// Waits for the next thing.
    ///
    /// # Errors
    /// The machine has stopped: nothing ends any more.
    pub fn wait(&mut self, backend: &Backend) -> Result<Wake, Error> {
        match self.wait_within(backend, None)? {
            Some(wake) => Ok(wake),
            None => Err(stopped()),
        }
    }

    /// Waits for the next thing, for so long if a time is given: nothing if none came.
    ///
    /// # Errors
    /// The machine has stopped: nothing ends any more.
    pub fn wait_within(&mut self, backend: &Backend, within: Option<Duration>) -> Result<Option<Wake>, Error> {
        if let Some(wake) = self.kept.pop_front() {
            return Ok(Some(wake));
        }
        let until = within.and_then(|within| Instant::now().checked_add(within));
        loop {
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
            match self.receiver.recv_timeout(left.min(LOOK)) {
                Ok(wake) => return Ok(Some(wake)),
                Err(_) if !backend.is_alive() => return Err(stopped()),
                Err(_) if until.is_some_and(|until| Instant::now() >= until) => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// Waits for one operation, for so long if a time is given; Ctrl-C ends the waiting, and so the operation. What else comes
    /// meanwhile is kept for those who wait next.
    ///
    /// # Errors
    /// It failed, it did not end in time, Ctrl-C was pressed, or the machine has stopped.
    pub fn finish<R: Reply>(
        &mut self,
        backend: &Backend,
        mut operation: Operation<R>,
        within: Option<Duration>,
    ) -> Result<R, Error> {
        let number = self.watch(&mut operation);
        let until = within.and_then(|within| Instant::now().checked_add(within));
        let mut others = VecDeque::new();
        let result = loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.wait_within(backend, left)? {
                Some(Wake::Ended(ended)) if ended == number => break operation.wait(Duration::ZERO),
                Some(Wake::Interrupt) => break Err(Error::new(operation.what(), Cause::Interrupted)),
                Some(other) => others.push_back(other),
                None => break Err(Error::new(operation.what(), Cause::TimedOut(within.unwrap_or_default()))),
            }
        };
        self.kept = others;
        result
    }
}

fn stopped() -> Error {
    Error::new("wait for requests to end", Cause::Lab("the lab has stopped".into()))
}

/// Input that is read as it is asked for.
pub(crate) struct Input(mpsc::Sender<()>);

impl Input {
    /// Asks for another chunk.
    pub fn more(&self) {
        // At the end of the input there is no more.
        let _ = self.0.send(());
    }
}
