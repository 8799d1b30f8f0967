//! `WskControlSocket`: socket options and I/O control operations.
//!
//! One idea: the table in [`values`] says of every option whom it applies to, until when it can be set and what it may be; the
//! socket remembers what was set, and its host is told where it has the like.
//!
//! Source: *`WskControlSocket`*, *WSK Socket Options*, *WSK Socket IOCTL Operations*, and the page of each.

pub mod codes;
mod ioctl;
pub mod values;

use std::ffi::c_void;

use wsk::sys;

use super::events::Control;
use super::socket::{Category, Socket};
use super::status::{self, Status};
use super::{Provider, dispatch, kernel, rules};
use crate::call::{self, Stopped};
use crate::rules::record;
use codes::{SO_WSK_EVENT_CALLBACK, SO_WSK_SECURITY, SOL_SOCKET};

const ALL: &[Category] =
    &[Category::Basic, Category::Listen, Category::Connection, Category::Datagram, Category::Stream];

/// The driver's buffers of one control operation.
struct Buffers {
    input: *const c_void,
    input_size: usize,
    output: *mut c_void,
    output_size: usize,
}

/// What a control operation is about.
#[derive(Clone, Copy)]
struct What {
    request: sys::ControlSocketType,
    code: u32,
    level: u32,
}

impl What {
    fn is_event_callback(self) -> bool {
        self.request == sys::CONTROL_SET_OPTION && self.level == SOL_SOCKET && self.code == SO_WSK_EVENT_CALLBACK
    }
}

pub extern "win64" fn control_socket(
    socket: *mut sys::Socket,
    request: sys::ControlSocketType,
    code: u32,
    level: u32,
    input_size: usize,
    input: *mut c_void,
    output_size: usize,
    output: *mut c_void,
    returned: *mut usize,
    irp: *mut sys::Irp,
) -> Status {
    let buffers = Buffers { input, input_size, output, output_size };
    let what = What { request, code, level };
    if irp.is_null() {
        let outcome = without_irp(socket, what, &buffers);
        let (status, count) = call::or_escape(outcome);
        if !returned.is_null() {
            // SAFETY: the driver passes NULL or a variable for the number of bytes returned.
            unsafe { returned.write(count) };
        }
        return status;
    }
    dispatch::socket_call("WskControlSocket", socket, ALL, irp, |provider, socket, request| {
        if what.is_event_callback() {
            // SAFETY: the driver passes `input_size` bytes of input.
            return match unsafe { buffers.read::<Control>() } {
                Ok(control) => socket.control_events(provider, control, Some(request)),
                Err(status) => provider.conclude(request, status, 0),
            };
        }
        if what.request == sys::CONTROL_IOCTL && code == codes::SIO_ADDRESS_LIST_CHANGE {
            return Ok(provider.await_change(request));
        }
        let (status, information) = match control(provider, socket, what, &buffers) {
            Ok(count) => (status::SUCCESS, count),
            Err(Refusal::Status(status)) => (status, 0),
            Err(Refusal::Broken(stopped)) => return Err(stopped),
        };
        provider.conclude(request, status, information)
    })
}

/// The event callbacks, and what is said to have no IRP, go without one. The result: a status, and bytes of output.
fn without_irp(socket: *mut sys::Socket, what: What, buffers: &Buffers) -> Result<(Status, usize), Stopped> {
    let provider = kernel::provider();
    let call = provider.enter("WskControlSocket", socket, ALL, false)?;
    if what.is_event_callback() {
        // SAFETY: the driver passes `input_size` bytes of input.
        return match unsafe { buffers.read::<Control>() } {
            Ok(control) => call.socket.control_events(&provider, control, None).map(|status| (status, 0)),
            Err(status) => Ok((status, 0)),
        };
    }
    if what.request == sys::CONTROL_IOCTL && ioctl::goes_without_irp(what.code) {
        dispatch::refuse_in_completion("WskControlSocket")?;
        return Ok(ioctl::without_irp(&call.socket, what.code, buffers));
    }
    let (code, level) = (what.code, what.level);
    let message = format!("WskControlSocket for {code:#x} of level {level:#x} on {} got no IRP", call.socket);
    Err(record(&rules::NO_IRP, message, Vec::new()))
}

