//! The `wsk` crate in a Wine prefix: its example, with programs of this machine as its peers, and what it makes of a provider that lacks
//! most functions.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
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
/// Where images lie in the prefix.
const DRIVERS: &str = "windows/system32/drivers";

/// A service whose image is in the prefix.
struct Service {
    name: String,
    image: PathBuf,
}

impl Service {
    /// Makes the service.
    fn create(prefix: &mut Prefix<'_>, name: String, image: &Path) -> Result<Self> {
        let file = image.file_name().and_then(|name| name.to_str()).context("an image has a name")?;
        let copy = prefix.drive_c(DRIVERS).join(file);
        files::copy(image, &copy)?;
        let path = format!(r"C:\{}\{file}", DRIVERS.replace('/', r"\"));
        sc(prefix, &["create", &name, "type=", "kernel", "start=", "demand", "binPath=", &path])?;
        Ok(Self { name, image: copy })
    }

    /// Loads the driver.
    fn start(&self, prefix: &mut Prefix<'_>) -> Result<()> {
        sc(prefix, &["start", &self.name]).map(drop)
    }

    /// Unloads the driver.
    fn stop(&self, prefix: &mut Prefix<'_>) -> Result<()> {
        sc(prefix, &["stop", &self.name])?;
        wait_for("unloading a driver", LIMIT, || {
            Ok(sc(prefix, &["query", &self.name])?.contains("STOPPED").then_some(()))
        })
    }

    /// Leaves nothing of it.
    fn delete(self, prefix: &mut Prefix<'_>) -> Result<()> {
        sc(prefix, &["delete", &self.name])?;
        ensure!(sc(prefix, &["query", &self.name]).is_err(), "the service {} is still there", self.name);
        fs::remove_file(&self.image).with_context(|| format!("cannot remove {}", self.image.display()))
    }
}

/// The example echoes, and is unloaded with a connection open. Gives how many bytes came back.
pub fn echo(prefix: &mut Prefix<'_>, image: &Path) -> Result<usize> {
    // Who had the port has let go of it again.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let service = Service::create(prefix, format!("Echo{port}"), image)?;
    service.start(prefix)?;

    let talkers: Vec<_> = (0..CONNECTIONS).map(|number| thread::spawn(move || converse(address, number))).collect();
    for talker in talkers {
        talker.join().map_err(|_| anyhow!("a peer of the example panicked"))??;
    }
    let mut open = connect(address)?;
    open.write_all(b"open")?;
    open.read_exact(&mut [0; 4]).context("the example does not answer a connection that stays open")?;

    service.stop(prefix).context("with a connection open")?;
    let end = open.read(&mut [0]);
    ensure!(!matches!(end, Ok(1)), "the open connection got data instead of its end");
    service.delete(prefix)?;
    Ok(usize::try_from(CONNECTIONS)? * LENGTH)
}

/// A case of the crate's test driver, which starts only if all is as the crate says.
pub fn case(prefix: &mut Prefix<'_>, image: &Path, name: &str) -> Result<()> {
    let service = Service::create(prefix, name.to_owned(), image)?;
    service.start(prefix).with_context(|| format!("the case {name} of {}", image.display()))?;
    service.stop(prefix)?;
    service.delete(prefix)
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
    let sent: Vec<u8> = (0..LENGTH as u64).map(|index| ((index * (2 * number + 1)) >> 5).to_le_bytes()[0]).collect();
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
