//! A request on its way, typed by what it answers.
//!
//! As in Winsock's overlapped calls, starting an operation and learning its outcome are two steps. An outcome is learnt once.

use crate::{
    Cause, Client, Error, Socket,
    abi::{
        AcceptReply, Address, AddressReply, EventsReply, Ledger, NtStatus, OptionValue, Outstanding, PendingList,
        ReceivedFrom, SocketOption, SocketReply, StartupReply, VersionReply, WsaError, is_error,
    },
    device::{Completion, Request},
    overlapped,
};
use std::{
    marker::PhantomData,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use zerocopy::{FromBytes, KnownLayout};

/// A pending (or finished) request. Dropping one that is pending cancels it.
///
/// ```no_run
/// # fn cancel_one(socket: &wskctl::Socket) -> Result<(), wskctl::Error> {
/// use std::time::Duration;
/// use wskctl::abi::WsaError;
///
/// let mut first = socket.begin_receive(512);
/// let mut second = socket.begin_receive(512);
/// first.cancel(); // that one only; it still ends, once
/// let error = first.wait(Duration::from_secs(5)).expect_err("it was cancelled");
/// assert_eq!(error.winsock(), Some(WsaError::OperationAborted));
/// let data = second.wait(Duration::from_secs(60))?;
/// # let _ = data; Ok(())
/// # }
/// ```
#[must_use = "a dropped operation is cancelled"]
pub struct Operation<R> {
    request: Request,
    client: Client,
    what: String,
    /// The socket that it is on.
    socket: Option<Socket>,
    /// Whether its caller asked for its end.
    cancelled: AtomicBool,
    reply: PhantomData<fn() -> R>,
}

/// What a successful request answers.
pub trait Reply: Sized {
    /// Whether a completion with that status has an answer.
    #[must_use]
    fn is_answer(status: NtStatus) -> bool {
        status >= 0
    }

    /// Reads the answer out of a completion whose status [has one](Self::is_answer).
    ///
    /// # Errors
    /// The answer does not have the protocol's length.
    fn decode(client: &Client, completion: Completion) -> Result<Self, Cause>;
}

impl<R> Operation<R> {
    /// Asks for it to be cancelled. It still ends once, with whatever comes first.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.request.cancel();
    }
}

impl<R: Reply> Operation<R> {
    pub(crate) fn new(request: Request, client: Client, what: String) -> Self {
        Self { request, client, what, socket: None, cancelled: AtomicBool::new(false), reply: PhantomData }
    }

    /// The same operation, known to be on a socket.
    pub(crate) fn on(self, socket: &Socket) -> Self {
        Self { socket: Some(socket.clone()), ..self }
    }

    /// Whether a teardown ended it: it was cancelled, its caller neither cancelled it nor closed its socket, and the socket is gone. To
    /// learn the last, this makes a request.
    pub(crate) fn ended_by_teardown(&self, completion: &Completion) -> bool {
        let Some(socket) = &self.socket else { return false };
        if self.cancelled.load(Ordering::Relaxed) || socket.is_closed_by_caller() {
            return false;
        }
        overlapped::is_silent(completion, || socket.local_address().err())
    }

    /// What a completion of its means.
    pub(crate) fn answer(&self, completion: Completion) -> Result<R, Error> {
        if !R::is_answer(completion.status) {
            return Err(Error::status(&*self.what, completion.status));
        }
        R::decode(&self.client, completion).map_err(|cause| Error::new(&*self.what, cause))
    }

    /// What the operation does, for messages.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.request.is_complete()
    }

    /// Has `observer` run at its end, in a thread of the backend's: see [`Request::on_completion`].
    pub fn on_completion(&mut self, observer: impl FnOnce() + Send + 'static) {
        self.request.on_completion(observer);
    }

    /// Waits up to `timeout` for the raw completion: status, Information and buffer, whatever the status.
    ///
    /// # Errors
    /// It did not end in time (and is still pending).
    pub fn completion(&mut self, timeout: Duration) -> Result<Completion, Error> {
        self.request
            .wait(timeout)
            .ok_or_else(|| Error::new(format!("waiting for {} to end", self.what), Cause::TimedOut(timeout)))
    }

    /// Waits up to `timeout` for the answer.
    ///
    /// # Errors
    /// It failed, or did not end in time (and is still pending).
    pub fn wait(&mut self, timeout: Duration) -> Result<R, Error> {
        let completion = self.completion(timeout)?;
        self.answer(completion)
    }

    /// Waits up to `timeout` and tells whether it ended. One that failed is an error, one that is pending stays so.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn ended_within(&mut self, timeout: Duration) -> Result<bool, Error> {
        match self.wait(timeout) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.cause(), Cause::TimedOut(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The same operation, whose answer is the raw completion.
    pub fn untyped(self) -> Operation<Completion> {
        let Self { request, client, what, socket, cancelled, .. } = self;
        Operation { request, client, what, socket, cancelled, reply: PhantomData }
    }

    /// Waits for the answer as long as the client's calls wait, and cancels the operation when that was not long enough.
    pub(crate) fn call(mut self) -> Result<R, Error> {
        let timeout = self.client.patience();
        self.wait(timeout)
    }
}

