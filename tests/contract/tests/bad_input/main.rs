//! Malformed requests: every code, every length, every method, every field. Each gets its error and changes nothing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod fields;
mod overlap;
mod victim;

use contract::{
    APPLICATION, DNS, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{
        AddressList, CATALOG, Close, Ioctl, NameToAddresses, PendingList, PendingQuery, Role, SocketHandle,
        WinsockVersion, WsaError, hints,
    },
    check::without_looks,
    eventually,
    raw::{self, INFO_LENGTH_MISMATCH, INVALID_DEVICE_REQUEST, refused, well_formed},
    started,
    traffic::{bound, listening},
};
use fields::{bad_fields, may_differ};
use victim::Victim;
use zerocopy::{FromZeros, IntoBytes};

/// contract: CARD-2
#[test]
fn a_request_whose_every_field_is_allowed_is_served() {
    // Without this the tests below could refuse what they attack with for another reason.
    for &ioctl in Ioctl::ALL {
        let victim = Victim::new();
        let (input, output) = well_formed(ioctl, victim.socket_for(ioctl));
        let mut request = victim.client.handle().submit(ioctl as u32, &input, vec![0; output]);
        let served = match ioctl {
            Ioctl::CancelBlocking => Some(WsaError::NotSupported),
            Ioctl::Connect => Some(WsaError::ConnectionRefused),
            // They wait: nobody sends, nobody connects.
            Ioctl::Accept | Ioctl::Receive | Ioctl::ReceiveFrom | Ioctl::Events => {
                assert!(request.wait(GLANCE).is_none(), "{ioctl:?} does not wait");
                request.cancel();
                Some(WsaError::OperationAborted)
            }
            _ => None,
        };
        let completion = request.wait(PATIENCE).unwrap();
        assert_eq!(WsaError::from_status(completion.status), served, "{ioctl:?}: {:#X}", completion.status);
    }
}

/// contract: CARD-2
#[test]
fn every_input_length_but_the_right_one_is_refused() {
    Victim::new().withstands(|attack| {
        for &ioctl in Ioctl::ALL {
            let (input, output) = attack.well_formed(ioctl);
            let longest = input.len() + 1;
            let padded: Vec<u8> = input.iter().copied().chain(std::iter::repeat_n(0, 5000)).collect();
            for length in (0..=longest).chain([longest + 1, 4096, 5000]).filter(|&length| length != input.len()) {
                attack.refused(ioctl as u32, &padded[..length], output, INFO_LENGTH_MISMATCH);
            }
        }
    });
}

