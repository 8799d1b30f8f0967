//! Malformed requests: every code, every length, every method, every field. Each gets its error and changes nothing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab, TRANSPORT,
    abi::{
        Address, AddressOf, AddressToName, Bind, CATALOG, Cleanup, Close, Connect, Events, GetOption, Guid, IoControl,
        Ioctl, Listen, NAMESPACES, NameToAddresses, Provider, Role, SendTo, SetOption, Shutdown, SocketHandle,
        SocketOpen, SocketOption, Startup, Transfer, WsaError, hints,
    },
    check::without_looks,
    raw::{self, INFO_LENGTH_MISMATCH, INVALID_DEVICE_REQUEST, refused, well_formed},
    started,
    traffic::{Connection, connected, listening, local},
};
use std::mem::offset_of;
use wskctl::{Client, Socket};
use zerocopy::IntoBytes;

/// A client with something to lose, and the socket that requests are made on.
struct Victim {
    lab: Lab,
    client: Client,
    connection: Connection,
    listener: Socket,
    datagrams: Socket,
}

impl Victim {
    fn new() -> Self {
        let lab = Lab::start();
        let client = lab.started();
        started(&client, TRANSPORT);
        let connection = connected(&client, APPLICATION);
        let (listener, _) = listening(&client, APPLICATION);
        let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
        datagrams.bind(local(0)).unwrap();
        Self { lab, client, connection, listener, datagrams }
    }

    /// A socket that a request of this kind would work on.
    fn socket_for(&self, ioctl: Ioctl) -> SocketHandle {
        match ioctl {
            Ioctl::Accept | Ioctl::Listen => self.listener.handle(),
            Ioctl::SendTo | Ioctl::ReceiveFrom => self.datagrams.handle(),
            _ => self.connection.socket.handle(),
        }
    }

    /// Runs `attack`, then checks that nothing was counted, created or lost.
    fn withstands(mut self, attack: impl FnOnce(&Self)) {
        let before = without_looks(self.client.ledger().unwrap());
        attack(&self);
        assert_eq!(without_looks(self.client.ledger().unwrap()), before, "the ledger");
        self.connection.peer.send(b"intact").unwrap();
        assert_eq!(self.connection.socket.receive(16).unwrap(), b"intact");
        self.client.cleanup(TRANSPORT).unwrap();
        self.client.cleanup(APPLICATION).unwrap();
        drop(self.lab);
    }
}

/// contract: CARD-2
#[test]
fn every_input_length_but_the_right_one_is_refused() {
    Victim::new().withstands(|victim| {
        for &ioctl in Ioctl::ALL {
            let (input, output) = well_formed(ioctl, victim.socket_for(ioctl));
            let longest = input.len() + 1;
            let padded: Vec<u8> = input.iter().copied().chain(std::iter::repeat_n(0, 5000)).collect();
            for length in (0..=longest).chain([longest + 1, 4096, 5000]).filter(|&length| length != input.len()) {
                refused(&victim.client, ioctl as u32, &padded[..length], output, INFO_LENGTH_MISMATCH);
            }
        }
    });
}

/// contract: CARD-2
#[test]
fn every_output_buffer_that_is_too_small_is_refused() {
    Victim::new().withstands(|victim| {
        for &ioctl in Ioctl::ALL {
            let (input, output) = well_formed(ioctl, victim.socket_for(ioctl));
            assert!(raw::least_output(ioctl) <= output);
            for length in 0..raw::least_output(ioctl) {
                let completion = raw::request(&victim.client, ioctl as u32, &input, length);
                assert_eq!(completion.status, raw::BUFFER_TOO_SMALL, "{ioctl:?} with {length} bytes");
                assert_eq!(completion.information, 0);
            }
        }
    });
}

/// contract: CARD-2
#[test]
fn a_longer_output_buffer_is_fine_and_gets_no_more_than_the_answer() {
    let lab = Lab::start();
    let client = lab.client();
    for ioctl in [Ioctl::Version, Ioctl::Ledger] {
        let (input, output) = well_formed(ioctl, SocketHandle(0));
        let completion = raw::request(&client, ioctl as u32, &input, output + 100);
        assert_eq!((completion.status, completion.information), (0, output), "{ioctl:?}");
    }
}

