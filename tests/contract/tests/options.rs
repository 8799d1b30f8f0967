//! Socket options, I/O controls, and what a close does that the option `SO_LINGER` was set for.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{AF_INET6, Address, Close, Linger, Role, SocketControl, SocketOption, WsaError},
    check::{cancelled, fails},
    eventually, started,
    traffic::{bound, connected, listening, local, stuck_send, unused_address},
};
use std::{net::Ipv6Addr, thread, time::Duration};
use wskctl::{Client, Socket, peer::Ending};

fn of_role(client: &Client, role: Role) -> Socket {
    client.socket(APPLICATION, role).unwrap()
}

/// contract: X-10
#[test]
fn an_option_that_is_set_says_what_it_was_set_to() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    for option in [SocketOption::KeepAlive, SocketOption::NoDelay] {
        for value in [1, 0, 1] {
            connection.socket.set_option(option, value).unwrap();
            assert_eq!(connection.socket.option(option).unwrap(), value, "{option:?}");
        }
    }
    for option in [SocketOption::SendBuffer, SocketOption::ReceiveBuffer] {
        for socket in [&connection.socket, &of_role(&client, Role::Datagram)] {
            socket.set_option(option, 100_000).unwrap();
            // The stack may give more than it is asked for.
            assert!(socket.option(option).unwrap() >= 100_000, "{option:?}");
        }
    }
    let v6 = client.socket_of(APPLICATION, AF_INET6, Role::Connection).unwrap();
    for value in [1, 0] {
        v6.set_option(SocketOption::V6Only, value).unwrap();
        assert_eq!(v6.option(SocketOption::V6Only).unwrap(), value);
    }
    for (role, number) in [(Role::Listen, 1), (Role::Connection, 1), (Role::Datagram, 2)] {
        assert_eq!(of_role(&client, role).option(SocketOption::Type).unwrap(), number, "{role:?}");
    }
}

/// contract: X-10
#[test]
fn two_sockets_share_an_address_if_both_allow_it() {
    let lab = Lab::start();
    let client = lab.started();
    let address = unused_address();
    let first = of_role(&client, Role::Datagram);
    first.set_option(SocketOption::ReuseAddress, 1).unwrap();
    first.bind(address).unwrap();
    let second = of_role(&client, Role::Datagram);
    fails(second.bind(address), WsaError::AddressInUse);
    second.set_option(SocketOption::ReuseAddress, 1).unwrap();
    second.bind(address).unwrap();
    fails(second.set_option(SocketOption::ReuseAddress, 0), WsaError::Invalid);
    let third = of_role(&client, Role::Datagram);
    third.set_option(SocketOption::ExclusiveAddress, 1).unwrap();
    assert_eq!(third.option(SocketOption::ExclusiveAddress).unwrap(), 1);
    fails(third.bind(address), WsaError::AddressInUse);
}

/// contract: X-10
#[test]
fn a_v6_only_socket_and_an_ipv4_socket_have_the_same_port() {
    let lab = Lab::start();
    let client = lab.started();
    let v6 = client.socket_of(APPLICATION, AF_INET6, Role::Datagram).unwrap();
    v6.set_option(SocketOption::V6Only, 1).unwrap();
    v6.bind(Address::v6(Ipv6Addr::LOCALHOST.octets(), 0, 0)).unwrap();
    let v4 = of_role(&client, Role::Datagram);
    v4.bind(local(v6.local_address().unwrap().port())).unwrap();
}

/// contract: X-10, CARD-2
#[test]
fn an_option_of_another_kind_of_socket_is_wsaenoprotoopt() {
    let lab = Lab::start();
    let client = lab.started();
    for role in [Role::Listen, Role::Connection, Role::Datagram] {
        let socket = of_role(&client, role);
        for &option in SocketOption::EVERY {
            let has = option.roles().contains(&role) && option != SocketOption::V6Only;
            match socket.option(option) {
                Ok(_) => assert!(has, "{role:?} has no {option:?}"),
                Err(error) => {
                    assert!(!has, "{role:?} has {option:?}: {error}");
                    assert_eq!(error.winsock(), Some(WsaError::NoProtocolOption), "{role:?}, {option:?}");
                }
            }
            if !has || !option.is_settable() {
                fails(socket.set_option(option, 1), WsaError::NoProtocolOption);
            }
        }
    }
    let (listener, _) = listening(&client, APPLICATION);
    fails(listener.control(SocketControl::BytesToReceive), WsaError::NotSupported);
    fails(of_role(&client, Role::Datagram).control(SocketControl::BytesToReceive), WsaError::NotSupported);
    fails(bound(&client, APPLICATION).control(SocketControl::BytesToReceive), WsaError::NotConnected);
}

