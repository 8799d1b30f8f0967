//! A great many lives, one after the other: nothing is left of any.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab, TRANSPORT,
    check::{cancelled, deregistered},
    started,
    traffic::connected_to,
};
use wskctl::peer::Listener;

/// How many lives.
const CYCLES: u64 = 10_000;

/// contract: WSA-13, WSP-9, WSA-15
#[test]
fn ten_thousand_cycles_of_startup_traffic_and_cleanup_leave_the_pool_as_it_was() {
    let lab = Lab::start();
    let client = lab.client();
    let peers = Listener::start().unwrap();
    let mut settled = None;
    for cycle in 0..CYCLES {
        let provider = if cycle % 2 == 0 { APPLICATION } else { TRANSPORT };
        started(&client, provider);
        let mut connection = connected_to(&client, provider, &peers);
        let message = cycle.to_le_bytes();
        connection.socket.send(message.to_vec()).unwrap();
        assert_eq!(connection.peer.receive(8).unwrap(), message);
        connection.peer.send(&message).unwrap();
        assert_eq!(connection.socket.receive(8).unwrap(), message);
        let receive = connection.socket.begin_receive(8);
        client.cleanup(provider).unwrap();
        cancelled(receive);
        assert_eq!(client.ledger().unwrap().teardowns, cycle + 1);
        if cycle >= 10 {
            let pool = lab.machine().pool_in_use();
            assert_eq!(*settled.get_or_insert(pool), pool, "blocks and bytes of pool after cycle {cycle}");
        }
    }
    deregistered(&client);
}
