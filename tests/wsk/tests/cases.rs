//! What the safe layer promises, tried from inside a driver, under every choice that WSK's documentation leaves to the provider.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use ntlab::{
    Chaos, Machine, NtStatus, Options, Report, Stop, low_resources,
    wsk::{Level, Options as Choices, Order, ProviderState, Take, When},
};
use std::convert::Infallible;
use wsk_tests::{image, options};

/// A machine's whole life with one case.
fn live(options: Options, case: &str, prepare: impl FnOnce(&Machine)) -> (Option<Stop>, Report) {
    let machine = Machine::new(options);
    prepare(&machine);
    let driver = machine.load_service(&image("WSK_CASES_SYS"), case).expect("the driver can be loaded");
    let stop = driver.start().err().or_else(|| driver.unload().err());
    (stop, machine.finish())
}

/// Runs a case, which must succeed, in a machine that is as `prepare` makes it.
#[track_caller]
fn prepared(case: &str, options: Options, prepare: impl FnOnce(&Machine)) {
    let (stop, report) = live(options, case, prepare);
    assert!(stop.is_none() && report.is_clean(), "{case}: {stop:?}\n{:#?}\n{report}", report.output);
}

/// Runs a case under choices of the provider, and some seeds that choose by themselves, and delay and pend.
#[track_caller]
fn holds(case: &str) {
    let fixed = [(When::Inline, Level::Dispatch), (When::Later, Level::Dispatch), (When::Later, Level::Passive)];
    for (when, level) in fixed {
        let choices = Choices { when, level, order: Order::Any, take: Take::Any };
        prepared(case, options(0), |machine| machine.network().set_options(choices));
    }
    for round in 1..4 {
        let chaos = Chaos { delays: 50, pending: 300, ..Chaos::default() };
        prepared(case, Options { chaos, ..options(round) }, |_| ());
    }
}

macro_rules! cases {
    ($($(#[$attribute:meta])* $test:ident: $($case:ident),*;)*) => {$(
        $(#[$attribute])*
        #[test]
        fn $test() {
            $(holds(stringify!($case));)*
        }
    )*};
}

cases! {
    a_stream_carries_data_both_ways_and_knows_its_addresses: streams_v4, streams_v6;
    what_takes_no_token_of_passive_level_is_called_at_dispatch_level: at_dispatch_level;
    a_stream_that_was_shut_down_still_receives: shut_down;
    a_stream_that_is_aborted_ends_its_own_receives_and_resets_the_peers: aborted;
    a_connect_fails_as_wsk_says: connection_refused;
    datagrams_are_whole_or_empty_or_known_to_be_cut: datagrams_v4, datagrams_v6;
    events_are_told_to_the_closure_of_their_socket: stream_events, accepted_events, datagram_events;
    a_dropped_operation_is_cancelled_and_takes_no_data: dropped;
    a_wait_that_times_out_leaves_the_operation_as_it_is: timed_out;
    a_cancelled_operation_ends_and_gives_its_buffer_back: cancelled;
    a_closure_is_called_once_before_or_after_the_end: closure_later, closure_at_once;
    a_socket_that_a_completion_drops_is_closed_outside_of_it: closure_drops_sockets;
    an_operation_outlives_the_owner_of_its_socket: outlives_its_socket;
    a_close_ends_what_is_out_and_refuses_what_comes_later: closed_with_operations_out;
    a_second_accept_is_refused_while_one_is_out: one_accept;
    what_is_wrong_is_refused_with_its_buffer_given_back: refusals;
    options_that_are_numbers_are_set_and_read: options;
    nothing_opens_before_a_capture: not_captured;
    nothing_begins_after_the_deregistration: deregistered;
    what_is_left_holds_the_client_until_it_goes: outstanding, threads;
    a_client_is_not_deregistered_while_a_routine_of_the_image_is_running: routines;
    operations_that_are_dropped_while_they_complete_break_no_rule: drops_race_completions;
    a_socket_that_is_closed_while_it_is_in_use_breaks_no_rule: closes_race_calls;
    everything_works_at_once: everything;
}

fn with_provider(case: &str, state: ProviderState) {
    for round in 0..3 {
        prepared(case, options(round), |machine| machine.network().set_provider(state));
    }
}

#[test]
fn a_capture_ends_in_time_when_the_provider_is_not_ready() {
    with_provider("capture_not_ready", ProviderState::NotReady);
}

#[test]
fn a_capture_of_a_version_that_is_not_served_is_refused() {
    with_provider("capture_refused", ProviderState::Refused);
}

#[test]
fn two_threads_do_not_capture_at_once() {
    with_provider("capture_twice_at_once", ProviderState::NotReady);
}

#[test]
fn a_provider_that_is_lost_at_any_irp_leaves_nothing_behind() {
    // From the listener's WskSocket to the receive.
    for irp in 1..=9 {
        prepared("provider_lost", options(irp), |machine| machine.network().lose_provider_at(irp));
    }
}

#[test]
fn a_case_that_does_not_exist_is_no_success() {
    let (stop, report) = live(options(0), "no_such_case", |_| ());
    assert!(matches!(stop, Some(Stop::Status(status)) if status == NtStatus::NOT_FOUND), "{stop:?}\n{report}");
}

#[test]
fn every_allocation_may_fail_and_the_rest_is_given_back() {
    let Ok(found) = low_resources(&options(0), |options| {
        let (stop, report) = live(options, "everything", |_| ());
        let failed = report.failed_allocation.is_some();
        let expected = match &stop {
            None => !failed || report.is_clean(),
            Some(Stop::Status(status)) => failed && *status == NtStatus::INSUFFICIENT_RESOURCES,
            Some(_) => false,
        };
        assert!(expected, "{stop:?}\n{:#?}\n{report}", report.output);
        Ok::<_, Infallible>(report)
    });
    let failed: Vec<_> =
        found.failed.iter().map(|(number, report)| format!("allocation {number}:\n{report}")).collect();
    assert!(found.is_good(), "{}\n{}", found.first, failed.join("\n"));
    assert!(found.sites.len() > 20, "{:#?}", found.sites);
    println!("{} allocations, made in {} places", found.allocations, found.sites.len());
}
