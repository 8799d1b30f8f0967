//! The trace: what the driver tells ETW, read in the lab.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab, PATIENCE, TRANSPORT, VERSION,
    abi::{Provider, WsaError},
    check::{cancelled, fails},
    eventually, started,
    traffic::{connected, stuck_send},
};
use ntlab::etw::{Event, Session, Trace, Value};
use ntlab::wsk::ProviderState;

const NAME: &str = "WskClient";
/// `TraceLogging`'s levels.
const WARNING: u8 = 3;
const INFORMATION: u8 = 4;

fn text<'a>(event: &'a Event, field: &str) -> &'a str {
    event.field(field).and_then(Value::text).unwrap_or_else(|| panic!("{event:?} has no text {field}"))
}

fn number(event: &Event, field: &str) -> i128 {
    event.field(field).and_then(Value::number).unwrap_or_else(|| panic!("{event:?} has no number {field}"))
}

fn called(trace: &Trace, name: &str) -> Vec<Event> {
    trace.events().into_iter().filter(|event| event.name == name).collect()
}

/// An event as one line, for those that tell a life.
fn told(event: &Event) -> Option<String> {
    Some(match event.name.as_str() {
        "Lifecycle" => {
            let (provider, from, to) = (text(event, "Provider"), text(event, "From"), text(event, "To"));
            format!("{provider} {from} {to} {}", number(event, "References"))
        }
        "Teardown" => format!("{} {}", text(event, "Provider"), text(event, "Phase")),
        "DriverLoaded" | "UnloadBegun" | "DriverUnloaded" => event.name.clone(),
        _ => return None,
    })
}

/// contract: X-2
#[test]
fn the_provider_has_the_name_and_the_guid_that_tools_make_of_it() {
    let lab = Lab::start();
    let trace = lab.machine().trace();
    assert_eq!(trace.providers(), [NAME]);
    let loaded = called(&trace, "DriverLoaded").remove(0);
    let guid = tracelogging::Guid::from_name(NAME);
    assert_eq!(loaded.provider_id.0, guid.to_bytes_le());
    assert_eq!((loaded.provider.as_str(), loaded.level), (NAME, INFORMATION));
}

/// contract: X-2, CARD-1
#[test]
fn a_life_is_told_in_order_from_the_load_to_the_unload() {
    let lab = Lab::start();
    let trace = lab.machine().trace();
    let client = lab.started();
    started(&client, APPLICATION);
    drop(connected(&client, APPLICATION));
    client.cleanup(APPLICATION).unwrap();
    client.cleanup(APPLICATION).unwrap();
    started(&client, TRANSPORT);
    // The process ends with a reference: the same teardown.
    drop(lab);
    let lines: Vec<_> = trace.events().iter().filter_map(told).collect();
    let life = |provider: Provider| {
        let name = provider.name();
        [
            format!("{name} Down Starting 0"),
            format!("{name} Starting Up 1"),
            format!("{name} Up Stopping 0"),
            format!("{name} Drained"),
            format!("{name} Released"),
            format!("{name} Stopping Down 0"),
            format!("{name} Finished"),
        ]
    };
    let mut expected = vec!["DriverLoaded".to_owned()];
    expected.extend(life(APPLICATION));
    expected.extend(life(TRANSPORT));
    // The unload may begin while the teardown of the dead client is under way.
    let (begun, others): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|line| line == "UnloadBegun");
    expected.push("DriverUnloaded".to_owned());
    assert_eq!((others, begun.len()), (expected, 1));
    assert_eq!(lines.last().map(String::as_str), Some("DriverUnloaded"));
    assert!(trace.providers().is_empty(), "nothing stays registered");
    assert_eq!(trace.dropped(), 0);
}

/// contract: X-2, WSA-6
#[test]
fn a_start_that_fails_or_that_nobody_waits_for_any_more_goes_back_to_down() {
    let lab = Lab::start();
    let (trace, network) = (lab.machine().trace(), lab.machine().network());
    let client = lab.client();
    let lines = || trace.take().iter().filter_map(told).collect::<Vec<_>>();
    let name = APPLICATION.name();
    let back = [format!("{name} Down Starting 0"), format!("{name} Starting Down 0")];
    assert_eq!(lines(), ["DriverLoaded"]);
    for _ in 0..2 {
        network.set_provider(ProviderState::Refused);
        fails(client.startup(APPLICATION, VERSION, 0), WsaError::SystemNotReady);
        assert_eq!(lines(), back);
        network.set_provider(ProviderState::NotReady);
        let startup = client.begin_startup(APPLICATION, VERSION, 0);
        let lines_are = |count| trace.events().iter().filter_map(told).count() == count;
        eventually("it has begun", || lines_are(1));
        startup.cancel();
        cancelled(startup);
        eventually("it has ended", || lines_are(2));
        assert_eq!(lines(), back);
    }
    network.set_provider(ProviderState::Ready);
    started(&client, APPLICATION);
    assert_eq!(lines(), [back[0].clone(), format!("{name} Starting Up 1")]);
}