/// contract: CARD-2
#[test]
fn unknown_codes_and_known_functions_with_another_method_or_access_are_refused() {
    Victim::new().withstands(|victim| {
        for &ioctl in Ioctl::ALL {
            let (input, output) = well_formed(ioctl, victim.socket_for(ioctl));
            let code = ioctl as u32;
            for method in (0..4).filter(|&method| method != code & 3) {
                refused(&victim.client, code & !3 | method, &input, output, INVALID_DEVICE_REQUEST);
            }
            for access in [0, 1, 2] {
                refused(&victim.client, code & !(3 << 14) | access << 14, &input, output, INVALID_DEVICE_REQUEST);
            }
        }
        let known = |code| Ioctl::from_code(code).is_some();
        let functions = (0x800..0x860).chain([0, 1, 0x7FF, 0xFFF]).map(|function| 0x8057_C000 | function << 2);
        for code in functions.chain([0, 1, u32::MAX, 0x8000_0000, 0x8056_E000]).filter(|&code| !known(code)) {
            refused(&victim.client, code, &[0; 16], 128, INVALID_DEVICE_REQUEST);
        }
    });
}

/// A field past its limits: the request, where in the input, which bytes, which error.
type BadField = (Ioctl, usize, Vec<u8>, WsaError);

fn bad_fields() -> Vec<BadField> {
    let mut fields = bad_reserved();
    fields.extend(bad_startups_and_sockets());
    fields.extend(bad_addresses());
    fields.extend(bad_questions());
    fields.extend(bad_options());
    fields
}

/// Reserved fields and flags that are not zero.
fn bad_reserved() -> Vec<BadField> {
    let places = [
        (Ioctl::Startup, offset_of!(Startup, reserved2)),
        (Ioctl::Cleanup, offset_of!(Cleanup, reserved)),
        (Ioctl::Socket, offset_of!(SocketOpen, reserved)),
        (Ioctl::Bind, offset_of!(Bind, reserved)),
        (Ioctl::Listen, offset_of!(Listen, reserved)),
        (Ioctl::Connect, offset_of!(Connect, reserved)),
        (Ioctl::Send, offset_of!(Transfer, reserved)),
        (Ioctl::Receive, offset_of!(Transfer, reserved)),
        (Ioctl::Address, offset_of!(AddressOf, reserved)),
        (Ioctl::Shutdown, offset_of!(Shutdown, reserved)),
        (Ioctl::Close, offset_of!(Close, linger)),
        (Ioctl::Send, offset_of!(Transfer, flags)),
        (Ioctl::Receive, offset_of!(Transfer, flags)),
        (Ioctl::SendTo, offset_of!(SendTo, reserved)),
        (Ioctl::ReceiveFrom, offset_of!(Transfer, reserved)),
        (Ioctl::ReceiveFrom, offset_of!(Transfer, flags)),
    ];
    let mut fields: Vec<BadField> = Vec::new();
    for value in [1_u32, 0x8000_0000, u32::MAX] {
        fields.extend(places.map(|(ioctl, at)| (ioctl, at, value.as_bytes().to_vec(), WsaError::Invalid)));
    }
    for half in [[1, 0], [0, 0x80]] {
        fields.push((Ioctl::Startup, offset_of!(Startup, reserved), half.to_vec(), WsaError::Invalid));
    }
    for flags in [2_u32, 3, 0x8000_0000, u32::MAX] {
        fields.push((Ioctl::Close, offset_of!(Close, flags), flags.as_bytes().to_vec(), WsaError::Invalid));
    }
    let wait_all = Transfer::WAIT_ALL;
    fields.push((Ioctl::Send, offset_of!(Transfer, flags), wait_all.as_bytes().to_vec(), WsaError::Invalid));
    fields.push((Ioctl::ReceiveFrom, offset_of!(Transfer, flags), wait_all.as_bytes().to_vec(), WsaError::Invalid));
    fields.push((Ioctl::Receive, offset_of!(Transfer, flags), (wait_all | 1).as_bytes().to_vec(), WsaError::Invalid));
    fields
}

