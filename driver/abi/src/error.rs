//! One table between Winsock codes and NTSTATUS.
//!
//! A Winsock code with a natural NTSTATUS travels as that one; every other travels as a customer-defined NTSTATUS (severity error,
//! customer bit, facility 0x057) with the Winsock code in its low word. Each code has exactly one NTSTATUS; several NTSTATUS values
//! that WSK gives read as the same code. Source: *Windows Sockets Error Codes*, *Defining New NTSTATUS Values*.

/// NTSTATUS. Negative values are errors.
pub type NtStatus = i32;

/// `STATUS_SUCCESS`.
pub const STATUS_SUCCESS: NtStatus = 0;
/// `STATUS_PENDING`.
pub const STATUS_PENDING: NtStatus = 0x103;

/// `NT_ERROR`: whether a status is an error. One with the severity of a warning (a datagram that did not fit) comes with data.
#[must_use]
pub const fn is_error(status: NtStatus) -> bool {
    status.cast_unsigned() >> 30 == 3
}

const fn status(bits: u32) -> NtStatus {
    bits.cast_signed()
}

/// Severity error, customer bit, our facility, and the Winsock code.
const fn customer(code: u32) -> NtStatus {
    status(0xE057_0000 | code)
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident $text:literal = $code:literal, $status:expr, [$($alias:literal),*];)*) => {
        /// A Winsock error that the driver reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum WsaError { $($(#[$doc])* $name = $code),* }

        impl WsaError {
            /// Every error.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The Winsock number.
            #[must_use]
            pub const fn code(self) -> u32 { self as u32 }

            /// Winsock's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The NTSTATUS that carries it.
            #[must_use]
            pub const fn status(self) -> NtStatus {
                match self { $(Self::$name => $status),* }
            }

            /// The error that an NTSTATUS stands for: its own, or one that WSK reports for the same thing.
            #[must_use]
            pub const fn from_status(value: NtStatus) -> Option<Self> {
                $(if value == $status $(|| value == status($alias))* { return Some(Self::$name); })*
                None
            }
        }
    };
}

