//! The one error type: what failed, why in NTSTATUS and Winsock terms, and what to try.

use crate::{
    abi::{NtStatus, WsaError},
    status::{STATUS_ACCESS_DENIED, STATUS_INVALID_DEVICE_REQUEST, StatusText},
};
use std::{fmt, process::ExitCode, time::Duration};

/// Something that did not work.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: Cause,
}

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A request ended with an error.
    #[error("{}", StatusText(*.0))]
    Status(NtStatus),
    /// What was awaited did not come.
    #[error("nothing came within {:.1} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// A request succeeded, and its answer was not of the length that the protocol gives it.
    #[error("the driver answered {answered} bytes where {expected} were expected")]
    Malformed {
        /// What the protocol says.
        expected: usize,
        /// What came.
        answered: usize,
    },
    /// The driver and this program speak different majors of the protocol.
    #[error("the driver speaks protocol {}, this program {}", protocol(*.driver), protocol(*.program))]
    Protocol {
        /// The driver's protocol.
        driver: u32,
        /// This program's protocol.
        program: u32,
    },
    /// The host's own sockets or files failed.
    #[error(transparent)]
    Host(std::io::Error),
    /// There is no device, or no driver to load.
    #[error("{0}")]
    Absent(String),
    /// The backend is not for this system.
    #[error("{0}")]
    Elsewhere(String),
    /// The lab stopped the driver, or would not load it.
    #[error("{0}")]
    Lab(String),
    /// Whoever read the standard output wants no more: a reason to end, not a failure.
    #[error("nobody reads it any more")]
    NobodyReads,
    /// What was asked for has no meaning.
    #[error("{0}")]
    Usage(String),
    /// A program of Windows' that manages drivers did not do what it was asked for.
    #[error("{}", .0.why)]
    Service(Box<Advised>),
    /// It was told already; what is left is how the process ends.
    #[error("see above")]
    Told(Exit),
    /// Ctrl-C was pressed; everything was given back.
    #[error("Ctrl-C ended it; nothing is left behind")]
    Interrupted,
    /// Something was observed that the contract excludes.
    #[error("{0}")]
    Unexpected(String),
}

/// Why something did not work, where that says more than a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advised {
    /// Why not.
    pub why: String,
    /// What to try.
    pub advice: &'static str,
    /// How this program ends then.
    pub exit: Exit,
}

fn protocol(word: u32) -> String {
    format!("{}.{}", word >> 16, word & 0xFFFF)
}

