//! Winsock's two ways to be told of an overlapped operation's end: an event, and a completion routine.
//!
//! One idea: a teardown ends operations without any notification. Both ways keep that rule (contract: WSA-10): where the last cleanup
//! ended an operation, its event stays as it was and its completion routine is dropped without being run. An operation that its own caller
//! cancels, or ends by closing its socket, is told of as any other, with `WSA_OPERATION_ABORTED`.
//!
//! ```no_run
//! # fn main() -> Result<(), wskctl::Error> {
//! # use wskctl::{Client, abi::{Address, Provider, Role, WinsockVersion}, backend};
//! use std::time::Duration;
//! use wskctl::overlapped::{Completions, Event};
//!
//! # let backend = backend::Choice::default().open()?;
//! # let client = Client::open(backend.device())?;
//! # let startup = client.startup(Provider::Application, WinsockVersion::new(2, 2), 0)?;
//! # let socket = client.socket(Provider::Application, Role::Connection)?;
//! # socket.bind(Address::v4([0, 0, 0, 0], 0))?;
//! # socket.connect(Address::v4([127, 0, 0, 1], 7))?;
//! // With an event.
//! let event = Event::new();
//! let mut receive = socket.begin_receive(512).signalling(&event);
//! socket.send(b"hello".to_vec())?;
//! assert!(event.wait(Duration::from_secs(5)));
//! let data = receive.take().expect("the event says that it has ended")?;
//!
//! // With completion routines, which run while this thread waits for them.
//! let completions = Completions::new();
//! completions.add(socket.begin_receive(512), |received| println!("{} bytes", received.map_or(0, |data| data.len())));
//! completions.add(socket.begin_send(data), |sent| assert!(sent.is_ok()));
//! while completions.pending() > 0 {
//!     completions.wait(Duration::from_secs(5));
//! }
//! startup.cleanup()?;
//! # Ok(())
//! # }
//! ```

use crate::{
    Client, Error, Operation, Reply,
    abi::{Guid, Provider, WsaError},
    device::Completion,
    status::STATUS_CANCELLED,
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A manual-reset event (`WSACreateEvent`). Clones are the same event.
#[derive(Clone, Debug, Default)]
pub struct Event(Arc<(Mutex<bool>, Condvar)>);

impl Event {
    /// An event that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it (`WSASetEvent`).
    pub fn set(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Resets it (`WSAResetEvent`).
    pub fn reset(&self) {
        *lock(&self.0.0) = false;
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *lock(&self.0.0)
    }

    /// Waits up to `timeout` until it is set, and tells whether it is (`WSAWaitForMultipleEvents`).
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let mut set = lock(&self.0.0);
        while !*set {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            set = self.0.1.wait_timeout(set, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// An operation that sets an event when it ends. Dropping it while it is pending cancels it.
#[must_use = "a dropped operation is cancelled"]
pub struct Signalling<R>(Arc<Mutex<State<R>>>);

enum State<R> {
    Pending(Operation<R>),
    /// Decided about; the completion is the caller's to take.
    Ended(Operation<R>, Completion),
    Taken,
}

/// An operation whose end somebody else has to look into.
trait Ending: Send + Sync {
    /// It has ended: decides whether that is told.
    fn ended(&self, event: &Event);
}

impl<R: Reply> Ending for Mutex<State<R>> {
    fn ended(&self, event: &Event) {
        let mut state = lock(self);
        let State::Pending(operation) = &mut *state else { return };
        let Ok(completion) = operation.completion(Duration::ZERO) else { return };
        let silent = operation.ended_by_teardown(&completion);
        if let State::Pending(operation) = std::mem::replace(&mut *state, State::Taken) {
            *state = State::Ended(operation, completion);
        }
        drop(state);
        if !silent {
            event.set();
        }
    }
}

/// The way to the thread that looks into ends.
type Looker = Mutex<mpsc::Sender<(Arc<dyn Ending>, Event)>>;

/// The thread that looks into ends: whether one is told takes a request, which no backend's own thread may make.
fn looker() -> &'static Looker {
    static LOOKER: OnceLock<Looker> = OnceLock::new();
    LOOKER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<(Arc<dyn Ending>, Event)>();
        thread::spawn(move || {
            for (ending, event) in receiver {
                ending.ended(&event);
            }
        });
        Mutex::new(sender)
    })
}

impl<R: Reply + 'static> Operation<R> {
    /// Has its end set `event`, which is reset now. A teardown ends it silently.
    pub fn signalling(self, event: &Event) -> Signalling<R> {
        event.reset();
        let state = Arc::new(Mutex::new(State::Pending(self)));
        let looker = lock(looker()).clone();
        let (ending, event): (Arc<dyn Ending>, Event) = (state.clone(), event.clone());
        if let State::Pending(operation) = &mut *lock(&state) {
            operation.on_completion(move || {
                // The looker lives as long as the process.
                let _ = looker.send((ending, event));
            });
        }
        Signalling(state)
    }
}

impl<R: Reply> Signalling<R> {
    /// Asks for it to be cancelled. It still ends once.
    pub fn cancel(&self) {
        if let State::Pending(operation) = &*lock(&self.0) {
            operation.cancel();
        }
    }

    /// Its answer, if it has ended: whether or not that was told. It is given once.
    pub fn take(&mut self) -> Option<Result<R, Error>> {
        let mut state = lock(&self.0);
        if let State::Pending(operation) = &mut *state {
            let completion = operation.completion(Duration::ZERO).ok()?;
            let State::Pending(operation) = std::mem::replace(&mut *state, State::Taken) else { return None };
            return Some(operation.answer(completion));
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Ended(operation, completion) => Some(operation.answer(completion)),
            State::Pending(_) | State::Taken => None,
        }
    }
}

impl<R> Drop for Signalling<R> {
    fn drop(&mut self) {
        // The observer keeps the operation until it has ended.
        if let State::Pending(operation) = &*lock(&self.0) {
            operation.cancel();
        }
    }
}

/// A thread's completion routines. They run in [`Completions::wait`] and nowhere else, as Winsock's run in alertable waits.
///
/// A cleanup that a routine calls answers `WSAEINPROGRESS` and changes nothing (contract: WSA-7); a startup guard that a routine drops
/// cleans up when the routine has returned.
/// Clones are the same, so that a routine can add others.
#[derive(Clone, Default)]
pub struct Completions<'a>(Rc<Routines<'a>>);

