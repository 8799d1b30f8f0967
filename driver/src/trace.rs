//! The trace: what happens to the driver's lifecycles, what lasts, and what it refuses, as ETW events of the provider `WskClient`.
//!
//! While nobody looks, an event costs a load and a comparison. Writing one takes no memory and no lock, at any IRQL.

mod event;
mod provider;

use self::event::{Event, Field, Type, events, length, metadata};
use self::provider::{is_enabled, write};
use crate::clock;
use crate::outstanding::Wait;
use crate::parameters::Parameters;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wdk_sys::NTSTATUS;
use wskclient_abi::{Ioctl, Kind, Provider as Starts};
use wskclient_lifecycle::State;

pub use self::provider::Provider;

const WARNING: u8 = 3;
const INFORMATION: u8 = 4;
const VERBOSE: u8 = 5;

/// The driver is loaded, and unloaded.
const DRIVER: u64 = 1;
/// A provider starts and is torn down.
const LIFECYCLE: u64 = 2;
/// Something lasts.
const WAIT: u64 = 4;
/// A request is refused.
const REFUSAL: u64 = 8;

events! {
    DRIVER_LOADED = "DriverLoaded", INFORMATION, DRIVER, ["Version": Hex, "LingerDeadline": Number, "MaxSockets": Number, "MaxPendingRequests": Number, "MaxLockedBytes": Number];
    PARAMETER_IGNORED = "ParameterIgnored", WARNING, DRIVER, ["Name": Text, "Reason": Text, "Found": Number];
    UNLOAD_BEGUN = "UnloadBegun", INFORMATION, DRIVER, ["Clients": Number, "Teardowns": Number];
    DRIVER_UNLOADED = "DriverUnloaded", INFORMATION, DRIVER, [];
    TRANSITION = "Lifecycle", INFORMATION, LIFECYCLE,
        ["Provider": Text, "From": Text, "To": Text, "References": Number, "Process": Number];
    TEARDOWN = "Teardown", INFORMATION, LIFECYCLE,
        ["Provider": Text, "Phase": Text, "Milliseconds": Number, "Process": Number];
    LONG_WAIT = "LongWait", WARNING, WAIT,
        ["Waiter": Text, "Awaited": Text, "Request": Text, "Provider": Text, "Socket": Wide, "Process": Number, "Milliseconds": Number];
    REFUSED = "Refused", VERBOSE, REFUSAL, ["Request": Text, "Code": Hex, "Status": Status, "Process": Number];
}

/// How far a teardown has come.
#[derive(Clone, Copy)]
pub enum Phase {
    /// Nothing of it is left inside.
    Drained,
    /// The registration with WSK is given up, if it was the last.
    Released,
    /// Its cleanups complete now.
    Finished,
}

/// The driver is ready.
pub fn loaded(version: u32, parameters: &Parameters) {
    if is_enabled(&DRIVER_LOADED) {
        let Parameters { linger_deadline, limits } = parameters;
        write(
            &DRIVER_LOADED,
            &[
                Field::Number(version),
                Field::Number(*linger_deadline),
                Field::Number(limits.sockets),
                Field::Number(limits.requests),
                Field::Number(u32::try_from(limits.locked_bytes).unwrap_or(u32::MAX)),
            ],
        );
    }
}

/// A parameter is not used, and why: the number that it is, or its type.
pub fn parameter_ignored(name: &'static str, reason: &'static str, found: u32) {
    if is_enabled(&PARAMETER_IGNORED) {
        write(&PARAMETER_IGNORED, &[Field::Text(name), Field::Text(reason), Field::Number(found)]);
    }
}

/// The system unloads the driver. Teardowns of dead clients may be under way, and are waited for.
pub fn unload_begun(clients: u32, teardowns: u32) {
    if is_enabled(&UNLOAD_BEGUN) {
        write(&UNLOAD_BEGUN, &[Field::Number(clients), Field::Number(teardowns)]);
    }
}

/// Nothing is left.
pub fn unloaded() {
    if is_enabled(&DRIVER_UNLOADED) {
        write(&DRIVER_UNLOADED, &[]);
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Down => "Down",
        State::Starting => "Starting",
        State::Up => "Up",
        State::Stopping => "Stopping",
    }
}

/// A lifecycle has gone from one state to another.
pub fn transition(provider: Starts, from: State, to: State, references: u32, process: impl FnOnce() -> u32) {
    if is_enabled(&TRANSITION) {
        write(
            &TRANSITION,
            &[
                Field::Text(provider.name()),
                Field::Text(state_name(from)),
                Field::Text(state_name(to)),
                Field::Number(references),
                Field::Number(process()),
            ],
        );
    }
}

/// A teardown that began at `since` has come that far.
pub fn teardown(provider: Starts, phase: Phase, since: u64, process: impl FnOnce() -> u32) {
    if is_enabled(&TEARDOWN) {
        let phase = match phase {
            Phase::Drained => "Drained",
            Phase::Released => "Released",
            Phase::Finished => "Finished",
        };
        let age = clock::milliseconds(since, clock::now());
        write(
            &TEARDOWN,
            &[Field::Text(provider.name()), Field::Text(phase), Field::Number(age), Field::Number(process())],
        );
    }
}

/// Something has been waited for, for more than a second.
pub fn long_wait(wait: &Wait<'_>, process: u32, now: u64) {
    if is_enabled(&LONG_WAIT) {
        write(
            &LONG_WAIT,
            &[
                Field::Text(wait.waiter.name()),
                Field::Text(wait.awaited.name()),
                Field::Text(wait.kind.map_or("", Kind::name)),
                Field::Text(wait.provider.map_or("", Starts::name)),
                Field::Wide(wait.socket.0),
                Field::Number(process),
                Field::Number(clock::milliseconds(wait.since, now)),
            ],
        );
    }
}

/// A request was refused. At most [`MOST_REFUSALS`] a second are told.
pub fn refused(code: u32, status: NTSTATUS, process: impl FnOnce() -> u32) {
    if is_enabled(&REFUSED) && may_tell() {
        let kind = Ioctl::from_code(code).map_or("", |ioctl| ioctl.kind().name());
        let status = Field::Status(status.cast_unsigned());
        write(&REFUSED, &[Field::Text(kind), Field::Number(code), status, Field::Number(process())]);
    }
}

/// How many refusals are told in a second, so that a caller who is refused again and again does not wash everything else away.
const MOST_REFUSALS: u32 = 100;

fn may_tell() -> bool {
    const SECOND: u64 = 10_000_000;
    static NOW: AtomicU64 = AtomicU64::new(0);
    static TOLD: AtomicU32 = AtomicU32::new(0);
    let second = clock::now() / SECOND;
    if NOW.swap(second, Ordering::Relaxed) != second {
        TOLD.store(0, Ordering::Relaxed);
    }
    TOLD.fetch_add(1, Ordering::Relaxed) < MOST_REFUSALS
}
