//! Cancel-safe IRP queues: the driver keeps the queue, the kernel sees to cancellation.
//!
//! Models "Cancel-Safe IRP Queues". The driver's own routines are called as its code, so every rule holds in them.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use crate::call::{self, or_escape};
use crate::exports::{Export, routines};
use crate::irp;
use crate::locks;
use crate::nt::{DEVICE_OBJECT, IRP, PVOID, SL_PENDING_RETURNED};

const TYPE_CONTEXT: u32 = 1;
const TYPE_QUEUE: u32 = 2;
const TYPE_QUEUE_EX: u32 = 3;

/// `IO_CSQ`.
#[repr(C)]
struct Queue {
    kind: Cell<u32>,
    insert: Cell<usize>,
    remove: Cell<usize>,
    peek_next: Cell<usize>,
    acquire: Cell<usize>,
    release: Cell<usize>,
    complete_cancelled: Cell<usize>,
    reserved: Cell<usize>,
}
const _: () = assert!(size_of::<Queue>() == 64);

/// `IO_CSQ_IRP_CONTEXT`.
#[repr(C)]
struct Context {
    kind: Cell<u32>,
    irp: Cell<*mut IRP>,
    queue: Cell<*const Queue>,
}
const _: () = assert!(size_of::<Context>() == 24);

impl Queue {
    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    fn lock(&self) -> u8 {
        let saved = Cell::new(0_u8);
        or_escape(call::driver_any(self.acquire.get(), &[self.address(), saved.as_ptr() as usize]));
        saved.get()
    }

    fn unlock(&self, saved: u8) {
        or_escape(call::driver_any(self.release.get(), &[self.address(), usize::from(saved)]));
    }

    fn take(&self, irp: *mut IRP) {
        or_escape(call::driver("CsqRemoveIrp", self.remove.get(), &[self.address(), irp as usize]));
    }

    fn cancelled(&self, irp: *mut IRP) {
        let routine = self.complete_cancelled.get();
        or_escape(call::driver("CsqCompleteCanceledIrp", routine, &[self.address(), irp as usize]));
    }
}

fn body<'a>(irp: *mut IRP) -> &'a IRP {
    // SAFETY: the driver vouches for the IRP; if it is none, the fault is its own.
    unsafe { &*irp }
}

/// The last `DriverContext` is the queue's.
fn set_link(irp: &IRP, link: PVOID) {
    let mut contexts = irp.DriverContext.get();
    contexts[3] = link;
    irp.DriverContext.set(contexts);
}

/// Parts the IRP from its queue and its context; the queue that it was in.
fn unlink<'a>(irp: &IRP) -> &'a Queue {
    let link = irp.DriverContext.get()[3];
    set_link(irp, std::ptr::null_mut());
    // SAFETY: `insert` put a context or a queue there; both begin with their type.
    let kind = unsafe { &*link.cast::<Cell<u32>>() }.get();
    if kind == TYPE_CONTEXT {
        // SAFETY: the type says so.
        let context = unsafe { &*link.cast::<Context>() };
        context.irp.set(std::ptr::null_mut());
        // SAFETY: `insert` put the queue there.
        return unsafe { &*context.queue.get() };
    }
    // SAFETY: what is no context is a queue.
    unsafe { &*link.cast::<Queue>() }
}

/// The cancel routine of every IRP that is queued.
extern "win64" fn cancel(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    or_escape(locks::release_cancel(body(irp).CancelIrql.get()));
    let link = body(irp).DriverContext.get()[3];
    // SAFETY: what `insert` put there, a context or a queue, begins with its type, and is there until the IRP is removed.
    let kind = unsafe { &*link.cast::<Cell<u32>>() }.get();
    let queue = if kind == TYPE_CONTEXT {
        // SAFETY: the type says so.
        let context = unsafe { &*link.cast::<Context>() };
        context.queue.get()
    } else {
        link.cast::<Queue>().cast_const()
    };
    // SAFETY: the driver keeps its queue as long as an IRP is in it.
    let queue = unsafe { &*queue };
    let saved = queue.lock();
    unlink(body(irp));
    queue.take(irp);
    queue.unlock(saved);
    queue.cancelled(irp);
}

