//! Requests as bytes: for what no well-meaning library sends.

use crate::{DNS, PATIENCE};
use wskctl::{
    Client,
    abi::{
        AF_INET, Accept, AcceptReply, Address, AddressList, AddressOf, AddressReply, AddressToName, AddressToNameReply,
        Bind, Cleanup, Close, Connect, Events, EventsReply, GetOption, Guid, IoControl, Ioctl, Ledger, Listen, Method,
        NameToAddresses, NtStatus, OptionValue, PendingList, PendingQuery, ReceivedFrom, Role, SendTo, SetOption,
        Shutdown, SocketControl, SocketHandle, SocketOpen, SocketOption, SocketReply, Startup, StartupReply, Transfer,
        VersionReply, WinsockVersion,
    },
    device::Completion,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// `STATUS_INVALID_DEVICE_REQUEST`: there is no such request.
pub const INVALID_DEVICE_REQUEST: NtStatus = 0xC000_0010_u32.cast_signed();
/// `STATUS_INFO_LENGTH_MISMATCH`: the input's length is wrong.
pub const INFO_LENGTH_MISMATCH: NtStatus = 0xC000_0004_u32.cast_signed();
/// `STATUS_BUFFER_TOO_SMALL`: the output buffer's length is.
pub const BUFFER_TOO_SMALL: NtStatus = 0xC000_0023_u32.cast_signed();

/// Issues a request and waits for its completion.
///
/// # Panics
/// It does not complete.
#[track_caller]
pub fn request(client: &Client, code: u32, input: &[u8], output: usize) -> Completion {
    let mut request = client.handle().submit(code, input, vec![0; output]);
    match request.wait(PATIENCE) {
        Some(completion) => completion,
        None => panic!("{code:#X} with {} bytes does not complete", input.len()),
    }
}

/// The request fails with that status and no data.
///
/// # Panics
/// It does not.
#[track_caller]
pub fn refused(client: &Client, code: u32, input: &[u8], output: usize, expected: NtStatus) {
    let completion = request(client, code, input, output);
    assert_eq!(
        completion.status,
        expected,
        "{code:#X} with {} bytes in and {output} out: {:#X} where {expected:#X} was expected",
        input.len(),
        completion.status
    );
    assert_eq!(completion.information, 0, "{code:#X}: a refused request answers nothing");
}

/// A request whose every field is allowed, on that socket, and how long its output is.
#[must_use]
pub fn well_formed(ioctl: Ioctl, socket: SocketHandle) -> (Vec<u8>, usize) {
    let address = Address::v4([127, 0, 0, 1], 9);
    match ioctl {
        Ioctl::Version => (Vec::new(), size_of::<VersionReply>()),
        Ioctl::Ledger => (Vec::new(), size_of::<Ledger>()),
        Ioctl::LedgerPending => (bytes_of(&PendingQuery { scope: 0, reserved: 0 }), size_of::<PendingList>()),
        Ioctl::Startup => {
            let version = WinsockVersion::new(2, 2);
            let input = Startup { provider: 0, version, reserved: 0, catalog_id: 0, reserved2: 0, guid: Guid::NIL };
            (bytes_of(&input), size_of::<StartupReply>())
        }
        Ioctl::Cleanup => (bytes_of(&Cleanup { provider: 0, reserved: 0, guid: Guid::NIL }), 0),
        Ioctl::CancelBlocking => (Vec::new(), 0),
        Ioctl::Socket => (bytes_of(&open(Role::Connection)), size_of::<SocketReply>()),
        Ioctl::Bind => (bytes_of(&Bind { socket, address, reserved: 0 }), 0),
        Ioctl::Listen => (bytes_of(&Listen { socket, backlog: 1, reserved: 0 }), 0),
        Ioctl::Accept => (bytes_of(&Accept { socket }), size_of::<AcceptReply>()),
        Ioctl::Connect => (bytes_of(&Connect { socket, address, reserved: 0 }), 0),
        Ioctl::Send | Ioctl::Receive => (bytes_of(&Transfer { socket, flags: 0, reserved: 0 }), 16),
        Ioctl::SendTo => (bytes_of(&SendTo { socket, address, reserved: 0 }), 16),
        Ioctl::ReceiveFrom => {
            let input = Transfer { socket, flags: 0, reserved: 0 };
            (bytes_of(&input), size_of::<ReceivedFrom>() + 16)
        }
        Ioctl::Events => {
            let input = Events { socket, mask: Events::READ, reserved: 0 };
            (bytes_of(&input), size_of::<EventsReply>())
        }
        Ioctl::GetOption => {
            let (level, name) = SocketOption::KeepAlive.number();
            (bytes_of(&GetOption { socket, level, name }), size_of::<OptionValue>())
        }
        Ioctl::SetOption => {
            let ((level, name), length) = (SocketOption::KeepAlive.number(), SocketOption::LENGTH);
            (bytes_of(&SetOption { socket, level, name, length, value: [1, 0, 0, 0] }), 0)
        }
        Ioctl::IoControl => {
            let input = IoControl { socket, code: SocketControl::BytesToReceive as u32, reserved: 0 };
            (bytes_of(&input), size_of::<OptionValue>())
        }
        Ioctl::Address => {
            let input = AddressOf { socket, end: AddressOf::LOCAL, reserved: 0 };
            (bytes_of(&input), size_of::<AddressReply>())
        }
        Ioctl::Shutdown => (bytes_of(&Shutdown { socket, how: Shutdown::SEND, reserved: 0 }), 0),
        Ioctl::NameToAddresses => {
            let mut input = NameToAddresses { provider: DNS, node_length: 9, ..NameToAddresses::new_zeroed() };
            input.node[..9].copy_from_slice(&"localhost".encode_utf16().collect::<Vec<_>>());
            (bytes_of(&input), size_of::<AddressList>())
        }
        Ioctl::AddressToName => {
            (bytes_of(&AddressToName { provider: DNS, address, flags: 0 }), size_of::<AddressToNameReply>())
        }
        Ioctl::Close => (bytes_of(&Close { socket, flags: 0, linger: 0 }), 0),
    }
}

fn bytes_of(input: &(impl IntoBytes + Immutable)) -> Vec<u8> {
    input.as_bytes().to_vec()
}

/// A socket to create for `application`.
#[must_use]
pub fn open(role: Role) -> SocketOpen {
    SocketOpen { provider: 0, family: AF_INET, role: role as u16, protocol: 0, reserved: 0 }
}

/// How long a request's output buffer must be at least, bytes: for the struct that it answers, or the one before the data.
#[must_use]
pub fn least_output(ioctl: Ioctl) -> usize {
    match ioctl {
        Ioctl::ReceiveFrom => size_of::<ReceivedFrom>(),
        _ if ioctl.method() == Method::Buffered => well_formed(ioctl, SocketHandle(0)).1,
        _ => 0,
    }
}
