//! What the driver costs stays within what it is designed for: counts, never times.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{APPLICATION, Lab, check::deregistered, costs};

#[test]
fn a_request_a_socket_and_a_client_cost_no_more_than_they_are_designed_to() {
    let costs = costs::measure();
    println!("{costs:?}");
    assert!((1..=700).contains(&costs.instructions_per_send), "{costs:?}");
    assert!((1..=700).contains(&costs.instructions_per_receive), "{costs:?}");
    assert_eq!(costs.allocations_per_thousand_transfers, 0, "{costs:?}");
    assert!((1..=128).contains(&costs.bytes_per_pending_request), "{costs:?}");
    assert!((1..=1024).contains(&costs.bytes_per_socket), "{costs:?}");
    assert!((1..=2048).contains(&costs.bytes_per_client), "{costs:?}");
    assert!(costs.bytes_idle <= 16 << 10, "{costs:?}");
}

/// contract: WSA-13
#[test]
fn a_thousand_sockets_with_ten_thousand_pending_requests_are_torn_down_and_leave_nothing() {
    let lab = Lab::start();
    let client = lab.client();
    let receives = costs::many(&lab, &client, 1000);
    client.cleanup(APPLICATION).unwrap();
    receives.are_cancelled();
    deregistered(&client);
}
