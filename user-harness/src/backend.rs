//! Where the driver runs: the choice that the command line makes, and the device that comes of it.

use crate::{
    Cause, Error, Exit,
    device::{Device, Handle, agent::Agent},
    record::{Recorded, Recorder},
};
use std::{path::PathBuf, sync::Arc};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::device::lab::{Lab, LabProcess};
#[cfg(windows)]
use crate::device::windows::{self, WindowsDevice};

/// A kind of backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The device of this machine's driver (Windows)
    Device,
    /// The driver's image inside this process, on ntlab's kernel (Linux)
    Lab,
}

impl Default for Kind {
    fn default() -> Self {
        if cfg!(windows) { Self::Device } else { Self::Lab }
    }
}

impl Kind {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Lab => "lab",
        }
    }
}

/// Which backend, and what the lab needs to know.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The backend.
    pub kind: Kind,
    /// The lab's driver image. Otherwise `WSKCLIENT_SYS`, otherwise what `cargo lab build` left in this workspace.
    pub driver: Option<PathBuf>,
    /// The lab's seed.
    pub seed: u64,
    /// Of a thousand calls into the lab's kernel, how many are delayed, by the seed.
    pub delays: u32,
    /// Whether the lab shows the events that the driver writes to ETW, on standard error, when all is over.
    pub trace: bool,
    /// What notes every request, if it is to be noted.
    pub recorder: Option<Recorder>,
}

/// An open backend.
pub struct Backend {
    inner: Inner,
    /// The same device, with a recorder in between.
    recorded: Option<Recorded>,
}

enum Inner {
    #[cfg(windows)]
    Device(WindowsDevice),
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Lab { lab: Lab, process: LabProcess, trace: bool },
    #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
    Nowhere(std::convert::Infallible),
}

/// A process of its own that sees the device: a client of the driver that can be ended without ending anybody else.
pub struct Process {
    client: Arc<Client>,
    /// The same, with a recorder in between.
    recorded: Option<Recorded>,
}

enum Client {
    #[cfg_attr(not(windows), expect(dead_code, reason = "only Windows has processes of the device"))]
    Agent(Agent),
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Lab(LabProcess),
}

impl Device for Client {
    fn open(&self) -> Result<Handle, Error> {
        match self {
            Self::Agent(agent) => agent.open(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Self::Lab(process) => process.open(),
        }
    }
}

impl Process {
    fn new(client: Client, recorded: Option<&Recorded>, name: &str) -> Self {
        let client = Arc::new(client);
        let recorded = recorded.map(|recorded| recorded.another(client.clone(), name));
        Self { client, recorded }
    }

    /// The device, as this process sees it.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        match &self.recorded {
            Some(recorded) => recorded,
            None => &*self.client,
        }
    }

    /// Kills it. What becomes of its requests is not told.
    pub fn kill(&self) {
        self.end("killed", || match &*self.client {
            Client::Agent(agent) => agent.kill(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Client::Lab(process) => process.process().kill(),
        });
    }

    /// Has it end: its requests are cancelled, its handles closed.
    pub fn exit(&self) {
        self.end("exited", || match &*self.client {
            Client::Agent(agent) => agent.exit(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Client::Lab(process) => process.process().exit(),
        });
    }

    fn end(&self, how: &str, end: impl FnOnce()) {
        match &self.recorded {
            Some(recorded) => recorded.end(how, end),
            None => end(),
        }
    }
}

/// What a driver or its surroundings may be unable to do: see [`Backend::lacks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Cancelling one request ends it (`CancelIoEx`).
    Cancel,
    /// IPv6.
    Ipv6,
    /// A socket tells its own address and its peer's.
    Addresses,
    /// UDP.
    Datagrams,
    /// Events.
    Events,
    /// Addresses have names.
    Names,
    /// Socket options.
    Options,
    /// Shutting one direction down, and graceful closes.
    Shutdown,
    /// Peers see a reset where a socket is closed.
    Reset,
}

impl Feature {
    /// Every feature, with its name.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("addresses", Self::Addresses),
        ("cancel", Self::Cancel),
        ("datagrams", Self::Datagrams),
        ("events", Self::Events),
        ("ipv6", Self::Ipv6),
        ("names", Self::Names),
        ("options", Self::Options),
        ("reset", Self::Reset),
        ("shutdown", Self::Shutdown),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, feature)| *feature == self).map_or("", |(name, _)| name)
    }
}

/// What the lab's rules say when all is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the driver unloaded.
    pub unloaded: bool,
    /// Rules broken.
    pub violations: usize,
    /// Things still live at unload: pool, IRPs, objects.
    pub leaks: usize,
    /// The events that the driver has written to ETW, a line each: when, which provider, which event, its fields.
    pub events: Box<[String]>,
    /// The report, for a person.
    pub report: String,
}

impl Verdict {
    /// Whether the driver unloaded, no rule was broken and nothing leaked.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unloaded && self.violations == 0 && self.leaks == 0
    }
}

