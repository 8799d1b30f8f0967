//! A client of the driver: the process's view through one handle, with Winsock's calls.
//!
//! Clones share the handle, and may be used from any thread. A call waits up to [`Client::patience`]; each has a form that starts the
//! request and returns the [`Operation`].

use crate::{
    Cause, Error, Operation, Reply, Socket,
    abi::{
        AF_INET, Cleanup, Guid, Ioctl, Ledger, Outstanding, PROTOCOL_VERSION, PendingList, PendingQuery, Provider,
        Role, SocketOpen, SocketReply, Startup, StartupReply, VersionReply, WinsockVersion, WsaError,
    },
    device::{Device, Handle, Refused},
    overlapped,
};
use std::time::Duration;
use zerocopy::{Immutable, IntoBytes};

/// How long a call waits unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// One open handle of the device.
#[derive(Clone)]
pub struct Client {
    handle: Handle,
    patience: Duration,
}

impl Client {
    /// Opens the device and checks that the driver speaks this crate's protocol.
    ///
    /// # Errors
    /// The device is absent, does not admit the caller, or speaks another major of the protocol.
    pub fn open(device: &dyn Device) -> Result<Self, Error> {
        let client = Self::over(device.open()?);
        let version = client.version()?;
        if version.protocol >> 16 != PROTOCOL_VERSION >> 16 {
            let cause = Cause::Protocol { driver: version.protocol, program: PROTOCOL_VERSION };
            return Err(Error::new("open the device", cause));
        }
        Ok(client)
    }

    /// A client over a handle that is open already, whatever protocol its driver speaks.
    #[must_use]
    pub fn over(handle: Handle) -> Self {
        Self { handle, patience: PATIENCE }
    }

