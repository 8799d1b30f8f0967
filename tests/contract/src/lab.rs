//! The real `wskclient.sys` in the lab: one machine for each test.
//!
//! When it goes, every process ends, the driver is unloaded, and the test fails if a rule of the lab was broken or anything was left.

use std::{cell::RefCell, env, path::PathBuf, rc::Rc, thread};
use wskctl::{
    Client,
    backend::{Backend, Choice, Kind, Verdict},
    device::lab,
};

/// A machine with the driver running.
pub struct Lab {
    lab: Option<lab::Lab>,
    processes: Rc<RefCell<Vec<Rc<lab::LabProcess>>>>,
}

impl Lab {
    /// Starts the driver that `WSKCLIENT_SYS` names.
    ///
    /// # Panics
    /// There is none, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(options())
    }

    /// As [`start`](Self::start), in a machine with other options.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: ntlab::Options) -> Self {
        match lab::Lab::start_with(&image(), options) {
            Ok(lab) => Self { lab: Some(lab), processes: Rc::default() },
            Err((error, _)) => panic!("{error}"),
        }
    }

    /// Starts the driver with values in its service's `Parameters` key.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_parameters(values: &[(&str, ntlab::RegistryValue)]) -> Self {
        let prepare = |driver: &ntlab::Driver| {
            for (name, value) in values {
                driver.set_parameter(name, value.clone());
            }
        };
        match lab::Lab::start_prepared(&image(), options(), prepare) {
            Ok(lab) => Self { lab: Some(lab), processes: Rc::default() },
            Err((error, _)) => panic!("{error}"),
        }
    }

    /// Starts the driver in a machine where a tenth of the calls into the kernel are delayed, so that threads meet everywhere. Each
    /// `round` of a test has other choices.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn storm(round: u64) -> Self {
        Self::delaying(100, round)
    }

    /// As [`storm`](Self::storm), where so many of a thousand calls are delayed: with few, who has the turn gets far while another is in
    /// the middle of something.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn delaying(per_mille: u32, round: u64) -> Self {
        let seed = options().seed.wrapping_mul(1000).wrapping_add(round);
        let chaos = ntlab::Chaos { delays: per_mille, ..options().chaos };
        Self::start_with(ntlab::Options { seed, chaos, ..options() })
    }

    /// The machine.
    ///
    /// # Panics
    /// The lab is over.
    #[must_use]
    pub fn machine(&self) -> &ntlab::Machine {
        self.lab.as_ref().expect("the lab runs").machine()
    }

    /// A new process of an administrator.
    ///
    /// # Panics
    /// The lab is over.
    #[must_use]
    pub fn process(&self) -> Process {
        let process = Rc::new(self.lab.as_ref().expect("the lab runs").process());
        self.processes.borrow_mut().push(process.clone());
        Process(process)
    }

    /// A new process of an ordinary user.
    ///
    /// # Panics
    /// The lab is over.
    #[must_use]
    pub fn process_of_a_user(&self) -> Process {
        let process = self.machine().process_as(ntlab::Token::User);
        let process = Rc::new(lab::LabProcess::over(process));
        self.processes.borrow_mut().push(process.clone());
        Process(process)
    }
}

/// Whether closing a socket resets its peer.
#[must_use]
pub const fn close_is_abortive() -> bool {
    true
}

/// Has `body` do something on a driver that has just been started, as a program of the harness does it. What the rules say at the end.
///
/// # Panics
/// The driver does not start.
pub fn on_a_fresh_driver<T>(body: impl FnOnce(&Backend) -> T) -> (T, Option<Verdict>) {
    let backend = choice().open().expect("the driver starts");
    let done = body(&backend);
    (done, backend.finish())
}

/// The lab with the driver that `WSKCLIENT_SYS` names, as `wskctl` chooses it.
#[must_use]
pub fn choice() -> Choice {
    Choice { kind: Kind::Lab, driver: Some(image()), seed: options().seed, ..Choice::default() }
}

/// The driver's image.
fn image() -> PathBuf {
    let path = env::var_os("WSKCLIENT_SYS").map(PathBuf::from);
    path.expect("WSKCLIENT_SYS names no driver: run `cargo lab test`, which builds one")
}

/// The machine that the environment asks for.
///
/// # Panics
/// `WSKCLIENT_SEED` is no number, or `WSKCLIENT_CHAOS` is not written as [`ntlab::Chaos`] is.
#[must_use]
pub fn options() -> ntlab::Options {
    let seed = env::var("WSKCLIENT_SEED").map_or(1, |seed| seed.parse().expect("WSKCLIENT_SEED is a number"));
    let chaos =
        env::var("WSKCLIENT_CHAOS").map_or_else(|_| ntlab::Chaos::default(), |text| text.parse().expect("chaos"));
    ntlab::Options { seed, chaos, ..ntlab::Options::default() }
}

/// The command that runs the calling test once more, as it was.
#[must_use]
pub fn replay_command() -> String {
    let (seed, chaos) = (options().seed, options().chaos.to_string());
    let chaos = if chaos.is_empty() { chaos } else { format!(" WSKCLIENT_CHAOS={chaos}") };
    let test = thread::current().name().unwrap_or("").to_owned();
    format!("replay: WSKCLIENT_SEED={seed}{chaos} cargo lab test --lab -- --exact {test}")
}

/// A machine's whole life with the driver: `body` has it, if the driver starts. What the rules say at the end.
///
/// # Panics
/// The driver can't be loaded.
pub fn live(options: ntlab::Options, body: impl FnOnce(&ntlab::Machine)) -> (Option<ntlab::Stop>, ntlab::Report) {
    let machine = ntlab::Machine::new(options);
    let driver = machine.load(&image()).expect("the driver can be loaded");
    let started = driver.start();
    if started.is_ok() {
        body(&machine);
    }
    (started.err(), machine.finish())
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(lab) = self.lab.take() else { return };
        for process in self.processes.borrow().iter() {
            process.process().exit();
        }
        let verdict = lab.finish();
        if thread::panicking() {
            eprintln!("the lab, after the test failed:\n{}\n{}", verdict.report, replay_command());
        } else {
            assert!(
                verdict.is_clean(),
                "{} violations, {} leaks\n{}\n{}",
                verdict.violations,
                verdict.leaks,
                verdict.report,
                replay_command()
            );
        }
    }
}

/// A process of the machine. It ends with the lab, if it did not before.
#[derive(Clone)]
pub struct Process(Rc<lab::LabProcess>);

impl Process {
    /// Opens the device.
    ///
    /// # Panics
    /// It can't.
    #[must_use]
    pub fn open(&self) -> Client {
        Client::open(&*self.0).expect("an administrator opens the device")
    }

    /// The process, as a device to open.
    #[must_use]
    pub fn device(&self) -> &lab::LabProcess {
        &self.0
    }

    /// The process ends: all its handles close.
    pub fn exit(&self) {
        self.0.process().exit();
    }

    /// The process is killed.
    pub fn kill(&self) {
        self.0.process().kill();
    }
}