/// Why a control operation was not done.
enum Refusal {
    Status(Status),
    Broken(Stopped),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Does one control operation; the result is the number of bytes written to the output.
fn control(provider: &Provider, socket: &Socket, what: What, buffers: &Buffers) -> Result<usize, Refusal> {
    let What { request, code, level } = what;
    if (level, code) == (SOL_SOCKET, SO_WSK_SECURITY) && request != sys::CONTROL_IOCTL {
        return security(provider, socket, request, buffers);
    }
    Ok(match request {
        sys::CONTROL_SET_OPTION => {
            // SAFETY: the driver passes `input_size` bytes of input.
            let value = unsafe { buffers.value() }?;
            values::set(socket, &mut socket.inner.lock(), (level, code), value)?;
            0
        }
        sys::CONTROL_GET_OPTION => {
            let value = values::get(socket, &socket.inner.lock(), (level, code))?;
            // SAFETY: the driver passes `output_size` bytes for the output.
            unsafe { buffers.write(value) }?
        }
        sys::CONTROL_IOCTL => ioctl::control(socket, code, buffers)?,
        _ => return Err(status::INVALID_PARAMETER.into()),
    })
}

/// `SO_WSK_SECURITY`: a cached security descriptor goes in, and a cached copy comes out.
fn security(
    provider: &Provider,
    socket: &Socket,
    request: sys::ControlSocketType,
    buffers: &Buffers,
) -> Result<usize, Refusal> {
    if socket.category == Category::Basic {
        return Err(status::NOT_SUPPORTED.into());
    }
    if request == sys::CONTROL_GET_OPTION {
        let Some(original) = socket.inner.lock().descriptor else {
            return Err(status::INVALID_DEVICE_STATE.into());
        };
        if buffers.output.is_null() || buffers.output_size < size_of::<usize>() {
            return Err(status::BUFFER_TOO_SMALL.into());
        }
        let copy = provider.copy_descriptor(original);
        // SAFETY: the driver passes `output_size` bytes for the output.
        return Ok(unsafe { buffers.write(copy) }?);
    }
    // SAFETY: the driver passes `input_size` bytes of input.
    let descriptor = unsafe { buffers.read::<usize>() }?;
    provider.check_descriptor("SO_WSK_SECURITY", descriptor).map_err(Refusal::Broken)?;
    let mut inner = socket.inner.lock();
    if inner.phase != super::socket::Phase::Unbound {
        return Err(inner.phase.refusal().into());
    }
    inner.descriptor = Some(descriptor);
    Ok(0)
}

impl Buffers {
    /// # Safety
    /// `output` is null or points to `output_size` writable bytes.
    unsafe fn write<T>(&self, value: T) -> Result<usize, Status> {
        if self.output.is_null() || self.output_size < size_of::<T>() {
            return Err(status::BUFFER_TOO_SMALL);
        }
        // SAFETY: the caller vouches for the memory, of which there is enough.
        unsafe { self.output.cast::<T>().write_unaligned(value) };
        Ok(size_of::<T>())
    }

    /// # Safety
    /// `input` is null or points to `input_size` readable bytes, of which every pattern is a `T`.
    unsafe fn read<T>(&self) -> Result<T, Status> {
        if self.input.is_null() || self.input_size < size_of::<T>() {
            return Err(status::INVALID_PARAMETER);
        }
        // SAFETY: the caller vouches for the bytes, of which there are enough.
        Ok(unsafe { self.input.cast::<T>().read_unaligned() })
    }

    /// The value of an option, which is a ULONG.
    ///
    /// # Safety
    /// `input` is null or points to `input_size` readable bytes.
    unsafe fn value(&self) -> Result<u32, Status> {
        if self.input_size != size_of::<u32>() {
            return Err(status::INVALID_PARAMETER);
        }
        // SAFETY: the caller vouches for the four bytes.
        unsafe { self.read() }
    }
}