    /// The handle, for requests that this type does not make.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How long a call waits before it gives up and cancels its request.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// The same client, whose calls wait that long.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn begin<R: Reply>(
        &self,
        ioctl: Ioctl,
        input: &(impl IntoBytes + Immutable),
        buffer: Vec<u8>,
        what: String,
    ) -> Operation<R> {
        let request = self.handle.submit(ioctl as u32, input.as_bytes(), buffer);
        Operation::new(request, self.clone(), what)
    }

    /// The driver's version and protocol. Needs no startup.
    ///
    /// # Errors
    /// The request failed.
    pub fn version(&self) -> Result<VersionReply, Error> {
        let buffer = vec![0; size_of::<VersionReply>()];
        self.begin(Ioctl::Version, &(), buffer, "version".into()).call()
    }

    /// What the driver holds, in numbers. Needs no startup.
    ///
    /// # Errors
    /// The request failed.
    pub fn ledger(&self) -> Result<Ledger, Error> {
        let buffer = vec![0; size_of::<Ledger>()];
        self.begin(Ioctl::Ledger, &(), buffer, "ledger".into()).call()
    }

    /// Pending requests, this client's or everybody's: how many there are, and as many of them as `room` says.
    ///
    /// # Errors
    /// The request failed, or its answer is not whole.
    pub fn pending(&self, everybody: bool, room: usize) -> Result<(u32, Vec<Outstanding>), Error> {
        self.begin_pending(everybody, room).call()
    }

    /// Starts to ask for pending requests.
    pub fn begin_pending(&self, everybody: bool, room: usize) -> Operation<(u32, Vec<Outstanding>)> {
        let scope = if everybody { PendingQuery::ALL } else { PendingQuery::OWN };
        let buffer = vec![0; size_of::<PendingList>() + room * size_of::<Outstanding>()];
        let query = PendingQuery { scope, reserved: 0 };
        self.begin(Ioctl::LedgerPending, &query, buffer, "ask for pending requests".into())
    }

    /// Takes a reference on a provider (`WSAStartup`, `WSPStartup`). `catalog_id` is 0 except for
    /// [`Transport`](Provider::Transport).
    ///
    /// # Errors
    /// `WSAVERNOTSUPPORTED`, `WSAEINVAL` for the catalog identifier, `WSASYSNOTREADY`: nothing is counted.
    pub fn startup(&self, provider: Provider, version: WinsockVersion, catalog_id: u32) -> Result<Started, Error> {
        let reply = self.begin_startup(provider, version, catalog_id).call()?;
        Ok(Started { client: self.clone(), provider, guid: Guid::NIL, reply, held: true })
    }

    /// Takes a reference on a namespace provider (`NSPStartup`).
    ///
    /// # Errors
    /// `WSAEINVAL` when the GUID names no namespace provider, `WSAEOPNOTSUPP` when it names one that is not served,
    /// `WSASYSNOTREADY`: nothing is counted.
    pub fn startup_namespace(&self, guid: Guid) -> Result<Started, Error> {
        let reply = self.begin_startup_namespace(guid).call()?;
        Ok(Started { client: self.clone(), provider: Provider::Namespace, guid, reply, held: true })
    }

    /// Starts a startup. The reference that a success takes is the caller's to give back.
    pub fn begin_startup(
        &self,
        provider: Provider,
        version: WinsockVersion,
        catalog_id: u32,
    ) -> Operation<StartupReply> {
        let what = format!("startup of {} {version}", provider.name());
        let provider = provider as u32;
        let input = Startup { provider, version, reserved: 0, catalog_id, reserved2: 0, guid: Guid::NIL };
        self.begin(Ioctl::Startup, &input, vec![0; size_of::<StartupReply>()], what)
    }

    /// Starts the startup of a namespace provider.
    pub fn begin_startup_namespace(&self, guid: Guid) -> Operation<StartupReply> {
        let (provider, version) = (Provider::Namespace as u32, WinsockVersion::new(0, 0));
        let input = Startup { provider, version, reserved: 0, catalog_id: 0, reserved2: 0, guid };
        self.begin(Ioctl::Startup, &input, vec![0; size_of::<StartupReply>()], format!("startup of namespace {guid}"))
    }

    /// Releases a reference. The last one returns when the teardown is over.
    ///
    /// # Errors
    /// `WSANOTINITIALISED` when there is no reference; `WSAEINPROGRESS` from inside a completion routine (contract: WSA-7).
    pub fn cleanup(&self, provider: Provider) -> Result<(), Error> {
        self.begin_cleanup(provider).call()
    }

    /// Starts a cleanup.
    pub fn begin_cleanup(&self, provider: Provider) -> Operation<()> {
        self.begin_cleanup_of(provider, Guid::NIL)
    }

    /// Releases a reference on a namespace provider (`NSPCleanup`).
    ///
    /// # Errors
    /// `WSANOTINITIALISED` when there is none; for the GUID as [`startup_namespace`](Self::startup_namespace).
    pub fn cleanup_namespace(&self, guid: Guid) -> Result<(), Error> {
        self.begin_cleanup_namespace(guid).call()
    }

    /// Starts the cleanup of a namespace provider.
    pub fn begin_cleanup_namespace(&self, guid: Guid) -> Operation<()> {
        self.begin_cleanup_of(Provider::Namespace, guid)
    }

    /// Starts a cleanup; one from inside a completion routine is refused here.
    pub(crate) fn begin_cleanup_of(&self, provider: Provider, guid: Guid) -> Operation<()> {
        let what = match provider {
            Provider::Namespace => format!("cleanup of namespace {guid}"),
            provider => format!("cleanup of {}", provider.name()),
        };
        if overlapped::is_in_a_routine() {
            let refused = Refused::request(WsaError::InProgress.status(), Vec::new());
            return Operation::new(refused, self.clone(), what);
        }
        let input = Cleanup { provider: provider as u32, reserved: 0, guid };
        self.begin(Ioctl::Cleanup, &input, Vec::new(), what)
    }

    /// Cancels the blocking calls of a client that was started with a version before 2.0 (`WSACancelBlockingCall`): they end with
    /// `WSAEINTR`.
    ///
    /// # Errors
    /// `WSAEOPNOTSUPP` in 2.x, `WSAEINVAL` when no blocking call is outstanding, `WSANOTINITIALISED`.
    pub fn cancel_blocking(&self) -> Result<(), Error> {
        self.begin_cancel_blocking().call()
    }

    /// Starts to cancel blocking calls.
    pub fn begin_cancel_blocking(&self) -> Operation<()> {
        self.begin(Ioctl::CancelBlocking, &(), Vec::new(), "cancel blocking calls".into())
    }

    /// Creates a socket over IPv4 that belongs to `provider`.
    ///
    /// # Errors
    /// `WSANOTINITIALISED`, `WSAEMFILE`.
    pub fn socket(&self, provider: Provider, role: Role) -> Result<Socket, Error> {
        self.begin_socket(provider, role).call()
    }

    /// Creates a socket of an address family, `AF_INET` or `AF_INET6`.
    ///
    /// # Errors
    /// As [`socket`](Self::socket), and `WSAEAFNOSUPPORT`.
    pub fn socket_of(&self, provider: Provider, family: u16, role: Role) -> Result<Socket, Error> {
        self.begin_socket_of(provider, family, role).call()
    }

    /// Starts the creation of a socket.
    pub fn begin_socket(&self, provider: Provider, role: Role) -> Operation<Socket> {
        self.begin_socket_of(provider, AF_INET, role)
    }

    /// Starts the creation of a socket of an address family.
    pub fn begin_socket_of(&self, provider: Provider, family: u16, role: Role) -> Operation<Socket> {
        let input = SocketOpen { provider: provider as u32, family, role: role as u16, protocol: 0, reserved: 0 };
        let what = match role {
            Role::Listen => "create a listening socket",
            Role::Connection => "create a socket",
            Role::Datagram => "create a datagram socket",
        };
        self.begin(Ioctl::Socket, &input, vec![0; size_of::<SocketReply>()], what.into())
    }

    /// Cancels every request made through this client's handle.
    pub fn cancel_all(&self) {
        self.handle.cancel_all();
    }

    /// Closes the handle, for every clone. The process's last one releases all its references.
    pub fn close(&self) {
        self.handle.close();
    }
}

/// A reference on a provider, given back by [`Started::cleanup`] or on drop.
#[must_use = "dropping it cleans up"]
pub struct Started {
    client: Client,
    provider: Provider,
    guid: Guid,
    reply: StartupReply,
    held: bool,
}

impl Started {
    /// What the startup answered.
    #[must_use]
    pub fn reply(&self) -> &StartupReply {
        &self.reply
    }

    /// Gives the reference back, and waits for it.
    ///
    /// # Errors
    /// The cleanup failed. From inside a completion routine it is `WSAEINPROGRESS`, and the reference is given back when the
    /// routine has returned.
    pub fn cleanup(self) -> Result<(), Error> {
        self.begin_cleanup().call()
    }

    /// Starts to give the reference back.
    pub fn begin_cleanup(mut self) -> Operation<()> {
        self.held = overlapped::is_in_a_routine();
        self.client.begin_cleanup_of(self.provider, self.guid)
    }

    /// Keeps the reference: something else cleans up, or the process's end does.
    pub fn keep(mut self) {
        self.held = false;
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        if overlapped::is_in_a_routine() {
            overlapped::clean_up_later(self.client.clone(), self.provider, self.guid);
        } else {
            // Nobody is left to tell; a client that is closed has no reference any more.
            let _ = self.client.begin_cleanup_of(self.provider, self.guid).call();
        }
    }
}
