//! Socket options and I/O controls: fixed tables of what a caller may name, each with its size, its direction and its roles.

use crate::{Role, WsaError};

/// `SOL_SOCKET`.
pub const SOL_SOCKET: u32 = 0xFFFF;
/// `IPPROTO_TCP`, as a level.
pub const LEVEL_TCP: u32 = 6;
/// `IPPROTO_IPV6`, as a level.
pub const LEVEL_IPV6: u32 = 41;

const ALL: &[Role] = &[Role::Listen, Role::Connection, Role::Datagram];
const WITH_DATA: &[Role] = &[Role::Connection, Role::Datagram];
const CONNECTION: &[Role] = &[Role::Connection];

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident = $level:expr, $code:literal, $settable:literal, $roles:expr;)*) => {
        /// An option that a socket has. Each is a value of 4 bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SocketOption { $($(#[$doc])* $name),* }

        impl SocketOption {
            /// Every option.
            pub const EVERY: &'static [Self] = &[$(Self::$name),*];

            /// Its level and its name's number, as Winsock has them.
            #[must_use]
            pub const fn number(self) -> (u32, u32) {
                match self { $(Self::$name => ($level, $code)),* }
            }

            /// Whether it can be set. Each can be asked for.
            #[must_use]
            pub const fn is_settable(self) -> bool {
                match self { $(Self::$name => $settable),* }
            }

            /// The roles of the sockets that have it.
            #[must_use]
            pub const fn roles(self) -> &'static [Role] {
                match self { $(Self::$name => $roles),* }
            }
        }
    };
}

options! {
    /// `SO_REUSEADDR`: the local address may be another socket's too. Before the bind.
    ReuseAddress = SOL_SOCKET, 0x0004, true, ALL;
    /// `SO_EXCLUSIVEADDRUSE`: the local address may be no other socket's. Before the bind.
    ExclusiveAddress = SOL_SOCKET, 0xFFFF_FFFB, true, ALL;
    /// `SO_KEEPALIVE`: an idle connection is probed.
    KeepAlive = SOL_SOCKET, 0x0008, true, CONNECTION;
    /// `SO_LINGER`: two 16-bit numbers, `l_onoff` and `l_linger`, which say what a `Close` without flags does. The driver's own.
    Linger = SOL_SOCKET, 0x0080, true, CONNECTION;
    /// `SO_SNDBUF`, bytes.
    SendBuffer = SOL_SOCKET, 0x1001, true, WITH_DATA;
    /// `SO_RCVBUF`, bytes.
    ReceiveBuffer = SOL_SOCKET, 0x1002, true, WITH_DATA;
    /// `SO_TYPE`: `SOCK_STREAM` = 1 or `SOCK_DGRAM` = 2. The driver's own.
    Type = SOL_SOCKET, 0x1008, false, ALL;
    /// `TCP_NODELAY`: small sends are not held back.
    NoDelay = LEVEL_TCP, 0x0001, true, CONNECTION;
    /// `IPV6_V6ONLY`: a socket of `AF_INET6` does not speak IPv4. Before the bind.
    V6Only = LEVEL_IPV6, 27, true, ALL;
}

impl SocketOption {
    /// An option's length, bytes.
    pub const LENGTH: u32 = 4;

    /// The option of that level and name.
    ///
    /// # Errors
    /// `WSAENOPROTOOPT` for one that is not in the table.
    pub fn find(level: u32, name: u32) -> Result<Self, WsaError> {
        let option = Self::EVERY.iter().copied().find(|option| option.number() == (level, name));
        option.ok_or(WsaError::NoProtocolOption)
    }
}

/// An I/O control that a connection has. Each takes nothing and answers 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum SocketControl {
    /// `FIONREAD`: how many bytes have arrived and not been received.
    BytesToReceive = 0x4004_667F,
    /// `SIO_IDEAL_SEND_BACKLOG_QUERY`: how many bytes of sends it takes to keep the connection busy.
    IdealSendBacklog = 0x4004_747B,
}

impl SocketControl {
    /// Every I/O control.
    pub const EVERY: [Self; 2] = [Self::BytesToReceive, Self::IdealSendBacklog];

    /// The I/O control with that code.
    ///
    /// # Errors
    /// `WSAEOPNOTSUPP` for one that is not in the table.
    pub fn find(code: u32) -> Result<Self, WsaError> {
        Self::EVERY.into_iter().find(|control| *control as u32 == code).ok_or(WsaError::NotSupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_found_by_its_number_and_no_two_share_one() {
        for (index, &option) in SocketOption::EVERY.iter().enumerate() {
            let (level, name) = option.number();
            assert_eq!(SocketOption::find(level, name), Ok(option));
            assert!(SocketOption::EVERY[..index].iter().all(|other| other.number() != (level, name)));
        }
        assert_eq!(SocketOption::find(SOL_SOCKET, 0), Err(WsaError::NoProtocolOption));
        assert_eq!(SocketOption::find(LEVEL_TCP, 0x0004), Err(WsaError::NoProtocolOption));
    }

    #[test]
    fn each_io_control_is_found_by_its_code() {
        for control in SocketControl::EVERY {
            assert_eq!(SocketControl::find(control as u32), Ok(control));
        }
        assert_eq!(SocketControl::find(0), Err(WsaError::NotSupported));
    }
}
