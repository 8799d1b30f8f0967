//! System worker threads and work items.
//!
//! Models "System Worker Threads".

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::call::{self, Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::machine::{self, Inner};
use crate::nt::{DEVICE_OBJECT, PVOID, WORK_QUEUE_ITEM};
use crate::pool::Kind;
use crate::process::Context;
use crate::rules;
use crate::thread::this;

/// What a thread is called that does a piece of work.
const WORK: &str = "work";

/// Something for a worker thread.
pub(crate) type Job = Box<dyn FnOnce(&Inner) -> Result<(), Stopped> + Send>;

#[derive(Default)]
struct Queue {
    /// With the number of each.
    jobs: VecDeque<(u64, Job)>,
    queued: u64,
    idle: usize,
}

/// The worker threads of a machine. There are as many as are needed, so that none waits for another.
#[derive(Default)]
pub(crate) struct Workers {
    queue: Mutex<Queue>,
    ready: Condvar,
    /// Work items by address.
    items: Mutex<HashMap<usize, Item>>,
    /// Routines of drivers that run now.
    running: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Item {
    is_queued: bool,
    /// Return address of the call that allocated it.
    by: usize,
}

impl Workers {
    /// Wakes idle threads, which then see that the machine has stopped.
    pub(crate) fn wake(&self) {
        drop(self.queue.lock());
        self.ready.notify_all();
    }

    /// Notes whether a work item is queued; whether it was, none when it is no work item.
    fn set_queued(&self, item: usize, is_queued: bool) -> Option<bool> {
        let mut items = self.items.lock();
        items.get_mut(&item).map(|item| std::mem::replace(&mut item.is_queued, is_queued))
    }

    fn next(&self, machine: &Inner) -> Option<(u64, Job)> {
        let mut queue = self.queue.lock();
        queue.idle += 1;
        let job = loop {
            if machine.is_stopped() {
                break None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                break Some(job);
            }
            self.ready.wait(&mut queue);
        };
        queue.idle -= 1;
        job
    }
}

impl Inner {
    /// Has a worker thread run `job` at `PASSIVE_LEVEL` in the System process.
    pub(crate) fn run_later(&self, job: Job) {
        let spawn = {
            let mut queue = self.workers.queue.lock();
            queue.queued += 1;
            let number = queue.queued;
            self.wake_turn((WORK, number));
            queue.jobs.push_back((number, job));
            queue.idle < queue.jobs.len()
        };
        if spawn {
            let Some(machine) = self.arc() else { return };
            let same = machine.clone();
            machine.spawn("system worker", move || {
                while let Some((number, job)) = same.workers.next(&same) {
                    if same.as_thread((WORK, number), || job(&same)).is_err() {
                        break;
                    }
                }
            });
        } else {
            self.workers.ready.notify_one();
        }
    }

    /// Work items that are live, one line each. A routine that is about to return is awaited.
    pub(crate) fn live_work(&self) -> Vec<String> {
        let since = Instant::now();
        while self.workers.running.load(Ordering::Acquire) != 0
            && since.elapsed() < Duration::from_secs(5)
            && !self.is_stopped()
        {
            self.pause();
        }
        let tell = |(address, item): (&usize, &Item)| {
            let state = if item.is_queued { "queued" } else { "not freed" };
            format!("work item {address:#x} ({state}) allocated by {}", self.describe_code(item.by))
        };
        let mut live: Vec<String> = self.workers.items.lock().iter().map(tell).collect();
        match self.workers.running.load(Ordering::Acquire) {
            0 => {}
            running => live.push(format!("{running} running work item routines")),
        }
        live
    }

    /// Has a worker thread call a driver's routine.
    fn queue_routine(&self, routine: usize, arguments: [usize; 3], device: *mut DEVICE_OBJECT) {
        if !device.is_null() {
            self.reference(device.cast());
        }
        let device = device as usize;
        self.run_later(Box::new(move |machine| {
            machine.workers.running.fetch_add(1, Ordering::AcqRel);
            let context = Context::system(machine);
            let result = context.enter(|| call::driver("a work item routine", routine, &arguments));
            machine.workers.running.fetch_sub(1, Ordering::AcqRel);
            result?;
            if device == 0 { Ok(()) } else { machine.dereference(device as PVOID) }
        }));
    }
}

const ITEM_SIZE: usize = 64;

extern "win64" fn io_allocate_work_item(device: *mut DEVICE_OBJECT) -> PVOID {
    let machine = machine::current();
    machine.require_object(device.cast(), None, "IoAllocateWorkItem");
    if machine.fails_allocation() {
        return std::ptr::null_mut();
    }
    let kind = Kind { zeroed: true, internal: true, ..Kind::default() };
    let item = machine.pool.allocate(ITEM_SIZE, u32::from_le_bytes(*b"IoWI"), kind);
    if !item.is_null() {
        // SAFETY: the block is new and long enough.
        unsafe { item.cast::<usize>().write(device as usize) };
        let new = Item { is_queued: false, by: this().caller.get() };
        machine.workers.items.lock().insert(item as usize, new);
    }
    item
}

fn queue(item: PVOID, routine: usize, context: usize, extended: bool) {
    let machine = machine::current();
    let before = machine.workers.set_queued(item as usize, true);
    match before {
        Some(false) => {}
        Some(true) => rules::violate(&rules::BAD_OBJECT, "the work item is queued already", Vec::new()),
        None => rules::violate(&rules::BAD_OBJECT, format!("{item:p} is no work item"), Vec::new()),
    }
    // SAFETY: the item is live, and begins with its device.
    let device = unsafe { item.cast::<usize>().read() } as *mut DEVICE_OBJECT;
    let arguments = if extended { [device as usize, context, item as usize] } else { [device as usize, context, 0] };
    machine.reference(device.cast());
    let (item, device) = (item as usize, device as usize);
    machine.run_later(Box::new(move |machine| {
        // The routine may free the item or queue it again.
        machine.workers.running.fetch_add(1, Ordering::AcqRel);
        machine.workers.set_queued(item, false);
        let result = Context::system(machine).enter(|| call::driver("a work item routine", routine, &arguments));
        machine.workers.running.fetch_sub(1, Ordering::AcqRel);
        result?;
        machine.dereference(device as PVOID)
    }));
}

extern "win64" fn io_queue_work_item(item: PVOID, routine: usize, _queue: u32, context: usize) {
    queue(item, routine, context, false);
}

extern "win64" fn io_queue_work_item_ex(item: PVOID, routine: usize, _queue: u32, context: usize) {
    queue(item, routine, context, true);
}

extern "win64" fn io_free_work_item(item: PVOID) {
    let machine = machine::current();
    let before = machine.workers.items.lock().remove(&(item as usize));
    match before.map(|item| item.is_queued) {
        Some(false) => or_escape(machine.pool.free_internal(item as usize)),
        Some(true) => rules::violate(&rules::TIMER_FREED, "IoFreeWorkItem on a work item that is queued", Vec::new()),
        None => rules::violate(&rules::BAD_OBJECT, format!("{item:p} is no work item"), Vec::new()),
    }
}

extern "win64" fn ex_queue_work_item(item: &WORK_QUEUE_ITEM, _queue: u32) {
    let routine = item.WorkerRoutine.load(Ordering::Acquire);
    machine::current().queue_routine(routine, [item.Parameter.get() as usize, 0, 0], std::ptr::null_mut());
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        DISPATCH: IoAllocateWorkItem => io_allocate_work_item, IoQueueWorkItem => io_queue_work_item,
            IoQueueWorkItemEx => io_queue_work_item_ex, IoFreeWorkItem => io_free_work_item,
            ExQueueWorkItem => ex_queue_work_item;
    ]
}
