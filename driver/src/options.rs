//! Socket options and I/O controls: what is the driver's own is answered here, the rest is WSK's.

use crate::irp::Irp;
use crate::requests::{answer, hand_over, refuse};
use crate::socket::Socket;
use crate::table::Entry;
use core::mem::offset_of;
use core::ptr::null_mut;
use wdk_sys::NTSTATUS;
use wsk::sys;
use wskclient_abi::{
    Kind, Linger, OptionValue, Role, STATUS_SUCCESS, SetOption, SocketControl, SocketOption, WsaError,
};
use zerocopy::transmute;

/// Says an option's value.
pub fn get(socket: &Entry<'_>, mut irp: Irp, option: SocketOption) -> NTSTATUS {
    if let Err(error) = socket.has(option) {
        return refuse(irp, error);
    }
    match option {
        SocketOption::Linger => {
            answer(socket, irp, Kind::GetOption, |state, irp| Ok(reply(irp, transmute!(state.linger_option))))
        }
        SocketOption::Type => {
            let number: u32 = if socket.role() == Role::Datagram { 2 } else { 1 };
            answer(socket, irp, Kind::GetOption, |_, irp| Ok(reply(irp, number.to_le_bytes())))
        }
        _ => {
            if irp.zero_reply::<OptionValue>().is_err() {
                return refuse(irp, WsaError::Fault);
            }
            let output = irp.system_buffer().wrapping_add(offset_of!(OptionValue, value));
            hand_over(
                socket,
                irp,
                Kind::GetOption,
                |_| Ok(()),
                |wsk, outgoing| {
                    let output = (output, SocketOption::LENGTH as usize);
                    // SAFETY: inside the gate; the value has its place in the IRP's system buffer.
                    unsafe {
                        wsk.control(sys::CONTROL_GET_OPTION, option.number(), (null_mut(), 0), output, outgoing.irp())
                    }
                },
            )
        }
    }
}

/// Sets an option.
pub fn set(socket: &Entry<'_>, irp: Irp, option: SocketOption, value: [u8; 4]) -> NTSTATUS {
    if let Err(error) = socket.has(option) {
        return refuse(irp, error);
    }
    if option == SocketOption::Linger {
        return answer(socket, irp, Kind::SetOption, |state, _| {
            state.linger_option = transmute!(value);
            Ok(0)
        });
    }
    let input = irp.system_buffer().wrapping_add(offset_of!(SetOption, value));
    hand_over(
        socket,
        irp,
        Kind::SetOption,
        |_| Ok(()),
        |wsk, outgoing| {
            let input = (input, SocketOption::LENGTH as usize);
            // SAFETY: inside the gate; the value lies in the IRP's system buffer.
            unsafe { wsk.control(sys::CONTROL_SET_OPTION, option.number(), input, (null_mut(), 0), outgoing.irp()) }
        },
    )
}

/// Does an I/O control, of which each answers a `SIZE_T`.
pub fn control(socket: &Entry<'_>, mut irp: Irp, control: SocketControl) -> NTSTATUS {
    if socket.role() != Role::Connection {
        return refuse(irp, WsaError::NotSupported);
    }
    if irp.zero_reply::<OptionValue>().is_err() {
        return refuse(irp, WsaError::Fault);
    }
    let code = match control {
        SocketControl::BytesToReceive => sys::SIO_WSK_QUERY_RECEIVE_BACKLOG,
        SocketControl::IdealSendBacklog => sys::SIO_WSK_QUERY_IDEAL_SEND_BACKLOG,
    };
    let output = irp.system_buffer().wrapping_add(offset_of!(OptionValue, value));
    hand_over(socket, irp, Kind::IoControl, crate::socket::SocketState::connected, |wsk, outgoing| {
        let output = (output, size_of::<usize>());
        // SAFETY: inside the gate; connected; the number has its place in the IRP's system buffer.
        unsafe { wsk.control(sys::CONTROL_IOCTL, (0, code), (null_mut(), 0), output, outgoing.irp()) }
    })
}

/// Writes the value of an option that is the driver's own; the reply's length.
fn reply(irp: &mut Irp, [a, b, c, d]: [u8; 4]) -> usize {
    let value = [a, b, c, d, 0, 0, 0, 0];
    irp.reply(&OptionValue { length: SocketOption::LENGTH, reserved: 0, value })
}

impl Socket {
    /// Whether the socket has an option.
    fn has(&self, option: SocketOption) -> Result<(), WsaError> {
        let of_family = option != SocketOption::V6Only || self.spec().family == sys::AF_INET6;
        if of_family && option.roles().contains(&self.role()) { Ok(()) } else { Err(WsaError::NoProtocolOption) }
    }

    /// WSK has written an option's value where the reply is, or not.
    pub fn option_read(&self, status: NTSTATUS, information: usize, irp: &mut Irp) -> (NTSTATUS, usize) {
        let amend = |reply: &mut OptionValue| reply.length = u32::try_from(information).unwrap_or(0);
        let length = if status == STATUS_SUCCESS { irp.amend_reply(amend) } else { 0 };
        (self.verdict(status), length)
    }

    /// WSK has written a `SIZE_T` where the reply is, or not: the caller gets 4 bytes.
    pub fn controlled(&self, status: NTSTATUS, irp: &mut Irp) -> (NTSTATUS, usize) {
        let amend = |reply: &mut OptionValue| {
            let number = u32::try_from(u64::from_le_bytes(reply.value)).unwrap_or(u32::MAX);
            reply.length = SocketOption::LENGTH;
            reply.value = u64::from(number).to_le_bytes();
        };
        let length = if status == STATUS_SUCCESS { irp.amend_reply(amend) } else { 0 };
        (self.verdict(status), length)
    }
}

/// What a new socket's option says.
pub const NEW_LINGER: Linger = Linger::ABORTIVE;
