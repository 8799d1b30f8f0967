//! The library's events and completion routines, on the real driver.
#![cfg(any(windows, all(target_os = "linux", target_arch = "x86_64")))]

use contract::{
    APPLICATION, GLANCE, Lab, PATIENCE, VERSION,
    abi::WsaError,
    check::{deregistered, fails, references},
    started, startup,
    traffic::{connected, listening, stuck_send},
};
#[cfg(not(windows))]
use contract::{abi::Role, traffic::local};
use std::{cell::RefCell, rc::Rc};
use wskctl::{
    Error,
    overlapped::{Completions, Event},
};

fn aborted<T>(result: Result<T, Error>) -> bool {
    result.err().and_then(|error| error.winsock()) == Some(WsaError::OperationAborted)
}

#[test]
fn an_operation_that_ends_sets_its_event_and_runs_its_routine_once() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let event = Event::new();
    event.set();
    let mut receive = connection.socket.begin_receive(8).signalling(&event);
    assert!(!event.is_set(), "an operation that is begun resets its event");
    assert!(receive.take().is_none(), "nothing has come");
    connection.peer.send(b"one").unwrap();
    assert!(event.wait(PATIENCE));
    assert_eq!(receive.take().expect("it has ended").unwrap(), b"one");
    assert!(receive.take().is_none(), "an answer is given once");

    let got = Rc::new(RefCell::new(Vec::new()));
    let completions = Completions::new();
    let (socket, more, sink) = (connection.socket.clone(), completions.clone(), got.clone());
    completions.add(connection.socket.begin_receive(8), move |data| {
        sink.borrow_mut().push(data.unwrap());
        // A routine may begin the next one.
        more.add(socket.begin_send(b"back".to_vec()), |sent| assert_eq!(sent.unwrap().bytes, 4));
    });
    connection.peer.send(b"two").unwrap();
    while completions.pending() > 0 {
        assert_eq!(completions.wait(PATIENCE), 1);
    }
    assert_eq!(*got.borrow(), [b"two"], "the routine ran once");
    assert_eq!(connection.peer.receive(4).unwrap(), b"back");
    client.cleanup(APPLICATION).unwrap();
}

/// contract: WSA-10
#[test]
fn a_teardown_neither_sets_the_event_nor_runs_the_completion_routine() {
    let lab = Lab::start();
    let client = lab.started();
    let (left, right) = (connected(&client, APPLICATION), connected(&client, APPLICATION));
    let stuck = connected(&client, APPLICATION);
    let (on_receive, on_send, on_accept) = (Event::new(), Event::new(), Event::new());
    let mut receive = left.socket.begin_receive(8).signalling(&on_receive);
    let mut send = stuck_send(&stuck.socket).signalling(&on_send);
    let mut accept = listening(&client, APPLICATION).0.begin_accept().signalling(&on_accept);
    let completions = Completions::new();
    completions.add(right.socket.begin_receive(8), |_| panic!("a teardown ran a completion routine"));

    client.cleanup(APPLICATION).unwrap();

    assert_eq!(completions.wait(PATIENCE), 0, "its end came, and was told to nobody");
    assert_eq!(completions.pending(), 0);
    assert!(!on_receive.wait(GLANCE) && !on_send.wait(GLANCE) && !on_accept.wait(GLANCE), "a teardown set an event");
    // Who asks learns it all the same.
    assert!(aborted(receive.take().expect("it has ended")));
    assert!(aborted(send.take().expect("it has ended")));
    assert!(accept.take().expect("it has ended").is_err());
    deregistered(&client);
}