struct Routines<'a> {
    sender: mpsc::Sender<u64>,
    receiver: mpsc::Receiver<u64>,
    waiting: RefCell<HashMap<u64, Box<dyn Routine + 'a>>>,
    next: Cell<u64>,
}

trait Routine {
    /// The operation has ended: runs the routine unless a teardown ended it. Tells whether it ran.
    fn ended(self: Box<Self>) -> bool;
}

struct Waiting<R, F> {
    operation: Operation<R>,
    routine: F,
}

impl<R: Reply, F: FnOnce(Result<R, Error>)> Routine for Waiting<R, F> {
    fn ended(mut self: Box<Self>) -> bool {
        let Ok(completion) = self.operation.completion(Duration::ZERO) else { return false };
        if self.operation.ended_by_teardown(&completion) {
            return false;
        }
        let Self { operation, routine } = *self;
        let answer = operation.answer(completion);
        in_a_routine(|| routine(answer));
        true
    }
}

impl Default for Routines<'_> {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver, waiting: RefCell::default(), next: Cell::new(0) }
    }
}

impl<'a> Completions<'a> {
    /// No routine yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `routine` run with the operation's answer once it has ended. A teardown ends it silently.
    pub fn add<R: Reply + 'a>(&self, mut operation: Operation<R>, routine: impl FnOnce(Result<R, Error>) + 'a) {
        let (number, sender) = (self.0.next.get(), self.0.sender.clone());
        self.0.next.set(number + 1);
        operation.on_completion(move || {
            // Nobody waits for these routines any more.
            let _ = sender.send(number);
        });
        self.0.waiting.borrow_mut().insert(number, Box::new(Waiting { operation, routine }));
    }

    /// How many operations have not ended, as far as [`Completions::wait`] has looked.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.waiting.borrow().len()
    }

    /// Waits up to `timeout` for an operation's end (`SleepEx`, alertable), runs the routines of all that have ended, and tells how many ran.
    pub fn wait(&self, timeout: Duration) -> usize {
        let first = self.0.receiver.recv_timeout(timeout).ok();
        let ended: Vec<_> = first.into_iter().chain(self.0.receiver.try_iter()).collect();
        let mut ran = 0;
        for number in ended {
            let routine = self.0.waiting.borrow_mut().remove(&number);
            ran += usize::from(routine.is_some_and(Routine::ended));
        }
        ran
    }
}

thread_local! {
    /// How many routines this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// References whose guards were dropped inside of routines.
    static DROPPED: RefCell<Vec<(Client, Provider, Guid)>> = const { RefCell::new(Vec::new()) };
}

/// Whether this thread is inside of a completion routine.
pub(crate) fn is_in_a_routine() -> bool {
    DEPTH.get() > 0
}

/// Cleans up when this thread has left its completion routines.
pub(crate) fn clean_up_later(client: Client, provider: Provider, guid: Guid) {
    DROPPED.with_borrow_mut(|dropped| dropped.push((client, provider, guid)));
}

fn in_a_routine(routine: impl FnOnce()) {
    DEPTH.set(DEPTH.get() + 1);
    routine();
    DEPTH.set(DEPTH.get() - 1);
    if !is_in_a_routine() {
        for (client, provider, guid) in DROPPED.take() {
            // Nobody is left to tell.
            let _ = client.begin_cleanup_of(provider, guid).call();
        }
    }
}

/// Whether a completion is that of a request which neither got an answer nor was cancelled by its caller.
pub(crate) fn is_silent(completion: &Completion, probe: impl FnOnce() -> Option<Error>) -> bool {
    let gone = [Some(WsaError::NotInitialised), Some(WsaError::NotSocket)];
    (completion.status, completion.information) == (STATUS_CANCELLED, 0)
        && probe().is_some_and(|error| gone.contains(&error.winsock()))
}
