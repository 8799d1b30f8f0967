//! The service's `Parameters` key: what is good is used, what is not is ignored, and the trace says so.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab,
    abi::{Close, Role, WsaError},
    check::fails,
    eventually, started,
    traffic::connected,
};
use ntlab::RegistryValue;
use ntlab::etw::{Event, Value};

const LINGER: &str = "LingerDeadline";
const REG_DWORD: u32 = 4;

fn events(lab: &Lab, name: &str) -> Vec<Event> {
    lab.machine().trace().events().into_iter().filter(|event| event.name == name).collect()
}

/// What the driver uses, as its trace tells.
fn used(lab: &Lab, parameter: &str) -> i128 {
    events(lab, "DriverLoaded")[0].field(parameter).and_then(Value::number).expect("the load tells every parameter")
}

#[track_caller]
fn ignored(value: &RegistryValue, reason: &str) {
    let lab = Lab::start_with_parameters(&[(LINGER, value.clone())]);
    assert_eq!(used(&lab, LINGER), Close::DEFAULT_LINGER.into(), "{value:?}");
    let told = events(&lab, "ParameterIgnored");
    assert_eq!(told.len(), 1, "{value:?}: {told:?}");
    assert_eq!(told[0].field("Name").and_then(Value::text), Some(LINGER));
    assert_eq!(told[0].field("Reason").and_then(Value::text), Some(reason), "{value:?}");
}

/// contract: CARD-4
#[test]
fn without_a_parameters_key_there_are_defaults_and_nothing_is_said() {
    let lab = Lab::start();
    assert_eq!(used(&lab, LINGER), Close::DEFAULT_LINGER.into());
    assert_eq!(events(&lab, "ParameterIgnored"), []);
}

/// contract: CARD-4, X-4
#[test]
fn a_linger_deadline_of_the_service_is_that_of_closes_that_say_none() {
    let lab = Lab::start_with_parameters(&[(LINGER, RegistryValue::Number(150))]);
    assert_eq!(used(&lab, LINGER), 150);
    assert_eq!(events(&lab, "ParameterIgnored"), []);
    let client = lab.client();
    started(&client, APPLICATION);
    // The peer never closes: only the deadline ends the close.
    let connection = connected(&client, APPLICATION);
    connection.socket.close_gracefully(None).unwrap();
    eventually("the deadline comes", || client.ledger().unwrap().lingers_cut == 1);
}

/// contract: CARD-4
#[test]
fn the_least_and_the_most_are_used() {
    for value in [1, Close::LONGEST_LINGER] {
        let lab = Lab::start_with_parameters(&[(LINGER, RegistryValue::Number(value))]);
        assert_eq!(used(&lab, LINGER), value.into());
        assert_eq!(events(&lab, "ParameterIgnored"), []);
    }
}

/// contract: CARD-4
#[test]
fn a_number_outside_its_range_is_ignored() {
    for number in [0, Close::LONGEST_LINGER + 1, u32::MAX] {
        ignored(&RegistryValue::Number(number), "out of range");
    }
}

/// contract: CARD-4
#[test]
fn a_value_that_is_no_whole_number_is_ignored() {
    const REASON: &str = "not a REG_DWORD";
    ignored(&RegistryValue::Text("150".into()), REASON);
    ignored(&RegistryValue::Text("a text that is much longer than a number".into()), REASON);
    ignored(&RegistryValue::Binary(vec![150, 0, 0, 0]), REASON);
    for length in [0, 1, 3, 5, 8, 100] {
        ignored(&RegistryValue::Raw(REG_DWORD, vec![1; length]), REASON);
    }
}
/// contract: CARD-4, X-6
#[test]
fn the_limits_of_the_service_are_those_of_each_client() {
    let values = [("MaxSockets", 2), ("MaxPendingRequests", 3), ("MaxLockedBytes", 4096)];
    let lab = Lab::start_with_parameters(&values.map(|(name, value)| (name, RegistryValue::Number(value))));
    for (name, value) in values {
        assert_eq!(used(&lab, name), value.into(), "{name}");
    }
    let client = lab.started();
    let connection = connected(&client, APPLICATION);
    let _second = client.socket(APPLICATION, Role::Connection).unwrap();
    fails(client.socket(APPLICATION, Role::Connection), WsaError::TooManySockets);
    fails(connection.socket.receive(4097), WsaError::NoBuffers);
    let _pending: Vec<_> = (0..3).map(|_| connection.socket.begin_receive(8)).collect();
    fails(connection.socket.receive(8), WsaError::NoBuffers);
}