errors! {
    /// An allocation failed (namespace providers).
    NotEnoughMemory "WSA_NOT_ENOUGH_MEMORY" = 8, status(0xC000_0017), [];
    /// The operation was cancelled: by its caller, by a close, or by the last cleanup.
    OperationAborted "WSA_OPERATION_ABORTED" = 995, status(0xC000_0120), [];
    /// A blocking call was cancelled.
    Interrupted "WSAEINTR" = 10004, customer(10004), [];
    /// The device does not admit the caller.
    AccessDenied "WSAEACCES" = 10013, status(0xC000_0022), [];
    /// A buffer is missing, or shorter or longer than the request says.
    Fault "WSAEFAULT" = 10014, status(0xC000_0004), [0xC000_0005, 0xC000_0023];
    /// A field has no allowed value, or the socket is not in a state for the request.
    Invalid "WSAEINVAL" = 10022, status(0xC000_000D), [0xC000_0184];
    /// The client has as many sockets as it may have.
    TooManySockets "WSAEMFILE" = 10024, status(0xC000_011F), [];
    /// A blocking call is outstanding.
    InProgress "WSAEINPROGRESS" = 10036, customer(10036), [];
    /// The same operation is under way on this socket.
    Already "WSAEALREADY" = 10037, customer(10037), [];
    /// The handle names no open socket of this client.
    NotSocket "WSAENOTSOCK" = 10038, customer(10038), [0xC000_0008];
    /// A send needs an address.
    DestinationAddressRequired "WSAEDESTADDRREQ" = 10039, customer(10039), [];
    /// A datagram is larger than its buffer, or than any may be.
    MessageSize "WSAEMSGSIZE" = 10040, status(0x8000_0005), [0xC000_0206];
    /// The protocol does not go with the socket's role.
    WrongProtocolType "WSAEPROTOTYPE" = 10041, customer(10041), [];
    /// The socket has no such option, or not in this direction.
    NoProtocolOption "WSAENOPROTOOPT" = 10042, customer(10042), [];
    /// The protocol is not served.
    ProtocolNotSupported "WSAEPROTONOSUPPORT" = 10043, customer(10043), [0xC000_A013];
    /// The role is not served.
    SocketTypeNotSupported "WSAESOCKTNOSUPPORT" = 10044, customer(10044), [];
    /// The request is unknown, or not for this kind of object.
    NotSupported "WSAEOPNOTSUPP" = 10045, status(0xC000_00BB), [0xC000_0010, 0xC000_0002];
    /// The address family is not served.
    FamilyNotSupported "WSAEAFNOSUPPORT" = 10047, customer(10047), [];
    /// The local address is taken.
    AddressInUse "WSAEADDRINUSE" = 10048, status(0xC000_020A), [0xC000_0043, 0xC000_0209, 0xC000_0238];
    /// The address is not one of this machine's, or can't be connected to.
    AddressNotAvailable "WSAEADDRNOTAVAIL" = 10049, status(0xC000_0207), [0xC000_0141];
    /// The network subsystem has failed, or has given the socket up.
    NetworkDown "WSAENETDOWN" = 10050, customer(10050), [0xC000_00A3, 0xC000_00B6];
    /// No route to the network.
    NetworkUnreachable "WSAENETUNREACH" = 10051, status(0xC000_023C), [0xC000_00BE, 0xC000_023E];
    /// The connection was ended on this side.
    ConnectionAborted "WSAECONNABORTED" = 10053, status(0xC000_0241), [0xC000_013B];
    /// The peer reset the connection.
    ConnectionReset "WSAECONNRESET" = 10054, status(0xC000_020D), [0xC000_013E, 0xC000_020C, 0xC000_013C, 0xC000_023F];
    /// Memory or a quota ran out.
    NoBuffers "WSAENOBUFS" = 10055, status(0xC000_009A), [0xC000_0044, 0xC000_013D];
    /// The socket is connected already.
    IsConnected "WSAEISCONN" = 10056, status(0xC000_023B), [];
    /// The socket is not connected.
    NotConnected "WSAENOTCONN" = 10057, status(0xC000_0140), [];
    /// The direction was shut down.
    Shutdown "WSAESHUTDOWN" = 10058, customer(10058), [0xC000_00B0];
    /// The peer did not answer in time.
    TimedOut "WSAETIMEDOUT" = 10060, status(0xC000_00B5), [0xC000_013F];
    /// The peer refused the connection.
    ConnectionRefused "WSAECONNREFUSED" = 10061, status(0xC000_0236), [];
    /// No route to the host.
    HostUnreachable "WSAEHOSTUNREACH" = 10065, status(0xC000_023D), [];
    /// The network subsystem is not ready.
    SystemNotReady "WSASYSNOTREADY" = 10091, customer(10091), [];
    /// The version can't be served.
    VersionNotSupported "WSAVERNOTSUPPORTED" = 10092, customer(10092), [];
    /// No successful startup came before.
    NotInitialised "WSANOTINITIALISED" = 10093, customer(10093), [];
    /// The peer shut the connection down gracefully.
    Disconnected "WSAEDISCON" = 10101, status(0xC000_0237), [];
    /// The service is not known for the kind of socket.
    TypeNotFound "WSATYPE_NOT_FOUND" = 10109, customer(10109), [];
    /// No such host, or no such service.
    HostNotFound "WSAHOST_NOT_FOUND" = 11001, status(0xC000_0272), [0xC000_0225];
    /// The name can't be resolved now; perhaps later.
    TryAgain "WSATRY_AGAIN" = 11002, customer(11002), [];
    /// The name can't be resolved, now or later.
    NoRecovery "WSANO_RECOVERY" = 11003, customer(11003), [];
    /// The name has no address of the kind that was asked for.
    NoData "WSANO_DATA" = 11004, customer(11004), [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_reads_back_from_its_own_status() {
        for &error in WsaError::ALL {
            assert_eq!(WsaError::from_status(error.status()), Some(error), "{}", error.name());
            assert!(error.status() < 0, "{} is an error", error.name());
        }
    }

    #[test]
    fn a_status_of_ours_carries_the_winsock_code_in_its_low_word() {
        let value = WsaError::NotInitialised.status().cast_unsigned();
        assert_eq!(value, 0xE057_276D);
        assert_eq!(value & 0xFFFF, WsaError::NotInitialised.code());
        assert_eq!(value >> 28, 0xE, "severity error, customer bit");
    }

    #[test]
    fn a_datagram_that_did_not_fit_is_a_warning_and_everything_else_an_error() {
        for &error in WsaError::ALL {
            assert_eq!(is_error(error.status()), error != WsaError::MessageSize, "{}", error.name());
        }
        assert!(!is_error(STATUS_SUCCESS) && !is_error(STATUS_PENDING));
    }

    #[test]
    fn what_wsk_says_of_a_connection_has_a_code() {
        let told = [
            (0xC000_00B0, WsaError::Shutdown),
            (0xC000_013E, WsaError::ConnectionReset),
            (0xC000_013F, WsaError::TimedOut),
            (0xC000_023E, WsaError::NetworkUnreachable),
            (0xC000_0209, WsaError::AddressInUse),
            (0xC000_0238, WsaError::AddressInUse),
            (0xC000_013D, WsaError::NoBuffers),
            (0xC000_0044, WsaError::NoBuffers),
            (0xC000_A013, WsaError::ProtocolNotSupported),
        ];
        for (value, error) in told {
            assert_eq!(WsaError::from_status(status(value)), Some(error), "{value:#X}");
        }
    }

    #[test]
    fn cancelled_is_operation_aborted_and_success_is_no_error() {
        assert_eq!(WsaError::from_status(0xC000_0120_u32.cast_signed()), Some(WsaError::OperationAborted));
        assert_eq!(WsaError::from_status(STATUS_SUCCESS), None);
        assert_eq!(WsaError::from_status(STATUS_PENDING), None);
    }
}
