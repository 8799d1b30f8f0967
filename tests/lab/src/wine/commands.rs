//! `wskctl`'s commands in Wine as a person uses them, each with an ordinary program of this machine at the other end.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Map, Value, json};

use super::{HARNESS, Teller, event, prefix::Prefix};
use crate::command::bounded::{Running, wait_for};

/// What takes a fraction of a second, on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);
/// More than one request carries, and than four in flight do.
const LENGTH: usize = 700_000;

/// Runs every command that stock Wine can carry.
pub fn run(prefix: &mut Prefix<'_>, teller: &Teller) -> Result<()> {
    status(prefix)?;
    teller.tell("status", "the ledger: one client, nothing held");
    connect(prefix).context("wskctl connect")?;
    teller.tell("connect", &format!("{LENGTH} bytes out to a server of this machine, and back"));
    listen(prefix).context("wskctl listen")?;
    teller.tell("listen", &format!("{LENGTH} bytes each way, with a client of this machine"));
    echo(prefix).context("wskctl echo")?;
    teller.tell("echo", &format!("3 clients at a time, {LENGTH} bytes out and back each"));
    shell(prefix).context("wskctl shell")?;
    teller.tell("shell", "a script: socket, connect, send, recv in the background, cleanup");
    let processes = stress(prefix).context("wskctl stress")?;
    teller.tell("stress", &format!("{processes} processes in three seconds, and nothing left"));
    Ok(())
}

fn wskctl(prefix: &mut Prefix<'_>, arguments: &[&str], input: &[u8]) -> Result<Running> {
    let arguments = [&["--backend", "device", "--format", "json"], arguments].concat();
    prefix.start_with(HARNESS, &arguments, input, &[])
}

/// The last line of what a command has told.
fn summary(output: &str) -> Result<Map<String, Value>> {
    output.lines().last().and_then(event).with_context(|| format!("the last line is no object: {output}"))
}

fn status(prefix: &mut Prefix<'_>) -> Result<()> {
    let ledger = summary(&wskctl(prefix, &["status"], b"")?.finish(LIMIT)?)?;
    ensure!(ledger.get("clients") == Some(&json!(1)), "somebody else has the device open: {ledger:?}");
    ensure!(ledger.get("registered") == Some(&json!(false)), "the driver is registered with WSK: {ledger:?}");
    Ok(())
}

/// A server of this machine sends back what the kernel socket sends it.
fn connect(prefix: &mut Prefix<'_>) -> Result<()> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let port = server.local_addr()?.port().to_string();
    let data = pattern(LENGTH);
    let peer = thread::spawn(move || {
        let (mut stream, _) = server.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut got = vec![0; LENGTH];
        stream.read_exact(&mut got)?;
        stream.write_all(&got)
    });
    let mut command = wskctl(prefix, &["connect", "127.0.0.1", &port], &data)?;
    command.finish(LIMIT)?;
    joined(peer)?;
    ensure!(command.output_bytes()? == data, "what came back is not what was sent");
    Ok(())
}

/// A client of this machine sends first, and gets the command's input.
fn listen(prefix: &mut Prefix<'_>) -> Result<()> {
    let (to_kernel, from_kernel) = (pattern(LENGTH), pattern(LENGTH + 1));
    let address = free_address()?;
    let mut command = wskctl(prefix, &["listen", "127.0.0.1", &address.port().to_string()], &from_kernel)?;
    let mut stream = connected(address)?;
    stream.write_all(&to_kernel)?;
    let mut got = vec![0; from_kernel.len()];
    stream.read_exact(&mut got)?;
    stream.shutdown(Shutdown::Write)?;
    command.finish(LIMIT)?;
    ensure!(got == from_kernel, "the client got something else than the command's input");
    ensure!(command.output_bytes()? == to_kernel, "the command wrote something else than the client sent");
    Ok(())
}

fn echo(prefix: &mut Prefix<'_>) -> Result<()> {
    let address = free_address()?;
    let port = address.port().to_string();
    let mut command = wskctl(prefix, &["echo", "--connections", "3", "127.0.0.1", &port], b"")?;
    let clients: Vec<_> = (0..3)
        .map(|index| {
            let stream = connected(address)?;
            Ok(thread::spawn(move || echoed(stream, &pattern(LENGTH + index))))
        })
        .collect::<Result<_>>()?;
    for client in clients {
        joined(client)?;
    }
    let told = summary(&command.finish(LIMIT)?)?;
    ensure!(told.get("connections") == Some(&json!(3)), "{told:?}");
    ensure!(told.get("bytes") == Some(&json!(3 * LENGTH + 3)), "{told:?}");
    Ok(())
}

/// Sends and receives at once, as what is sent does not fit into the sockets' buffers.
fn echoed(mut stream: TcpStream, data: &[u8]) -> std::io::Result<()> {
    let mut reader = stream.try_clone()?;
    let mut got = vec![0; data.len()];
    thread::scope(|scope| {
        let reading = scope.spawn(|| reader.read_exact(&mut got));
        stream.write_all(data)?;
        reading.join().unwrap_or_else(|_| Err(std::io::Error::other("the reader panicked")))
    })?;
    stream.shutdown(Shutdown::Write)?;
    if got == data { Ok(()) } else { Err(std::io::Error::other("what came back is not what was sent")) }
}

fn shell(prefix: &mut Prefix<'_>) -> Result<()> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let address = server.local_addr()?;
    let peer = thread::spawn(move || {
        let (mut stream, _) = server.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut got = [0; 4];
        stream.read_exact(&mut got)?;
        stream.write_all(b"pong")?;
        // Until the last cleanup ends the connection.
        stream.read_exact(&mut [0]).map_or(Ok(()), |()| Err(std::io::Error::other("more came than was sent")))
    });
    let script = format!(
        "startup application 2.2\nsocket\nconnect {address}\nsend ping\nrecv 4 all\nrecv 64 &\njobs\ncleanup\nwait\n\
         cleanup\n"
    );
    let mut command = wskctl(prefix, &["shell"], script.as_bytes())?;
    let status = command.wait(LIMIT)?;
    let output = command.output()?;
    joined(peer)?;
    // One line failed: the second cleanup.
    ensure!(status.code() == Some(1), "the shell ended with {status}: {output}{}", command.complaint());
    for wanted in ["pong", "WSA_OPERATION_ABORTED", "WSANOTINITIALISED"] {
        let told = output.contains(wanted) || command.complaint().contains(wanted);
        ensure!(told, "the shell told nothing of {wanted}: {output}{}", command.complaint());
    }
    Ok(())
}

/// How many processes came and went.
fn stress(prefix: &mut Prefix<'_>) -> Result<u64> {
    let arguments = ["stress", "--seconds", "3", "--processes", "2", "--threads", "2"];
    let told = summary(&wskctl(prefix, &arguments, b"")?.finish(LIMIT)?)?;
    ensure!(told.get("result") == Some(&json!("ok")), "{told:?}");
    told.get("processes").and_then(Value::as_u64).context("stress counts its processes")
}

/// Bytes of which each stretch looks different.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 % 251).to_le_bytes()[0]).collect()
}

/// An address that nobody has for the moment: Wine's sockets do not tell which one they chose.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A connection, as soon as somebody listens.
fn connected(address: SocketAddr) -> Result<TcpStream> {
    let stream = wait_for("a connection", LIMIT, || Ok(TcpStream::connect(address).ok()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn joined(thread: thread::JoinHandle<std::io::Result<()>>) -> Result<()> {
    let result = thread.join().map_err(|_| anyhow!("the other end panicked"))?;
    result.context("at the other end")
}