fn fixed<T: FromBytes + KnownLayout>(completion: &Completion) -> Result<T, Cause> {
    let malformed = || Cause::Malformed { expected: size_of::<T>(), answered: completion.information };
    let answer = completion.buffer.get(..completion.information).ok_or_else(malformed)?;
    T::read_from_bytes(answer).map_err(|_| malformed())
}

impl Reply for Completion {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        Ok(completion)
    }
}

impl Reply for () {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        match completion.information {
            0 => Ok(()),
            answered => Err(Cause::Malformed { expected: 0, answered }),
        }
    }
}

macro_rules! fixed_replies {
    ($($name:ty),*) => {$(
        impl Reply for $name {
            fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
                fixed(&completion)
            }
        }
    )*};
}
fixed_replies!(VersionReply, Ledger, StartupReply, EventsReply);

impl Reply for Socket {
    fn decode(client: &Client, completion: Completion) -> Result<Self, Cause> {
        fixed::<SocketReply>(&completion).map(|reply| Self::new(client.clone(), reply.socket))
    }
}

impl Reply for Address {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        fixed::<AddressReply>(&completion).map(|reply| reply.address)
    }
}

/// Pending requests: how many there are, and those that were listed.
impl Reply for (u32, Vec<Outstanding>) {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        let malformed = || Cause::Malformed { expected: size_of::<PendingList>(), answered: completion.information };
        let answer = completion.buffer.get(..completion.information).ok_or_else(malformed)?;
        let (head, entries) = PendingList::read(answer).ok_or_else(malformed)?;
        Ok((head.total, PendingList::entries(entries).collect()))
    }
}

/// An option's value.
impl Reply for u32 {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        let OptionValue { length, value: [a, b, c, d, ..], .. } = fixed(&completion)?;
        match length {
            SocketOption::LENGTH => Ok(Self::from_le_bytes([a, b, c, d])),
            length => Err(Cause::Malformed { expected: size_of::<Self>(), answered: length as usize }),
        }
    }
}

/// A connection that a listening socket took.
#[derive(Clone)]
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// This end.
    pub local: Address,
    /// The peer's end.
    pub remote: Address,
}

impl Reply for Accepted {
    fn decode(client: &Client, completion: Completion) -> Result<Self, Cause> {
        let reply: AcceptReply = fixed(&completion)?;
        Ok(Self { socket: Socket::new(client.clone(), reply.socket), local: reply.local, remote: reply.remote })
    }
}

/// The bytes that a receive got; none at the peer's graceful close.
impl Reply for Vec<u8> {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        let Completion { mut buffer, information, .. } = completion;
        if information > buffer.len() {
            return Err(Cause::Malformed { expected: buffer.len(), answered: information });
        }
        buffer.truncate(information);
        Ok(buffer)
    }
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its bytes, as many as fitted.
    pub data: Vec<u8>,
    /// Where it came from.
    pub address: Address,
    /// Flags of [`ReceivedFrom`].
    pub flags: u32,
    /// Whether bytes are missing at its end (`WSAEMSGSIZE`).
    pub is_truncated: bool,
}

impl Reply for Received {
    fn is_answer(status: NtStatus) -> bool {
        !is_error(status)
    }

    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        let malformed = Cause::Malformed { expected: size_of::<ReceivedFrom>(), answered: completion.information };
        let answer = completion.buffer.get(..completion.information);
        match answer.and_then(|answer| ReceivedFrom::read_from_prefix(answer).ok()) {
            Some((ReceivedFrom { address, flags }, data)) => {
                let is_truncated = completion.status == WsaError::MessageSize.status();
                Ok(Self { data: data.to_vec(), address, flags, is_truncated })
            }
            None => Err(malformed),
        }
    }
}

/// What a send moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes taken by the stack.
    pub bytes: usize,
    /// The data, given back for reuse.
    pub buffer: Vec<u8>,
}

impl Reply for Sent {
    fn decode(_client: &Client, completion: Completion) -> Result<Self, Cause> {
        Ok(Self { bytes: completion.information, buffer: completion.buffer })
    }
}