/// How the process ends, as `--help` documents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for worked.
    Success = 0,
    /// It did not.
    Failed = 1,
    /// The command line has no meaning.
    Usage = 2,
    /// There is no device, or no driver to load.
    Absent = 3,
    /// The device does not admit the caller.
    Denied = 4,
    /// The driver is older or newer than this program can drive.
    Incompatible = 5,
    /// The driver broke a rule of the lab.
    Violation = 6,
    /// Ctrl-C ended it early, in good order.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Error {
    /// `what` failed because of `cause`.
    #[must_use]
    pub fn new(what: impl Into<String>, cause: Cause) -> Self {
        Self { what: what.into(), cause }
    }

    /// A program of Windows' that manages drivers did not do what it was asked for.
    pub(crate) fn service(what: &str, why: impl Into<String>, advice: &'static str, exit: Exit) -> Self {
        Self::new(what, Cause::Service(Box::new(Advised { why: why.into(), advice, exit })))
    }

    /// A request ended with an error.
    #[must_use]
    pub fn status(what: impl Into<String>, status: NtStatus) -> Self {
        Self::new(what, Cause::Status(status))
    }

    /// Something was observed that must not be.
    #[must_use]
    pub fn unexpected(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(what, Cause::Unexpected(seen.into()))
    }

    /// The host's own sockets or files failed.
    #[must_use]
    pub fn host(what: impl Into<String>, error: std::io::Error) -> Self {
        Self::new(what, Cause::Host(error))
    }

    /// What failed.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Why it failed.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The NTSTATUS that the request ended with, if it is a request that failed.
    #[must_use]
    pub fn ntstatus(&self) -> Option<NtStatus> {
        match self.cause {
            Cause::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The Winsock error that the request ended with, if it has one.
    #[must_use]
    pub fn winsock(&self) -> Option<WsaError> {
        self.ntstatus().and_then(WsaError::from_status)
    }

    /// The exit code that this error stands for.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match &self.cause {
            Cause::Status(STATUS_ACCESS_DENIED) => Exit::Denied,
            Cause::Absent(_) | Cause::Elsewhere(_) => Exit::Absent,
            Cause::Protocol { .. } | Cause::Malformed { .. } => Exit::Incompatible,
            Cause::Lab(_) => Exit::Violation,
            Cause::NobodyReads => Exit::Success,
            Cause::Usage(_) => Exit::Usage,
            Cause::Told(exit) => *exit,
            Cause::Service(advised) => advised.exit,
            Cause::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    /// What to try, where there is something.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match &self.cause {
            Cause::Absent(_) if cfg!(windows) => {
                Some("load the driver: `wskctl start`; `sc query WskClient` shows whether it is installed and runs")
            }
            Cause::Absent(_) => {
                Some("`cargo lab build` makes the driver; --driver PATH.sys or WSKCLIENT_SYS names another one")
            }
            Cause::Protocol { driver, program } if driver < program => {
                Some("install a newer wskclient.sys, or use an older wskctl")
            }
            Cause::Protocol { .. } => Some("use a newer wskctl, or install an older wskclient.sys"),
            Cause::TimedOut(_) => Some("`wskctl status` from another prompt shows what is pending"),
            Cause::Elsewhere(_) => Some("leave --backend out"),
            Cause::Malformed { .. } => {
                Some("driver and wskctl come from different builds: build both from one checkout")
            }
            Cause::Lab(_) => Some("the report above names the rule and shows the history of what broke it"),
            Cause::Service(advised) => Some(advised.advice),
            Cause::Status(status) => Some(advice_on(*status)),
            Cause::Host(error) => advice_on_host(error.kind()),
            Cause::Unexpected(_) | Cause::Usage(_) | Cause::Told(_) | Cause::NobodyReads | Cause::Interrupted => None,
        }
    }
}

fn advice_on_host(kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind as Kind;
    Some(match kind {
        Kind::PermissionDenied => "use a place that you may write to, or an elevated prompt",
        Kind::NotFound => "check the path",
        Kind::AddrInUse => "another program has the port: choose another, or port 0 to let the system choose",
        Kind::AddrNotAvailable => "use an address of this machine",
        Kind::ConnectionRefused => "nothing listens there: start the peer, or check address and port",
        Kind::StorageFull => "make room, or write elsewhere",
        Kind::IsADirectory => "name a file, not a folder",
        Kind::NotADirectory => "check the path: a part of it is a file",
        Kind::InvalidData => "the file is not UTF-8 text: check that it is the right one",
        Kind::TimedOut | Kind::WouldBlock => "the other end does not answer: see what it is doing",
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::UnexpectedEof => {
            "the other end has gone: see what it reports"
        }
        _ => return None,
    })
}

