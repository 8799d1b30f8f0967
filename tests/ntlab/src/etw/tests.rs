//! A provider's life, and events as they read.

use std::ptr::null;

use super::{Event, Guid, Session, Value};
use crate::rules;
use crate::{Machine, NtStatus, Options, Rule};

crate::imports! {
    fn EtwRegister(id: *const Guid, callback: usize, context: usize, handle: *mut u64) -> i32;
    fn EtwUnregister(handle: u64) -> i32;
    fn EtwSetInformation(handle: u64, class: u32, information: *const u8, length: u32) -> i32;
    fn EtwProviderEnabled(handle: u64, level: u8, keyword: u64) -> u8;
    fn EtwEventEnabled(handle: u64, descriptor: *const Descriptor) -> u8;
    fn EtwWriteTransfer(
        handle: u64,
        descriptor: *const Descriptor,
        activity: *const Guid,
        related: *const Guid,
        count: u32,
        data: *const Data,
    ) -> i32;
    fn EtwWriteString(handle: u64, level: u8, keyword: u64, activity: *const Guid, text: *const u16) -> i32;
    fn EtwActivityIdControl(code: u32, place: *mut Guid) -> i32;
    fn MmGetSystemRoutineAddress(name: *const crate::nt::UNICODE_STRING) -> usize;
}

use super::writing::{Data, Descriptor};

const PROVIDER: Guid = Guid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
/// `EventProviderSetTraits`.
const SET_TRAITS: u32 = 2;

fn machine() -> Machine {
    Machine::new(Options::default())
}

fn run<R>(machine: &Machine, body: impl FnOnce() -> R) -> R {
    crate::call::guard(&machine.inner, body).expect("no rule was broken")
}

fn register(callback: usize) -> u64 {
    let mut handle = 0;
    assert_eq!(EtwRegister(&PROVIDER, callback, 77, &raw mut handle), NtStatus::SUCCESS.0);
    handle
}

/// A block of metadata: its size, then its bytes.
fn block(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len() + 2).unwrap();
    [&size.to_le_bytes(), bytes].concat()
}

/// Writes an event at `level` with `keyword`; the parts are of the kinds 0, 1 and 2 in `EVENT_DATA_DESCRIPTOR`.
fn write(handle: u64, (level, keyword): (u8, u64), parts: &[(u8, &[u8])]) -> i32 {
    let data: Vec<_> = parts
        .iter()
        .map(|(kind, bytes)| Data {
            pointer: bytes.as_ptr() as usize,
            size: u32::try_from(bytes.len()).unwrap(),
            kind: *kind,
            reserved: [0; 3],
        })
        .collect();
    let descriptor = Descriptor { channel: 11, level, keyword, ..Descriptor::default() };
    EtwWriteTransfer(handle, &raw const descriptor, null(), null(), u32::try_from(data.len()).unwrap(), data.as_ptr())
}

