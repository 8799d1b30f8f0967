//! The network thread: the only one that waits for the host's sockets, and the one on which IRPs are completed later.
//!
//! One idea: it holds no lock while it completes an IRP, since the completion routine is the driver's code and may call
//! anything.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use parking_lot::Mutex;

use super::request::Finished;
use super::{Order, Provider, host};
use super::{kernel, memory};
use crate::call::Stopped;

/// The token of the waker; sockets' numbers begin above it.
const WAKER: Token = Token(0);
/// Events taken from the host at once.
const EVENTS: usize = 1024;
/// How often such a socket is looked at: the host has no news of its own that a FIN has been acknowledged.
const AGAIN_INTERVAL: Duration = Duration::from_millis(5);
/// A turn of the thread while IRPs are held back.
const HOLD_INTERVAL: Duration = Duration::from_millis(1);

thread_local! {
    static NETWORK_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// What other threads give to the network thread.
pub(crate) struct Network {
    registry: Registry,
    waker: Waker,
    finished: Mutex<Vec<Finished>>,
    /// Numbers of sockets to look at without news from the host.
    again: Mutex<HashSet<usize>>,
    stopping: AtomicBool,
}

impl Network {
    /// Completes an IRP later: on the network thread, which looks for more before it waits.
    pub fn finish(&self, finished: Finished) {
        self.finished.lock().push(finished);
        self.wake();
    }

    /// Asks the host for news of a socket.
    pub fn watch(&self, fd: RawFd, number: usize) -> io::Result<()> {
        self.registry.register(&mut SourceFd(&fd), Token(number), Interest::READABLE | Interest::WRITABLE)
    }

    /// Looks at the socket again soon: its FIN may have been acknowledged, or there is reason for a callback.
    pub fn look_again(&self, number: usize) {
        if self.again.lock().insert(number) {
            self.wake();
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Sees what there is to do: there is news, or a look-up is to be answered at some time.
    pub fn look(&self) {
        self.wake();
    }

    fn wake(&self) {
        if NETWORK_THREAD.get() {
            return; // it looks before it waits
        }
        // The waker fails only when its counter is full, and then the thread wakes anyhow.
        let _ = self.waker.wake();
    }

    /// How long the thread waits; `due` is when a look-up is answered, `memory` how long for the network in memory.
    fn timeout(&self, held: bool, due: Option<Instant>, memory: Option<Duration>) -> Option<Duration> {
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let other = if !self.finished.lock().is_empty() {
            Some(Duration::ZERO)
        } else if held {
            Some(HOLD_INTERVAL)
        } else if self.again.lock().is_empty() {
            None
        } else {
            Some(AGAIN_INTERVAL)
        };
        due.into_iter().chain(other).chain(memory).min()
    }
}

impl Provider {
    /// Starts the network thread, once for each machine.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut poll = None;
        self.network.get_or_init(|| {
            host::raise_descriptor_limit();
            let (found, network) = new().expect("the host's epoll");
            poll = Some(found);
            network
        });
        if let Some(poll) = poll {
            let provider = Arc::clone(self);
            kernel::spawn("WSK network", move || run(&provider, poll));
        }
    }
}

fn new() -> io::Result<(Poll, Network)> {
    let poll = Poll::new()?;
    let network = Network {
        registry: poll.registry().try_clone()?,
        waker: Waker::new(poll.registry(), WAKER)?,
        finished: Mutex::default(),
        again: Mutex::default(),
        stopping: AtomicBool::new(false),
    };
    Ok((poll, network))
}

fn run(provider: &Arc<Provider>, poll: Poll) {
    NETWORK_THREAD.set(true);
    serve(provider, poll);
    // The machine has stopped or is switched off. IRPs that are left hold on to their sockets, and those to the host's.
    let sockets = provider.sockets.lock().all();
    for socket in sockets {
        socket.abandon();
    }
}

fn serve(provider: &Arc<Provider>, mut poll: Poll) {
    let network = provider.network();
    let mut events = Events::with_capacity(EVENTS);
    let mut held = Vec::new();
    while !network.stopping.load(Ordering::SeqCst) {
        let due = provider.names.lock().next_due();
        let memory = provider.memory.lock().clone();
        let patience = memory.as_ref().and_then(memory::Net::patience);
        kernel::give_turn_up();
        if let Err(error) = poll.poll(&mut events, network.timeout(!held.is_empty(), due, patience)) {
            assert_eq!(error.kind(), io::ErrorKind::Interrupted, "the host's epoll failed");
            continue;
        }
        for event in &events {
            if pump(provider, event.token().0).is_err() {
                return;
            }
        }
        provider.answer_due();
        if let Some(memory) = memory {
            memory.pass_time();
            network.again.lock().extend(memory.take_news());
        }
        let again = std::mem::take(&mut *network.again.lock());
        for number in again {
            if pump(provider, number).is_err() {
                return;
            }
        }
        held.append(&mut network.finished.lock());
        if complete_some(provider, &mut held).is_err() {
            return; // the machine has stopped: nobody waits for what is left
        }
    }
}

fn pump(provider: &Arc<Provider>, number: usize) -> Result<(), Stopped> {
    let socket = provider.sockets.lock().by_number(number);
    let Some(socket) = socket else {
        return Ok(());
    };
    socket.pump(provider);
    socket.indicate(provider)
}

/// Completes what may be completed now; the rest stays.
fn complete_some(provider: &Arc<Provider>, held: &mut Vec<Finished>) -> Result<(), Stopped> {
    let order = provider.options.lock().order;
    if order == Order::Any {
        shuffle(held);
    }
    let (due, rest) = std::mem::take(held).into_iter().partition(|finished| finished.hold == 0);
    *held = rest;
    for finished in held.iter_mut() {
        finished.hold -= 1;
    }
    let due: Vec<Finished> = due;
    due.into_iter().try_for_each(|finished| provider.complete(finished))
}

fn shuffle(held: &mut [Finished]) {
    for index in (1..held.len()).rev() {
        let other = kernel::random() % (index as u64 + 1);
        held.swap(index, usize::try_from(other).unwrap_or(index));
    }
}
