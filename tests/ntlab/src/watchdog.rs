//! One thread of the process that looks after all machines: calls into drivers that last too long, and threads of stopped
//! machines that make no call.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::fault;
use crate::machine::Inner;
use crate::rules::{self, Violation};
use crate::thread::{self, Shared};

static MACHINES: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());
/// How often it looks.
const ROUND: Duration = Duration::from_millis(50);

/// Has the watchdog look after a machine.
pub(crate) fn watch(machine: &Arc<Inner>) {
    static START: Once = Once::new();
    MACHINES.lock().push(Arc::downgrade(machine));
    START.call_once(|| {
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(run).expect("a thread");
    });
}

fn run() {
    loop {
        std::thread::sleep(ROUND);
        let machines: Vec<Arc<Inner>> = {
            let mut machines = MACHINES.lock();
            machines.retain(|machine| machine.strong_count() != 0);
            machines.iter().filter_map(Weak::upgrade).collect()
        };
        if machines.is_empty() {
            continue;
        }
        for shared in thread::registered() {
            let current = shared.machine.load(Ordering::Acquire).cast_const();
            if let Some(machine) = machines.iter().find(|machine| Arc::as_ptr(machine) == current) {
                look(machine, &shared);
            }
        }
    }
}

fn look(machine: &Inner, shared: &Shared) {
    let tid = shared.tid.load(Ordering::Relaxed);
    if machine.is_stopped() {
        // SAFETY: getpid has no preconditions.
        let pid = unsafe { libc::getpid() };
        // SAFETY: a signal to a thread of this process, whose handler is installed; if the thread is gone, it fails.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, fault::leave_signal()) };
        return;
    }
    let deadline = shared.deadline.load(Ordering::Acquire);
    if deadline != 0 && machine.age().as_millis() > u128::from(deadline) {
        let routine = shared.routine.load(Ordering::Relaxed);
        let _ = machine.violated(Violation {
            rule: &rules::HANGS,
            message: format!("{} (thread {tid}) does not return", shared.name()),
            history: Vec::new(),
            calls: Vec::new(),
            stack: if routine == 0 { Vec::new() } else { vec![machine.describe_code(routine)] },
            irql: 0,
            symbols: machine.symbols(),
        });
    }
}

impl Shared {
    /// The name of the bounded call that runs.
    pub(crate) fn name(&self) -> &'static str {
        let (start, length) = (self.what.load(Ordering::Relaxed), self.what_length.load(Ordering::Relaxed));
        if start.is_null() {
            return "a call";
        }
        // SAFETY: both parts are of a `&'static str`; those that calls are named by do not change while one hangs.
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        std::str::from_utf8(bytes).unwrap_or("a call")
    }
}
