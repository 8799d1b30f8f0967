//! The WSK provider: not ready at a startup, refused, lost while in use, returned.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, DNS, GLANCE, Lab, PATIENCE, SAN, TRANSPORT, VERSION,
    abi::{CATALOG, Events, Ioctl, Kind, Linger, Provider, Role, SocketOption, WsaError},
    check::{cancelled, deregistered, fails, nothing_held, references},
    eventually, raw, started, startup,
    traffic::{accepted, any, bound, connected, listening, local, unused_address},
};
use ntlab::wsk::ProviderState;
use std::thread;
use wskctl::{Client, Error, Operation, Wanted, abi::StartupReply, peer::Listener};

/// A startup of each provider that is on its way.
fn startups(client: &Client) -> Vec<Operation<StartupReply>> {
    vec![
        client.begin_startup(APPLICATION, VERSION, 0),
        client.begin_startup(TRANSPORT, VERSION, CATALOG[0].id),
        client.begin_startup(SAN, VERSION, 0),
        client.begin_startup_namespace(DNS),
    ]
}

fn cleanup_all(client: &Client) {
    for provider in [APPLICATION, TRANSPORT, SAN] {
        while client.cleanup(provider).is_ok() {}
    }
    while client.cleanup_namespace(DNS).is_ok() {}
}

/// contract: X-3, WSA-6, NSP-1
#[test]
fn startups_wait_for_a_provider_that_is_not_ready_and_succeed_when_it_is() {
    let lab = Lab::start();
    let network = lab.machine().network();
    network.set_provider(ProviderState::NotReady);
    let client = lab.client();
    let mut waiting = startups(&client);
    thread::sleep(GLANCE);
    assert!(waiting.iter().all(|one| !one.is_complete()));
    fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    fails(client.socket(APPLICATION, Role::Connection), WsaError::NotInitialised);
    network.set_provider(ProviderState::Ready);
    for startup in &mut waiting {
        assert_eq!(startup.wait(PATIENCE).unwrap().references, 1);
    }
    drop(connected(&client, APPLICATION));
    cleanup_all(&client);
    deregistered(&client);
}

/// contract: X-3
#[test]
fn the_driver_loads_and_unloads_whether_or_not_there_is_a_provider() {
    for state in [ProviderState::NotReady, ProviderState::Refused, ProviderState::Lost] {
        let machine = ntlab::Machine::new(contract::options());
        machine.network().set_provider(state);
        let image = std::env::var_os("WSKCLIENT_SYS").expect("WSKCLIENT_SYS names the driver");
        let driver = machine.load(image.as_ref()).expect("the driver can be loaded");
        driver.start().expect("no boot waits for WSK");
        let process = wskctl::device::lab::LabProcess::over(machine.process());
        let client = Client::open(&process).unwrap();
        assert_eq!(client.ledger().unwrap().registered, 0, "nobody has asked for WSK");
        client.close();
        let report = machine.finish();
        assert!(report.is_clean(), "{state:?}: {report}");
    }
}

/// contract
#[test]
fn a_startup_that_waits_for_the_provider_can_be_cancelled_and_holds_nobody_up() {
    let lab = Lab::start();
    let network = lab.machine().network();
    network.set_provider(ProviderState::NotReady);
    let (client, other) = (lab.client(), lab.client());
    for round in 0..3 {
        let mut waiting = startups(&client);
        let kept = waiting.pop();
        for startup in waiting {
            startup.cancel();
            cancelled(startup);
        }
        assert_eq!(other.ledger().unwrap().clients, 2, "another client is served meanwhile");
        let kept = kept.unwrap();
        assert!(!kept.is_complete(), "round {round}");
        kept.cancel();
        cancelled(kept);
    }
    eventually("nobody is registered for those who have given up", || other.ledger().unwrap().registered == 0);
    network.set_provider(ProviderState::Ready);
    assert_eq!(startup(&client, APPLICATION).reply().references, 1);
    // The worker has seen by now that nobody waits any more.
    deregistered(&client);
}

/// contract: X-3, WSP-8
#[test]
fn a_process_that_dies_while_its_startup_waits_leaves_nothing() {
    let lab = Lab::start();
    lab.machine().network().set_provider(ProviderState::NotReady);
    let (process, observer) = (lab.process(), lab.client());
    let waiting = startups(&process.open());
    process.kill();
    eventually("the dead client is gone", || observer.ledger().unwrap().clients == 1);
    eventually("nobody is registered", || observer.ledger().unwrap().registered == 0);
    deregistered(&observer);
    drop(waiting);
}