fn initialize(queue: &Queue, kind: u32, routines: [usize; 6]) -> i32 {
    queue.kind.set(kind);
    let [insert, remove, peek_next, acquire, release, complete_cancelled] = routines;
    queue.insert.set(insert);
    queue.remove.set(remove);
    queue.peek_next.set(peek_next);
    queue.acquire.set(acquire);
    queue.release.set(release);
    queue.complete_cancelled.set(complete_cancelled);
    queue.reserved.set(0);
    0
}

extern "win64" fn csq_initialize(
    queue: &Queue,
    insert: usize,
    remove: usize,
    peek_next: usize,
    acquire: usize,
    release: usize,
    complete_cancelled: usize,
) -> i32 {
    initialize(queue, TYPE_QUEUE, [insert, remove, peek_next, acquire, release, complete_cancelled])
}

extern "win64" fn csq_initialize_ex(
    queue: &Queue,
    insert: usize,
    remove: usize,
    peek_next: usize,
    acquire: usize,
    release: usize,
    complete_cancelled: usize,
) -> i32 {
    initialize(queue, TYPE_QUEUE_EX, [insert, remove, peek_next, acquire, release, complete_cancelled])
}

extern "win64" fn insert_ex(queue: &Queue, pointer: *mut IRP, context: *const Context, insert_context: usize) -> i32 {
    let irp = body(pointer);
    // SAFETY: null, or the driver's context.
    if let Some(context) = unsafe { context.as_ref() } {
        context.kind.set(TYPE_CONTEXT);
        context.irp.set(pointer);
        context.queue.set(queue);
        set_link(irp, std::ptr::from_ref(context).cast_mut().cast());
    } else {
        set_link(irp, queue.address() as PVOID);
    }
    let saved = queue.lock();
    let mut status = 0;
    if queue.kind.get() == TYPE_QUEUE_EX {
        let arguments = [queue.address(), pointer as usize, insert_context];
        let value = or_escape(call::driver("CsqInsertIrpEx", queue.insert.get(), &arguments));
        status = crate::status::NtStatus::returned(value).0;
        if status < 0 {
            unlink(irp);
            queue.unlock(saved);
            return status;
        }
    }
    // SAFETY: the IRP is at its driver's location.
    let control = &unsafe { &*irp.current() }.Control;
    control.set(control.get() | SL_PENDING_RETURNED);
    if queue.kind.get() == TYPE_QUEUE {
        or_escape(call::driver("CsqInsertIrp", queue.insert.get(), &[queue.address(), pointer as usize]));
    }
    irp::set_cancel_routine(pointer, cancel as *const () as usize);
    if irp.Cancel.load(Ordering::SeqCst) != 0 && irp::set_cancel_routine(pointer, 0) != 0 {
        unlink(irp);
        queue.take(pointer);
        queue.unlock(saved);
        queue.cancelled(pointer);
    } else {
        queue.unlock(saved);
    }
    status
}

extern "win64" fn insert(queue: &Queue, irp: *mut IRP, context: *const Context) {
    insert_ex(queue, irp, context, 0);
}

extern "win64" fn remove(queue: &Queue, context: &Context) -> *mut IRP {
    let saved = queue.lock();
    let mut irp = context.irp.get();
    if !irp.is_null() {
        if irp::set_cancel_routine(irp, 0) == 0 {
            irp = std::ptr::null_mut(); // its cancel routine has it
        } else {
            unlink(body(irp));
            queue.take(irp);
        }
    }
    queue.unlock(saved);
    irp
}

extern "win64" fn remove_next(queue: &Queue, peek_context: usize) -> *mut IRP {
    let saved = queue.lock();
    let mut irp = 0;
    let found = loop {
        let arguments = [queue.address(), irp, peek_context];
        irp = or_escape(call::driver("CsqPeekNextIrp", queue.peek_next.get(), &arguments));
        let pointer = irp as *mut IRP;
        if pointer.is_null() || irp::set_cancel_routine(pointer, 0) != 0 {
            break pointer;
        }
    };
    if !found.is_null() {
        unlink(body(found));
        queue.take(found);
    }
    queue.unlock(saved);
    found
}

pub(super) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: IoCsqInitialize => csq_initialize, IoCsqInitializeEx => csq_initialize_ex;
        DISPATCH: IoCsqInsertIrp => insert, IoCsqInsertIrpEx => insert_ex, IoCsqRemoveIrp => remove,
            IoCsqRemoveNextIrp => remove_next;
    ]
}
