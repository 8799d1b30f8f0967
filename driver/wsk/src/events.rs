//! Event callbacks: what WSK tells of a socket without being asked, for clients that take data by [`receive`] only.
//!
//! A callback refuses the data that it is told of, so that nothing is copied or kept: WSK holds it for the next receive, and tells of
//! it again only after that (of datagrams: when the callback is enabled again).
//!
//! [`receive`]: crate::SocketRef::receive

use crate::{Category, NOT_IMPLEMENTED, SocketRef, sys};
use core::ffi::c_void;
use core::ptr::null_mut;

/// What WSK tells of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A receive would have data.
    Readable,
    /// The peer sends nothing more.
    Disconnected {
        /// It has reset the connection.
        abortive: bool,
    },
    /// The socket is no longer functional, and is to be closed.
    Lost,
}

/// Who is told.
pub trait Sink {
    /// An event of a socket. `<= DISPATCH_LEVEL`; one at a time for each event; the socket's close waits for it.
    ///
    /// # Safety
    /// `context` is what the socket was created with.
    unsafe fn event(context: *mut c_void, event: Event);
}

macro_rules! callbacks {
    ($abi:literal) => {
        unsafe extern $abi fn received<S: Sink>(
            context: *mut c_void,
            _flags: u32,
            data: *mut sys::DataIndication,
            _length: usize,
            _accepted: *mut usize,
        ) -> sys::NtStatus {
            // SAFETY: WSK gives the context that the socket was created with.
            unsafe { S::event(context, if data.is_null() { Event::Lost } else { Event::Readable }) };
            sys::DATA_NOT_ACCEPTED
        }

        unsafe extern $abi fn disconnected<S: Sink>(context: *mut c_void, flags: u32) -> sys::NtStatus {
            // SAFETY: as in `received`.
            unsafe { S::event(context, Event::Disconnected { abortive: flags & sys::FLAG_ABORTIVE != 0 }) };
            0
        }

        unsafe extern $abi fn received_from<S: Sink>(
            context: *mut c_void,
            _flags: u32,
            data: *mut sys::DatagramIndication,
        ) -> sys::NtStatus {
            // SAFETY: as in `received`.
            unsafe { S::event(context, if data.is_null() { Event::Lost } else { Event::Readable }) };
            sys::DATA_NOT_ACCEPTED
        }
    };
}

#[cfg(target_arch = "x86_64")]
callbacks!("win64");
#[cfg(not(target_arch = "x86_64"))]
callbacks!("C");

/// The callbacks of a client's sockets. It stays where it is as long as there are sockets.
#[derive(Debug)]
pub struct Callbacks {
    connection: sys::ClientConnectionDispatch,
    datagram: sys::ClientDatagramDispatch,
}

impl Callbacks {
    /// Callbacks that tell `S`.
    #[must_use]
    pub const fn new<S: Sink>() -> Self {
        Self {
            connection: sys::ClientConnectionDispatch {
                receive_event: Some(received::<S>),
                disconnect_event: Some(disconnected::<S>),
                send_backlog_event: None,
            },
            datagram: sys::ClientDatagramDispatch { receive_from_event: Some(received_from::<S>) },
        }
    }

    /// The dispatch table of a category of sockets; null if none of its events is told.
    pub(crate) const fn of(&'static self, category: Category) -> *const c_void {
        match category {
            Category::Listen => core::ptr::null(),
            Category::Connection => (&raw const self.connection).cast(),
            Category::Datagram => (&raw const self.datagram).cast(),
        }
    }

    /// That of accepted sockets.
    pub(crate) const fn of_accepted(&'static self) -> *const sys::ClientConnectionDispatch {
        &raw const self.connection
    }
}

impl SocketRef {
    /// Enables event callbacks, `EVENT_` bits: of a connected socket, or a bound one for datagrams. Done when the call returns.
    /// Source: `SO_WSK_EVENT_CALLBACK`. `<= DISPATCH_LEVEL`.
    ///
    /// # Errors
    /// What WSK answers; [`NOT_IMPLEMENTED`] where it has no events.
    ///
    /// # Safety
    /// The socket is connected, or for datagrams and bound; open and not being closed; created with [`Callbacks`].
    pub unsafe fn enable_events(self, mask: u32) -> Result<(), sys::NtStatus> {
        let Some(control) = self.control_function() else { return Err(NOT_IMPLEMENTED) };
        let mut input = sys::EventCallbackControl { npi_id: &raw const sys::INTERFACE_ID, event_mask: mask };
        // SAFETY: the caller's promise; without an IRP the input is used during the call only.
        let status = unsafe {
            control(
                self.as_ptr(),
                sys::CONTROL_SET_OPTION,
                sys::SO_WSK_EVENT_CALLBACK,
                sys::SOL_SOCKET,
                size_of::<sys::EventCallbackControl>(),
                (&raw mut input).cast(),
                0,
                null_mut(),
                null_mut(),
                null_mut(),
            )
        };
        if status == 0 { Ok(()) } else { Err(status) }
    }
}