/// contract: X-10
#[test]
fn a_connection_says_how_much_waits_to_be_received_and_how_much_to_send_at_once() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    assert_eq!(connection.socket.control(SocketControl::BytesToReceive).unwrap(), 0);
    connection.peer.send(b"twelve bytes").unwrap();
    eventually("they have arrived", || connection.socket.control(SocketControl::BytesToReceive).unwrap() == 12);
    connection.socket.receive(5).unwrap();
    assert_eq!(connection.socket.control(SocketControl::BytesToReceive).unwrap(), 7);
    assert!(connection.socket.control(SocketControl::IdealSendBacklog).unwrap() > 0);
}

/// contract: X-4
#[test]
fn a_close_resets_unless_the_linger_option_says_otherwise() {
    let lab = Lab::start();
    let client = lab.started();
    let mut untouched = connected(&client, APPLICATION);
    assert_eq!(untouched.socket.option(SocketOption::Linger).unwrap(), 1, "l_onoff 1, l_linger 0");
    untouched.socket.close().unwrap();
    assert_eq!(untouched.peer.ending().unwrap(), Ending::Reset);

    let mut graceful = connected(&client, APPLICATION);
    graceful.socket.set_linger(Linger { l_onoff: 0, l_linger: 7 }).unwrap();
    assert_eq!(graceful.socket.option(SocketOption::Linger).unwrap(), 7 << 16);
    graceful.socket.send(b"last words".to_vec()).unwrap();
    graceful.socket.close().unwrap();
    assert_eq!(client.ledger().unwrap().sockets.lingering, 1, "the close does not wait for the peer");
    assert_eq!(graceful.peer.receive(10).unwrap(), b"last words");
    assert_eq!(graceful.peer.ending().unwrap(), Ending::EndOfFile);

    let mut abortive = connected(&client, APPLICATION);
    abortive.socket.set_linger(Linger::ABORTIVE).unwrap();
    abortive.socket.close().unwrap();
    assert_eq!(abortive.peer.ending().unwrap(), Ending::Reset);
}

/// contract: X-4
#[test]
fn a_close_that_lingers_ends_when_the_peer_has_everything_and_has_closed_too() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 100 }).unwrap();
    connection.socket.send(b"last words".to_vec()).unwrap();
    let mut close = connection.socket.begin_close();
    assert_eq!(connection.peer.receive(10).unwrap(), b"last words");
    assert_eq!(connection.peer.ending().unwrap(), Ending::EndOfFile);
    thread::sleep(GLANCE);
    assert!(!close.is_complete(), "the peer has not closed");
    drop(connection.peer);
    close.wait(PATIENCE).unwrap();
    let ledger = client.ledger().unwrap();
    assert_eq!((ledger.driver_sockets, ledger.lingers_cut), (0, 0));
}

/// contract: X-4
#[test]
fn a_close_that_lingers_ends_with_a_reset_at_its_deadline() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, TRANSPORT);
    let mut connection = connected(&client, TRANSPORT);
    connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 1 }).unwrap();
    let send = stuck_send(&connection.socket);
    connection.socket.begin_close().wait(PATIENCE).unwrap();
    cancelled(send);
    assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
    assert_eq!(client.ledger().unwrap().lingers_cut, 1);
}

/// contract: X-4
#[test]
fn a_close_that_lingers_does_so_for_the_options_seconds_and_ten_minutes_at_most() {
    const LONGEST: u64 = Close::LONGEST_LINGER as u64 / 1000;
    let lab = Lab::start();
    let client = lab.started();
    for (seconds, deadline) in [(20, 20), (600, LONGEST), (601, LONGEST), (u16::MAX, LONGEST)] {
        let connection = connected(&client, APPLICATION);
        connection.socket.set_linger(Linger { l_onoff: 1, l_linger: seconds }).unwrap();
        let mut close = connection.socket.begin_close();
        let left = lab.machine().last_timer().expect("the deadline is set");
        assert!(left <= Duration::from_secs(deadline), "{seconds} s: {left:?}");
        assert!(left + PATIENCE > Duration::from_secs(deadline), "{seconds} s: {left:?}");
        drop(connection.peer);
        close.wait(PATIENCE).unwrap();
    }
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}

/// contract
#[test]
fn cancelling_a_close_that_lingers_ends_only_the_waiting() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 100 }).unwrap();
    let close = connection.socket.begin_close();
    assert_eq!(connection.peer.ending().unwrap(), Ending::EndOfFile);
    close.cancel();
    cancelled(close);
    assert_eq!(client.ledger().unwrap().sockets.lingering, 1);
    drop(connection.peer);
    eventually("the close ends by itself", || client.ledger().unwrap().driver_sockets == 0);
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}

/// contract: WSA-11, X-4
#[test]
fn the_last_cleanup_of_application_cuts_a_close_short_that_lingers() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 600 }).unwrap();
    let send = stuck_send(&connection.socket);
    let mut close = connection.socket.begin_close();
    client.cleanup(APPLICATION).unwrap();
    cancelled(send);
    close.wait(PATIENCE).unwrap();
    assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
}