/// Providers, versions, catalog identifiers, families, roles, protocols, backlogs.
fn bad_startups_and_sockets() -> Vec<BadField> {
    let mut fields: Vec<BadField> = Vec::new();
    let mut bad = |ioctl, at, bytes: &[u8], error| fields.push((ioctl, at, bytes.to_vec(), error));
    for number in [4_u32, 5, 255, 0x8000_0000, u32::MAX] {
        bad(Ioctl::Startup, offset_of!(Startup, provider), number.as_bytes(), WsaError::Invalid);
        bad(Ioctl::Cleanup, offset_of!(Cleanup, provider), number.as_bytes(), WsaError::Invalid);
        bad(Ioctl::Socket, offset_of!(SocketOpen, provider), number.as_bytes(), WsaError::Invalid);
    }
    for byte in 0..size_of::<Guid>() {
        // Only a namespace provider has a GUID, and it must be one that there is.
        bad(Ioctl::Startup, offset_of!(Startup, guid) + byte, &[0x80], WsaError::Invalid);
        bad(Ioctl::Cleanup, offset_of!(Cleanup, guid) + byte, &[0x80], WsaError::Invalid);
    }
    let namespace = Provider::Namespace as u32;
    bad(Ioctl::Startup, offset_of!(Startup, provider), namespace.as_bytes(), WsaError::Invalid);
    bad(Ioctl::Cleanup, offset_of!(Cleanup, provider), namespace.as_bytes(), WsaError::Invalid);
    bad(Ioctl::Socket, offset_of!(SocketOpen, provider), namespace.as_bytes(), WsaError::NotSupported);
    bad(Ioctl::Startup, offset_of!(Startup, catalog_id), CATALOG[0].id.as_bytes(), WsaError::Invalid);
    bad(Ioctl::Startup, offset_of!(Startup, version), &[0, 9], WsaError::VersionNotSupported);
    for family in [0_u16, 1, 22, u16::MAX] {
        bad(Ioctl::Socket, offset_of!(SocketOpen, family), family.as_bytes(), WsaError::FamilyNotSupported);
    }
    for role in [0_u16, 4, u16::MAX] {
        bad(Ioctl::Socket, offset_of!(SocketOpen, role), role.as_bytes(), WsaError::SocketTypeNotSupported);
    }
    bad(Ioctl::Socket, offset_of!(SocketOpen, protocol), &17_u32.to_le_bytes(), WsaError::WrongProtocolType);
    bad(Ioctl::Socket, offset_of!(SocketOpen, role), &[3, 0, 6, 0, 0, 0], WsaError::WrongProtocolType);
    bad(Ioctl::Socket, offset_of!(SocketOpen, role), &[3, 0, 1, 0, 0, 0], WsaError::ProtocolNotSupported);
    for protocol in [1_u32, 18, u32::MAX] {
        bad(Ioctl::Socket, offset_of!(SocketOpen, protocol), protocol.as_bytes(), WsaError::ProtocolNotSupported);
    }
    bad(Ioctl::Listen, offset_of!(Listen, backlog), &[0; 4], WsaError::Invalid);
    for number in [0_u32, 3, u32::MAX] {
        bad(Ioctl::Address, offset_of!(AddressOf, end), number.as_bytes(), WsaError::Invalid);
        bad(Ioctl::Shutdown, offset_of!(Shutdown, how), number.as_bytes(), WsaError::Invalid);
    }
    fields
}

/// Levels, names, lengths and codes of options and I/O controls; masks of events.
fn bad_options() -> Vec<BadField> {
    let mut fields: Vec<BadField> = Vec::new();
    let places = [
        (Ioctl::GetOption, offset_of!(GetOption, level)),
        (Ioctl::GetOption, offset_of!(GetOption, name)),
        (Ioctl::SetOption, offset_of!(SetOption, level)),
        (Ioctl::SetOption, offset_of!(SetOption, name)),
    ];
    for number in [2_u32, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
        fields.extend(places.map(|(ioctl, at)| (ioctl, at, number.as_bytes().to_vec(), WsaError::NoProtocolOption)));
        let (code, reserved) = (offset_of!(IoControl, code), offset_of!(IoControl, reserved));
        fields.push((Ioctl::IoControl, code, number.as_bytes().to_vec(), WsaError::NotSupported));
        fields.push((Ioctl::IoControl, reserved, number.as_bytes().to_vec(), WsaError::Invalid));
    }
    for mask in [0_u32, 2, 4, 0x40, 0x8000_0001, u32::MAX] {
        fields.push((Ioctl::Events, offset_of!(Events, mask), mask.as_bytes().to_vec(), WsaError::Invalid));
    }
    fields.push((Ioctl::Events, offset_of!(Events, reserved), vec![1], WsaError::Invalid));
    for length in [0_u32, 1, 3, 5, 8, 0x8000_0004, u32::MAX] {
        let at = offset_of!(SetOption, length);
        fields.push((Ioctl::SetOption, at, length.as_bytes().to_vec(), WsaError::Fault));
    }
    let (_, read_only) = SocketOption::Type.number();
    let at = offset_of!(SetOption, name);
    fields.push((Ioctl::SetOption, at, read_only.as_bytes().to_vec(), WsaError::NoProtocolOption));
    fields
}

