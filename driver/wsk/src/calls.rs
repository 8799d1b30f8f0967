//! The provider's functions, each called with an IRP that somebody owns.
//!
//! Every function here hands out an IRP with a free stack location and a completion routine in it, and answers what WSK answered.
//! The IRP, its MDLs and every address and struct pointed to belong to WSK until the completion routine runs; it may have run when
//! the call returns. An answer other than `STATUS_PENDING` without the routine having run means that the IRP was never taken: an
//! absent function answers [`NOT_IMPLEMENTED`] in this way.

use crate::{Callbacks, Passive, sys};
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

/// `STATUS_NOT_IMPLEMENTED`.
pub const NOT_IMPLEMENTED: sys::NtStatus = 0xC000_0002_u32.cast_signed();

/// The captured provider. Good until the registration gives it back.
#[derive(Clone, Copy, Debug)]
pub struct Provider {
    pub(crate) client: *mut sys::Client,
    pub(crate) dispatch: *const sys::ProviderDispatch,
}

/// A socket of the provider's. Its owner closes it exactly once and does not use it afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRef(NonNull<sys::Socket>);

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// A listening socket.
    Listen,
    /// A connection-oriented socket.
    Connection,
    /// A datagram socket.
    Datagram,
}

impl Category {
    /// What `WskSocket` takes: the socket's type, its protocol, its flag.
    const fn creation(self) -> (u16, u32, u32) {
        match self {
            Self::Listen => (sys::SOCK_STREAM, sys::IPPROTO_TCP, sys::FLAG_LISTEN_SOCKET),
            Self::Connection => (sys::SOCK_STREAM, sys::IPPROTO_TCP, sys::FLAG_CONNECTION_SOCKET),
            Self::Datagram => (sys::SOCK_DGRAM, sys::IPPROTO_UDP, sys::FLAG_DATAGRAM_SOCKET),
        }
    }
}

macro_rules! call {
    ($function:expr, $($argument:expr),+) => {
        match $function {
            // SAFETY: the pointer comes from the provider's dispatch table; the arguments are the caller's promise.
            Some(function) => unsafe { function($($argument),+) },
            None => NOT_IMPLEMENTED,
        }
    };
}

impl Provider {
    /// Creates a TCP or UDP socket; the IRP's `IoStatus.Information` is the socket. Source: `PFN_WSK_SOCKET`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// The capture is kept during the call; `context` is right for the callbacks until the socket is closed; the module's terms for
    /// the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn socket(
        &self,
        family: sys::AddressFamily,
        category: Category,
        (context, callbacks): (*mut c_void, &'static Callbacks),
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let (kind, protocol, flags) = category.creation();
        // SAFETY: the dispatch table stays while the capture is kept.
        let dispatch = unsafe { &*self.dispatch };
        call!(
            dispatch.socket,
            self.client,
            family,
            kind,
            protocol,
            flags,
            context,
            callbacks.of(category),
            null_mut(),
            null_mut(),
            null_mut(),
            irp.as_ptr()
        )
    }
}

/// A question for addresses. Whoever asks keeps it, and the texts that it points to, where they are until the IRP completes.
#[derive(Debug)]
pub struct NameQuestion {
    /// The host's name, or a null buffer.
    pub node: sys::UnicodeString,
    /// The service's name or port number, or a null buffer.
    pub service: sys::UnicodeString,
    /// `NS_*`: the namespace that is asked, 0 for all.
    pub namespace: u32,
    /// What kind of addresses is wanted.
    pub hints: sys::AddressInfo,
    /// Where the list of results is put.
    pub result: *mut sys::AddressInfo,
}

