//! netio.sys: the WSK provider, over the host's loopback interface.
//!
//! One idea: to a driver this is Windows' WSK, as its documentation describes it and no more patient than that; to the rest of the
//! host it is a program with ordinary sockets. Where the documentation leaves a choice (complete inside the call or later, at
//! which IRQL, in which order) the provider takes each in turn, from the machine's seed.
//!
//! An IRP goes through [`request`]; a socket's life is in [`socket`]; what a socket does with its lanes of IRPs is in [`stream`],
//! [`listen`] and [`datagram`]; [`thread`] is the one thread that waits for the host, and calls the
//! callbacks of [`events`]: [`indicate`] for data, [`inspect`] for connections.
//!
//! Source: *Introduction to Winsock Kernel*, *Winsock Kernel Operations*.

mod address;
mod buffers;
mod client;
mod control;
mod datagram;
mod dispatch;
mod events;
mod host;
mod indicate;
mod inspect;
mod kernel;
mod lanes;
mod listen;
mod memory;
mod names;
mod option;
mod registration;
mod request;
pub mod rules;
mod socket;
pub mod status;
mod stream;
mod thread;
mod transport;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub use memory::{Echo, Peer, Peers, Weather};
pub use registration::exports;

use crate::call::{self, Stopped};
use crate::irql;
use crate::machine::{Inner, Machine};
use request::Finished;

/// Whether there is a WSK provider to capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProviderState {
    /// The usual state.
    #[default]
    Ready,
    /// The network subsystem has not started yet: captures wait.
    NotReady,
    /// There is none that has the client's version: captures fail at once.
    Refused,
    /// The network subsystem has failed: sockets are dead, captures wait.
    Lost,
}

/// When an IRP whose result is there at once is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// Either, as the seed has it.
    #[default]
    Any,
    /// Inside the call.
    Inline,
    /// On the network thread, after or while the call returns `STATUS_PENDING`.
    Later,
}

/// The IRQL at which IRPs are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Either, as the seed has it.
    #[default]
    Any,
    /// The IRQL at which the completing thread happens to be; `PASSIVE_LEVEL` on the network thread.
    Passive,
    /// `DISPATCH_LEVEL`.
    Dispatch,
}

/// The order in which IRPs that are finished at the same time are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Any, as the seed has it; some wait for a few turns of the network thread.
    #[default]
    Any,
    /// In the order in which they were finished, without delay.
    Finished,
}

/// How much of the data that has arrived a receive takes, unless it waits for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Take {
    /// As much as fits its buffer.
    #[default]
    Full,
    /// As much as fits, or less, as the seed has it: TCP keeps no boundaries.
    Any,
}

/// Choices that WSK's documentation leaves to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Inline or later.
    pub when: When,
    /// IRQL of completion routines.
    pub level: Level,
    /// Order of completions.
    pub order: Order,
    /// Length of receives.
    pub take: Take,
}

/// What the network has done and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// WSK registrations.
    pub registrations: usize,
    /// Captures that are not released.
    pub captures: usize,
    /// Sockets whose close has not completed.
    pub sockets: usize,
    /// IRPs that WSK has.
    pub irps: usize,
    /// IRPs taken since the start.
    pub irps_taken: u64,
    /// Security descriptors that were cached and not released.
    pub descriptors: usize,
    /// Lists of received data that were retained and not released.
    pub retained: usize,
    /// Lists of `WskGetAddressInfo` that were not freed.
    pub address_lists: usize,
    /// Sockets opened since the start, accepted ones included.
    pub sockets_opened: u64,
    /// Connections that this side has reset.
    pub resets: u64,
    /// Bytes handed to the host.
    pub bytes_sent: u64,
    /// Bytes received, without those that `WSK_FLAG_DRAIN` dropped.
    pub bytes_received: u64,
}

/// A machine's network, as the harness sees it.
#[derive(Clone)]
pub struct Network {
    machine: Arc<Inner>,
}

