//! The device, as another process sees it: requests travel through a pipe to that process, which makes them.
//!
//! A client of the driver is a process, so whoever wants two of them, or wants one killed, needs another process. That one runs
//! [`serve`] (`wskctl agent`) and does nothing of its own: its handles, its requests and its death are the client's. Whoever asks is
//! answered when it is done, so that what several processes are asked for by one thread reaches the driver in that order.

use super::{Completion, Device, Handle, HandleBackend, Observer, Refused, Request, RequestBackend};
use crate::{
    Cause, Error,
    abi::NtStatus,
    status::{STATUS_ACCESS_DENIED, STATUS_INVALID_HANDLE},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How long one thing may take that is asked for, the process's start included.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the process is asked for, with a number of its own.
#[derive(Serialize, Deserialize)]
struct Asked {
    number: u64,
    ask: Ask,
}

#[derive(Serialize, Deserialize)]
enum Ask {
    Open { handle: u64 },
    Submit { handle: u64, request: u64, code: u32, input: Vec<u8>, buffer: Vec<u8> },
    Cancel { request: u64 },
    CancelAll { handle: u64 },
    Close { handle: u64 },
}

#[derive(Serialize, Deserialize)]
enum Answer {
    /// What was asked for is done: the handle is open or refused, the request is issued.
    Done {
        number: u64,
        refused: Option<Refusal>,
    },
    Completed {
        request: u64,
        status: NtStatus,
        information: u64,
        buffer: Vec<u8>,
    },
}

/// Why the device was not opened, as far as it matters to the other side.
#[derive(Serialize, Deserialize)]
enum Refusal {
    Absent(String),
    Denied,
    Other(String),
}

fn write_frame(mut to: impl Write, frame: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(frame).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// The next frame; none at the end of the stream.
fn read_frame<T: DeserializeOwned>(mut from: impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let mut bytes = Vec::new();
    let length = u64::from(u32::from_le_bytes(length));
    if from.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Ok(None);
    }
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what comes through `input` on `device`, and tells of it through `output`, until `input` ends. Then the handles close.
///
/// # Errors
/// What comes makes no sense.
pub fn serve(device: &dyn Device, input: impl Read, output: impl Write + Send) -> io::Result<()> {
    let requests = Mutex::new(HashMap::new());
    let output = Mutex::new(output);
    let (completed, completions) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| tell(&requests, &output, completions));
        let result = obey(device, input, &requests, &output, &completed);
        // What is pending ends here; the telling thread goes when nobody can complete any more.
        lock(&requests).clear();
        drop(completed);
        result
    })
}

fn obey(
    device: &dyn Device,
    mut input: impl Read,
    requests: &Mutex<HashMap<u64, Request>>,
    output: &Mutex<impl Write>,
    completed: &mpsc::Sender<u64>,
) -> io::Result<()> {
    let mut handles = HashMap::new();
    while let Some(Asked { number, ask }) = read_frame(&mut input)? {
        let mut refused = None;
        match ask {
            Ask::Open { handle } => match device.open() {
                Ok(opened) => drop(handles.insert(handle, opened)),
                Err(error) => refused = Some(Refusal::of(&error)),
            },
            Ask::Submit { handle, request: id, code, input, buffer } => {
                let request = match handles.get(&handle) {
                    Some(handle) => handle.submit(code, &input, buffer),
                    None => Refused::request(STATUS_INVALID_HANDLE, buffer),
                };
                let completed = completed.clone();
                let mut requests = lock(requests);
                requests.entry(id).insert_entry(request).get_mut().on_completion(move || {
                    // The telling thread is gone only when this process is about to be.
                    let _ = completed.send(id);
                });
            }
            Ask::Cancel { request } => {
                if let Some(request) = lock(requests).get(&request) {
                    request.cancel();
                }
            }
            Ask::CancelAll { handle } => {
                if let Some(handle) = handles.get(&handle) {
                    handle.cancel_all();
                }
            }
            Ask::Close { handle } => {
                if let Some(handle) = handles.remove(&handle) {
                    handle.close();
                }
            }
        }
        write_frame(&mut *lock(output), &Answer::Done { number, refused })?;
    }
    for handle in handles.into_values() {
        Handle::close(&handle);
    }
    Ok(())
}