impl Provider {
    /// Asks for the addresses of a name. After a success the question's `result` is a list that is given back with
    /// [`free_addresses`](Self::free_addresses). Source: `PFN_WSK_GET_ADDRESS_INFO`. `PASSIVE_LEVEL`.
    ///
    /// # Safety
    /// The capture is kept during the call; `question` stays, and nobody else touches it, until the IRP completes; the module's
    /// terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn name_to_addresses(
        &self,
        question: NonNull<NameQuestion>,
        irp: NonNull<sys::Irp>,
        _: Passive,
    ) -> sys::NtStatus {
        // SAFETY: the dispatch table stays while the capture is kept.
        let dispatch = unsafe { &*self.dispatch };
        // SAFETY: the caller's promise.
        let question = unsafe { &mut *question.as_ptr() };
        let optional = |text: &mut sys::UnicodeString| if text.buffer.is_null() { null_mut() } else { text };
        call!(
            dispatch.get_address_info,
            self.client,
            optional(&mut question.node),
            optional(&mut question.service),
            question.namespace,
            null_mut(),
            &raw mut question.hints,
            &raw mut question.result,
            null_mut(),
            null_mut(),
            irp.as_ptr()
        )
    }

    /// Gives a list of [`name_to_addresses`](Self::name_to_addresses) back. Source: `PFN_WSK_FREE_ADDRESS_INFO`. `PASSIVE_LEVEL`.
    ///
    /// # Safety
    /// The capture under which the list was made is kept; the list is given back this once, and not used afterwards.
    pub unsafe fn free_addresses(&self, list: NonNull<sys::AddressInfo>, _: Passive) {
        // SAFETY: the dispatch table stays while the capture is kept.
        let dispatch = unsafe { &*self.dispatch };
        if let Some(free) = dispatch.free_address_info {
            // SAFETY: the caller's promise.
            unsafe { free(self.client, list.as_ptr()) };
        }
    }

    /// Asks for the names of an address and its port. Source: `PFN_WSK_GET_NAME_INFO`. `PASSIVE_LEVEL`.
    ///
    /// # Safety
    /// The capture is kept during the call; `address` is a whole `SOCKADDR` of `length` bytes; it, the two strings and the room that
    /// they describe stay until the IRP completes; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn address_to_name(
        &self,
        (address, length): (NonNull<sys::SockAddr>, u32),
        names: NonNull<[sys::UnicodeString; 2]>,
        flags: u32,
        irp: NonNull<sys::Irp>,
        _: Passive,
    ) -> sys::NtStatus {
        // SAFETY: the dispatch table stays while the capture is kept.
        let dispatch = unsafe { &*self.dispatch };
        // SAFETY: the caller's promise.
        let [node, service] = unsafe { &mut *names.as_ptr() };
        call!(
            dispatch.get_name_info,
            self.client,
            address.as_ptr(),
            length,
            node,
            service,
            flags,
            null_mut(),
            null_mut(),
            irp.as_ptr()
        )
    }
}

impl SocketRef {
    /// The socket that an IRP's `IoStatus.Information` says, if it says one.
    #[must_use]
    pub const fn from_information(information: usize) -> Option<Self> {
        match NonNull::new(core::ptr::with_exposed_provenance_mut(information)) {
            Some(socket) => Some(Self(socket)),
            None => None,
        }
    }

    fn dispatch(self) -> *const c_void {
        // SAFETY: the socket is open, so its first field is there to read.
        unsafe { (*self.0.as_ptr()).dispatch }
    }

    pub(crate) const fn as_ptr(self) -> *mut sys::Socket {
        self.0.as_ptr()
    }

    pub(crate) fn control_function(self) -> sys::ControlSocketFn {
        self.basic().control_socket
    }

    fn basic(&self) -> &sys::BasicDispatch {
        // SAFETY: every category's table begins with the basic one.
        unsafe { &*self.dispatch().cast() }
    }

    fn listen(&self) -> &sys::ListenDispatch {
        // SAFETY: the callers of this function are for listening sockets.
        unsafe { &*self.dispatch().cast() }
    }

    fn connection(&self) -> &sys::ConnectionDispatch {
        // SAFETY: the callers of this function are for connection-oriented sockets.
        unsafe { &*self.dispatch().cast() }
    }

    fn datagram(&self) -> &sys::DatagramDispatch {
        // SAFETY: the callers of this function are for datagram sockets.
        unsafe { &*self.dispatch().cast() }
    }

