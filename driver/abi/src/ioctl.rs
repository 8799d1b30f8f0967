//! Control codes: one for each request, built as `CTL_CODE` builds them.

/// The device type of every code. Types from 0x8000 are free for vendors.
pub const DEVICE_TYPE: u32 = 0x8057;

/// `FILE_READ_ACCESS | FILE_WRITE_ACCESS`: what a handle must have been opened for.
const ACCESS: u32 = 3;

/// How a request's buffers reach the driver (*Buffer Descriptions for I/O Control Codes*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Method {
    /// Input and output share one system buffer.
    Buffered = 0,
    /// The caller's output buffer is the data to send, described by an MDL.
    InDirect = 1,
    /// The caller's output buffer receives data, described by an MDL.
    OutDirect = 2,
}

const fn ctl_code(function: u32, method: Method) -> u32 {
    (DEVICE_TYPE << 16) | (ACCESS << 14) | (function << 2) | method as u32
}

macro_rules! ioctls {
    ($($(#[$doc:meta])* $name:ident = $function:literal, $method:ident;)*) => {
        /// A request that the driver serves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Ioctl { $($(#[$doc])* $name = ctl_code($function, Method::$method),)* }

        impl Ioctl {
            /// Every request.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The request that `code` stands for. A known function with another method or access is another code: none.
            #[must_use]
            pub fn from_code(code: u32) -> Option<Self> {
                Self::ALL.iter().copied().find(|&ioctl| ioctl as u32 == code)
            }

            /// How the request's buffers reach the driver.
            #[must_use]
            pub const fn method(self) -> Method {
                match self { $(Self::$name => Method::$method),* }
            }

            /// The kind that the ledger counts the request under.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$name),* }
            }
        }

        /// What the ledger counts apart: one kind for each request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Kind { $($(#[$doc])* $name),* }

        impl Kind {
            /// Every kind, in the ledger's order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind's name, lower case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

ioctls! {
    /// Protocol and driver version: out [`VersionReply`](crate::VersionReply). Needs no startup.
    Version = 0x800, Buffered;
    /// References, sockets, requests: out [`Ledger`](crate::Ledger). Needs no startup.
    Ledger = 0x801, Buffered;
    /// Lists pending requests: in [`PendingQuery`](crate::PendingQuery), out [`PendingList`](crate::PendingList) and as many
    /// [`Outstanding`](crate::Outstanding)s as there is room for. Needs no startup.
    LedgerPending = 0x802, Buffered;
    /// Takes a reference on a provider: in [`Startup`](crate::Startup), out [`StartupReply`](crate::StartupReply).
    Startup = 0x810, Buffered;
    /// Releases a reference: in [`Cleanup`](crate::Cleanup). The last one completes when the teardown is over.
    Cleanup = 0x811, Buffered;
    /// Cancels the blocking calls of a 1.1 client, as `WSACancelBlockingCall` does: its accepts, connects, sends, receives and look-ups
    /// that are out end with `WSAEINTR`, and then a cleanup works. `WSAEINVAL` when there is none, `WSAEOPNOTSUPP` in 2.x.
    CancelBlocking = 0x812, Buffered;
    /// Creates a socket: in [`SocketOpen`](crate::SocketOpen), out [`SocketReply`](crate::SocketReply).
    Socket = 0x820, Buffered;
    /// Binds a socket to a local address: in [`Bind`](crate::Bind).
    Bind = 0x821, Buffered;
    /// Lets a bound listening socket accept: in [`Listen`](crate::Listen).
    Listen = 0x822, Buffered;
    /// Takes the next connection of a listening socket: in [`Accept`](crate::Accept), out [`AcceptReply`](crate::AcceptReply).
    Accept = 0x823, Buffered;
    /// Connects a bound socket: in [`Connect`](crate::Connect).
    Connect = 0x824, Buffered;
    /// Sends: in [`Transfer`](crate::Transfer), the output buffer is the data. Completes when all of it has been taken. A datagram
    /// socket sends one datagram to the peer that it is connected to.
    Send = 0x825, InDirect;
    /// Receives: in [`Transfer`](crate::Transfer), the output buffer takes the data. No data at the peer's graceful close. A datagram
    /// socket receives one datagram; what does not fit is lost (`WSAEMSGSIZE`, with the data that fits).
    Receive = 0x826, OutDirect;
    /// Closes a socket: in [`Close`](crate::Close). Its requests end, then the close completes.
    Close = 0x827, Buffered;
    /// Asks for an address of a socket: in [`AddressOf`](crate::AddressOf), out [`AddressReply`](crate::AddressReply).
    Address = 0x828, Buffered;
    /// Ends one or both directions of a connection: in [`Shutdown`](crate::Shutdown).
    Shutdown = 0x829, Buffered;
    /// Sends one datagram: in [`SendTo`](crate::SendTo), the output buffer is the data.
    SendTo = 0x82A, InDirect;
    /// Receives one datagram: in [`Transfer`](crate::Transfer), the output buffer takes a [`ReceivedFrom`](crate::ReceivedFrom) and
    /// then the data. What does not fit is lost (`WSAEMSGSIZE`, with the data that fits).
    ReceiveFrom = 0x82B, OutDirect;
    /// Asks for an option: in [`GetOption`](crate::GetOption), out [`OptionValue`](crate::OptionValue).
    GetOption = 0x82C, Buffered;
    /// Sets an option: in [`SetOption`](crate::SetOption).
    SetOption = 0x82D, Buffered;
    /// An I/O control: in [`IoControl`](crate::IoControl), out [`OptionValue`](crate::OptionValue).
    IoControl = 0x82E, Buffered;
    /// Waits for events of a socket: in [`Events`](crate::Events), out [`EventsReply`](crate::EventsReply). One at a time for each
    /// socket; another one is `WSAEALREADY`. A teardown ends it without any event.
    Events = 0x82F, Buffered;
    /// Asks for the addresses of a name: in [`NameToAddresses`](crate::NameToAddresses), out an [`AddressList`](crate::AddressList)
    /// and as many [`ResolvedAddress`](crate::ResolvedAddress) after it as there are and fit.
    NameToAddresses = 0x840, Buffered;
    /// Asks for the names of an address: in [`AddressToName`](crate::AddressToName), out
    /// [`AddressToNameReply`](crate::AddressToNameReply).
    AddressToName = 0x841, Buffered;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_names_its_request_and_no_other_method_does() {
        for &ioctl in Ioctl::ALL {
            let code = ioctl as u32;
            assert_eq!(Ioctl::from_code(code), Some(ioctl));
            assert_eq!(code & 3, ioctl.method() as u32);
            for method in (0..4).filter(|&method| method != code & 3) {
                assert_eq!(Ioctl::from_code(code & !3 | method), None);
            }
            assert_eq!(Ioctl::from_code(code & !(3 << 14)), None, "another access is another code");
        }
        assert_eq!(Ioctl::ALL.len(), Kind::ALL.len());
    }

    #[test]
    fn kinds_are_numbered_from_zero_in_their_order() {
        for (index, &kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
