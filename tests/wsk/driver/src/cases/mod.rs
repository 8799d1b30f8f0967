//! The cases: a file for each subject, a function for each case.

mod clients;
mod datagrams;
mod dispatch_level;
mod events;
mod operations;
mod races;
mod sockets;
mod streams;

use crate::Case;

macro_rules! cases {
    ($($module:ident: $($case:ident),*;)*) => {
        /// The cases by their names.
        pub static CASES: &[(&str, Case)] = &[$($((stringify!($case), $module::$case)),*),*];
    };
}

cases! {
    clients: not_captured, capture_not_ready, capture_refused, capture_twice_at_once, deregistered, outstanding, threads, routines;
    datagrams: datagrams_v4, datagrams_v6;
    dispatch_level: at_dispatch_level;
    events: stream_events, datagram_events, accepted_events;
    operations: dropped, timed_out, cancelled, closure_later, closure_at_once, closure_drops_sockets, outlives_its_socket;
    races: drops_race_completions, closes_race_calls, everything;
    sockets: closed_with_operations_out, one_accept, refusals, options, provider_lost, lacks_functions;
    streams: streams_v4, streams_v6, shut_down, aborted, connection_refused;
}
