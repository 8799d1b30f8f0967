//! The `wsk` crate's example as a service of a Wine prefix, with programs of this machine as its peers.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::prefix::Prefix;
use crate::{command::bounded::wait_for, setup::files};

const LIMIT: Duration = Duration::from_mins(1);
/// Connections that echo at the same time, and what each sends, bytes.
const CONNECTIONS: u64 = 3;
const LENGTH: usize = 1 << 20;
/// Where the image lies in the prefix.
const IMAGE: &str = "windows/system32/drivers/wsk_echo.sys";

/// From making the service to deleting it. Gives how many bytes came back.
pub fn run(prefix: &mut Prefix<'_>, image: &Path) -> Result<usize> {
    // The one who had the port has let go of it again; the example says so if somebody else takes it meanwhile.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let (service, address) = (format!("Echo{port}"), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    files::copy(image, &prefix.drive_c(IMAGE))?;
    let path = format!(r"C:\{}", IMAGE.replace('/', r"\"));
    sc(prefix, &["create", &service, "type=", "kernel", "start=", "demand", "binPath=", &path])?;
    sc(prefix, &["start", &service])?;

    let talkers: Vec<_> = (0..CONNECTIONS).map(|number| thread::spawn(move || converse(address, number))).collect();
    for talker in talkers {
        talker.join().map_err(|_| anyhow!("a peer of the example panicked"))??;
    }
    let mut open = connect(address)?;
    open.write_all(b"open")?;
    open.read_exact(&mut [0; 4]).context("the example does not answer a connection that stays open")?;

    sc(prefix, &["stop", &service])?;
    wait_for("unloading the example with a connection open", LIMIT, || {
        Ok(sc(prefix, &["query", &service])?.contains("STOPPED").then_some(()))
    })?;
    let end = open.read(&mut [0]);
    ensure!(!matches!(end, Ok(1)), "the open connection got data instead of its end");
    sc(prefix, &["delete", &service])?;
    ensure!(sc(prefix, &["query", &service]).is_err(), "the example's service is still there");
    fs::remove_file(prefix.drive_c(IMAGE)).context("the example's image can't be removed")?;
    Ok(usize::try_from(CONNECTIONS)? * LENGTH)
}

/// A connection, as soon as the example listens.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = wait_for("the example to listen", LIMIT, || Ok(TcpStream::connect(address).ok()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Sends and receives at once. Wine has no shutdown, so the end is this side's.
fn converse(address: SocketAddr, number: u64) -> Result<()> {
    let mut stream = connect(address)?;
    let sent: Vec<u8> = (0..LENGTH as u64).map(|index| (index * (2 * number + 1) >> 5).to_le_bytes()[0]).collect();
    let mut received = vec![0; LENGTH];
    let mut sender = stream.try_clone()?;
    thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| -> io::Result<()> { sender.write_all(&sent) });
        stream.read_exact(&mut received).context("the example does not send everything back")?;
        sending.join().map_err(|_| anyhow!("the sender panicked"))??;
        Ok(())
    })?;
    ensure!(received == sent, "the example sends other bytes back");
    Ok(stream.shutdown(Shutdown::Both)?)
}

fn sc(prefix: &mut Prefix<'_>, arguments: &[&str]) -> Result<String> {
    prefix.run("sc", arguments, LIMIT)
}