fn bad_addresses() -> Vec<BadField> {
    let mut fields: Vec<BadField> = Vec::new();
    let places = [
        (Ioctl::Bind, offset_of!(Bind, address)),
        (Ioctl::Connect, offset_of!(Connect, address)),
        (Ioctl::SendTo, offset_of!(SendTo, address)),
    ];
    for (ioctl, address) in places {
        for family in [0_u16, 1, 22, u16::MAX] {
            fields.push((ioctl, address, family.as_bytes().to_vec(), WsaError::FamilyNotSupported));
        }
        for undefined in 8..size_of::<Address>() {
            fields.push((ioctl, address + undefined, vec![0x80], WsaError::Invalid));
        }
    }
    fields.push((Ioctl::Connect, offset_of!(Connect, address) + 2, vec![0, 0], WsaError::AddressNotAvailable));
    fields.push((Ioctl::SendTo, offset_of!(SendTo, address) + 2, vec![0, 0], WsaError::AddressNotAvailable));
    fields
}

/// Fields of look-ups: providers, flags, hints, lengths, texts.
fn bad_questions() -> Vec<BadField> {
    type In = NameToAddresses;
    let mut fields: Vec<BadField> = Vec::new();
    let mut bad = |ioctl, at, bytes: &[u8], error| fields.push((ioctl, at, bytes.to_vec(), error));
    let look_ups = [
        (Ioctl::NameToAddresses, offset_of!(In, provider), offset_of!(In, flags), hints::NAME_FLAGS),
        (
            Ioctl::AddressToName,
            offset_of!(AddressToName, provider),
            offset_of!(AddressToName, flags),
            hints::ADDRESS_FLAGS,
        ),
    ];
    for (ioctl, provider, flags, known) in look_ups {
        bad(ioctl, provider, Guid::NIL.as_bytes(), WsaError::Invalid);
        for entry in NAMESPACES.iter().filter(|entry| entry.active == 0) {
            bad(ioctl, provider, entry.provider.as_bytes(), WsaError::NotSupported);
        }
        for bit in (0..32).map(|bit| 1_u32 << bit).filter(|bit| known & bit == 0) {
            bad(ioctl, flags, bit.as_bytes(), WsaError::Invalid);
        }
    }
    let contradiction = hints::NAME_REQUIRED | hints::NUMBER_OF_HOST;
    bad(Ioctl::AddressToName, offset_of!(AddressToName, flags), contradiction.as_bytes(), WsaError::Invalid);
    for family in [1_u16, 22, u16::MAX] {
        bad(Ioctl::NameToAddresses, offset_of!(In, family), family.as_bytes(), WsaError::FamilyNotSupported);
    }
    for family in [0_u16, 1, u16::MAX] {
        let at = offset_of!(AddressToName, address);
        bad(Ioctl::AddressToName, at, family.as_bytes(), WsaError::FamilyNotSupported);
    }
    bad(Ioctl::AddressToName, offset_of!(AddressToName, address) + 27, &[1], WsaError::Invalid);
    for kind in [3_u16, 5, u16::MAX] {
        bad(Ioctl::NameToAddresses, offset_of!(In, socket_type), kind.as_bytes(), WsaError::SocketTypeNotSupported);
    }
    for (kind, protocol) in [(hints::STREAM, 17_u8), (hints::DATAGRAM, 6)] {
        let [low, high] = kind.to_le_bytes();
        let both = [low, high, protocol, 0, 0, 0];
        bad(Ioctl::NameToAddresses, offset_of!(In, socket_type), &both, WsaError::SocketTypeNotSupported);
    }
    for protocol in [1_u32, 58, u32::MAX] {
        bad(Ioctl::NameToAddresses, offset_of!(In, protocol), protocol.as_bytes(), WsaError::ProtocolNotSupported);
    }
    for length in [10_u16, 257, 0x8000, u16::MAX] {
        // One unit more than the name has is a zero within the name.
        bad(Ioctl::NameToAddresses, offset_of!(In, node_length), length.as_bytes(), WsaError::Invalid);
    }
    for length in [1_u16, 33, u16::MAX] {
        bad(Ioctl::NameToAddresses, offset_of!(In, service_length), length.as_bytes(), WsaError::Invalid);
    }
    bad(Ioctl::NameToAddresses, offset_of!(In, node_length), &[0, 0], WsaError::HostNotFound);
    fields
}

