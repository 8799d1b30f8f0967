//! What the driver costs, in numbers that do not depend on the machine: instructions, allocations, bytes of pool.
//!
//! Instructions are those of the driver's image alone, from the entry of its dispatch routine to the return, with WSK's completion inside
//! the call, counted one by one. Bytes are what it has allocated from pool, with the 16 bytes of header that Windows has in front of each
//! block, and the IRPs that it has allocated.

use crate::{
    APPLICATION, Lab, PATIENCE,
    check::{cancelled, deregistered, pending},
    startup,
    traffic::{any, connected},
};
use std::time::{Duration, Instant};
use wskctl::{
    Client, Operation,
    abi::{Address, Role},
};

/// The size of an IRP with one stack location.
const IRP: usize = 208 + 72;
/// What Windows keeps in front of each block of pool.
const POOL_HEADER: usize = 16;

/// What is measured, each a mean.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Instructions for a send of 64 bytes.
    pub instructions_per_send: u64,
    /// Instructions for a receive of 64 bytes that have arrived.
    pub instructions_per_receive: u64,
    /// Allocations while a thousand sends and receives go through.
    pub allocations_per_thousand_transfers: u64,
    /// Bytes for a receive that is pending.
    pub bytes_per_pending_request: usize,
    /// Bytes for a socket that is created.
    pub bytes_per_socket: usize,
    /// Bytes for a client with one reference.
    pub bytes_per_client: usize,
    /// Bytes while nobody has the device open, without the device's extension.
    pub bytes_idle: usize,
}

/// Measures.
///
/// # Panics
/// Something does not work.
#[must_use]
pub fn measure() -> Costs {
    let (instructions_per_send, instructions_per_receive) = instructions();
    let (bytes_idle, bytes_per_client) = clients();
    let (bytes_per_socket, bytes_per_pending_request) = sockets();
    Costs {
        instructions_per_send,
        instructions_per_receive,
        allocations_per_thousand_transfers: allocations(),
        bytes_per_pending_request,
        bytes_per_socket,
        bytes_per_client,
        bytes_idle,
    }
}

fn bytes(lab: &Lab) -> usize {
    let (blocks, bytes) = lab.machine().pool_in_use();
    bytes + blocks * POOL_HEADER
}

/// Completions come inside the call, so that the calling thread does all the work.
fn inline(lab: &Lab) {
    let options = ntlab::wsk::Options {
        when: ntlab::wsk::When::Inline,
        level: ntlab::wsk::Level::Passive,
        order: ntlab::wsk::Order::Finished,
        take: ntlab::wsk::Take::Full,
    };
    lab.machine().network().set_options(options);
}

fn instructions() -> (u64, u64) {
    const ROUNDS: u64 = 4;
    let lab = Lab::start();
    inline(&lab);
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let (mut sends, mut receives) = (0, 0);
    for _ in 0..ROUNDS {
        let (send, steps) = lab.machine().count_instructions(|| connection.socket.begin_send(vec![1; 64]));
        assert!(send.is_complete(), "the send completes inside the call");
        sends += steps;
        connection.peer.receive(64).expect("it arrives");
        connection.peer.send(&[2; 64]).expect("the peer sends");
        let (receive, steps) = lab.machine().count_instructions(|| connection.socket.begin_receive(64));
        assert!(receive.is_complete(), "what has arrived is received inside the call");
        receives += steps;
    }
    (sends / ROUNDS, receives / ROUNDS)
}

fn allocations() -> u64 {
    let lab = Lab::start();
    let client = lab.started();
    let mut connection = connected(&client, APPLICATION);
    let before = lab.machine().allocations();
    for _ in 0..500 {
        let mut receive = connection.socket.begin_receive(64);
        connection.socket.send(vec![1; 64]).expect("a send");
        connection.peer.receive(64).expect("it arrives");
        connection.peer.send(&[2; 64]).expect("the peer sends");
        receive.wait(PATIENCE).expect("a receive");
    }
    lab.machine().allocations() - before
}

fn clients() -> (usize, usize) {
    const CLIENTS: usize = 16;
    let lab = Lab::start();
    let idle = bytes(&lab);
    let first = lab.started();
    let before = bytes(&lab);
    let _clients: Vec<_> = (0..CLIENTS).map(|_| lab.started()).collect();
    let each = (bytes(&lab) - before) / CLIENTS;
    drop(first);
    (idle, each)
}

fn sockets() -> (usize, usize) {
    const SOCKETS: usize = 512;
    const REQUESTS: usize = 1024;
    let lab = Lab::start();
    let client = lab.started();
    let before = bytes(&lab);
    let _sockets: Vec<_> =
        (0..SOCKETS).map(|_| client.socket(APPLICATION, Role::Connection).expect("a socket")).collect();
    let per_socket = (bytes(&lab) - before) / SOCKETS + IRP;
    let connection = connected(&client, APPLICATION);
    let before = bytes(&lab);
    let _receives: Vec<_> = (0..REQUESTS).map(|_| connection.socket.begin_receive(8)).collect();
    (per_socket, (bytes(&lab) - before) / REQUESTS)
}

/// How long the last cleanup takes that ends so many pending requests, on sockets with ten each.
///
/// # Panics
/// Something does not work.
#[must_use]
pub fn teardown(requests: usize) -> Duration {
    let lab = Lab::start();
    let client = lab.client();
    let pending = many(&lab, &client, requests / 10);
    let begun = Instant::now();
    client.cleanup(APPLICATION).expect("the last cleanup");
    let elapsed = begun.elapsed();
    pending.are_cancelled();
    deregistered(&client);
    elapsed
}

/// Sockets with receives pending, and the peers that say nothing.
pub struct Many {
    receives: Vec<Operation<Vec<u8>>>,
    _peers: Vec<ntlab::wsk::Peer>,
}

impl Many {
    /// Each has ended, cancelled.
    ///
    /// # Panics
    /// One has not.
    pub fn are_cancelled(self) {
        self.receives.into_iter().for_each(cancelled);
    }
}

/// So many connected sockets with ten receives pending on each, over a network in memory.
///
/// # Panics
/// They can't be had.
#[must_use]
pub fn many(lab: &Lab, client: &Client, sockets: usize) -> Many {
    const EACH: usize = 10;
    startup(client, APPLICATION).keep();
    let network = lab.machine().network().use_memory(ntlab::wsk::Weather::default());
    let address = Address::v4([127, 0, 0, 1], 4000);
    let listener = network.listen(([127, 0, 0, 1], 4000).into()).expect("a listener in memory");
    let (mut receives, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..sockets {
        let socket = client.socket(APPLICATION, Role::Connection).expect("a socket");
        socket.bind(any()).expect("a bind");
        socket.connect(address).expect("a connect");
        peers.push(listener.accept().expect("a peer"));
        receives.extend((0..EACH).map(|_| socket.begin_receive(8)));
    }
    assert_eq!(pending(client), (sockets * EACH) as u64);
    Many { receives, _peers: peers }
}
