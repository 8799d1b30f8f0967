//! A client with something to lose.

use contract::{
    APPLICATION, DNS, Lab, TRANSPORT,
    abi::{Ioctl, Ledger, NtStatus, Role, SocketHandle, SocketOption, WsaError},
    check::{cancelled, deregistered, fails, without_looks},
    raw::{self, well_formed},
    started,
    traffic::{Connection, accepted, bound, connected, listening, local},
};
use ntlab::RegistryValue;
use wskctl::{Client, Operation, Socket};

/// What the victim may hold: little, so that what a refused request kept is missed.
const SOCKETS: u32 = 10;
const REQUESTS: u32 = 8;
const LOCKED: u32 = 1 << 16;

/// A client with something to lose, and sockets that requests are made on.
pub struct Victim {
    pub lab: Lab,
    pub client: Client,
    pub connection: Connection,
    listener: Socket,
    datagrams: Socket,
    created: Socket,
    bound: Socket,
}

impl Victim {
    pub fn new() -> Self {
        let limits = [("MaxSockets", SOCKETS), ("MaxPendingRequests", REQUESTS), ("MaxLockedBytes", LOCKED)];
        let lab = Lab::start_with_parameters(&limits.map(|(name, limit)| (name, RegistryValue::Number(limit))));
        let client = lab.started();
        started(&client, TRANSPORT);
        client.startup_namespace(DNS).unwrap().keep();
        let connection = connected(&client, APPLICATION);
        let (listener, _) = listening(&client, APPLICATION);
        let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
        datagrams.bind(local(0)).unwrap();
        let created = client.socket(APPLICATION, Role::Connection).unwrap();
        let bound = bound(&client, APPLICATION);
        Self { lab, client, connection, listener, datagrams, created, bound }
    }

    pub fn sockets(&self) -> [&Socket; 5] {
        [&self.connection.socket, &self.listener, &self.datagrams, &self.created, &self.bound]
    }

    /// A socket that a request of this kind works on.
    pub fn socket_for(&self, ioctl: Ioctl) -> SocketHandle {
        let socket = match ioctl {
            Ioctl::Accept | Ioctl::Listen => &self.listener,
            Ioctl::SendTo | Ioctl::ReceiveFrom => &self.datagrams,
            Ioctl::Bind => &self.created,
            Ioctl::Connect => &self.bound,
            _ => &self.connection.socket,
        };
        socket.handle()
    }

    /// What the sockets say of themselves: every option, and both addresses.
    fn sockets_say(&self) -> Vec<String> {
        let say = |socket: &Socket| {
            let options: Vec<_> = SocketOption::EVERY.iter().map(|&option| socket.option(option).ok()).collect();
            format!("{options:?} {:?} {:?}", socket.local_address().ok(), socket.peer_address().ok())
        };
        self.sockets().into_iter().map(say).collect()
    }

    /// Runs `attack`, which finds after each request that nothing was counted, created or lost; and then that the sockets are as they
    /// were, and that nothing of what the client may hold is missing.
    pub fn withstands(mut self, attack: impl FnOnce(&Attack<'_>)) {
        let sockets = self.sockets_say();
        let before = without_looks(self.client.ledger().unwrap());
        attack(&Attack { victim: &self, before });
        assert_eq!(self.sockets_say(), sockets);
        self.connection.peer.send(b"intact").unwrap();
        assert_eq!(self.connection.socket.receive(16).unwrap(), b"intact");
        self.connection.socket.send(b"both ways".to_vec()).unwrap();
        assert_eq!(self.connection.peer.receive(9).unwrap(), b"both ways");
        self.has_all_that_it_may_hold();
        drop(accepted(&mut self.listener.begin_accept(), self.listener.local_address().unwrap()));
        for provider in [TRANSPORT, APPLICATION] {
            self.client.cleanup(provider).unwrap();
            fails(self.client.cleanup(provider), WsaError::NotInitialised);
        }
        self.client.cleanup_namespace(DNS).unwrap();
        fails(self.client.cleanup_namespace(DNS), WsaError::NotInitialised);
        deregistered(&self.client);
        drop(self.lab);
    }

    fn has_all_that_it_may_hold(&self) {
        let socket = &self.connection.socket;
        let receives: Vec<_> = (0..REQUESTS).map(|_| socket.begin_receive(8)).collect();
        assert!(receives.iter().all(|receive| !receive.is_complete()), "a request that was refused is still charged");
        fails(socket.receive(8), WsaError::NoBuffers);
        receives.iter().for_each(Operation::cancel);
        receives.into_iter().for_each(cancelled);
        let large = socket.begin_receive(LOCKED as usize);
        assert!(!large.is_complete(), "bytes of a request that was refused are still charged");
        fails(socket.receive(1), WsaError::NoBuffers);
        large.cancel();
        cancelled(large);
        let left = SOCKETS as usize - self.sockets().len();
        let more: Vec<_> = (0..left).map(|_| self.client.socket(APPLICATION, Role::Connection).unwrap()).collect();
        fails(self.client.socket(APPLICATION, Role::Connection), WsaError::TooManySockets);
        for socket in more {
            socket.close().unwrap();
        }
    }
}

/// Requests that are to be refused.
pub struct Attack<'a> {
    pub victim: &'a Victim,
    before: Ledger,
}

impl Attack<'_> {
    /// A request whose every field is allowed, and how long its output is.
    pub fn well_formed(&self, ioctl: Ioctl) -> (Vec<u8>, usize) {
        well_formed(ioctl, self.victim.socket_for(ioctl))
    }

    /// The request is refused, with nothing, and nothing has changed. Its status.
    #[track_caller]
    pub fn is_refused(&self, code: u32, input: &[u8], output: usize) -> NtStatus {
        let completion = raw::request(&self.victim.client, code, input, output);
        let (length, status) = (input.len(), completion.status);
        assert!(status < 0, "{code:#X} with {length} bytes in and {output} out: {status:#X}");
        assert_eq!(completion.information, 0, "{code:#X}: a refused request answers nothing");
        let now = without_looks(self.victim.client.ledger().unwrap());
        assert_eq!(now, self.before, "{code:#X} with {length} bytes in and {output} out");
        status
    }

    /// As [`is_refused`](Self::is_refused), with that status.
    #[track_caller]
    pub fn refused(&self, code: u32, input: &[u8], output: usize, expected: NtStatus) {
        let status = self.is_refused(code, input, output);
        let length = input.len();
        assert_eq!(status, expected, "{code:#X} with {length} bytes in and {output} out: {status:#X}");
    }
}
