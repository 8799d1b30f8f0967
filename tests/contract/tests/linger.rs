//! Graceful closes: data of a socket that is closed already still arrives, where the documents say so.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, TRANSPORT,
    abi::{Close, Provider, Shutdown, WsaError},
    check::{cancelled, fails},
    started,
    traffic::{bound, connected, stuck_send},
};
use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use wskctl::{Client, Socket, peer::Ending};

/// A kernel socket, connected to a program that reads to the end of the stream after a while.
fn connected_to_reader(client: &Client, provider: Provider, after: Duration) -> (Socket, JoinHandle<Vec<u8>>) {
    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = bound(client, provider);
    socket.connect(program.local_addr().unwrap().into()).unwrap();
    let (peer, _) = program.accept().unwrap();
    let reader = thread::spawn(move || {
        thread::sleep(after);
        read_to_end(peer)
    });
    (socket, reader)
}

fn read_to_end(mut peer: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all).expect("the stream ends without a reset");
    all
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// Waits until the client has no socket left.
#[track_caller]
fn no_socket_left(client: &Client) {
    let started = Instant::now();
    while client.ledger().unwrap().driver_sockets != 0 {
        assert!(started.elapsed() < PATIENCE, "a socket stays: {:?}", client.ledger().unwrap().sockets);
        thread::sleep(Duration::from_millis(1));
    }
}

/// contract: WSP-6
#[test]
fn transport_sends_all_64_mebibytes_of_a_socket_that_was_closed_with_them_pending() {
    const BYTES: usize = 64 << 20;
    let lab = Lab::start();
    let client = lab.client();
    started(&client, TRANSPORT);
    let (socket, reader) = connected_to_reader(&client, TRANSPORT, Duration::from_millis(100));
    let data = pattern(BYTES);
    let mut send = socket.begin_send(data.clone());
    thread::sleep(GLANCE);
    assert!(!send.is_complete(), "64 MiB do not fit the host's buffers");
    socket.close_gracefully(None).unwrap();
    fails(socket.send(vec![1]), WsaError::NotSocket);
    client.cleanup(TRANSPORT).unwrap();
    assert_eq!(send.wait(PATIENCE).unwrap().bytes, BYTES);
    assert!(reader.join().unwrap() == data, "every byte arrives, in order, and then the end of the stream");
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}

/// contract: WSA-12
#[test]
fn application_delivers_all_64_mebibytes_after_a_shutdown_and_the_peers_close() {
    const BYTES: usize = 64 << 20;
    let lab = Lab::start();
    let client = lab.started();
    let (socket, reader) = connected_to_reader(&client, APPLICATION, Duration::from_millis(100));
    let data = pattern(BYTES);
    let mut send = socket.begin_send(data.clone());
    let mut shutdown = socket.begin_shutdown(Shutdown::SEND);
    assert_eq!(socket.receive(16).unwrap(), b"", "the peer closes when it has read everything");
    socket.close().unwrap();
    client.cleanup(APPLICATION).unwrap();
    assert_eq!(send.wait(PATIENCE).unwrap().bytes, BYTES);
    shutdown.wait(PATIENCE).unwrap();
    assert!(reader.join().unwrap() == data, "every byte arrives, in order, and then the end of the stream");
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}

/// contract: WSP-6, WSA-12
#[test]
fn application_does_not_wait_for_a_socket_that_was_closed_with_data_pending() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(None).unwrap();
    assert_eq!(client.ledger().unwrap().sockets.lingering, 1);
    client.cleanup(APPLICATION).unwrap();
    cancelled(send);
    assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
    let ledger = client.ledger().unwrap();
    assert_eq!((ledger.lingers_cut, ledger.sockets.lingering, ledger.registered), (1, 0, 0));
}

/// contract: X-4, WSA-12
#[test]
fn a_graceful_close_tells_the_peer_the_end_of_the_stream_after_everything_that_was_sent() {
    let lab = Lab::start();
    let client = lab.started();
    for length in [1, 1000, 3 << 20] {
        let (socket, reader) = connected_to_reader(&client, APPLICATION, Duration::ZERO);
        let data = pattern(length);
        let mut send = socket.begin_send(data.clone());
        socket.close_gracefully(None).unwrap();
        assert!(reader.join().unwrap() == data, "{length} bytes arrive");
        assert_eq!(send.wait(PATIENCE).unwrap().bytes, length);
        no_socket_left(&client);
    }
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}

/// contract: X-4
#[test]
fn what_was_sent_arrives_whether_or_not_a_shutdown_that_was_cancelled_had_ended_the_stream() {
    let lab = Lab::start();
    let client = lab.started();
    let (mut behind_data, mut on_its_way) = (0, 0);
    // How much is needed so that the end of the stream is still on its way is the host's buffers' to say.
    for length in [2 << 20, 3 << 20, 4 << 20, 5 << 20, 64 << 20] {
        let (socket, reader) = connected_to_reader(&client, APPLICATION, Duration::from_millis(400));
        let data = pattern(length);
        let mut send = socket.begin_send(data.clone());
        let in_hand = send.completion(Duration::from_millis(150)).is_ok();
        let mut shutdown = socket.begin_shutdown(Shutdown::SEND);
        shutdown.cancel();
        let is_cancelled = shutdown.wait(PATIENCE).is_err();
        if in_hand && is_cancelled {
            fails(socket.send(vec![1]), WsaError::Shutdown);
            fails(socket.shutdown(), WsaError::Shutdown);
            on_its_way += 1;
        }
        behind_data += u32::from(!in_hand && is_cancelled);
        socket.close_gracefully(None).unwrap();
        assert!(reader.join().unwrap() == data, "{length} bytes arrive, and then the end of the stream");
        no_socket_left(&client);
    }
    assert!(
        behind_data > 0 && on_its_way > 0,
        "{behind_data} shutdowns were behind data, {on_its_way} ends on their way"
    );
    assert_eq!(client.ledger().unwrap().lingers_cut, 0);
}

