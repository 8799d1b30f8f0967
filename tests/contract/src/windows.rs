//! The real `wskclient.sys` on the Windows, or the Wine, that the tests run on, where it is installed.
//!
//! A test has the driver to itself: it starts it, and at the end stops it again, which works when nothing is left. Each process of a
//! test is a process of the system, a `wskctl agent`. `WSKCTL` names the program; `PATH` is asked for it otherwise.

use std::{
    cell::RefCell,
    env,
    ffi::OsString,
    process::Command,
    rc::Rc,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};
use wskctl::{
    Client,
    backend::{self, Backend, Choice, Kind, Verdict},
    device::Device,
};

/// There is one driver, and each test has it to itself.
static DRIVER: Mutex<()> = Mutex::new(());

/// The driver, started. It is stopped when this goes.
struct Running {
    _alone: MutexGuard<'static, ()>,
}

impl Running {
    fn start() -> Self {
        let alone = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
        control("start").expect("the driver starts");
        Self { _alone: alone }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match control("stop") {
            Err(error) if !thread::panicking() => panic!("{error}"),
            Err(error) => eprintln!("after the test failed: {error}"),
            Ok(()) => (),
        }
    }
}

/// `wskctl start`, `wskctl stop`: the latter waits until the driver has unloaded.
fn control(verb: &str) -> Result<(), String> {
    let program = env::var_os("WSKCTL").unwrap_or_else(|| OsString::from("wskctl.exe"));
    let output = Command::new(&program).arg(verb).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("wskctl {verb}: {said}")) }
}

fn device() -> Backend {
    Choice { kind: Kind::Device, ..Choice::default() }.open().expect("this is Windows")
}

/// Whether closing a socket resets its peer: on Windows, and not in stock Wine.
#[must_use]
pub fn close_is_abortive() -> bool {
    device().close_is_abortive()
}

/// Has `body` do something on a driver that has just been started, as a program of the harness does it. No rules are asked here.
///
/// # Panics
/// The driver does not start, or does not stop.
pub fn on_a_fresh_driver<T>(body: impl FnOnce(&Backend) -> T) -> (T, Option<Verdict>) {
    let _running = Running::start();
    let backend = device();
    let done = body(&backend);
    (done, backend.finish())
}

/// The machine, with the driver running.
pub struct Lab {
    backend: Backend,
    processes: RefCell<Vec<Rc<backend::Process>>>,
    _running: Running,
}

impl Lab {
    /// Starts the driver.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start() -> Self {
        let running = Running::start();
        Self { backend: device(), processes: RefCell::default(), _running: running }
    }

    /// As [`start`](Self::start): here nothing can be had to go differently by a seed.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn storm(_round: u64) -> Self {
        Self::start()
    }

    /// A new process of this user, who is to be an administrator.
    ///
    /// # Panics
    /// It can't be started.
    #[must_use]
    pub fn process(&self) -> Process {
        let process = Rc::new(self.backend.process("a client").expect("another process"));
        self.processes.borrow_mut().push(process.clone());
        Process(process)
    }
}

impl Drop for Lab {
    /// Every process ends; then the driver has to unload.
    fn drop(&mut self) {
        self.processes.borrow().iter().for_each(|process| process.exit());
    }
}

/// A process. It ends with the test, if it did not before.
#[derive(Clone)]
pub struct Process(Rc<backend::Process>);

impl Process {
    /// Opens the device.
    ///
    /// # Panics
    /// It can't.
    #[must_use]
    pub fn open(&self) -> Client {
        Client::open(self.0.device()).expect("an administrator opens the device")
    }

    /// The process, as a device to open.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        self.0.device()
    }

    /// The process ends: all its handles close.
    pub fn exit(&self) {
        self.0.exit();
    }

    /// The process is killed.
    pub fn kill(&self) {
        self.0.kill();
    }
}