/// Passes completions on as they come.
fn tell(requests: &Mutex<HashMap<u64, Request>>, output: &Mutex<impl Write>, completions: mpsc::Receiver<u64>) {
    for id in completions {
        let Some(mut request) = lock(requests).remove(&id) else { continue };
        let Some(Completion { status, information, buffer }) = request.wait(PATIENCE) else { continue };
        let answer = Answer::Completed { request: id, status, information: information as u64, buffer };
        if write_frame(&mut *lock(output), &answer).is_err() {
            // The other side is gone: the input ends, too.
            return;
        }
    }
}

impl Refusal {
    fn of(error: &Error) -> Self {
        match error.cause() {
            Cause::Absent(why) => Self::Absent(why.clone()),
            Cause::Status(STATUS_ACCESS_DENIED) => Self::Denied,
            _ => Self::Other(error.to_string()),
        }
    }

    fn into_cause(self) -> Cause {
        match self {
            Self::Absent(why) => Cause::Absent(why),
            Self::Denied => Cause::Status(STATUS_ACCESS_DENIED),
            Self::Other(why) => Cause::Unexpected(why),
        }
    }
}

/// A process that runs [`serve`]. It ends when this value goes.
pub struct Agent {
    link: Arc<Link>,
    child: Mutex<Option<Child>>,
}

/// The way to the process, and what is awaited from it.
struct Link {
    input: Mutex<Option<Box<dyn Write + Send>>>,
    next: AtomicU64,
    requests: Mutex<HashMap<u64, Arc<Remote>>>,
    /// Who waits for what was asked for to be done.
    asked: Mutex<HashMap<u64, mpsc::Sender<Option<Refusal>>>>,
}

/// A request that the other process makes.
#[derive(Default)]
struct Remote {
    state: Mutex<RemoteState>,
    done: Condvar,
}

#[derive(Default)]
struct RemoteState {
    completion: Option<Completion>,
    observer: Option<Observer>,
    complete: bool,
    /// The other process is gone: no completion will come.
    lost: bool,
}

