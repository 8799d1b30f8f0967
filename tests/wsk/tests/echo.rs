//! The `wsk` crate's example, with real peers: everything comes back, and the driver unloads whatever is under way.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use ntlab::{Chaos, Driver, Machine, NtStatus, Options, Report, Stop, low_resources};
use std::{
    convert::Infallible,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};
use wsk_tests::{PATIENCE, eventually, image, options};

/// A machine with the example running, and where it listens.
struct Echo {
    machine: Machine,
    driver: Driver,
    address: SocketAddr,
}

/// An address that nobody uses now.
fn unused_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("loopback")
}

impl Echo {
    fn start(options: Options) -> Result<Self, Box<(Stop, Report)>> {
        let (machine, address) = (Machine::new(options), unused_address());
        let service = format!("Echo{}", address.port());
        let driver = machine.load_service(&image("WSK_ECHO_SYS"), &service).expect("the example can be loaded");
        match driver.start() {
            Ok(()) => Ok(Self { machine, driver, address }),
            Err(stop) => Err(Box::new((stop, machine.finish()))),
        }
    }

    fn started(round: u64) -> Self {
        Self::start_good(options(round))
    }

    fn start_good(options: Options) -> Self {
        match Self::start(options) {
            Ok(echo) => echo,
            Err(refused) => panic!("the example does not start: {}\n{}", refused.0, refused.1),
        }
    }

    /// A connection, as soon as the example listens.
    fn connect(&self) -> TcpStream {
        let stream = eventually("the example listens", || TcpStream::connect(self.address).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Unloads the example: nothing may be left, and no rule broken.
    fn unload(self) {
        let unloaded = self.driver.unload();
        let report = self.machine.finish();
        assert!(unloaded.is_ok() && report.is_clean(), "{unloaded:?}\n{report}");
    }
}

/// Bytes that no two connections share.
fn bytes(connection: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|index| (index.wrapping_mul(connection | 1) >> 7).to_le_bytes()[0]).collect()
}

/// Sends and receives at once, then ends the stream, and sees the other end of it.
fn converse(mut stream: TcpStream, sent: &[u8]) -> io::Result<Vec<u8>> {
    let mut sender = stream.try_clone()?;
    thread::scope(|scope| {
        let sending = scope.spawn(move || sender.write_all(sent).and_then(|()| sender.shutdown(Shutdown::Write)));
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        sending.join().expect("the sending thread")?;
        Ok(received)
    })
}

#[test]
fn every_byte_of_several_connections_comes_back_in_order() {
    const CONNECTIONS: u64 = 4;
    const LENGTH: usize = 1 << 20;
    for round in 0..2 {
        let echo = Echo::started(round);
        thread::scope(|scope| {
            for connection in 0..CONNECTIONS {
                let stream = echo.connect();
                scope.spawn(move || {
                    let sent = bytes(connection, LENGTH);
                    let received = converse(stream, &sent).expect("the connection lasts, and ends gracefully");
                    assert!(received == sent, "{} bytes of {} came back, or others", received.len(), sent.len());
                });
            }
        });
        echo.unload();
    }
}

#[test]
fn the_driver_unloads_while_connections_are_open_and_their_peers_see_the_end() {
    for round in 0..4 {
        let echo = Echo::started(round);
        // One that is idle, one in whose way nobody reads, one that has just come.
        let mut idle = echo.connect();
        idle.write_all(b"once").expect("sent");
        let mut back = [0; 4];
        idle.read_exact(&mut back).expect("echoed");
        let full = echo.connect();
        full.set_nonblocking(true).expect("nonblocking");
        let (mut filled, chunk) = (0, vec![7; 1 << 16]);
        eventually("the connection is full", || match (&full).write(&chunk) {
            Ok(count) => {
                filled += count;
                None
            }
            Err(_) => Some(()),
        });
        let fresh = echo.connect();
        echo.unload();
        assert_eq!(&back, b"once");
        for mut open in [idle, fresh] {
            let end = open.read(&mut back);
            assert!(matches!(end, Ok(0)) || end.is_err(), "{end:?}");
        }
        assert!(filled > 0);
    }
}

#[test]
fn delays_and_forced_pending_break_no_rule() {
    for round in 0..6 {
        let chaos = Chaos { delays: 100, pending: 500, ..Chaos::default() };
        let echo = Echo::start_good(Options { chaos, ..options(round) });
        let sent = bytes(round, 1 << 17);
        let open = echo.connect();
        assert!(converse(echo.connect(), &sent).expect("the connection lasts") == sent);
        echo.unload();
        drop(open);
    }
}

/// A life of the example in which a peer does what it can.
fn life(options: Options) -> Report {
    let echo = match Echo::start(options) {
        Ok(echo) => echo,
        Err(refused) => {
            let (stop, report) = *refused;
            assert!(matches!(stop, Stop::Status(NtStatus::INSUFFICIENT_RESOURCES)), "{stop}\n{report}");
            return report;
        }
    };
    let mut open = None;
    for _ in 0..3 {
        // What fails may fail: the rules judge. A server that found no memory has stopped listening.
        let Some(stream) = (0..50).find_map(|_| {
            thread::sleep(std::time::Duration::from_millis(1));
            TcpStream::connect(echo.address).ok()
        }) else {
            break;
        };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let another = stream.try_clone().ok();
        let _ = converse(stream, b"out and back");
        open = another;
    }
    let unloaded = echo.driver.unload();
    drop(open);
    let report = echo.machine.finish();
    assert!(unloaded.is_ok(), "{unloaded:?}\n{report}");
    report
}

#[test]
fn every_allocation_may_fail_and_nothing_is_left() {
    let Ok(found) = low_resources(&options(0), |options| Ok::<_, Infallible>(life(options)));
    let failed: Vec<_> =
        found.failed.iter().map(|(number, report)| format!("allocation {number}:\n{report}")).collect();
    assert!(found.is_good(), "{}\n{}", found.first, failed.join("\n"));
    assert!(found.sites.len() > 5, "{:?}", found.sites);
    println!("{} allocations, made in {} places", found.allocations, found.sites.len());
}
