//! One thread that waits for many things: requests' ends, input, Ctrl-C.

use crate::{Cause, Error, Operation, Reply, backend::Backend, interrupt::Interrupt};
use std::{
    io::{self, Read},
    sync::mpsc,
    thread,
    time::Duration,
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
        Self { sender, receiver, next: 0 }
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
    pub fn wait(&self, backend: &Backend) -> Result<Wake, Error> {
        loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(wake) => return Ok(wake),
                Err(_) if backend.is_alive() => {}
                Err(_) => return Err(Error::new("wait for requests to end", Cause::Lab("the lab has stopped".into()))),
            }
        }
    }
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