impl Network {
    /// What it has done and holds.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.provider().counters()
    }

    /// Makes the provider ready or not, or takes it away from under the driver.
    pub fn set_provider(&self, state: ProviderState) {
        self.within(|provider| provider.set_state(state));
    }

    /// Takes the provider away when it gets its `irp`th IRP, counted as [`Counters::irps_taken`]; 0 for never.
    pub fn lose_provider_at(&self, irp: u64) {
        self.provider().lose_at.store(irp, Ordering::SeqCst);
    }

    /// Makes the driver's sockets from now on ends of a network in memory, and gives the test the other ends.
    ///
    /// Its choices follow from the machine's seed, and its time is virtual: no delay costs time.
    #[must_use]
    pub fn use_memory(&self, weather: Weather) -> Peers {
        let provider = Arc::downgrade(self.provider());
        let wake = move || {
            if let Some(network) = provider.upgrade().as_ref().and_then(|provider| provider.network.get()) {
                network.look();
            }
        };
        let net = memory::Net::new(self.machine.random(), weather, Box::new(wake));
        *self.provider().memory.lock() = Some(net.clone());
        Peers { net }
    }

    /// Tells those that wait that a transport was added or removed.
    pub fn change_transports(&self) {
        self.within(|provider| provider.end_changes(None, status::SUCCESS));
    }

    /// Fixes what is otherwise left to the seed.
    pub fn set_options(&self, options: Options) {
        *self.provider().options.lock() = options;
    }

    /// Lets `name` resolve to `addresses`.
    pub fn set_name(&self, name: &str, addresses: Vec<IpAddr>) {
        self.provider().names.lock().set(name, addresses);
    }

    /// While true, look-ups stay pending.
    pub fn hold_look_ups(&self, hold: bool) {
        self.within(|provider| provider.hold_look_ups(hold));
    }

    /// While true, datagrams that the driver sends stay pending, as if what carries them were busy.
    pub fn hold_datagrams(&self, hold: bool) {
        self.within(|provider| provider.hold_datagrams(hold));
    }

    /// Has look-ups that start from now on stay pending for so long before they are answered.
    pub fn set_look_up_delay(&self, delay: Duration) {
        self.provider().names.lock().set_delay(delay);
    }

    /// Look-ups that are pending now.
    #[must_use]
    pub fn look_ups(&self) -> usize {
        self.provider().names.lock().pending()
    }

    /// What a driver that unloads now leaves behind, one line for each thing.
    #[must_use]
    pub fn live(&self) -> Vec<String> {
        self.provider().live()
    }

    fn provider(&self) -> &Arc<Provider> {
        &self.machine.wsk.provider
    }

    /// Runs `body` on behalf of the machine. A machine that has stopped does nothing more.
    fn within(&self, body: impl FnOnce(&Arc<Provider>)) {
        let _ = call::guard(&self.machine, || body(self.provider()));
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Network").field(&self.counters()).finish()
    }
}

/// The part of a machine that is WSK.
pub struct State {
    provider: Arc<Provider>,
}

impl Default for State {
    fn default() -> Self {
        Self { provider: Arc::new(Provider::default()) }
    }
}

impl Machine {
    /// The machine's network.
    #[must_use]
    pub fn network(&self) -> Network {
        Network { machine: Arc::clone(&self.inner) }
    }
}

impl Inner {
    /// The machine's network.
    pub(crate) fn network(self: &Arc<Self>) -> Network {
        Network { machine: Arc::clone(self) }
    }
}

impl State {
    /// Reports what a driver that has unloaded left behind. Called when its unload routine has returned.
    pub(crate) fn check_unload(&self) -> Result<(), Stopped> {
        let live = self.provider.live();
        if live.is_empty() {
            return Ok(());
        }
        let message = format!("the driver unloaded and left {} things in WSK", live.len());
        Err(crate::rules::record(&rules::LIVE_AT_UNLOAD, message, live))
    }

    /// Whether the network thread runs.
    pub(crate) fn is_running(&self) -> bool {
        self.provider.network.get().is_some()
    }

    /// Ends the network thread. The machine calls it before it joins its threads.
    pub(crate) fn stop(&self) {
        if let Some(network) = self.provider.network.get() {
            network.stop();
        }
    }
}