/// contract: X-2
#[test]
fn a_wait_of_more_than_a_second_is_told_with_operation_socket_and_age() {
    let lab = Lab::start();
    let trace = lab.machine().trace();
    let client = lab.client();
    started(&client, TRANSPORT);
    let connection = connected(&client, TRANSPORT);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(600_000)).unwrap();
    eventually("it is told", || !called(&trace, "LongWait").is_empty());
    let wait = called(&trace, "LongWait").remove(0);
    assert_eq!(wait.level, WARNING);
    assert_eq!((text(&wait, "Waiter"), text(&wait, "Awaited")), ("close", "sends"));
    assert_eq!((text(&wait, "Request"), text(&wait, "Provider")), ("Send", "transport"));
    assert_eq!(number(&wait, "Socket"), connection.socket.handle().0.into());
    assert!(number(&wait, "Milliseconds") >= 1000 && number(&wait, "Process") != 0, "{wait:?}");
    let mut cleanup = client.begin_cleanup(TRANSPORT);
    drop(connection.peer);
    cleanup.wait(PATIENCE).unwrap();
    drop(send);
}

/// contract: X-2
#[test]
fn long_waits_of_a_startup_and_of_a_teardown_are_told_by_name() {
    let lab = Lab::start();
    let trace = lab.machine().trace();
    let client = lab.client();
    let told = |waiter: &str, provider: &str| {
        called(&trace, "LongWait")
            .into_iter()
            .find(|wait| (text(wait, "Waiter"), text(wait, "Provider")) == (waiter, provider))
    };
    started(&client, TRANSPORT);
    let connection = connected(&client, TRANSPORT);
    let send = stuck_send(&connection.socket);
    connection.socket.close_gracefully(Some(600_000)).unwrap();
    let mut cleanup = client.begin_cleanup(TRANSPORT);
    let mut startup = client.begin_startup(TRANSPORT, contract::VERSION, contract::abi::CATALOG[0].id);
    eventually("both are told", || told("teardown", "transport").is_some() && told("startup", "transport").is_some());
    let teardown = told("teardown", "transport").unwrap();
    assert_eq!((text(&teardown, "Awaited"), text(&teardown, "Request")), ("sends", "Send"));
    assert_eq!(number(&teardown, "Socket"), connection.socket.handle().0.into());
    let waits = told("startup", "transport").unwrap();
    assert_eq!((text(&waits, "Awaited"), text(&waits, "Request")), ("teardown", ""));
    for wait in [teardown, waits] {
        assert!(number(&wait, "Milliseconds") >= 1000 && number(&wait, "Process") != 0, "{wait:?}");
    }
    drop(connection.peer);
    cleanup.wait(PATIENCE).unwrap();
    startup.wait(PATIENCE).unwrap();
    drop(send);
    client.cleanup(TRANSPORT).unwrap();
}

/// contract: CARD-2
#[test]
fn refused_requests_are_told_and_not_more_than_a_hundred_a_second() {
    const MOST: usize = 100;
    const SENT: usize = 1000;
    let lab = Lab::start();
    let trace = lab.machine().trace();
    let client = lab.client();
    fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    let refusal = called(&trace, "Refused").remove(0);
    assert_eq!(text(&refusal, "Request"), "Cleanup");
    let status = WsaError::NotInitialised.status().cast_unsigned();
    assert_eq!(number(&refusal, "Status"), status.into(), "{refusal:?}");
    let begun = std::time::Instant::now();
    for _ in 0..SENT {
        fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let told = called(&trace, "Refused").len();
    assert!(told <= (seconds * MOST).min(SENT) && told >= MOST.min(SENT), "{told} were told in {seconds} s");
}

/// contract: X-2
#[test]
fn nothing_is_written_while_nobody_looks_and_what_is_written_is_what_the_session_asks_for() {
    let lab = Lab::start();
    let trace = lab.machine().trace();
    let client = lab.client();
    trace.set_session(None);
    let _before = trace.take();
    let life = || {
        started(&client, APPLICATION);
        let connection = connected(&client, APPLICATION);
        let receive = connection.socket.begin_receive(8);
        client.cleanup(APPLICATION).unwrap();
        cancelled(receive);
        fails(client.cleanup(APPLICATION), WsaError::NotInitialised);
    };
    life();
    assert_eq!(trace.events(), [], "nobody looks");
    trace.set_session(Some(Session { level: INFORMATION, ..Session::default() }));
    life();
    assert!(!called(&trace, "Lifecycle").is_empty());
    assert!(called(&trace, "Refused").is_empty(), "refusals are verbose");
}
