//! Fields past their limits, and those that may have another value.

use contract::abi::{
    Address, AddressOf, AddressToName, Bind, CATALOG, Cleanup, Close, Connect, Events, GetOption, Guid, IoControl,
    Ioctl, Listen, NAMESPACES, NameToAddresses, PendingQuery, Provider, SendTo, SetOption, Shutdown, SocketHandle,
    SocketOpen, SocketOption, Startup, Transfer, WsaError, hints,
};
use std::{mem::offset_of, ops::Range};
use zerocopy::IntoBytes;

/// A field past its limits: the request, where in the input, which bytes, which error.
pub type BadField = (Ioctl, usize, Vec<u8>, WsaError);

pub fn bad_fields() -> Vec<BadField> {
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

/// The bytes of a request's input in which another bit may make another good request, or another one on another socket. Every other
/// bit of every input is zero or has one allowed value.
pub fn may_differ(ioctl: Ioctl) -> Vec<Range<usize>> {
    type In = NameToAddresses;
    let port_and_ip = |address: usize| address + 2..address + 8;
    let byte = |at: usize| at..at + 1;
    let socket = 0..size_of::<SocketHandle>();
    match ioctl {
        Ioctl::Version | Ioctl::Ledger | Ioctl::CancelBlocking => vec![],
        Ioctl::LedgerPending => vec![byte(offset_of!(PendingQuery, scope))],
        Ioctl::Startup => {
            vec![byte(offset_of!(Startup, provider)), offset_of!(Startup, version)..offset_of!(Startup, reserved)]
        }
        Ioctl::Cleanup => vec![byte(offset_of!(Cleanup, provider))],
        Ioctl::Socket => vec![byte(offset_of!(SocketOpen, provider)), byte(offset_of!(SocketOpen, role))],
        Ioctl::Bind => vec![socket, port_and_ip(offset_of!(Bind, address))],
        Ioctl::Connect => vec![socket, port_and_ip(offset_of!(Connect, address))],
        Ioctl::SendTo => vec![socket, port_and_ip(offset_of!(SendTo, address))],
        Ioctl::Listen => vec![socket, offset_of!(Listen, backlog)..offset_of!(Listen, reserved)],
        Ioctl::Receive => vec![socket, byte(offset_of!(Transfer, flags))],
        Ioctl::Events => vec![socket, byte(offset_of!(Events, mask))],
        Ioctl::SetOption => vec![socket, offset_of!(SetOption, value)..size_of::<SetOption>()],
        Ioctl::Close => vec![socket, byte(offset_of!(Close, flags))],
        Ioctl::Accept | Ioctl::Send | Ioctl::ReceiveFrom | Ioctl::Address | Ioctl::Shutdown | Ioctl::IoControl => {
            vec![socket]
        }
        // Another name is another option's.
        Ioctl::GetOption => vec![socket, offset_of!(GetOption, name)..size_of::<GetOption>()],
        Ioctl::NameToAddresses => vec![
            offset_of!(In, flags)..offset_of!(In, flags) + 2,
            byte(offset_of!(In, family)),
            byte(offset_of!(In, socket_type)),
            byte(offset_of!(In, node_length)),
            offset_of!(In, node)..size_of::<In>(),
        ],
        Ioctl::AddressToName => {
            vec![port_and_ip(offset_of!(AddressToName, address)), byte(offset_of!(AddressToName, flags))]
        }
    }
}