impl Choice {
    /// Opens the backend: for the lab, loads and starts the driver.
    ///
    /// # Errors
    /// The backend is not for this system, there is no driver image, or the driver does not start.
    pub fn open(&self) -> Result<Backend, Error> {
        match self.kind {
            #[cfg(windows)]
            Kind::Device => {
                let recorded =
                    self.recorder.as_ref().map(|recorder| recorder.process(Arc::new(WindowsDevice), "wskctl"));
                Ok(Backend { inner: Inner::Device(WindowsDevice), recorded })
            }
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Kind::Lab => {
                let lab = self.start_lab()?;
                let process = lab.process();
                let recorded =
                    self.recorder.as_ref().map(|recorder| recorder.process(Arc::new(process.clone()), "wskctl"));
                Ok(Backend { inner: Inner::Lab { lab, process, trace: self.trace }, recorded })
            }
            other => {
                let home = if other == Kind::Lab { "Linux on x86-64" } else { "Windows" };
                let why = format!("the {} backend exists on {home} only", other.name());
                Err(Error::new("open the backend", Cause::Elsewhere(why)))
            }
        }
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn start_lab(&self) -> Result<Lab, Error> {
        let chaos = ntlab::Chaos { delays: self.delays, ..ntlab::Chaos::default() };
        let options = ntlab::Options { seed: self.seed, chaos, ..ntlab::Options::default() };
        Lab::start_with(&self.image()?, options).map_err(|(error, _)| error)
    }

    /// The driver image to load.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn image(&self) -> Result<PathBuf, Error> {
        use std::{env, path::Path};
        const BUILT: &str = "target/lab/out/release/wskclient.sys";
        if let Some(path) = &self.driver {
            return Ok(path.clone());
        }
        if let Some(path) = env::var_os("WSKCLIENT_SYS") {
            return Ok(path.into());
        }
        let starts = [env::current_dir().ok(), env::current_exe().ok()];
        let built = |start: &PathBuf| {
            start.ancestors().map(|folder| folder.join(BUILT)).find(|path: &PathBuf| Path::is_file(path))
        };
        starts.iter().flatten().find_map(built).ok_or_else(|| {
            let why = format!("there is no {BUILT} in this folder or above it");
            Error::new("find the driver", Cause::Absent(why))
        })
    }
}

impl Backend {
    /// The device, as one process sees it.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        if let Some(recorded) = &self.recorded {
            return recorded;
        }
        match &self.inner {
            #[cfg(windows)]
            Inner::Device(device) => device,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { process, .. } => process,
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match *never {},
        }
    }

    /// Pool blocks that the driver has allocated now, and their bytes, where the backend can tell: in the lab.
    #[must_use]
    pub fn pool_in_use(&self) -> Option<(usize, usize)> {
        match &self.inner {
            #[cfg(windows)]
            Inner::Device(_) => None,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { lab, .. } => Some(lab.machine().pool_in_use()),
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match *never {},
        }
    }

    /// Whether `CancelIoEx` reaches requests that WSK has. Wine's provider ends them at their socket's close only.
    #[must_use]
    pub fn cancels_reach_requests(&self) -> bool {
        self.close_is_abortive()
    }

    /// Whether closing a kernel socket resets its peer, as WSK has it. Wine's provider lets the peer see the end of the stream.
    #[must_use]
    pub fn close_is_abortive(&self) -> bool {
        match &self.inner {
            #[cfg(windows)]
            Inner::Device(_) => !windows::is_wine(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { .. } => true,
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match *never {},
        }
    }

    /// Whether this backend is without a feature: stock Wine's WSK is without all of them.
    #[must_use]
    pub fn lacks(&self, _feature: Feature) -> bool {
        !self.close_is_abortive()
    }

    /// A further process inside this one, where making one is the backend's to do: in the lab. Elsewhere processes are the system's.
    #[must_use]
    pub fn process_within(&self) -> Option<Process> {
        match &self.inner {
            #[cfg(windows)]
            Inner::Device(_) => None,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { lab, .. } => Some(Process::new(Client::Lab(lab.process()), self.recorded.as_ref(), "")),
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match *never {},
        }
    }

    /// A new process that sees the device, and goes by that name in recordings. In the lab it must have ended before the backend does.
    ///
    /// # Errors
    /// It can't be started.
    pub fn process(&self, name: &str) -> Result<Process, Error> {
        match &self.inner {
            #[cfg(windows)]
            Inner::Device(_) => {
                Agent::spawn().map(|agent| Process::new(Client::Agent(agent), self.recorded.as_ref(), name))
            }
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { lab, .. } => Ok(Process::new(Client::Lab(lab.process()), self.recorded.as_ref(), name)),
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match *never {},
        }
    }

    /// Whether the machine goes on: a broken rule stops the lab, and then no request ends any more.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.inner {
            #[cfg(windows)]
            Inner::Device(_) => true,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { lab, .. } => lab.machine().violations().is_empty(),
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match *never {},
        }
    }

    /// Ends the process and, in the lab, unloads the driver and asks the rules.
    #[must_use]
    pub fn finish(self) -> Option<Verdict> {
        match self.inner {
            #[cfg(windows)]
            Inner::Device(_) => None,
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Inner::Lab { lab, process, trace } => {
                process.process().exit();
                let verdict = lab.finish();
                if trace {
                    verdict.events.iter().for_each(|event| eprintln!("{event}"));
                }
                Some(verdict)
            }
            #[cfg(not(any(windows, all(target_os = "linux", target_arch = "x86_64"))))]
            Inner::Nowhere(never) => match never {},
        }
    }

    /// Ends the process and makes an error of what the lab's rules have to say.
    ///
    /// # Errors
    /// A rule was broken, or something leaked.
    pub fn finish_clean(self) -> Result<(), Error> {
        match self.finish() {
            Some(verdict) if !verdict.is_clean() => Err(verdict.into_error()),
            _ => Ok(()),
        }
    }
}

impl Verdict {
    /// The error that a verdict which is not clean stands for; its [`Exit`] is [`Exit::Violation`].
    #[must_use]
    pub fn into_error(self) -> Error {
        let what = format!("{} rule(s) broken, {} leak(s)", self.violations, self.leaks);
        let error = Error::new(what, Cause::Lab(self.report));
        debug_assert_eq!(error.exit(), Exit::Violation);
        error
    }
}
