//! A TCP echo server in the kernel: what the `wsk` crate is like to use.
//!
//! It listens at a port of 127.0.0.1, sends back what each connection sends, and can be unloaded with connections open. The port is the
//! number at the end of the service's name: `sc create Echo50007 type= kernel binPath= C:\wsk_echo.sys`, `sc start Echo50007`.
//!
//! One thread accepts, and each connection has one of its own. They wait in slices, so that they notice when the driver is to stop; what
//! they leave then, a receive that is still out or an open socket, the crate cancels, closes and frees.
#![no_std]

extern crate wdk_panic;

use core::net::{Ipv4Addr, SocketAddr};
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use wdk_alloc::WdkAllocator;
use wdk_sys::{DRIVER_OBJECT, NTSTATUS, PCUNICODE_STRING};
use wsk::{Buffer, Client, Error, Listener, Operation, Outcome, Passive, Shutdown, Stream};

#[global_allocator]
static ALLOCATOR: WdkAllocator = WdkAllocator;

/// How long a thread waits before it looks whether the driver is to stop.
const SLICE: Duration = Duration::from_millis(100);
/// How long what takes no time may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes that are taken at once.
const CHUNK: u32 = 1 << 16;
/// Where it listens if the service's name has no number.
const DEFAULT_PORT: u16 = 50007;

static CLIENT: spin::Mutex<Option<Client>> = spin::Mutex::new(None);
static STOPPING: AtomicBool = AtomicBool::new(false);

/// The system loads the driver.
///
/// # Safety
/// Called by the I/O manager, once, with the driver's own object.
#[unsafe(export_name = "DriverEntry")]
pub unsafe extern "system" fn driver_entry(driver: &mut DRIVER_OBJECT, registry_path: PCUNICODE_STRING) -> NTSTATUS {
    // SAFETY: the I/O manager calls DriverEntry at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    // SAFETY: the I/O manager's path.
    let port = unsafe { port(registry_path) };
    match start(port, passive) {
        Ok(client) => {
            *CLIENT.lock() = Some(client);
            driver.DriverUnload = Some(unload);
            0
        }
        Err(error) => error.status(),
    }
}

/// The system unloads the driver, connections or not.
unsafe extern "C" fn unload(_driver: *mut DRIVER_OBJECT) {
    // SAFETY: the I/O manager calls DriverUnload at PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    let client = CLIENT.lock().take();
    if let Some(client) = client {
        stop(&client, passive);
    }
}

/// The number at the end of the service's name, which ends the registry path.
///
/// # Safety
/// The path is valid.
unsafe fn port(registry_path: PCUNICODE_STRING) -> u16 {
    // SAFETY: the caller's promise.
    let path = unsafe { &*registry_path };
    // SAFETY: the buffer of a valid path (the caller's promise) is as long as it says.
    let units = unsafe { slice::from_raw_parts(path.Buffer, usize::from(path.Length / 2)) };
    let digits = units.iter().rev().map_while(|&unit| char::from_u32(unit.into())?.to_digit(10));
    let places = [1, 10, 100, 1000, 10000];
    let number = digits.zip(places).map(|(digit, place)| digit * place).sum::<u32>();
    u16::try_from(number).ok().filter(|&port| port != 0).unwrap_or(DEFAULT_PORT)
}

fn start(port: u16, passive: Passive) -> Result<Client, Error> {
    let client = Client::register(passive)?;
    let server = client.clone();
    let serve = move |passive| {
        // What ends the server early leaves nothing behind.
        let _ended = serve(&server, port, passive);
    };
    client.spawn(serve, passive).inspect_err(|_| stop(&client, passive))?;
    Ok(client)
}

fn stop(client: &Client, passive: Passive) {
    STOPPING.store(true, Ordering::Relaxed);
    // Every thread is back within a slice, and the sockets are closed as the threads let go of them.
    while client.deregister(LIMIT, passive).is_err() {}
}

/// Accepts connections until the driver is to stop.
fn serve(client: &Client, port: u16, passive: Passive) -> Result<(), Error> {
    while let Err(error) = client.capture(SLICE, passive) {
        if error != Error::TimedOut || STOPPING.load(Ordering::Relaxed) {
            return Err(error);
        }
    }
    let listener = Listener::bound(client, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT, passive)?;
    while let Some(accepted) = unless_stopped(listener.accept(passive)?, passive) {
        let stream = accepted?.stream;
        let echo = move |passive| {
            // A connection that fails is reset.
            let _ended = echo(&stream, passive);
        };
        client.spawn(echo, passive)?;
    }
    Ok(())
}

/// Sends back what comes, until the peer sends no more.
fn echo(stream: &Stream, passive: Passive) -> Result<(), Error> {
    let mut buffer = Buffer::try_new(CHUNK)?;
    while let Some(received) = unless_stopped(stream.receive(buffer, passive)?, passive) {
        if received.result? == 0 {
            unless_stopped(stream.shut_down(Shutdown::Sending, passive)?, passive);
            break;
        }
        let Some(sent) = unless_stopped(stream.send(received.buffer, passive)?, passive) else { break };
        sent.result?;
        buffer = sent.buffer;
    }
    Ok(())
}

/// The outcome, unless the driver is to stop before it is there: then the operation is cancelled.
fn unless_stopped<T: Outcome>(mut operation: Operation<T>, passive: Passive) -> Option<T> {
    loop {
        match operation.wait(SLICE, passive) {
            Ok(outcome) => return Some(outcome),
            Err(_cancelled) if STOPPING.load(Ordering::Relaxed) => return None,
            Err(pending) => operation = pending,
        }
    }
}