/// contract: WSA-6, WSP-2, NSP-2
#[test]
fn a_refused_capture_is_wsasysnotready_and_counts_nothing() {
    let lab = Lab::start();
    let network = lab.machine().network();
    network.set_provider(ProviderState::Refused);
    let client = lab.client();
    for mut startup in startups(&client) {
        fails(startup.wait(PATIENCE), WsaError::SystemNotReady);
    }
    deregistered(&client);
    network.set_provider(ProviderState::Ready);
    for mut startup in startups(&client) {
        assert_eq!(startup.wait(PATIENCE).unwrap().references, 1);
    }
    cleanup_all(&client);
    deregistered(&client);
}

/// contract: WSA-6, WSP-2, SAN-2
#[test]
fn when_the_provider_is_lost_calls_are_wsaenetdown_startups_wsasysnotready_and_cleanups_give_everything_back() {
    let lab = Lab::start();
    let network = lab.machine().network();
    for provider in [APPLICATION, TRANSPORT, SAN] {
        let client = lab.client();
        started(&client, provider);
        started(&client, provider);
        let connection = connected(&client, provider);
        let (listener, _) = listening(&client, provider);
        let mut receive = connection.socket.begin_receive(8);
        let mut accept = listener.begin_accept();
        network.set_provider(ProviderState::Lost);
        fails(receive.wait(PATIENCE), WsaError::NetworkDown);
        fails(accept.wait(PATIENCE), WsaError::NetworkDown);
        fails(connection.socket.send(b"x".to_vec()), WsaError::NetworkDown);
        fails(connection.socket.receive(1), WsaError::NetworkDown);
        fails(listener.accept(), WsaError::NetworkDown);
        fails(client.socket(provider, Role::Connection), WsaError::NetworkDown);
        for mut startup in startups(&client) {
            fails(startup.wait(PATIENCE), WsaError::SystemNotReady);
        }
        assert_eq!(references(&client, provider), 2, "a startup that failed counts nothing");
        client.cleanup(provider).unwrap();
        client.cleanup(provider).unwrap();
        fails(client.cleanup(provider), WsaError::NotInitialised);
        deregistered(&client);
        network.set_provider(ProviderState::Ready);
    }
}