/// contract: WSA-10
#[cfg(not(windows))]
#[test]
fn a_teardown_is_silent_about_datagrams_and_sends_too() {
    let lab = Lab::start();
    let client = lab.started();
    let to = local(9);
    let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
    datagrams.bind(local(0)).unwrap();
    let (left, right) = (connected(&client, APPLICATION), connected(&client, APPLICATION));
    lab.machine().network().hold_datagrams(true);
    let (on_receive, on_send) = (Event::new(), Event::new());
    let mut receive = datagrams.begin_receive_from(8).signalling(&on_receive);
    let mut send = datagrams.begin_send_to(b"held".to_vec(), to).signalling(&on_send);
    let completions = Completions::new();
    completions.add(datagrams.begin_receive_from(8), |_| panic!("a teardown ran the routine of a recvfrom"));
    completions.add(datagrams.begin_send_to(b"held".to_vec(), to), |_| panic!("that of a sendto"));
    completions.add(left.socket.begin_receive(8), |_| panic!("that of a recv"));
    completions.add(stuck_send(&right.socket), |_| panic!("that of a send"));

    client.cleanup(APPLICATION).unwrap();

    while completions.pending() > 0 {
        assert_eq!(completions.wait(PATIENCE), 0, "their ends came, and were told to nobody");
    }
    assert!(!on_receive.wait(GLANCE) && !on_send.wait(GLANCE), "a teardown set an event");
    assert!(aborted(receive.take().expect("it has ended")));
    assert!(aborted(send.take().expect("it has ended")));
    deregistered(&client);
}

/// contract: WSA-10
#[test]
fn a_restart_right_after_the_teardown_makes_it_no_louder() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let completions = Completions::new();
    completions.add(connection.socket.begin_receive(8), |_| panic!("a teardown ran a completion routine"));
    client.cleanup(APPLICATION).unwrap();
    started(&client, APPLICATION);
    assert_eq!(completions.wait(PATIENCE), 0);
    assert_eq!(completions.pending(), 0);
    client.cleanup(APPLICATION).unwrap();
}

/// contract: X-1
#[test]
#[cfg_attr(windows, ignore = "stock Wine's WSK can't cancel a request")]
fn what_its_caller_cancels_or_closes_is_told_of_as_aborted() {
    let lab = Lab::start();
    let client = lab.started();
    let (cancelled, closed) = (connected(&client, APPLICATION), connected(&client, APPLICATION));
    let all = connected(&client, APPLICATION);
    let (first, second, third) = (Event::new(), Event::new(), Event::new());
    let mut by_cancel = cancelled.socket.begin_receive(8).signalling(&first);
    let mut by_close = closed.socket.begin_receive(8).signalling(&second);
    let mut by_all = all.socket.begin_receive(8).signalling(&third);
    by_cancel.cancel();
    assert!(first.wait(PATIENCE) && aborted(by_cancel.take().expect("it has ended")));
    closed.socket.close().unwrap();
    assert!(second.wait(PATIENCE) && aborted(by_close.take().expect("it has ended")));
    client.cancel_all();
    assert!(third.wait(PATIENCE) && aborted(by_all.take().expect("it has ended")));
    client.cleanup(APPLICATION).unwrap();
}

/// contract: WSA-7
#[test]
fn a_cleanup_from_inside_a_completion_routine_answers_wsaeinprogress_and_changes_nothing() {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let pending = connection.socket.begin_receive(8);
    let completions = Completions::new();
    completions.add(connection.socket.begin_send(b"sent".to_vec()), |sent| {
        sent.unwrap();
        fails(client.cleanup(APPLICATION), WsaError::InProgress);
        assert_eq!(references(&client, APPLICATION), 1, "nothing is released");
        // Other calls are allowed.
        client.startup(APPLICATION, VERSION, 0).unwrap().keep();
    });
    assert_eq!(completions.wait(PATIENCE), 1);
    assert_eq!(references(&client, APPLICATION), 2);
    assert!(!pending.is_complete(), "nothing is cancelled");
    assert_eq!(connection.peer.receive(4).unwrap(), b"sent");
    // Outside it is a cleanup like any other.
    client.cleanup(APPLICATION).unwrap();
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSA-7
#[test]
fn a_startup_guard_that_a_routine_drops_cleans_up_when_the_routine_has_returned() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let (dropped, consumed) = (startup(&client, APPLICATION), startup(&client, APPLICATION));
    let completions = Completions::new();
    completions.add(connection.socket.begin_send(b"x".to_vec()), |_| {
        drop(dropped);
        fails(consumed.cleanup(), WsaError::InProgress);
        assert_eq!(references(&client, APPLICATION), 3);
    });
    assert_eq!(completions.wait(PATIENCE), 1);
    assert_eq!(references(&client, APPLICATION), 1);
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}