/// contract: CARD-2
#[test]
fn every_output_buffer_that_is_too_small_is_refused() {
    Victim::new().withstands(|attack| {
        for &ioctl in Ioctl::ALL {
            let (input, output) = attack.well_formed(ioctl);
            assert!(raw::least_output(ioctl) <= output);
            for length in 0..raw::least_output(ioctl) {
                attack.refused(ioctl as u32, &input, length, raw::BUFFER_TOO_SMALL);
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
    Victim::new().withstands(|attack| {
        for &ioctl in Ioctl::ALL {
            let (input, output) = attack.well_formed(ioctl);
            let code = ioctl as u32;
            for method in (0..4).filter(|&method| method != code & 3) {
                attack.refused(code & !3 | method, &input, output, INVALID_DEVICE_REQUEST);
            }
            for access in [0, 1, 2] {
                attack.refused(code & !(3 << 14) | access << 14, &input, output, INVALID_DEVICE_REQUEST);
            }
        }
        let known = |code| Ioctl::from_code(code).is_some();
        let functions = (0x800..0x860).chain([0, 1, 0x7FF, 0xFFF]).map(|function| 0x8057_C000 | function << 2);
        for code in functions.chain([0, 1, u32::MAX, 0x8000_0000, 0x8056_E000]).filter(|&code| !known(code)) {
            attack.refused(code, &[0; 16], 128, INVALID_DEVICE_REQUEST);
        }
    });
}

/// contract: CARD-2, WSA-3, NSP-2
#[test]
fn every_field_past_its_limits_is_refused_with_its_error() {
    Victim::new().withstands(|attack| {
        for (ioctl, at, bytes, error) in bad_fields() {
            let (mut input, output) = attack.well_formed(ioctl);
            input[at..at + bytes.len()].copy_from_slice(&bytes);
            let seen = WsaError::from_status(attack.is_refused(ioctl as u32, &input, output));
            assert_eq!(seen, Some(error), "{ioctl:?} with {bytes:?} at {at}");
        }
    });
}

/// contract: CARD-2
#[test]
fn every_bit_of_every_input_that_has_no_meaning_is_refused() {
    // What a request is told that the driver finds wrong before it looks at sockets and their states.
    let of_fields = [
        WsaError::Invalid,
        WsaError::FamilyNotSupported,
        WsaError::ProtocolNotSupported,
        WsaError::SocketTypeNotSupported,
        WsaError::NotSupported,
        WsaError::NoProtocolOption,
        WsaError::Fault,
    ];
    Victim::new().withstands(|attack| {
        let mut flipped = 0;
        for &ioctl in Ioctl::ALL {
            let (input, output) = attack.well_formed(ioctl);
            let free = may_differ(ioctl);
            for at in (0..input.len()).filter(|at| !free.iter().any(|range| range.contains(at))) {
                for bit in 0..8 {
                    let mut input = input.clone();
                    input[at] ^= 1 << bit;
                    let status = attack.is_refused(ioctl as u32, &input, output);
                    let error = WsaError::from_status(status);
                    assert!(error.is_some_and(|error| of_fields.contains(&error)), "{ioctl:?}, {at}: {status:#X}");
                    flipped += 1;
                }
            }
        }
        assert!(flipped > 2000, "{flipped} bits");
    });
}

/// contract: CARD-2
#[test]
fn fields_at_their_limits_are_served() {
    let lab = Lab::start();
    let client = lab.client();
    let served = |ioctl: Ioctl, input: &[u8], output: usize, expected: Option<WsaError>| {
        let completion = raw::request(&client, ioctl as u32, input, output);
        let seen = WsaError::from_status(completion.status);
        assert_eq!(seen, expected, "{ioctl:?} with {input:?}: {:#X}", completion.status);
    };
    for version in [(1, 0), (2, 2), (2, 255), (255, 255)] {
        client.startup(APPLICATION, WinsockVersion::new(version.0, version.1), 0).unwrap().keep();
    }
    for entry in CATALOG {
        client.startup(TRANSPORT, WinsockVersion::new(2, 0), entry.id).unwrap().keep();
    }
    let (listener, _) = listening(&client, TRANSPORT);
    for backlog in [1, 2, u32::MAX] {
        listener.listen(backlog).unwrap();
    }
    for linger in [1, Close::LONGEST_LINGER] {
        bound(&client, TRANSPORT).close_gracefully(Some(linger)).unwrap();
    }
    for scope in [PendingQuery::OWN, PendingQuery::ALL] {
        let input = PendingQuery { scope, reserved: 0 };
        served(Ioctl::LedgerPending, input.as_bytes(), size_of::<PendingList>(), None);
    }
    client.startup_namespace(DNS).unwrap().keep();
    // The longest names that there is room for are looked for, and not found.
    let mut input =
        NameToAddresses { provider: DNS, flags: hints::NAME_FLAGS & !hints::NUMERIC_HOST, ..FromZeros::new_zeroed() };
    input.node.fill(u16::from(b'a'));
    input.service.fill(u16::from(b'1'));
    (input.node_length, input.service_length) = (256, 32);
    served(Ioctl::NameToAddresses, input.as_bytes(), size_of::<AddressList>(), Some(WsaError::HostNotFound));
}

/// contract: CARD-2, X-8
#[test]
fn another_clients_handle_is_wsaenotsock_for_every_request_and_its_socket_is_not_touched() {
    let thief = |lab: &Lab| {
        let thief = lab.started();
        started(&thief, TRANSPORT);
        thief
    };
    Victim::new().withstands(|attack| {
        // It has no socket of its own, so no handle that is the same.
        let thief = thief(&attack.victim.lab);
        let before = without_looks(thief.ledger().unwrap());
        for &ioctl in Ioctl::ALL.iter().filter(|&&ioctl| names_a_socket(ioctl)) {
            for socket in attack.victim.sockets() {
                let (input, output) = well_formed(ioctl, socket.handle());
                refused(&thief, ioctl as u32, &input, output, WsaError::NotSocket.status());
                assert_eq!(without_looks(thief.ledger().unwrap()), before, "{ioctl:?}");
            }
        }
        thief.close();
        eventually("the thief is gone", || attack.victim.client.ledger().unwrap().clients == 1);
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
        if let Some(short) = raw::least_output(ioctl).checked_sub(1) {
            refused(&client, ioctl as u32, &input, short, raw::BUFFER_TOO_SMALL);
        }
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
    handles.retain(|handle| victim.sockets().iter().all(|socket| socket.handle().0 != *handle));
    victim.withstands(|attack| {
        for &ioctl in Ioctl::ALL.iter().filter(|&&ioctl| names_a_socket(ioctl)) {
            for &handle in &handles {
                let (input, output) = well_formed(ioctl, SocketHandle(handle));
                attack.refused(ioctl as u32, &input, output, WsaError::NotSocket.status());
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