/// contract: WSA-6, WSP-2
#[test]
fn when_the_provider_is_lost_every_request_on_a_socket_but_its_close_is_wsaenetdown() {
    let lab = Lab::start();
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let (listener, _) = listening(&client, APPLICATION);
    let datagrams = client.socket(APPLICATION, Role::Datagram).unwrap();
    datagrams.bind(local(0)).unwrap();
    datagrams.connect(datagrams.local_address().unwrap()).unwrap();
    let (created, bound) = (client.socket(APPLICATION, Role::Connection).unwrap(), bound(&client, APPLICATION));
    lab.machine().network().set_provider(ProviderState::Lost);
    for &ioctl in Ioctl::ALL {
        let socket = match ioctl {
            Ioctl::Accept | Ioctl::Listen => &listener,
            Ioctl::SendTo | Ioctl::ReceiveFrom => &datagrams,
            Ioctl::Bind => &created,
            Ioctl::Connect => &bound,
            Ioctl::Close => continue,
            _ => &connection.socket,
        };
        let (input, output) = raw::well_formed(ioctl, socket.handle());
        // Those name no socket: they are looked at elsewhere.
        if !input.starts_with(&socket.handle().0.to_le_bytes()) {
            continue;
        }
        let completion = raw::request(&client, ioctl as u32, &input, output);
        let told = (WsaError::from_status(completion.status), completion.information);
        assert_eq!(told, (Some(WsaError::NetworkDown), 0), "{ioctl:?}: {:#X}", completion.status);
    }
    // Those that the driver could answer by itself.
    fails(connection.socket.send(Vec::new()), WsaError::NetworkDown);
    fails(connection.socket.set_linger(Linger { l_onoff: 1, l_linger: 1 }), WsaError::NetworkDown);
    fails(connection.socket.option(SocketOption::Linger), WsaError::NetworkDown);
    fails(connection.socket.option(SocketOption::Type), WsaError::NetworkDown);
    fails(bound.begin_events(Events::CONNECT).wait(PATIENCE), WsaError::NetworkDown);
    fails(listener.begin_events(Events::ACCEPT).wait(PATIENCE), WsaError::NetworkDown);
    fails(datagrams.peer_address(), WsaError::NetworkDown);
    fails(datagrams.shutdown(), WsaError::NetworkDown);
    for socket in [&connection.socket, &listener, &datagrams, &created, &bound] {
        socket.close().unwrap();
    }
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// contract: WSP-9, SAN-7, WSA-6
#[test]
fn when_the_provider_returns_the_next_startup_works_at_once() {
    let lab = Lab::start();
    let network = lab.machine().network();
    let client = lab.client();
    let address = unused_address();
    for provider in [APPLICATION, TRANSPORT, SAN].into_iter().cycle().take(9) {
        started(&client, provider);
        let listener = client.socket(provider, Role::Listen).unwrap();
        listener.bind(address).unwrap();
        listener.listen(1).unwrap();
        drop(accepted(&mut listener.begin_accept(), address));
        network.set_provider(ProviderState::Lost);
        fails(listener.accept(), WsaError::NetworkDown);
        client.cleanup(provider).unwrap();
        network.set_provider(ProviderState::Ready);
    }
    deregistered(&client);
}

/// contract: WSA-6
#[test]
fn a_provider_that_returns_serves_those_who_are_still_started() {
    let lab = Lab::start();
    let network = lab.machine().network();
    let client = lab.started();
    let old = connected(&client, APPLICATION);
    network.set_provider(ProviderState::Lost);
    fails(client.startup(APPLICATION, VERSION, 0), WsaError::SystemNotReady);
    network.set_provider(ProviderState::Ready);
    assert_eq!(startup(&client, APPLICATION).reply().references, 2);
    fails(old.socket.send(b"x".to_vec()), WsaError::NetworkDown);
    let mut new = connected(&client, APPLICATION);
    new.peer.send(b"again").unwrap();
    assert_eq!(new.socket.receive(8).unwrap(), b"again");
    old.socket.close().unwrap();
    client.cleanup(APPLICATION).unwrap();
    deregistered(&client);
}

/// A life that meets the loss somewhere.
fn life(client: &Client, peers: &Listener, provider: Provider) -> Result<(), Error> {
    let catalog_id = if provider == TRANSPORT { CATALOG[0].id } else { 0 };
    client.startup(provider, VERSION, catalog_id)?.keep();
    client.startup_namespace(DNS)?.keep();
    client.resolve(DNS, &Wanted { node: Some("localhost"), ..Wanted::default() })?;
    let listener = client.socket(provider, Role::Listen)?;
    listener.bind(unused_address())?;
    listener.listen(1)?;
    let _accept = listener.begin_accept();
    let socket = client.socket(provider, Role::Connection)?;
    socket.bind(any())?;
    socket.connect(peers.address())?;
    let _closes_at_the_end = peers.accept()?;
    socket.send(b"out".to_vec())?;
    let _receive = socket.begin_receive(4);
    client.names_of(DNS, peers.address(), 0)?;
    socket.close_gracefully(None)
}

/// contract: WSA-6, WSP-2, SAN-2, CARD-1
#[test]
fn a_provider_lost_at_any_request_leaves_cleanups_that_work_and_nothing_behind() {
    let peers = Listener::start().unwrap();
    for provider in [APPLICATION, TRANSPORT, SAN] {
        let mut harmed = 0;
        for irp in 1..40 {
            let lab = Lab::start();
            lab.machine().network().lose_provider_at(irp);
            let client = lab.client();
            match life(&client, &peers, provider) {
                Ok(()) => {}
                Err(error) => {
                    harmed += 1;
                    assert_eq!(error.winsock(), Some(WsaError::NetworkDown), "IRP {irp}: {error}");
                }
            }
            client.cleanup(provider).unwrap();
            client.cleanup_namespace(DNS).unwrap();
            nothing_held(&client);
            deregistered(&client);
            let network = lab.machine().network();
            let taken = network.counters().irps_taken;
            network.lose_provider_at(0);
            network.set_provider(ProviderState::Ready);
            started(&client, provider);
            client.socket(provider, Role::Connection).unwrap();
            let tally = client.ledger().unwrap().tally(Kind::Startup);
            assert!(tally.completed >= 2);
            if taken < irp {
                break; // the life ends before
            }
        }
        assert!(harmed >= 6, "{}: only {harmed} lives met the loss", provider.name());
    }
}