/// The one event whose metadata behind the size are `metadata` and whose data are `data`.
fn reads_as(metadata: &[u8], data: &[u8]) -> Event {
    let machine = machine();
    run(&machine, || {
        let handle = register(0);
        let (provider, event) = (block(b"Provider\0"), block(metadata));
        assert_eq!(write(handle, (4, 0), &[(2, &provider), (1, &event), (0, data)]), NtStatus::SUCCESS.0);
        assert_eq!(EtwUnregister(handle), NtStatus::SUCCESS.0);
    });
    let mut events = machine.trace().take();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn provokes(rule: &'static Rule, body: impl FnOnce()) {
    let machine = machine();
    let _ = crate::call::guard(&machine.inner, body);
    let violations = machine.violations();
    assert_eq!(violations.first().map(|first| first.rule.name), Some(rule.name), "{violations:?}");
}

#[test]
fn an_event_has_its_provider_its_name_and_its_fields() {
    // No tags; a name; then fields: a counted string, an NTSTATUS, a port, two bytes, a boolean.
    let metadata = b"\0Opened\0name\0\x17status\0\x87\x0eport\0\x86\x07pair\0\x24\x02\0ok\0\x84\x03";
    let data = b"\x03\0abc\x20\x01\0\xc0\x1f\x90\x01\x02\x01";
    let event = reads_as(metadata, data);
    assert_eq!((event.provider.as_str(), event.name.as_str(), event.level), ("Provider", "Opened", 4));
    assert_eq!(event.provider_id.to_string(), "{04030201-0605-0807-090a-0b0c0d0e0f10}");
    assert_eq!(event.field("name").and_then(Value::text), Some("abc"));
    assert_eq!(event.field("status"), Some(&Value::Hex(0xc000_0120)));
    assert_eq!(event.field("port").and_then(Value::number), Some(8080));
    assert_eq!(event.field("pair"), Some(&Value::List(vec![Value::Unsigned(1), Value::Unsigned(2)])));
    assert_eq!(event.field("ok"), Some(&Value::Boolean(true)));
    assert!(
        event.to_string().ends_with(r#"Provider Opened name="abc" status=0xc0000120 port=8080 pair=[1, 2] ok=true"#)
    );
}

#[test]
fn structures_and_arrays_of_them_are_read_to_their_depth() {
    // Two structures of two fields, the second a structure of one; then an empty array; then a number behind it.
    let inner = b"a\0\x04b\0\x98\x01c\0\x06";
    let metadata = [b"\0E\0list\0\xd8\x02".as_slice(), inner, b"none\0\xd8\x02", inner, b"last\0\x08"].concat();
    let data = b"\x02\0\x01\x02\0\x03\x04\0\0\0\x07\0\0\0";
    let event = reads_as(&metadata, data);
    let shown: Vec<_> = event.fields.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["list=[{a=1 b={c=2}}, {a=3 b={c=4}}]", "none=[]", "last=7"]);
}

#[test]
fn metadata_that_lie_are_read_as_far_as_they_are_true() {
    let cases: [(&[u8], &[u8]); 6] = [
        (b"\0E\0a\0\x08", b"\x01\x02"),    // a number of four bytes
        (b"\0E\0a\0\x16", b"\xff\xff\0"),  // a string of 65,535 bytes
        (b"\0E\0a\0\x08a", b"\x01\0\0\0"), // a name without an end
        (b"\0E\0a\0\x98\x7f", b""),        // a structure of 127 fields that are not there
        (b"\0E\0a\0\x1f", b""),            // a type that there is not
        (b"\0E\0a\0\x04", b"\x01\x02"),    // one byte too many
    ];
    for (metadata, data) in cases {
        let event = reads_as(metadata, data);
        assert_eq!(event.fields.last().map(|field| field.name.as_str()), Some("malformed"), "{event}");
    }
    assert_eq!(reads_as(b"\0E", b"").name, "");
}

#[test]
fn a_provider_is_named_by_its_traits() {
    let machine = machine();
    run(&machine, || {
        let handle = register(0);
        let traits = block(b"Mine\0");
        let length = u32::try_from(traits.len()).unwrap();
        assert_eq!(EtwSetInformation(handle, SET_TRAITS, traits.as_ptr(), length), NtStatus::SUCCESS.0);
        assert_eq!(EtwSetInformation(handle, SET_TRAITS, traits.as_ptr(), 3), NtStatus::INVALID_PARAMETER.0);
        assert_eq!(EtwSetInformation(handle, 99, null(), 0), NtStatus::INVALID_DEVICE_REQUEST.0);
        assert_eq!(EtwSetInformation(0, SET_TRAITS, traits.as_ptr(), length), NtStatus::INVALID_HANDLE.0);
        let text: Vec<u16> = "hello\0".encode_utf16().collect();
        assert_eq!(EtwWriteString(handle, 2, 0, null(), text.as_ptr()), NtStatus::SUCCESS.0);
        assert_eq!(machine.trace().providers(), ["Mine"]);
        EtwUnregister(handle);
    });
    assert_eq!(machine.trace().events()[0].provider, "Mine");
    assert!(machine.trace().providers().is_empty());
}

#[test]
fn a_session_sees_what_it_asks_for() {
    let machine = machine();
    machine.trace().set_session(Some(Session { level: 3, any: 6, all: 2 }));
    run(&machine, || {
        let handle = register(0);
        let cases = [((3, 2), 1), ((4, 2), 0), ((3, 4), 0), ((3, 6), 1), ((0, 0), 1), ((3, 0), 1), ((3, 1), 0)];
        for ((level, keyword), seen) in cases {
            assert_eq!(EtwProviderEnabled(handle, level, keyword), seen, "{level} {keyword}");
            let descriptor = Descriptor { level, keyword, ..Descriptor::default() };
            assert_eq!(EtwEventEnabled(handle, &raw const descriptor), seen);
            assert_eq!(write(handle, (level, keyword), &[]), NtStatus::SUCCESS.0);
        }
        assert_eq!(machine.trace().take().len(), 4);
        machine.trace().set_session(None);
        write(handle, (0, 0), &[]);
        assert_eq!(EtwProviderEnabled(handle, 0, 0), 0);
        EtwUnregister(handle);
    });
    assert!(machine.trace().events().is_empty());
}

#[test]
fn a_provider_is_told_what_sessions_want() {
    extern "win64" fn enabled(
        source: *const Guid,
        code: u32,
        level: u8,
        any: u64,
        all: u64,
        filter: usize,
        context: usize,
    ) {
        // SAFETY: ETW passes a GUID.
        assert_eq!(unsafe { *source }, Guid::default());
        assert_eq!((filter, context), (0, 77));
        TOLD.with_borrow_mut(|told| told.push((code, level, any, all)));
    }
    thread_local! {
        static TOLD: std::cell::RefCell<Vec<(u32, u8, u64, u64)>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let machine = machine();
    run(&machine, || {
        let handle = register(enabled as *const () as usize);
        machine.trace().set_session(Some(Session { level: 2, any: 3, all: 4 }));
        machine.trace().set_session(None);
        EtwUnregister(handle);
        machine.trace().set_session(Some(Session::default()));
    });
    assert_eq!(TOLD.take(), [(1, u8::MAX, u64::MAX, 0), (1, 2, 3, 4), (0, 0, 0, 0)]);
}

#[test]
fn wrong_arguments_are_refused() {
    let machine = machine();
    run(&machine, || {
        let mut handle = 0;
        assert_eq!(EtwRegister(null(), 0, 0, &raw mut handle), NtStatus::INVALID_PARAMETER.0);
        let handle = register(0);
        let descriptor = Descriptor::default();
        let transfer = |count| EtwWriteTransfer(handle, &raw const descriptor, null(), null(), count, null());
        assert_eq!(transfer(1), NtStatus::INVALID_PARAMETER.0);
        assert_eq!(transfer(129), NtStatus::INVALID_PARAMETER.0);
        assert_eq!(write(handle, (0, 0), &[(0, &vec![0; 1 << 16])]), NtStatus::INTEGER_OVERFLOW.0);
        assert_eq!(write(0, (0, 0), &[]), NtStatus::INVALID_HANDLE.0);
        assert_eq!(EtwProviderEnabled(0, 0, 0), 0);
        EtwUnregister(handle);
    });
}

#[test]
fn a_thread_has_an_activity() {
    let machine = machine();
    run(&machine, || {
        let mut id = PROVIDER;
        assert_eq!(EtwActivityIdControl(2, &raw mut id), NtStatus::SUCCESS.0);
        let mut found = Guid::default();
        assert_eq!(EtwActivityIdControl(5, &raw mut found), NtStatus::SUCCESS.0);
        assert_eq!(found, PROVIDER);
        assert_eq!(EtwActivityIdControl(1, &raw mut found), NtStatus::SUCCESS.0);
        assert_ne!(found, PROVIDER);
        assert_eq!(EtwActivityIdControl(6, &raw mut found), NtStatus::INVALID_PARAMETER.0);
    });
}

#[test]
fn the_routines_are_found_by_name_too() {
    let machine = machine();
    let names = [
        "EtwRegister",
        "EtwUnregister",
        "EtwWriteTransfer",
        "EtwSetInformation",
        "EtwEventEnabled",
        "EtwProviderEnabled",
    ];
    for name in names {
        let mut units: Vec<u16> = name.encode_utf16().collect();
        let length = u16::try_from(units.len() * 2).unwrap();
        let string = crate::nt::UNICODE_STRING { Length: length, MaximumLength: length, Buffer: units.as_mut_ptr() };
        assert_eq!(run(&machine, || MmGetSystemRoutineAddress(&raw const string)), crate::builtin::import(name));
    }
}

#[test]
fn a_registration_that_is_over_is_not_used() {
    provokes(&rules::ETW_HANDLE, || {
        let handle = register(0);
        EtwUnregister(handle);
        write(handle, (0, 0), &[]);
    });
    provokes(&rules::ETW_HANDLE, || {
        let handle = register(0);
        EtwUnregister(handle);
        EtwUnregister(handle);
    });
    provokes(&rules::ETW_HANDLE, || {
        EtwUnregister(0);
    });
}

#[test]
fn old_events_make_room_for_new_ones() {
    let machine = machine();
    run(&machine, || {
        let handle = register(0);
        for _ in 0..super::MOST_EVENTS + 3 {
            write(handle, (0, 0), &[]);
        }
        EtwUnregister(handle);
    });
    assert_eq!((machine.trace().take().len(), machine.trace().dropped()), (super::MOST_EVENTS, 3));
}