impl Agent {
    /// Starts this program again, as an agent; or the `wskctl` that the environment's `WSKCTL` names, for programs that are none.
    ///
    /// # Errors
    /// It can't be started.
    pub fn spawn() -> Result<Self, Error> {
        let failed = |error| Error::host("start another process", error);
        let named = std::env::var_os("WSKCTL").map(PathBuf::from);
        let program = named.map_or_else(std::env::current_exe, Ok).map_err(failed)?;
        let mut child = Command::new(program)
            .args(["--backend", "device", "agent"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let agent = Self::over(input, output);
        *lock(&agent.child) = Some(child);
        Ok(agent)
    }

    /// Whoever reads `input` and writes `output` runs [`serve`].
    pub fn over(input: impl Write + Send + 'static, output: impl Read + Send + 'static) -> Self {
        let link = Arc::new(Link {
            input: Mutex::new(Some(Box::new(input))),
            next: AtomicU64::new(1),
            requests: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = link.clone();
        thread::spawn(move || listener.listen(output));
        Self { link, child: Mutex::new(None) }
    }

    /// Kills the process. What it had pending is never heard of again.
    pub fn kill(&self) {
        if let Some(child) = &mut *lock(&self.child) {
            // One that has ended already needs no killing.
            let _ = child.kill();
            let _ = child.wait();
        }
        lock(&self.link.input).take();
    }

    /// Has the process close its handles and end, and waits for that.
    pub fn exit(&self) {
        lock(&self.link.input).take();
        if let Some(child) = &mut *lock(&self.child) {
            let _ = child.wait();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.exit();
    }
}

impl Device for Agent {
    fn open(&self) -> Result<Handle, Error> {
        let what = "open the device in another process";
        let handle = self.link.number();
        match self.link.ask(Ask::Open { handle }) {
            Ok(None) => Ok(Handle::new(RemoteHandle { link: self.link.clone(), handle })),
            Ok(Some(refusal)) => Err(Error::new(what, refusal.into_cause())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Error::new(what, Cause::TimedOut(PATIENCE))),
            Err(error) => Err(Error::host(what, error)),
        }
    }
}

impl Link {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks, and waits until it is done: then gives why it was refused, if it was. Not for observers, which run in the thread that
    /// the answer comes to.
    fn ask(&self, ask: Ask) -> io::Result<Option<Refusal>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let number = self.number();
        let (sender, receiver) = mpsc::channel();
        let mut input = lock(&self.input);
        let pipe = input.as_mut().ok_or_else(gone)?;
        // While the pipe is locked: the listener takes it away before it forgets who waits.
        lock(&self.asked).insert(number, sender);
        write_frame(pipe, &Asked { number, ask })?;
        drop(input);
        receiver.recv_timeout(PATIENCE).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            mpsc::RecvTimeoutError::Disconnected => gone(),
        })
    }

    /// Takes what the other process tells, until it is gone.
    fn listen(&self, mut output: impl Read) {
        while let Ok(Some(answer)) = read_frame(&mut output) {
            match answer {
                Answer::Done { number, refused } => {
                    if let Some(asker) = lock(&self.asked).remove(&number) {
                        // Nobody waits any more: then nobody needs to know.
                        let _ = asker.send(refused);
                    }
                }
                Answer::Completed { request, status, information, buffer } => {
                    if let Some(remote) = lock(&self.requests).remove(&request) {
                        let information = usize::try_from(information).unwrap_or(usize::MAX);
                        remote.complete(Completion { status, information, buffer });
                    }
                }
            }
        }
        // Nothing more can be asked for, and nothing will be heard of what is out.
        lock(&self.input).take();
        lock(&self.asked).clear();
        for remote in lock(&self.requests).drain().map(|(_, remote)| remote) {
            remote.lose();
        }
    }
}

impl Remote {
    fn lose(&self) {
        lock(&self.state).lost = true;
        self.done.notify_all();
    }

    fn complete(&self, completion: Completion) {
        let mut state = lock(&self.state);
        state.completion = Some(completion);
        state.complete = true;
        let observer = state.observer.take();
        drop(state);
        self.done.notify_all();
        if let Some(observer) = observer {
            observer();
        }
    }
}

struct RemoteHandle {
    link: Arc<Link>,
    handle: u64,
}

impl HandleBackend for RemoteHandle {
    fn submit(&self, code: u32, input: &[u8], buffer: Vec<u8>) -> Request {
        let id = self.link.number();
        let remote = Arc::new(Remote::default());
        lock(&self.link.requests).insert(id, remote.clone());
        let ask = Ask::Submit { handle: self.handle, request: id, code, input: input.to_vec(), buffer };
        if self.link.ask(ask).is_err() {
            lock(&self.link.requests).remove(&id);
            return Refused::request(STATUS_INVALID_HANDLE, Vec::new());
        }
        Request::new(RemoteRequest { link: self.link.clone(), id, remote })
    }

    fn cancel_all(&self) {
        // A process that is gone has nothing to cancel.
        let _ = self.link.ask(Ask::CancelAll { handle: self.handle });
    }

    fn close(&self) {
        // A process that is gone has nothing open.
        let _ = self.link.ask(Ask::Close { handle: self.handle });
    }
}

impl Drop for RemoteHandle {
    fn drop(&mut self) {
        self.close();
    }
}

struct RemoteRequest {
    link: Arc<Link>,
    id: u64,
    remote: Arc<Remote>,
}

impl RequestBackend for RemoteRequest {
    fn is_complete(&self) -> bool {
        lock(&self.remote.state).complete
    }

    fn wait(&mut self, timeout: Duration) -> Option<Completion> {
        let until = Instant::now().checked_add(timeout);
        let mut state = lock(&self.remote.state);
        while state.completion.is_none() {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() || state.lost {
                return None;
            }
            state = self.remote.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.completion.take()
    }

    fn cancel(&self) {
        // A process that is gone has nothing to cancel.
        let _ = self.link.ask(Ask::Cancel { request: self.id });
    }

    fn on_completion(&mut self, observer: Observer) {
        let mut state = lock(&self.remote.state);
        if state.complete {
            drop(state);
            observer();
        } else {
            state.observer = Some(observer);
        }
    }
}

impl Drop for RemoteRequest {
    fn drop(&mut self) {
        if !self.is_complete() {
            RequestBackend::cancel(self);
        }
    }
}
