//! The NTSTATUS values of WSK, and the one table from the host's errors to them.
//!
//! One idea: a driver must not see that the network underneath is another system's, so every host error becomes the value
//! that Windows' TCP/IP gives for the same event. The Winsock code in each line of the table is what Windows makes of the
//! NTSTATUS, and the reason for its choice.
//!
//! Source: *WSK Functions*, the return values of each; *NTSTATUS Values*.

use std::io;

/// `NTSTATUS`.
pub type Status = i32;

macro_rules! statuses {
    ($($name:ident = $value:literal;)*) => {$(
        #[expect(clippy::cast_possible_wrap, reason = "NTSTATUS values are written in hexadecimal, errors with the top bit")]
        #[doc = concat!("`STATUS_", stringify!($name), "`.")]
        pub const $name: Status = $value as u32 as i32;
    )*
        /// The name of a status that the provider gives, for messages.
        #[must_use]
        pub fn name(status: Status) -> &'static str {
            match status {
                $($name => concat!("STATUS_", stringify!($name)),)*
                _ => "an NTSTATUS that WSK does not give",
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000;
    PENDING = 0x0000_0103;
    BUFFER_OVERFLOW = 0x8000_0005;
    UNSUCCESSFUL = 0xC000_0001;
    NOT_IMPLEMENTED = 0xC000_0002;
    INVALID_PARAMETER = 0xC000_000D;
    INVALID_DEVICE_REQUEST = 0xC000_0010;
    ACCESS_DENIED = 0xC000_0022;
    BUFFER_TOO_SMALL = 0xC000_0023;
    INSUFFICIENT_RESOURCES = 0xC000_009A;
    DEVICE_NOT_READY = 0xC000_00A3;
    REQUEST_NOT_ACCEPTED = 0xC000_00D0;
    DATA_NOT_ACCEPTED = 0xC000_021B;
    EVENT_PENDING = 0x4000_0013;
    PIPE_DISCONNECTED = 0xC000_00B0;
    IO_TIMEOUT = 0xC000_00B5;
    FILE_FORCED_CLOSED = 0xC000_00B6;
    NOT_SUPPORTED = 0xC000_00BB;
    CANCELLED = 0xC000_0120;
    INVALID_CONNECTION = 0xC000_0140;
    INVALID_DEVICE_STATE = 0xC000_0184;
    INVALID_BUFFER_SIZE = 0xC000_0206;
    INVALID_ADDRESS_COMPONENT = 0xC000_0207;
    ADDRESS_ALREADY_EXISTS = 0xC000_020A;
    CONNECTION_RESET = 0xC000_020D;
    CONNECTION_REFUSED = 0xC000_0236;
    NETWORK_UNREACHABLE = 0xC000_023C;
    HOST_UNREACHABLE = 0xC000_023D;
    PORT_UNREACHABLE = 0xC000_023F;
    CONNECTION_ABORTED = 0xC000_0241;
    NO_MATCH = 0xC000_0272;
    NOINTERFACE = 0xC000_02B9;
    PROTOCOL_NOT_SUPPORTED = 0xC000_A013;
}

/// What Windows says where the host said `error`.
#[must_use]
pub fn of_host(error: &io::Error) -> Status {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => CONNECTION_REFUSED, // WSAECONNREFUSED
        // A write after the peer's reset: the host reports the reset once and a broken pipe from then on.
        Some(libc::ECONNRESET | libc::EPIPE) => CONNECTION_RESET, // WSAECONNRESET
        Some(libc::ECONNABORTED) => CONNECTION_ABORTED,           // WSAECONNABORTED
        Some(libc::EADDRINUSE) => ADDRESS_ALREADY_EXISTS,         // WSAEADDRINUSE
        Some(libc::EADDRNOTAVAIL) => INVALID_ADDRESS_COMPONENT,   // WSAEADDRNOTAVAIL
        Some(libc::EACCES | libc::EPERM) => ACCESS_DENIED,        // WSAEACCES
        Some(libc::ENETUNREACH | libc::ENETDOWN) => NETWORK_UNREACHABLE, // WSAENETUNREACH
        Some(libc::EHOSTUNREACH) => HOST_UNREACHABLE,             // WSAEHOSTUNREACH
        Some(libc::ETIMEDOUT) => IO_TIMEOUT,                      // WSAETIMEDOUT
        Some(libc::EMSGSIZE) => INVALID_BUFFER_SIZE,              // WSAEMSGSIZE
        Some(libc::ENOTCONN) => INVALID_CONNECTION,               // WSAENOTCONN
        Some(libc::EISCONN) => INVALID_DEVICE_STATE,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => INSUFFICIENT_RESOURCES, // WSAENOBUFS
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => PROTOCOL_NOT_SUPPORTED, // WSAEPROTONOSUPPORT
        Some(libc::ENOPROTOOPT | libc::EOPNOTSUPP) => NOT_SUPPORTED,                // WSAEOPNOTSUPP
        Some(libc::EINVAL) => INVALID_PARAMETER,                                    // WSAEINVAL
        _ => UNSUCCESSFUL,
    }
}