/// contract: CARD-2, WSA-3, NSP-2
#[test]
fn every_field_past_its_limits_is_refused_with_its_error() {
    Victim::new().withstands(|victim| {
        for (ioctl, at, bytes, error) in bad_fields() {
            let (mut input, output) = well_formed(ioctl, victim.socket_for(ioctl));
            input[at..at + bytes.len()].copy_from_slice(&bytes);
            let completion = raw::request(&victim.client, ioctl as u32, &input, output);
            let seen = WsaError::from_status(completion.status);
            assert_eq!(seen, Some(error), "{ioctl:?} with {bytes:?} at {at}: {:#X}", completion.status);
            assert_eq!(completion.information, 0);
        }
    });
}

/// contract: CARD-2
#[test]
fn a_wrong_field_is_found_before_a_missing_startup_and_a_wrong_length_before_both() {
    let lab = Lab::start();
    let client = lab.client();
    for (ioctl, at, bytes, error) in bad_fields() {
        let (mut input, output) = well_formed(ioctl, SocketHandle(u64::MAX));
        input[at..at + bytes.len()].copy_from_slice(&bytes);
        let completion = raw::request(&client, ioctl as u32, &input, output);
        assert_eq!(WsaError::from_status(completion.status), Some(error), "{ioctl:?} with {bytes:?} at {at}");
        input.push(0);
        refused(&client, ioctl as u32, &input, output, INFO_LENGTH_MISMATCH);
    }
}

fn names_a_socket(ioctl: Ioctl) -> bool {
    let others = [
        Ioctl::Version,
        Ioctl::Ledger,
        Ioctl::LedgerPending,
        Ioctl::Startup,
        Ioctl::Cleanup,
        Ioctl::CancelBlocking,
        Ioctl::Socket,
        Ioctl::NameToAddresses,
        Ioctl::AddressToName,
    ];
    !others.contains(&ioctl)
}

/// contract: CARD-2, X-5
#[test]
fn a_handle_that_names_no_socket_is_wsaenotsock() {
    let victim = Victim::new();
    let closed = victim.client.socket(APPLICATION, Role::Connection).unwrap();
    closed.close().unwrap();
    let live = victim.connection.socket.handle().0;
    let mut handles = vec![0, 1, u64::MAX, u64::from(u32::MAX), 1 << 63, closed.handle().0];
    for bit in 0..64 {
        handles.push(live ^ 1 << bit);
    }
    let known = [live, victim.listener.handle().0, victim.datagrams.handle().0];
    handles.retain(|handle| !known.contains(handle));
    victim.withstands(|victim| {
        for &ioctl in Ioctl::ALL {
            if !names_a_socket(ioctl) {
                continue;
            }
            for &handle in &handles {
                let (input, output) = well_formed(ioctl, SocketHandle(handle));
                refused(&victim.client, ioctl as u32, &input, output, WsaError::NotSocket.status());
            }
        }
    });
}

/// contract: CARD-2, X-9
#[test]
fn random_bytes_to_every_code_never_break_a_rule() {
    let lab = Lab::start();
    let client = lab.client();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..4000_usize {
        let ioctl = Ioctl::ALL[round % Ioctl::ALL.len()];
        let (mut input, output) = well_formed(ioctl, SocketHandle(random() % 4));
        for _ in 0..random() % 3 {
            let Some(at) = usize::try_from(random()).unwrap().checked_rem(input.len()) else {
                break;
            };
            input[at] = random().to_le_bytes()[0];
        }
        let mut request = client.handle().submit(ioctl as u32, &input, vec![0; output]);
        if request.wait(std::time::Duration::from_millis(200)).is_none() {
            // It may wait for a peer; it must be cancellable.
            request.cancel();
            assert!(request.wait(contract::PATIENCE).is_some(), "{ioctl:?} can't be cancelled");
        }
    }
}
