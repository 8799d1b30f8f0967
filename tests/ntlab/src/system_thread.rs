//! System threads: host threads of the machine that run a driver's routine.

use std::cell::Cell;
use std::collections::HashMap;

use parking_lot::Mutex;

use crate::call::{self, Stopped};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::{CLIENT_ID, PVOID};
use crate::process::{Context, create_thread_object};
use crate::rules;
use crate::status::NtStatus;
use crate::thread::this;

/// The system threads of a machine that have not ended, with their start routines.
#[derive(Default)]
pub(crate) struct Threads(Mutex<HashMap<usize, usize>>);

impl Threads {
    /// Running threads, one line each.
    pub(crate) fn live(&self, machine: &Inner) -> Vec<String> {
        let threads = self.0.lock();
        threads.values().map(|&start| format!("system thread {}", machine.describe_code(start))).collect()
    }
}

thread_local! {
    static TERMINATING: Cell<bool> = const { Cell::new(false) };
}

extern "win64" fn create_system_thread(
    handle: &Cell<usize>,
    _access: u32,
    _attributes: usize,
    _process: usize,
    client_id: *mut CLIENT_ID,
    start: usize,
    context: usize,
) -> i32 {
    let machine = machine::current();
    if machine.fails_allocation() {
        return NtStatus::INSUFFICIENT_RESOURCES.0;
    }
    let Some(shared) = machine.arc() else { return NtStatus::INSUFFICIENT_RESOURCES.0 };
    let system = Context::system(&machine);
    let object = create_thread_object(&machine, system.process) as usize;
    machine.system_threads.0.lock().insert(object, start);
    machine.reference(object as PVOID); // for the handle; the first one is the thread's own
    handle.set(machine.handles.open(object as PVOID));
    if !client_id.is_null() {
        // SAFETY: the driver vouches for the place.
        unsafe { client_id.write(CLIENT_ID { UniqueProcess: 4, UniqueThread: object }) };
    }
    let (same, name) = (shared.clone(), machine.announce_thread("system thread"));
    shared.spawn("system thread", move || {
        let own = Context { thread: object as PVOID, ..Context::system(&same) };
        // What was broken is in the machine's report.
        let _ = same.as_thread(name, || own.enter(|| run(&same, object, start, context)));
    });
    NtStatus::SUCCESS.0
}

fn run(machine: &Inner, object: usize, start: usize, context: usize) -> Result<(), Stopped> {
    let result = call::driver("a system thread", start, &[context]);
    if !TERMINATING.take() {
        result?;
    }
    machine.system_threads.0.lock().remove(&object);
    machine.signal(object, 1);
    machine.dereference(object as PVOID)
}

extern "win64" fn terminate_system_thread(_status: i32) -> i32 {
    let thread = this();
    let machine = machine::current();
    let own = machine.system_threads.0.lock().contains_key(&(thread.object.get() as usize));
    if thread.depth.get() != 1 || !own {
        rules::violate(&rules::BAD_OBJECT, "PsTerminateSystemThread outside of a system thread's routine", Vec::new());
    }
    if let Some(lock) = thread.locks().next() {
        let message = format!("a system thread ends holding {}", machine.describe_lock(&lock));
        rules::violate(&rules::LOCK_HELD_AT_RETURN, message, Vec::new());
    }
    TERMINATING.set(true);
    call::escape(Stopped)
}

impl Inner {
    /// System threads that have not ended, one line each.
    pub(crate) fn live_threads(&self) -> Vec<String> {
        self.system_threads.live(self)
    }
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        PASSIVE: PsCreateSystemThread => create_system_thread, PsTerminateSystemThread => terminate_system_thread;
    ]
}