/// contract: X-4
#[test]
fn a_peer_that_never_reads_is_reset_at_the_deadline() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, TRANSPORT);
    let mut connection = connected(&client, TRANSPORT);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(200)).unwrap();
    client.cleanup(TRANSPORT).unwrap();
    cancelled(send);
    assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
    assert_eq!(client.ledger().unwrap().lingers_cut, 1);
}

/// contract: X-4, WSP-7, CARD-3
#[test]
fn a_peer_that_resets_ends_a_graceful_close_long_before_its_deadline() {
    let lab = Lab::start();
    let client = lab.client();
    started(&client, TRANSPORT);
    let connection = connected(&client, TRANSPORT);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(Close::LONGEST_LINGER)).unwrap();
    let mut cleanup = client.begin_cleanup(TRANSPORT);
    // Unread data: the host resets.
    drop(connection.peer);
    cleanup.wait(PATIENCE).unwrap();
    // WSK calls it a reset; what fails once its socket is closed was cancelled by that.
    cancelled(send);
    assert_eq!(client.ledger().unwrap().lingers_cut, 0, "the peer ended it, not the driver");
}

/// contract: X-4
#[test]
fn a_peer_that_never_closes_is_reset_at_the_deadline_with_all_data_read() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    connection.socket.send(b"last words".to_vec()).unwrap();
    connection.socket.close_gracefully(Some(200)).unwrap();
    assert_eq!(connection.peer.receive(10).unwrap(), b"last words");
    no_socket_left(&client);
    assert_eq!(client.ledger().unwrap().lingers_cut, 1);
}

/// contract: X-4
#[test]
fn a_stream_that_lacks_a_send_that_was_cancelled_does_not_end_as_if_it_were_whole() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let first = stuck_send(&connection.socket);
    let second = connection.socket.begin_send(b"behind it".to_vec());
    connection.socket.close_gracefully(Some(Close::LONGEST_LINGER)).unwrap();
    assert!(!first.is_complete() && !second.is_complete());
    // Nothing of it has gone out: the connection itself is whole.
    second.cancel();
    cancelled(second);
    cancelled(first);
    assert_eq!(connection.peer.ending().unwrap(), Ending::Reset);
    no_socket_left(&client);
    assert_eq!(client.ledger().unwrap().lingers_cut, 0, "the caller ended it, not the driver");
}

/// contract: X-4
#[test]
fn a_graceful_close_ends_the_receives_that_are_pending() {
    let lab = Lab::start();
    let client = lab.started();
    let (socket, reader) = connected_to_reader(&client, APPLICATION, Duration::ZERO);
    let receive = socket.begin_receive(16);
    socket.close_gracefully(None).unwrap();
    cancelled(receive);
    assert_eq!(reader.join().unwrap(), b"");
    no_socket_left(&client);
}

/// contract: X-4
#[test]
fn a_socket_without_a_connection_is_just_closed() {
    let lab = Lab::start();
    let client = lab.started();
    let socket = bound(&client, APPLICATION);
    socket.close_gracefully(None).unwrap();
    fails(socket.close_gracefully(None), WsaError::NotSocket);
    let socket = bound(&client, APPLICATION);
    fails(socket.close_gracefully(Some(Close::LONGEST_LINGER + 1)), WsaError::Invalid);
    socket.close_gracefully(Some(Close::LONGEST_LINGER)).unwrap();
    no_socket_left(&client);
}

/// contract: WSP-8, WSP-6
#[test]
fn what_a_dead_client_had_sent_and_closed_still_arrives_under_transport() {
    let lab = Lab::start();
    let watcher = lab.client();
    let process = lab.process();
    let client = process.open();
    started(&client, TRANSPORT);
    let (socket, reader) = connected_to_reader(&client, TRANSPORT, Duration::from_millis(50));
    let data = pattern(1 << 20);
    assert_eq!(socket.send(data.clone()).unwrap().bytes, data.len());
    socket.close_gracefully(None).unwrap();
    process.kill();
    assert!(reader.join().unwrap() == data, "every byte arrives");
    no_socket_left(&watcher);
    assert_eq!(watcher.ledger().unwrap().lingers_cut, 0);
}

/// contract: WSP-9, X-3
#[test]
fn a_startup_does_not_wait_for_what_a_dead_clients_closed_sockets_still_send() {
    let lab = Lab::start();
    let (process, other) = (lab.process(), lab.client());
    let client = process.open();
    started(&client, TRANSPORT);
    let connection = connected(&client, TRANSPORT);
    // The peer neither reads nor closes: the close lingers for as long as it is allowed to.
    connection.socket.send(b"unread".to_vec()).unwrap();
    connection.socket.close_gracefully(Some(Close::LONGEST_LINGER)).unwrap();
    process.kill();
    started(&other, APPLICATION);
    drop(connected(&other, APPLICATION));
    assert_eq!(other.ledger().unwrap().clients, 2, "the dead client is there until its data is sent");
    drop(connection.peer);
    contract::eventually("the dead client goes when its peer has", || other.ledger().unwrap().clients == 1);
}
