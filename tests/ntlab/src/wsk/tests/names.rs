//! Names and addresses.

use std::ptr::null_mut;

use wsk::sys;

use super::super::names::AddressInfo;
use super::super::{address, rules, status};
use super::{Client, Io, Place, each_seed, machine, provoke, run, settle, settled};
use crate::nt::UNICODE_STRING;

struct Text {
    units: Vec<u16>,
    string: Box<UNICODE_STRING>,
}

impl Text {
    fn new(text: &str, room: usize) -> Self {
        let mut units: Vec<u16> = text.encode_utf16().collect();
        let length = u16::try_from(units.len() * 2).unwrap();
        units.resize(units.len().max(room), 0);
        let string = Box::new(UNICODE_STRING {
            Length: length,
            MaximumLength: u16::try_from(units.len() * 2).unwrap(),
            Buffer: units.as_mut_ptr(),
        });
        Self { units, string }
    }

    fn pointer(&mut self) -> *mut sys::UnicodeString {
        std::ptr::from_mut(&mut *self.string).cast()
    }

    fn text(&self) -> String {
        String::from_utf16_lossy(&self.units[..usize::from(self.string.Length / 2)])
    }
}

/// Starts a look-up; the list appears in `list`.
fn start(client: &Client, node: &str, service: &str, list: &mut *mut AddressInfo) -> (i32, Io, [Text; 2]) {
    let mut texts = [Text::new(node, 0), Text::new(service, 0)];
    let io = Io::new();
    let [node, service] = &mut texts;
    // SAFETY: the arguments are those of WskGetAddressInfo.
    let returned = unsafe {
        client.dispatch().get_address_info.unwrap()(
            client.npi.client,
            node.pointer(),
            service.pointer(),
            0,
            null_mut(),
            null_mut(),
            std::ptr::from_mut(list).cast(),
            null_mut(),
            null_mut(),
            io.irp(),
        )
    };
    (returned, io, texts)
}

/// The addresses that `node` and `service` resolve to.
fn resolve(client: &Client, node: &str, service: &str) -> Result<Vec<String>, i32> {
    let mut list = null_mut();
    let (returned, io, _texts) = start(client, node, service, &mut list);
    match settled(returned, io) {
        status::SUCCESS => {}
        status => return Err(status),
    }
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: the provider's list is valid until it is freed.
    while let Some(info) = unsafe { next.as_ref() } {
        let family = u16::try_from(info.family).unwrap();
        assert_eq!(info.address_length, address::length(family));
        // SAFETY: as above.
        found.push(unsafe { address::read(info.address, family) }.unwrap().to_string());
        next = info.next;
    }
    free(client, list);
    Ok(found)
}

fn free(client: &Client, list: *mut AddressInfo) {
    // SAFETY: the arguments are those of WskFreeAddressInfo.
    unsafe { client.dispatch().free_address_info.unwrap()(client.npi.client, list.cast()) };
}

#[test]
fn numbers_localhost_and_names_of_the_test_resolve_and_nothing_else() {
    each_seed(|machine| {
        machine.network().set_name("Peer.Test", vec!["127.0.0.9".parse().unwrap()]);
        run(machine, || {
            let client = Client::new();
            assert_eq!(resolve(&client, "127.0.0.1", "80"), Ok(vec!["127.0.0.1:80".to_owned()]));
            assert_eq!(resolve(&client, "::1", "http"), Ok(vec!["[::1]:80".to_owned()]));
            let both = vec!["[::1]:53".to_owned(), "127.0.0.1:53".to_owned()];
            assert_eq!(resolve(&client, "LOCALHOST", "domain"), Ok(both));
            assert_eq!(resolve(&client, "peer.test", "1"), Ok(vec!["127.0.0.9:1".to_owned()]));
            assert_eq!(resolve(&client, "example.com", "80"), Err(status::NO_MATCH));
            assert_eq!(resolve(&client, "localhost", "no such service"), Err(status::NO_MATCH));
            assert_eq!(machine.network().counters().address_lists, 0);
            client.end();
        });
    });
}

#[test]
fn an_address_has_a_name_and_a_number() {
    let machine = machine(1);
    run(&machine, || {
        let client = Client::new();
        let mut from = Place::of("127.0.0.1:443".parse().unwrap());
        for (flags, expected) in [(0, ["localhost", "https"]), (2 | 8, ["127.0.0.1", "443"])] {
            let (mut node, mut service) = (Text::new("", 64), Text::new("", 64));
            let io = Io::new();
            // SAFETY: the arguments are those of WskGetNameInfo.
            let returned = unsafe {
                client.dispatch().get_name_info.unwrap()(
                    client.npi.client,
                    from.pointer(),
                    16,
                    node.pointer(),
                    service.pointer(),
                    flags,
                    null_mut(),
                    null_mut(),
                    io.irp(),
                )
            };
            assert_eq!(settled(returned, io), status::SUCCESS);
            assert_eq!([node.text(), service.text()], expected);
        }
        client.end();
    });
}

#[test]
fn a_look_up_that_is_held_can_be_cancelled_or_let_go() {
    each_seed(|machine| {
        run(machine, || {
            let client = Client::new();
            machine.network().hold_look_ups(true);
            let (mut first, mut second) = (null_mut(), null_mut());
            let (returned, io, _texts) = start(&client, "localhost", "1", &mut first);
            assert_eq!(returned, status::PENDING);
            assert!(io.cancel());
            assert_eq!(settle(returned, io), (status::CANCELLED, 0));
            assert!(first.is_null());
            let (returned, io, _texts) = start(&client, "localhost", "1", &mut second);
            machine.network().hold_look_ups(false);
            assert_eq!(settled(returned, io), status::SUCCESS);
            free(&client, second);
            client.end();
        });
    });
}

#[test]
fn freeing_a_list_twice_is_a_violation() {
    let machine = machine(1);
    provoke(&machine, &rules::ADDRESS_LIST_FREED_TWICE, || {
        let client = Client::new();
        let mut list = null_mut();
        let (returned, io, _texts) = start(&client, "localhost", "1", &mut list);
        assert_eq!(settled(returned, io), status::SUCCESS);
        free(&client, list);
        free(&client, list);
    });
}
