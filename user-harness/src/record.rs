//! Recording: what a program asks of the driver, request by request, with the times at which each began and ended.
//!
//! A [`Recorder`] stands between a client and its device. It changes nothing: it notes each request as it is issued, and its end when
//! the device tells of the completion, whoever waits for it then.

use crate::{
    Error,
    abi::{AcceptReply, Bind, Close, Connect, Ioctl, NtStatus, SocketReply},
    device::{Completion, Device, Handle, HandleBackend, Observer, Request, RequestBackend},
};
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use zerocopy::FromBytes;

/// The kind of the entry that names a process.
pub(crate) const PROCESS: &str = "process";
/// The kind of the entry for a process' end.
pub(crate) const EXIT: &str = "exit";

/// One request, or the beginning or the end of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Which process, from 0 in the order of their beginning.
    pub process: u32,
    /// The request's kind, lower case; or [`PROCESS`] or [`EXIT`].
    pub kind: String,
    /// Microseconds since the recording began.
    pub begun_us: u64,
    /// The same; none while it is pending, and for what ended unseen with its process.
    pub ended_us: Option<u64>,
    /// NTSTATUS, if the end was seen.
    pub status: Option<NtStatus>,
    /// Usually bytes.
    pub information: u64,
    /// The provider, for startups, cleanups and new sockets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<u32>,
    /// The socket that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub socket: Option<u64>,
    /// The socket that it made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub made: Option<u64>,
    /// More about it, for a person.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub note: String,
}

/// A recording under way. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    processes: u32,
}

impl Default for Recorder {
    fn default() -> Self {
        Self(Arc::new(Shared { begun: Instant::now(), state: Mutex::default() }))
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn ended(&self, entry: usize) {
        let now = self.now();
        if let Some(entry) = self.state().entries.get_mut(entry) {
            entry.ended_us.get_or_insert(now);
        }
    }
}

impl Recorder {
    /// A device that is recorded, as one more process sees it, which goes by that name if it has one.
    pub(crate) fn process(&self, device: Arc<dyn Device>, name: &str) -> Recorded {
        let begun_us = self.0.now();
        let mut state = self.0.state();
        let process = state.processes;
        state.processes += 1;
        if !name.is_empty() {
            let (kind, note) = (PROCESS.to_owned(), name.to_owned());
            state.entries.push(Entry { process, kind, begun_us, ended_us: Some(begun_us), note, ..Entry::default() });
        }
        Recorded { recorder: self.clone(), device, process }
    }

    /// What was recorded so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.state().entries.clone()
    }

    fn begin(&self, entry: Entry) -> usize {
        let mut state = self.0.state();
        state.entries.push(entry);
        state.entries.len() - 1
    }

    fn complete(&self, index: usize, completion: &Completion) {
        self.0.ended(index);
        if let Some(entry) = self.0.state().entries.get_mut(index) {
            entry.status = Some(completion.status);
            entry.information = completion.information as u64;
            entry.made = made(&entry.kind, completion);
        }
    }
}

/// The device of one process, recorded.
#[derive(Clone)]
pub(crate) struct Recorded {
    recorder: Recorder,
    device: Arc<dyn Device>,
    process: u32,
}

impl Recorded {
    /// Another process of the same recording.
    pub fn another(&self, device: Arc<dyn Device>, name: &str) -> Self {
        self.recorder.process(device, name)
    }

    /// Runs the end of the process, and notes it.
    pub fn end(&self, how: &str, end: impl FnOnce()) {
        let is_exit = |entry: &Entry| entry.process == self.process && entry.kind == EXIT;
        if self.recorder.0.state().entries.iter().any(is_exit) {
            // It has ended before.
            return end();
        }
        let begun_us = self.recorder.0.now();
        end();
        let ended_us = Some(self.recorder.0.now());
        let (kind, note) = (EXIT.to_owned(), how.to_owned());
        self.recorder.begin(Entry { process: self.process, kind, begun_us, ended_us, note, ..Entry::default() });
    }
}

impl Device for Recorded {
    fn open(&self) -> Result<Handle, Error> {
        let handle = self.device.open()?;
        Ok(Handle::new(RecordedHandle { handle, recorder: self.recorder.clone(), process: self.process }))
    }
}