fn advice_on(status: NtStatus) -> &'static str {
    if status == STATUS_INVALID_DEVICE_REQUEST {
        return "the driver does not know this request, so it is older than this wskctl: install a newer one";
    }
    let Some(error) = WsaError::from_status(status) else {
        return "look the NTSTATUS up in Microsoft's `NTSTATUS Values`; `wskctl status` shows what the driver holds";
    };
    match error {
        WsaError::AccessDenied => "the device admits SYSTEM and administrators: use an elevated prompt",
        WsaError::OperationAborted => "it was cancelled, its socket was closed, or its provider's last cleanup came",
        WsaError::Interrupted => "the blocking call was cancelled: make it again if that was not meant",
        WsaError::InProgress => "a 1.1 client cancels its blocking calls first, and waits for them to end",
        WsaError::Already => "wait for the one that is under way, or cancel it",
        WsaError::NotInitialised => "start the provider up first; each startup allows one cleanup",
        WsaError::AddressInUse => "another program has the port: choose another, or port 0 to let the stack choose",
        WsaError::AddressNotAvailable => "use an address of this machine to bind, and a port other than 0 to connect",
        WsaError::FamilyNotSupported => "use IPv4 or IPv6, the same for the socket and the address",
        WsaError::ConnectionRefused => "nothing listens there: start the peer, or check address and port",
        WsaError::ConnectionReset | WsaError::ConnectionAborted | WsaError::Disconnected => {
            "the peer has ended the connection: see what it reports; of datagrams: nothing listens there"
        }
        WsaError::Shutdown => "this direction was shut down before: open another connection",
        WsaError::IsConnected => "it is connected already: use another socket",
        WsaError::NotConnected => "connect or accept before sending and receiving",
        WsaError::DestinationAddressRequired => "say whom to send to, or connect the socket",
        WsaError::MessageSize => "a datagram has at most 65507 bytes, and needs as much room where it is received",
        WsaError::Invalid => {
            "a value that is not allowed, or a socket that is not ready for it: bind before connecting and listening"
        }
        WsaError::Fault => "a buffer has the wrong length: driver and wskctl may come from different builds",
        WsaError::VersionNotSupported => "application serves 1.0 to 2.2, transport and san 2.0 to 2.2",
        WsaError::NotSocket => {
            "the handle is stale or another client's: a socket ends with its close and its provider's last cleanup"
        }
        WsaError::NotSupported => {
            "it is not for this kind of socket, provider or version, or this WSK can't do it: Wine's has TCP over IPv4 only"
        }
        WsaError::NoProtocolOption => "sockets of this role have no such option, or it can only be read",
        WsaError::WrongProtocolType | WsaError::ProtocolNotSupported | WsaError::SocketTypeNotSupported => {
            "TCP goes with connections and listeners, UDP with datagrams; there is nothing else"
        }
        WsaError::HostNotFound | WsaError::NoData | WsaError::TypeNotFound | WsaError::NoRecovery => {
            "check the name, the service and the address family; the lab knows localhost and numbers only"
        }
        WsaError::TryAgain => "the name's server does not answer: try again",
        WsaError::TimedOut => "the peer does not answer: check the address, and whether a firewall is in between",
        WsaError::NetworkUnreachable | WsaError::HostUnreachable => {
            "there is no way there: check the address and the routes"
        }
        WsaError::NetworkDown | WsaError::SystemNotReady => {
            "the WSK provider is gone or not up yet: `sc query afd`, then try again"
        }
        WsaError::NoBuffers | WsaError::TooManySockets => {
            "close sockets or wait for requests to end; `wskctl status` counts them"
        }
        WsaError::NotEnoughMemory => {
            "the kernel is out of memory: end something, then try again. Wine's WSK answers so for IPv6, which it has not"
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_failed_with_ntstatus_winsock_name_and_number() {
        let error = Error::status("connect to 127.0.0.1:9", WsaError::ConnectionRefused.status());
        assert_eq!(
            error.to_string(),
            "connect to 127.0.0.1:9: WSAECONNREFUSED (10061), NTSTATUS 0xC0000236 STATUS_CONNECTION_REFUSED"
        );
        assert_eq!(error.advice(), Some("nothing listens there: start the peer, or check address and port"));
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn each_way_of_not_reaching_the_driver_has_its_exit_code() {
        let exit = |cause| Error::new("open", cause).exit() as u8;
        assert_eq!(exit(Cause::Absent(String::new())), 3);
        assert_eq!(exit(Cause::Status(STATUS_ACCESS_DENIED)), 4);
        assert_eq!(exit(Cause::Protocol { driver: 0x2_0000, program: 0x1_0000 }), 5);
        assert_eq!(exit(Cause::Lab(String::new())), 6);
    }

    #[test]
    fn a_driver_of_another_protocol_is_named_too_old_or_too_new() {
        let error = Error::new("open", Cause::Protocol { driver: 0x2_0001, program: 0x1_0000 });
        assert_eq!(error.to_string(), "open: the driver speaks protocol 2.1, this program 1.0");
        assert_eq!(error.advice(), Some("use a newer wskctl, or install an older wskclient.sys"));
    }
}
