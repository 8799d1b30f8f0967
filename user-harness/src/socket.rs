//! A kernel socket, with Winsock's calls.

use crate::{
    Accepted, Client, Error, Operation, Received, Reply, Sent,
    abi::{
        Accept, AcceptReply, Address, AddressOf, AddressReply, Bind, Close, Connect, Events, EventsReply, GetOption,
        IoControl, Ioctl, Linger, Listen, OptionValue, ReceivedFrom, SendTo, SetOption, Shutdown, SocketControl,
        SocketHandle, SocketOption, Transfer,
    },
    words::{control_name, option_name},
};

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use zerocopy::{Immutable, IntoBytes};

/// A socket in the driver. It lives until it is closed or its provider's last reference goes, as a Winsock socket does: dropping
/// this value closes nothing.
#[derive(Clone)]
pub struct Socket {
    client: Client,
    handle: SocketHandle,
    /// Whether its owner closed it, through this value or a clone.
    closed: Arc<AtomicBool>,
}

impl Socket {
    /// The socket that `handle` names, whether or not there is one.
    #[must_use]
    pub fn new(client: Client, handle: SocketHandle) -> Self {
        Self { client, handle, closed: Arc::default() }
    }

    pub(crate) fn is_closed_by_caller(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Its handle.
    #[must_use]
    pub fn handle(&self) -> SocketHandle {
        self.handle
    }

    fn begin<R: Reply>(
        &self,
        ioctl: Ioctl,
        input: &(impl IntoBytes + Immutable),
        buffer: Vec<u8>,
        what: String,
    ) -> Operation<R> {
        if ioctl == Ioctl::Close {
            self.closed.store(true, Ordering::Relaxed);
        }
        self.client.begin(ioctl, input, buffer, what).on(self)
    }

    /// Binds to a local address; port 0 lets the stack choose.
    ///
    /// # Errors
    /// `WSAEADDRINUSE`, `WSAEADDRNOTAVAIL`, `WSAEINVAL` when it is bound already.
    pub fn bind(&self, address: Address) -> Result<(), Error> {
        self.begin_bind(address).call()
    }

    /// Starts a bind.
    pub fn begin_bind(&self, address: Address) -> Operation<()> {
        let input = Bind { socket: self.handle, address, reserved: 0 };
        self.begin(Ioctl::Bind, &input, Vec::new(), format!("bind to {address:?}"))
    }

    /// Lets a bound listening socket accept.
    ///
    /// # Errors
    /// `WSAEINVAL` when it is not bound, `WSAEOPNOTSUPP` when its role is another.
    pub fn listen(&self, backlog: u32) -> Result<(), Error> {
        self.begin_listen(backlog).call()
    }

    /// Starts a listen.
    pub fn begin_listen(&self, backlog: u32) -> Operation<()> {
        let input = Listen { socket: self.handle, backlog, reserved: 0 };
        self.begin(Ioctl::Listen, &input, Vec::new(), "listen".into())
    }

    /// Takes the next connection.
    ///
    /// # Errors
    /// `WSAEINVAL` when it does not listen.
    pub fn accept(&self) -> Result<Accepted, Error> {
        self.begin_accept().call()
    }

    /// Starts an accept.
    pub fn begin_accept(&self) -> Operation<Accepted> {
        let input = Accept { socket: self.handle };
        self.begin(Ioctl::Accept, &input, vec![0; size_of::<AcceptReply>()], "accept".into())
    }

    /// Connects a bound socket. A datagram socket sends there and receives from there only, until it is connected again.
    ///
    /// # Errors
    /// `WSAECONNREFUSED`, `WSAEADDRNOTAVAIL`, `WSAEINVAL` when it is not bound, `WSAEISCONN`.
    pub fn connect(&self, address: Address) -> Result<(), Error> {
        self.begin_connect(address).call()
    }

    /// Starts a connect.
    pub fn begin_connect(&self, address: Address) -> Operation<()> {
        let input = Connect { socket: self.handle, address, reserved: 0 };
        self.begin(Ioctl::Connect, &input, Vec::new(), format!("connect to {address:?}"))
    }

    /// Sends all of `data`.
    ///
    /// # Errors
    /// `WSAENOTCONN`, `WSAECONNRESET`.
    pub fn send(&self, data: Vec<u8>) -> Result<Sent, Error> {
        self.begin_send(data).call()
    }

    /// Starts a send.
    pub fn begin_send(&self, data: Vec<u8>) -> Operation<Sent> {
        let what = format!("send {} bytes", data.len());
        self.begin(Ioctl::Send, &self.transfer(0), data, what)
    }

    /// Receives up to `length` bytes; none at the peer's graceful close.
    ///
    /// # Errors
    /// `WSAENOTCONN`, `WSAECONNRESET`.
    pub fn receive(&self, length: usize) -> Result<Vec<u8>, Error> {
        self.begin_receive(length).call()
    }

    /// Starts a receive.
    pub fn begin_receive(&self, length: usize) -> Operation<Vec<u8>> {
        let what = format!("receive up to {length} bytes");
        self.begin(Ioctl::Receive, &self.transfer(0), vec![0; length], what)
    }

    /// Starts a receive that ends when all `length` bytes are there (`MSG_WAITALL`).
    pub fn begin_receive_all(&self, length: usize) -> Operation<Vec<u8>> {
        let what = format!("receive {length} bytes");
        self.begin(Ioctl::Receive, &self.transfer(Transfer::WAIT_ALL), vec![0; length], what)
    }

    /// Sends one datagram to `address`.
    ///
    /// ```no_run
    /// # fn ask(client: &wskctl::Client) -> Result<(), wskctl::Error> {
    /// use wskctl::abi::{Address, Provider, Role};
    ///
    /// let socket = client.socket(Provider::Application, Role::Datagram)?;
    /// socket.bind(Address::v4([0, 0, 0, 0], 0))?;
    /// socket.send_to(b"hello".to_vec(), Address::v4([127, 0, 0, 1], 7))?;
    /// let answer = socket.receive_from(512)?;
    /// println!("{} bytes from {:?}", answer.data.len(), answer.address);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `WSAEMSGSIZE` when it is too long, `WSAEINVAL` when the socket is not bound, `WSAEOPNOTSUPP` when its role is another.
    pub fn send_to(&self, data: Vec<u8>, address: Address) -> Result<Sent, Error> {
        self.begin_send_to(data, address).call()
    }

    /// Starts to send one datagram.
    pub fn begin_send_to(&self, data: Vec<u8>, address: Address) -> Operation<Sent> {
        let what = format!("send {} bytes to {address:?}", data.len());
        let input = SendTo { socket: self.handle, address, reserved: 0 };
        self.begin(Ioctl::SendTo, &input, data, what)
    }

    /// Receives one datagram of up to `length` bytes. The rest of a longer one is lost; what fits comes all the same.
    ///
    /// # Errors
    /// `WSAEINVAL` when the socket is not bound, `WSAEOPNOTSUPP` when its role is another.
    pub fn receive_from(&self, length: usize) -> Result<Received, Error> {
        self.begin_receive_from(length).call()
    }

    /// Starts to receive one datagram.
    pub fn begin_receive_from(&self, length: usize) -> Operation<Received> {
        let what = format!("receive a datagram of up to {length} bytes");
        let buffer = vec![0; size_of::<ReceivedFrom>() + length];
        self.begin(Ioctl::ReceiveFrom, &self.transfer(0), buffer, what)
    }

    fn transfer(&self, flags: u32) -> Transfer {
        Transfer { socket: self.handle, flags, reserved: 0 }
    }

    /// This end's address.
    ///
    /// # Errors
    /// `WSAEINVAL` when it is not bound.
    pub fn local_address(&self) -> Result<Address, Error> {
        self.begin_address(AddressOf::LOCAL).call()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `WSAENOTCONN`, `WSAEOPNOTSUPP` for a listening socket.
    pub fn peer_address(&self) -> Result<Address, Error> {
        self.begin_address(AddressOf::PEER).call()
    }

    /// Starts to ask for the address of one end, [`AddressOf::LOCAL`] or [`AddressOf::PEER`].
    pub fn begin_address(&self, end: u32) -> Operation<Address> {
        let what = if end == AddressOf::PEER { "ask for the peer's address" } else { "ask for the local address" };
        let input = AddressOf { socket: self.handle, end, reserved: 0 };
        self.begin(Ioctl::Address, &input, vec![0; size_of::<AddressReply>()], what.into())
    }

    /// Sends no more: what was sent still arrives, then the peer sees the end of the stream. Receives go on.
    ///
    /// # Errors
    /// `WSAENOTCONN`, `WSAESHUTDOWN` when it was done before.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.begin_shutdown(Shutdown::SEND).call()
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// `WSAENOTCONN`.
    pub fn abort(&self) -> Result<(), Error> {
        self.begin_shutdown(Shutdown::ABORT).call()
    }

    /// Starts a shutdown, [`Shutdown::SEND`] or [`Shutdown::ABORT`].
    pub fn begin_shutdown(&self, how: u32) -> Operation<()> {
        let input = Shutdown { socket: self.handle, how, reserved: 0 };
        self.begin(Ioctl::Shutdown, &input, Vec::new(), "shut the connection down".into())
    }

    /// What an option says.
    ///
    /// # Errors
    /// `WSAENOPROTOOPT` when the socket has no such option.
    pub fn option(&self, option: SocketOption) -> Result<u32, Error> {
        self.begin_option(option).call()
    }

    /// Starts to ask for an option.
    pub fn begin_option(&self, option: SocketOption) -> Operation<u32> {
        let (level, name) = option.number();
        let input = GetOption { socket: self.handle, level, name };
        let what = format!("ask for the option {}", option_name(option));
        self.begin(Ioctl::GetOption, &input, vec![0; size_of::<OptionValue>()], what)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// `WSAENOPROTOOPT` when the socket has no such option, or it can't be set.
    pub fn set_option(&self, option: SocketOption, value: u32) -> Result<(), Error> {
        self.begin_set_option(option, value).call()
    }

    /// Starts to set an option.
    pub fn begin_set_option(&self, option: SocketOption, value: u32) -> Operation<()> {
        let ((level, name), length) = (option.number(), SocketOption::LENGTH);
        let input = SetOption { socket: self.handle, level, name, length, value: value.to_le_bytes() };
        self.begin(Ioctl::SetOption, &input, Vec::new(), format!("set the option {}", option_name(option)))
    }

    /// Says what a close does that is not told how: `SO_LINGER`.
    ///
    /// # Errors
    /// `WSAENOPROTOOPT` when the socket has no connection to close.
    pub fn set_linger(&self, linger: Linger) -> Result<(), Error> {
        self.set_option(SocketOption::Linger, zerocopy::transmute!(linger))
    }

    /// Starts to wait for any of the events in `mask`.
    pub fn begin_events(&self, mask: u32) -> Operation<EventsReply> {
        let input = Events { socket: self.handle, mask, reserved: 0 };
        self.begin(Ioctl::Events, &input, vec![0; size_of::<EventsReply>()], "wait for events".into())
    }

    /// Does an I/O control.
    ///
    /// # Errors
    /// `WSAEOPNOTSUPP` when the socket has none, `WSAENOTCONN`.
    pub fn control(&self, control: SocketControl) -> Result<u32, Error> {
        self.begin_control(control).call()
    }

    /// Starts an I/O control.
    pub fn begin_control(&self, control: SocketControl) -> Operation<u32> {
        let input = IoControl { socket: self.handle, code: control as u32, reserved: 0 };
        let what = format!("ask for {}", control_name(control));
        self.begin(Ioctl::IoControl, &input, vec![0; size_of::<OptionValue>()], what)
    }

    /// Closes the socket as its option [`Linger`](SocketOption::Linger) says: unless that was set, abortively, and a connected peer
    /// sees a reset. Its requests end first.
    ///
    /// # Errors
    /// `WSAENOTSOCK` when it is closed already.
    pub fn close(&self) -> Result<(), Error> {
        self.begin_close().call()
    }

    /// Closes the socket gracefully: the call returns at once, what was sent before it still arrives, and then the peer sees the end
    /// of the stream. `milliseconds` says how long that may take; none, [`Close::DEFAULT_LINGER`].
    ///
    /// # Errors
    /// `WSAENOTSOCK` when it is closed already, `WSAENOBUFS`.
    pub fn close_gracefully(&self, milliseconds: Option<u32>) -> Result<(), Error> {
        self.begin_close_gracefully(milliseconds).call()
    }

    /// Starts a graceful close.
    pub fn begin_close_gracefully(&self, milliseconds: Option<u32>) -> Operation<()> {
        let input = Close { socket: self.handle, flags: Close::LINGER, linger: milliseconds.unwrap_or(0) };
        self.begin(Ioctl::Close, &input, Vec::new(), "close gracefully".into())
    }

    /// Starts a close.
    pub fn begin_close(&self) -> Operation<()> {
        let input = Close { socket: self.handle, flags: 0, linger: 0 };
        self.begin(Ioctl::Close, &input, Vec::new(), "close".into())
    }
}