/// The WSK provider of one machine.
#[derive(Default)]
pub(crate) struct Provider {
    state: Mutex<ProviderState>,
    /// Signalled when anything changes that `WskCaptureProviderNPI` or `WskDeregister` wait for.
    change: Condvar,
    options: Mutex<Options>,
    registrations: Mutex<registration::Table>,
    sockets: Mutex<socket::Table>,
    /// Every IRP that the provider has, by its address.
    irps: Mutex<HashMap<usize, request::Record>>,
    numbers: AtomicU64,
    names: Mutex<names::Names>,
    control: Mutex<control::State>,
    /// The network in memory, if sockets are made of it.
    memory: Mutex<Option<memory::Net>>,
    /// The number of the IRP with which the provider is lost, or 0.
    lose_at: AtomicU64,
    /// Datagrams that are sent stay pending.
    holds_datagrams: AtomicBool,
    /// Lists of received data that the driver keeps, by the address that it has.
    lists: Mutex<indicate::Lists>,
    network: OnceLock<thread::Network>,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    irps: AtomicU64,
    sockets_opened: AtomicU64,
    resets: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Provider {
    /// The network thread's part, once a driver has registered.
    fn network(&self) -> &thread::Network {
        self.network.get().expect("WskRegister started the network thread")
    }

    fn counters(&self) -> Counters {
        let (registrations, captures) = self.registrations.lock().counts();
        Counters {
            registrations,
            captures,
            sockets: self.sockets.lock().open(),
            irps: self.irps.lock().len(),
            irps_taken: self.totals.irps.load(Ordering::SeqCst),
            descriptors: self.control.lock().descriptors(),
            retained: self.lists.lock().retained(),
            address_lists: self.names.lock().lists(),
            sockets_opened: self.totals.sockets_opened.load(Ordering::Relaxed),
            resets: self.totals.resets.load(Ordering::Relaxed),
            bytes_sent: self.totals.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.totals.bytes_received.load(Ordering::Relaxed),
        }
    }

    /// Everything that is not given back, one line each.
    fn live(&self) -> Vec<String> {
        let mut live = self.registrations.lock().live();
        live.extend(self.sockets.lock().live());
        live.extend(self.irps.lock().values().map(ToString::to_string));
        let retained = self.lists.lock().retained();
        if retained != 0 {
            live.push(format!("{retained} lists of received data that WskRelease was not called for"));
        }
        let descriptors = self.control.lock().descriptors();
        if descriptors != 0 {
            live.push(format!("{descriptors} security descriptors that WSK_RELEASE_SD was not called for"));
        }
        let lists = self.names.lock().lists();
        if lists != 0 {
            live.push(format!("{lists} lists of WskGetAddressInfo that WskFreeAddressInfo was not called for"));
        }
        live
    }

    /// Wakes who waits for a change. Takes the lock that they wait under, so that none misses it.
    fn changed(&self) {
        let state = self.state.lock();
        self.change.notify_all();
        drop(state);
    }

    fn is_lost(&self) -> bool {
        *self.state.lock() == ProviderState::Lost
    }

    fn set_state(self: &Arc<Self>, state: ProviderState) {
        *self.state.lock() = state;
        self.changed();
        if state == ProviderState::Lost {
            let sockets = self.sockets.lock().all();
            for socket in sockets {
                socket.fail(self, status::FILE_FORCED_CLOSED);
            }
            self.fail_look_ups(status::FILE_FORCED_CLOSED);
            self.end_changes(None, status::FILE_FORCED_CLOSED);
        }
    }

    /// Makes datagrams that are sent wait, or sends those that wait.
    fn hold_datagrams(&self, hold: bool) {
        self.holds_datagrams.store(hold, Ordering::SeqCst);
        if !hold && let Some(network) = self.network.get() {
            let sockets = self.sockets.lock().all();
            for socket in sockets {
                network.look_again(socket.number);
            }
        }
    }

    /// A choice between two, from the machine's seed.
    #[expect(clippy::unused_self, reason = "the seed is the machine's; the provider asks on behalf of its own")]
    fn coin(&self) -> bool {
        kernel::random() & 1 == 0
    }

    /// What a new socket is made of.
    fn new_end(&self, stream: bool, v6: bool) -> std::io::Result<transport::Host> {
        match &*self.memory.lock() {
            Some(net) => Ok(transport::Host::Memory(net.end(stream))),
            None => host::Host::new(stream, v6).map(transport::Host::Socket),
        }
    }

    fn completes_inline(&self) -> bool {
        let when = self.options.lock().when;
        match when {
            When::Any => !kernel::forces_pending() && self.coin(),
            When::Inline => true,
            When::Later => false,
        }
    }

    /// How many bytes a receive into `length` bytes takes at most.
    fn take_at_most(&self, length: usize) -> usize {
        let take = self.options.lock().take;
        if take == Take::Any && self.coin() && length > 1 {
            1 + usize::try_from(kernel::random()).unwrap_or(0) % length
        } else {
            length
        }
    }

    /// Gives a result to the network thread, which completes its IRP.
    fn finish_later(&self, mut finished: Finished) {
        let order = self.options.lock().order;
        if order == Order::Any && kernel::random().is_multiple_of(8) {
            finished.hold = u32::try_from(kernel::random() & 3).unwrap_or(0);
        }
        self.network().finish(finished);
    }

    /// Runs `body` at an IRQL that a completion or a callback may have, and tells it whether that is `DISPATCH_LEVEL`.
    fn at_some_level<R>(&self, body: impl FnOnce(bool) -> R) -> R {
        let level = self.options.lock().level;
        let dispatch = match level {
            Level::Any => self.coin(),
            Level::Passive => false,
            Level::Dispatch => true,
        };
        let before = irql::current();
        if dispatch && before < irql::DISPATCH {
            irql::raise(irql::DISPATCH);
            let result = body(true);
            irql::lower(before);
            result
        } else {
            body(before >= irql::DISPATCH)
        }
    }
}

#[cfg(test)]
mod tests;
