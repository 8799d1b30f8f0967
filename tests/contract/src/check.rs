//! What tests assert again and again.

use crate::{PATIENCE, close_is_abortive};
use wskctl::{
    Client, Error, Operation, Reply,
    abi::{Kind, Ledger, NtStatus, Provider, WsaError},
    peer::{Ending, Peer},
};

/// `STATUS_CANCELLED`.
pub const STATUS_CANCELLED: NtStatus = 0xC000_0120_u32.cast_signed();
/// The kinds that can stay pending.
pub const PENDING_KINDS: [Kind; 7] =
    [Kind::Accept, Kind::Connect, Kind::Send, Kind::Receive, Kind::SendTo, Kind::ReceiveFrom, Kind::Events];

/// The request failed with that Winsock error.
///
/// # Panics
/// It did not.
#[track_caller]
pub fn fails<T>(result: Result<T, Error>, expected: WsaError) {
    match result {
        Ok(_) => panic!("it worked, where {} was expected", expected.name()),
        Err(error) => assert_eq!(error.winsock(), Some(expected), "{error}"),
    }
}

/// The operation ends cancelled, with nothing moved.
///
/// # Panics
/// It does not.
#[track_caller]
pub fn cancelled<R: Reply>(mut operation: Operation<R>) {
    let completion = operation.completion(PATIENCE).expect("it ends");
    assert_eq!(
        (completion.status, completion.information),
        (STATUS_CANCELLED, 0),
        "{}: status {:#X}",
        operation.what(),
        completion.status
    );
}

/// The peer sees a reset; in stock Wine, whose WSK closes gracefully where Windows' aborts, that the connection ends.
///
/// # Panics
/// It does not.
#[track_caller]
pub fn reset(peer: &mut Peer) {
    let ending = peer.ending().expect("the connection ends");
    assert!(ending == Ending::Reset || !close_is_abortive(), "{ending:?}");
}

/// This client's requests that can stay pending and are.
///
/// # Panics
/// The ledger can't be read.
#[must_use]
pub fn pending(client: &Client) -> u64 {
    let ledger = client.ledger().expect("a ledger");
    PENDING_KINDS.iter().map(|&kind| ledger.tally(kind).pending()).sum()
}

/// This client's references on a provider.
///
/// # Panics
/// The ledger can't be read.
#[must_use]
pub fn references(client: &Client, provider: Provider) -> u32 {
    client.ledger().expect("a ledger").references(provider)
}

/// Nothing is held by the client, or by the driver for it; whatever was taken has been completed.
///
/// # Panics
/// Something is held.
#[track_caller]
pub fn nothing_held(client: &Client) {
    let ledger = client.ledger().expect("a ledger");
    assert_eq!(ledger.references, [0; 4], "references");
    assert_eq!((ledger.sockets.open, ledger.sockets.closing), (0, 0), "sockets");
    for &kind in Kind::ALL {
        // The ledger's own request is out while it is answered.
        let own = u64::from(kind == Kind::Ledger);
        assert!(ledger.tally(kind).pending() <= own, "{kind:?} pending: {:?}", ledger.tally(kind));
    }
}

/// Nobody holds anything: the driver is no WSK client any more.
///
/// # Panics
/// Somebody does.
#[track_caller]
pub fn deregistered(client: &Client) {
    nothing_held(client);
    let ledger = client.ledger().expect("a ledger");
    assert_eq!(ledger.driver_references, [0; 4], "every client's references");
    assert_eq!((ledger.registered, ledger.driver_sockets), (0, 0), "registered, sockets");
}

/// The ledger as far as requests, references and sockets go, without the requests that look (`Ledger`, `Version`).
#[must_use]
pub fn without_looks(mut ledger: Ledger) -> Ledger {
    ledger.oldest = Default::default();
    ledger.driver_oldest = Default::default();
    for kind in [Kind::Ledger, Kind::LedgerPending, Kind::Version] {
        ledger.requests[kind as usize] = wskctl::abi::Tally::default();
        ledger.driver_requests[kind as usize] = wskctl::abi::Tally::default();
    }
    ledger
}