    /// Binds to a local address; a listening socket begins to listen. Source: `PFN_WSK_BIND`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// The socket is of this category, open and not being closed; `address` is a whole `SOCKADDR` of the socket's family that stays
    /// until the IRP completes; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn bind(
        self,
        category: Category,
        address: NonNull<sys::SockAddr>,
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let bind = match category {
            Category::Listen => self.listen().bind,
            Category::Connection => self.connection().bind,
            Category::Datagram => self.datagram().bind,
        };
        call!(bind, self.as_ptr(), address.as_ptr(), 0, irp.as_ptr())
    }

    /// Accepts a connection; the IRP's `IoStatus.Information` is the new socket. Source: `PFN_WSK_ACCEPT`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A listening socket, open and not being closed, with no other accept out; `local` and `remote` take a `SOCKADDR` of the
    /// socket's family and stay until the IRP completes; `context` is right for the callbacks until the new socket is closed; the
    /// module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn accept(
        self,
        (context, callbacks): (*mut c_void, &'static Callbacks),
        local: NonNull<sys::SockAddr>,
        remote: NonNull<sys::SockAddr>,
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let (accept, table) = (self.listen().accept, callbacks.of_accepted());
        call!(accept, self.as_ptr(), 0, context, table, local.as_ptr(), remote.as_ptr(), irp.as_ptr())
    }

    /// Connects a bound socket. Source: `PFN_WSK_CONNECT`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A connection-oriented socket, bound, open and not being closed; `address` as for [`bind`](Self::bind); the module's terms
    /// for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn connect(self, address: NonNull<sys::SockAddr>, irp: NonNull<sys::Irp>) -> sys::NtStatus {
        call!(self.connection().connect, self.as_ptr(), address.as_ptr(), 0, irp.as_ptr())
    }

    /// Sends; the IRP's `IoStatus.Information` is the number of bytes. Source: `PFN_WSK_SEND`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A connected socket, open and not being closed; `buffer` lies within its MDLs and stays, with them, until the IRP completes;
    /// the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn send(self, buffer: NonNull<sys::Buf>, flags: u32, irp: NonNull<sys::Irp>) -> sys::NtStatus {
        call!(self.connection().send, self.as_ptr(), buffer.as_ptr(), flags, irp.as_ptr())
    }

    /// Receives; the IRP's `IoStatus.Information` is the number of bytes, zero at the peer's graceful close.
    /// Source: `PFN_WSK_RECEIVE`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// As for [`send`](Self::send).
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn receive(self, buffer: NonNull<sys::Buf>, flags: u32, irp: NonNull<sys::Irp>) -> sys::NtStatus {
        call!(self.connection().receive, self.as_ptr(), buffer.as_ptr(), flags, irp.as_ptr())
    }

    /// Sends one datagram, to `remote` or else to the fixed remote address. Source: `PFN_WSK_SEND_TO`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A datagram socket, bound, open and not being closed; `buffer` lies within its MDLs (it may have none if it is empty) and stays,
    /// with them, until the IRP completes; so does `remote`, null or a whole `SOCKADDR` of the socket's family; it is not null unless
    /// an address is fixed; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn send_to(
        self,
        buffer: NonNull<sys::Buf>,
        remote: *mut sys::SockAddr,
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        call!(self.datagram().send_to, self.as_ptr(), buffer.as_ptr(), 0, remote, 0, null_mut(), irp.as_ptr())
    }

    /// Receives one datagram; the IRP's `IoStatus.Information` is the number of bytes, its status `STATUS_BUFFER_OVERFLOW` if there
    /// were more. Source: `PFN_WSK_RECEIVE_FROM`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// As for [`send_to`](Self::send_to); `remote` is null or takes a `SOCKADDR` of the socket's family, `flags` is null or takes a
    /// `ULONG`; both are nonpaged and stay until the IRP completes.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn receive_from(
        self,
        buffer: NonNull<sys::Buf>,
        remote: *mut sys::SockAddr,
        flags: *mut u32,
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let function = self.datagram().receive_from;
        call!(function, self.as_ptr(), buffer.as_ptr(), 0, remote, null_mut(), null_mut(), flags, irp.as_ptr())
    }

    /// Asks for the socket's option `name` of `level`, or sets it; or, with [`sys::CONTROL_IOCTL`] and level 0, does an I/O control.
    /// The IRP's `IoStatus.Information` is the number of bytes written. Source: `PFN_WSK_CONTROL_SOCKET`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// The socket is open and not being closed; input and output are nonpaged, as long as they say, and stay until the IRP
    /// completes; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn control(
        self,
        kind: sys::ControlSocketType,
        (level, name): (u32, u32),
        (input, input_length): (*mut u8, usize),
        (output, output_length): (*mut u8, usize),
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let (control, socket, returned) = (self.basic().control_socket, self.as_ptr(), null_mut());
        let (input, output, irp) = (input.cast(), output.cast(), irp.as_ptr());
        call!(control, socket, kind, name, level, input_length, input, output_length, output, returned, irp)
    }

    /// Fixes a datagram socket's remote address: what goes nowhere else goes there, and only what comes from there is received.
    /// Source: `SIO_WSK_SET_REMOTE_ADDRESS`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A datagram socket, bound, open and not being closed; `address` as for [`bind`](Self::bind), of `length` bytes; the module's
    /// terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn set_remote_address(
        self,
        address: NonNull<sys::SockAddr>,
        length: usize,
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let input = (address.as_ptr().cast(), length);
        // SAFETY: the caller's promise.
        unsafe { self.control(sys::CONTROL_IOCTL, (0, sys::SIO_WSK_SET_REMOTE_ADDRESS), input, (null_mut(), 0), irp) }
    }

    /// Asks for the local address. Source: `PFN_WSK_GET_LOCAL_ADDRESS`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// The socket is of this category, bound, open and not being closed; `address` takes a `SOCKADDR` of the socket's family and
    /// stays until the IRP completes; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn local_address(
        self,
        category: Category,
        address: NonNull<sys::SockAddr>,
        irp: NonNull<sys::Irp>,
    ) -> sys::NtStatus {
        let function = match category {
            Category::Listen => self.listen().get_local_address,
            Category::Connection => self.connection().get_local_address,
            Category::Datagram => self.datagram().get_local_address,
        };
        call!(function, self.as_ptr(), address.as_ptr(), irp.as_ptr())
    }

    /// Asks for the peer's address. Source: `PFN_WSK_GET_REMOTE_ADDRESS`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A connected socket; as for [`local_address`](Self::local_address).
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn remote_address(self, address: NonNull<sys::SockAddr>, irp: NonNull<sys::Irp>) -> sys::NtStatus {
        call!(self.connection().get_remote_address, self.as_ptr(), address.as_ptr(), irp.as_ptr())
    }

    /// Ends the connection: with [`sys::FLAG_ABORTIVE`] at once, otherwise after what has been sent; then the IRP may stay out as
    /// long as the peer lives. Source: `PFN_WSK_DISCONNECT`. `<= DISPATCH_LEVEL`.
    ///
    /// # Safety
    /// A connected socket, open and not being closed; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn disconnect(self, flags: u32, irp: NonNull<sys::Irp>) -> sys::NtStatus {
        call!(self.connection().disconnect, self.as_ptr(), null_mut(), flags, irp.as_ptr())
    }

    /// Closes the socket: cancels what is out, and is abortive unless both directions were shut down before.
    /// Source: `PFN_WSK_CLOSE_SOCKET`. `<= DISPATCH_LEVEL`, and never inside a callback or completion routine of the socket.
    ///
    /// # Safety
    /// Nobody is in a call on the socket, nobody makes one afterwards, and it is closed this once; the module's terms for the IRP.
    #[must_use = "the answer says whether the IRP was taken"]
    pub unsafe fn close(self, irp: NonNull<sys::Irp>) -> sys::NtStatus {
        call!(self.basic().close_socket, self.as_ptr(), irp.as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_the_provider_lacks_is_not_implemented_and_takes_no_irp() {
        let basic = sys::BasicDispatch { control_socket: None, close_socket: None };
        let table = sys::ConnectionDispatch {
            basic,
            bind: None,
            connect: None,
            get_local_address: None,
            get_remote_address: None,
            send: None,
            receive: None,
            disconnect: None,
            release: None,
            connect_ex: None,
            send_ex: null_mut(),
            receive_ex: null_mut(),
        };
        let mut object = sys::Socket { dispatch: (&raw const table).cast() };
        let socket = SocketRef(NonNull::from(&mut object));
        let (irp, address, buffer) = (NonNull::dangling(), NonNull::dangling(), NonNull::dangling());
        let none = (null_mut(), 0);
        // SAFETY: a function that is not there uses none of its arguments; here, and below.
        let mut answers = vec![unsafe { socket.bind(Category::Connection, address, irp) }];
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.connect(address, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.send(buffer, 0, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.receive(buffer, 0, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.disconnect(0, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.local_address(Category::Connection, address, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.remote_address(address, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.control(sys::CONTROL_GET_OPTION, (0, 0), none, none, irp) });
        // SAFETY: the function is not there, and uses none of its arguments.
        answers.push(unsafe { socket.close(irp) });
        assert_eq!(answers, [NOT_IMPLEMENTED; 9]);
        // SAFETY: the function is not there, and uses none of its arguments.
        assert_eq!(unsafe { socket.enable_events(sys::EVENT_RECEIVE) }, Err(NOT_IMPLEMENTED));
    }
}
