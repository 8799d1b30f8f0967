//! Each rule of callbacks and indications, broken once.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;

use super::super::super::events::{DISCONNECT, RECEIVE};
use super::super::super::rules;
use super::super::super::status::{self, Status};
use super::super::{Client, Sock, machine, provoke, until};
use super::{Call, Context};

fn provoke_in_callback(rule: &'static crate::Rule, answer: impl Fn(&Call, Sock) -> Status + Send + 'static) {
    let machine = machine(11);
    provoke(&machine, rule, || {
        let client = Client::new();
        let context = Context::new();
        let (socket, mut program) = client.pair_with(&context);
        context.answer(move |call| {
            let socket = socket;
            answer(call, socket)
        });
        std::mem::forget(Arc::clone(&context));
        assert_eq!(socket.events(RECEIVE | DISCONNECT), status::SUCCESS);
        program.write_all(b"x").unwrap();
        let _ = program.shutdown(Shutdown::Write); // a machine that has stopped has no connection any more
        until("the machine has stopped", || !machine.violations().is_empty());
    });
}

#[test]
fn a_socket_is_not_closed_in_its_own_callback() {
    provoke_in_callback(&rules::CLOSE_IN_CALLBACK, |_, socket| {
        socket.start_close();
        status::SUCCESS
    });
}

#[test]
fn a_callback_answers_what_its_page_lists() {
    provoke_in_callback(&rules::CALLBACK_ANSWER, |_, _| status::UNSUCCESSFUL);
    provoke_in_callback(&rules::CALLBACK_ANSWER, |call, _| {
        if matches!(call, Call::Disconnect(_)) { status::PENDING } else { status::SUCCESS }
    });
}

#[test]
fn a_callback_accepts_no_more_than_was_indicated() {
    let machine = machine(11);
    provoke(&machine, &rules::CALLBACK_ANSWER, || {
        let client = Client::new();
        let context = Context::new();
        *context.accepts.lock() = Some(2);
        let (socket, mut program) = client.pair_with(&context);
        std::mem::forget(Arc::clone(&context));
        assert_eq!(socket.events(RECEIVE), status::SUCCESS);
        program.write_all(b"x").unwrap();
        until("the machine has stopped", || !machine.violations().is_empty());
    });
}

#[test]
fn a_callback_leaves_the_irql_as_it_was() {
    provoke_in_callback(&crate::rules::IRQL_AT_RETURN, |_, _| {
        crate::irql::raise(crate::irql::DISPATCH + 1);
        status::SUCCESS
    });
}

/// A connection of which one list is retained.
fn retained(client: &Client, machine: &crate::Machine) -> (Sock, usize) {
    let context = Context::new();
    context.answer(|_| status::PENDING);
    let (socket, mut program) = client.pair_with(&context);
    std::mem::forget(Arc::clone(&context));
    assert_eq!(socket.events(RECEIVE), status::SUCCESS);
    program.write_all(b"x").unwrap();
    until("the list is retained", || machine.network().counters().retained == 1);
    let Call::Receive(_, list, _) = context.calls.lock()[0] else { panic!("no data") };
    (socket, list)
}

#[test]
fn retained_lists_are_released_before_their_socket_is_closed() {
    let machine = machine(11);
    provoke(&machine, &rules::INDICATION_RETAINED, || {
        let client = Client::new();
        retained(&client, &machine).0.start_close();
    });
}

#[test]
fn a_list_is_released_once_and_only_one_that_is_retained() {
    let machine = machine(11);
    provoke(&machine, &rules::RELEASE_UNKNOWN, || {
        let client = Client::new();
        let (socket, list) = retained(&client, &machine);
        assert_eq!(socket.release(list), status::SUCCESS);
        socket.release(list);
    });
}

#[test]
fn a_list_that_is_released_while_its_callback_runs_is_retained_by_its_answer() {
    provoke_in_callback(&rules::RELEASE_UNKNOWN, |call, socket| {
        if let Call::Receive(_, list, _) = call {
            assert_eq!(socket.release(*list), status::SUCCESS);
        }
        status::SUCCESS
    });
}

#[test]
fn a_driver_that_unloads_with_a_retained_list_leaves_it_behind() {
    let machine = machine(11);
    provoke(&machine, &rules::LIVE_AT_UNLOAD, || {
        let client = Client::new();
        retained(&client, &machine);
        assert!(machine.inner.wsk.check_unload().is_err());
    });
    let history = machine.violations()[0].history.join("\n");
    assert!(history.contains("1 lists of received data"), "{history}");
}