struct RecordedHandle {
    handle: Handle,
    recorder: Recorder,
    process: u32,
}

impl HandleBackend for RecordedHandle {
    fn submit(&self, code: u32, input: &[u8], buffer: Vec<u8>) -> Request {
        let mut entry = describe(code, input, buffer.len());
        entry.process = self.process;
        entry.begun_us = self.recorder.0.now();
        let entry = self.recorder.begin(entry);
        let mut request = self.handle.submit(code, input, buffer);
        let ending = Arc::new(Mutex::new(Ending::Awaited(None)));
        let (shared, told) = (self.recorder.0.clone(), ending.clone());
        request.on_completion(move || {
            shared.ended(entry);
            let before = std::mem::replace(&mut *locked(&told), Ending::Told);
            if let Ending::Awaited(Some(observer)) = before {
                observer();
            }
        });
        Request::new(RecordedRequest { request, entry, ending, recorder: self.recorder.clone(), taken: false })
    }

    fn cancel_all(&self) {
        self.handle.cancel_all();
    }

    fn close(&self) {
        self.handle.close();
    }
}

struct RecordedRequest {
    request: Request,
    entry: usize,
    ending: Arc<Mutex<Ending>>,
    recorder: Recorder,
    taken: bool,
}

/// Whether the device has told of the completion, and who else wants to know.
enum Ending {
    Awaited(Option<Observer>),
    Told,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RequestBackend for RecordedRequest {
    fn is_complete(&self) -> bool {
        self.request.is_complete()
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let completion = self.request.wait(timeout)?;
        self.taken = true;
        self.recorder.complete(self.entry, &completion);
        Some(completion)
    }

    fn cancel(&self) {
        self.request.cancel();
    }

    fn on_completion(&mut self, observer: Observer) {
        let mut ending = locked(&self.ending);
        match &mut *ending {
            Ending::Awaited(place) => *place = Some(observer),
            Ending::Told => {
                drop(ending);
                observer();
            }
        }
    }
}

impl Drop for RecordedRequest {
    fn drop(&mut self) {
        /// A dropped request is cancelled; how it ended is worth a moment.
        const MOMENT: Duration = Duration::from_millis(5);
        if !self.taken {
            RequestBackend::cancel(self);
            // Nobody else takes the completion.
            drop(RequestBackend::wait(self, MOMENT));
        }
    }
}

/// What a request is about, from its input: a provider's number, or the socket that the inputs of requests on sockets begin with.
fn describe(code: u32, input: &[u8], length: usize) -> Entry {
    let Some(ioctl) = Ioctl::from_code(code) else {
        return Entry { kind: "unknown".into(), note: format!("control code {code:#010x}"), ..Entry::default() };
    };
    let kind = ioctl.kind().name().to_lowercase();
    let provider = input.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let socket = input.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let (provider, socket) = match ioctl {
        Ioctl::Startup | Ioctl::Cleanup | Ioctl::Socket => (provider, None),
        Ioctl::Version | Ioctl::Ledger => (None, None),
        _ => (None, socket),
    };
    let note = match ioctl {
        Ioctl::Bind => Bind::read_from_bytes(input).map(|bind| format!("{:?}", bind.address)).ok(),
        Ioctl::Connect => Connect::read_from_bytes(input).map(|connect| format!("{:?}", connect.address)).ok(),
        Ioctl::Send | Ioctl::Receive => Some(format!("{length} bytes")),
        Ioctl::Close => Close::read_from_bytes(input)
            .map(|close| if close.flags & Close::LINGER == 0 { "abortive" } else { "graceful" }.to_owned())
            .ok(),
        _ => None,
    };
    Entry { kind, provider, socket, note: note.unwrap_or_default(), ..Entry::default() }
}

/// The socket that a completion hands out.
fn made(kind: &str, completion: &Completion) -> Option<u64> {
    if completion.status < 0 {
        return None;
    }
    let answer = completion.buffer.get(..completion.information)?;
    match kind {
        "socket" => SocketReply::read_from_bytes(answer).ok().map(|reply| reply.socket.0),
        "accept" => AcceptReply::read_from_bytes(answer).ok().map(|reply| reply.socket.0),
        _ => None,
    }
}
