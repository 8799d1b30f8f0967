//! What a startup starts: a provider, and of the namespace providers one.

use crate::client::Client;
use crate::driver::Driver;
use core::ptr::NonNull;
use wsk::Ref;
use wskclient_abi::{CountedPer, Guid, Namespace, NamespaceEntry, Policy, Provider, WsaError};

/// What has a count of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The application.
    Application,
    /// The transport provider.
    Transport,
    /// The SAN provider: one for the driver.
    San,
    /// A namespace provider.
    Namespace(Namespace),
}

/// How many targets there are.
pub const TARGETS: usize = Target::ALL.len();

impl Target {
    /// Every target, in the order of their [`index`](Self::index).
    pub const ALL: [Self; 5] = [
        Self::Application,
        Self::Transport,
        Self::San,
        Self::Namespace(Namespace::Dns),
        Self::Namespace(Namespace::Numeric),
    ];

    /// The target that a request names.
    ///
    /// # Errors
    /// `WSAEINVAL` for a GUID that names no namespace provider, or is given where none is taken; `WSAEOPNOTSUPP` for a namespace
    /// provider that is not served (contract: NSP-2).
    pub fn named(provider: Provider, guid: &Guid) -> Result<Self, WsaError> {
        match provider {
            Provider::Namespace => {
                let entry = NamespaceEntry::find(guid).ok_or(WsaError::Invalid)?;
                entry.served().map(Self::Namespace).ok_or(WsaError::NotSupported)
            }
            _ if *guid != Guid::NIL => Err(WsaError::Invalid),
            Provider::Application => Ok(Self::Application),
            Provider::Transport => Ok(Self::Transport),
            Provider::San => Ok(Self::San),
        }
    }

    /// Its provider.
    pub const fn provider(self) -> Provider {
        match self {
            Self::Application => Provider::Application,
            Self::Transport => Provider::Transport,
            Self::San => Provider::San,
            Self::Namespace(_) => Provider::Namespace,
        }
    }

    /// Its provider's rules.
    pub const fn policy(self) -> &'static Policy {
        self.provider().policy()
    }

    /// Its place in an array of [`TARGETS`].
    pub const fn index(self) -> usize {
        match self {
            Self::Application => 0,
            Self::Transport => 1,
            Self::San => 2,
            Self::Namespace(namespace) => 3 + namespace as usize,
        }
    }

    /// Whether there is one count for the driver.
    pub fn is_drivers(self) -> bool {
        self.policy().counted_per == CountedPer::Driver
    }

    /// What the target is of, as a client sees it.
    pub fn home(self, client: &Ref<Client>) -> Home<'_> {
        if self.is_drivers() { Home::Driver(client.driver()) } else { Home::Client(client) }
    }
}

/// What an instance is part of: it keeps the instance, and the worker runs for it.
#[derive(Clone, Copy)]
pub enum Home<'a> {
    /// A client.
    Client(&'a Ref<Client>),
    /// The driver.
    Driver(&'static Driver),
}

impl Home<'_> {
    /// The driver's state.
    pub fn driver(self) -> &'static Driver {
        match self {
            Self::Client(client) => client.driver(),
            Self::Driver(driver) => driver,
        }
    }

    /// Its process' identifier; 0 for the driver.
    pub fn process(self) -> u32 {
        match self {
            Self::Client(client) => client.process().identifier(),
            Self::Driver(_) => 0,
        }
    }

    /// Has the worker look at its instances. `<= DISPATCH_LEVEL`, with no lock held.
    pub fn queue_work(self) {
        match self {
            Self::Client(client) => client.queue_work(),
            Self::Driver(driver) => driver.queue_work(),
        }
    }

    /// Startups wait until the driver has cleared up after the dead.
    pub fn postpone(self) {
        match self {
            Self::Client(client) => client.postpone(),
            Self::Driver(driver) => driver.postpone(),
        }
    }

    /// Gives up a reference to it for an instance that comes up.
    pub fn keep(self) {
        if let Self::Client(client) = self {
            let _given_up_for_the_instance = client.clone().into_raw();
        }
    }

    /// Takes back what [`keep`](Self::keep) gave up.
    ///
    /// # Safety
    /// Once for each `keep`, whose instance is down.
    pub unsafe fn let_go(self) {
        if let Self::Client(client) = self {
            // SAFETY: the caller's promise; the caller has another reference.
            drop(unsafe { Ref::from_raw(NonNull::from(&**client)) });
        }
    }
}
