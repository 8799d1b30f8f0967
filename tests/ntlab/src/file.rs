//! File objects: from `IRP_MJ_CREATE` over the last handle's `IRP_MJ_CLEANUP` to `IRP_MJ_CLOSE` when nothing refers to them.
//!
//! Models "`IRP_MJ_CREATE`", "`IRP_MJ_CLEANUP`" and "`IRP_MJ_CLOSE`".

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::call::{Stopped, or_escape};
use crate::exports::{Export, routines};
use crate::irp::{self, Owner};
use crate::machine::{Current, Inner};
use crate::nt::{
    DEVICE_OBJECT, DO_DEVICE_INITIALIZING, DO_EXCLUSIVE, DRIVER_OBJECT, FILE_OBJECT, IO_STACK_LOCATION, IO_TYPE_FILE,
    IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, PVOID, UNICODE_STRING,
};
use crate::objects::{self, Kind};
use crate::process::Context;
use crate::request::Shared as Request;
use crate::rtl::text;
use crate::rules;
use crate::security::READ_WRITE;
use crate::status::NtStatus;
use crate::turns::Sleeper;

/// How often a waiting thread looks whether its machine has stopped.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// What the lab keeps for a file object.
pub(crate) struct File {
    pub(crate) object: usize,
    pub(crate) device: usize,
    /// Open handles.
    pub(crate) handles: AtomicUsize,
    /// Requests that are pending.
    pub(crate) requests: Mutex<Vec<Arc<Request>>>,
}

/// `FILE_OPEN`: the disposition of an open, in the top byte of a create's options.
const FILE_OPEN: usize = 1;

/// `IO_SECURITY_CONTEXT`, as far as drivers look at it.
#[repr(C)]
struct SecurityContext {
    quality_of_service: usize,
    access_state: usize,
    desired_access: u32,
    full_create_options: u32,
}

/// Somebody who waits for the end of an IRP.
#[derive(Default)]
struct Waiter {
    status: Mutex<Option<NtStatus>>,
    done: Condvar,
    sleeper: Sleeper,
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is `Finish`")]
fn finish_waited(irp: &IRP, context: usize) -> Result<(), Stopped> {
    // SAFETY: `send` gave this reference to the IRP.
    let waiter = unsafe { Arc::from_raw(context as *const Waiter) };
    *waiter.status.lock() = Some(NtStatus(irp.IoStatus.get().Status));
    waiter.sleeper.wake();
    waiter.done.notify_all();
    Ok(())
}

/// Sends an IRP without buffers to the device and waits for its end.
fn send(
    machine: &Inner,
    context: &Context,
    device: *mut DEVICE_OBJECT,
    file: *mut FILE_OBJECT,
    major: u8,
    set_parameters: impl FnOnce(&IO_STACK_LOCATION),
) -> Result<NtStatus, Stopped> {
    let waiter = Arc::new(Waiter::default());
    // SAFETY: the caller holds a reference to the device.
    let stack_size = unsafe { &*device }.StackSize.get();
    let reference = Arc::into_raw(Arc::clone(&waiter)) as usize;
    let pointer = irp::allocate(stack_size, Owner::Manager, Some((finish_waited, reference)));
    // SAFETY: the IRP is new.
    let irp = unsafe { &*pointer };
    irp.RequestorMode.set(i8::from(major == IRP_MJ_CREATE));
    irp.Thread.set(context.thread);
    irp.OriginalFileObject.set(file);
    // SAFETY: the IRP has at least one location.
    let stack = unsafe { &*irp.next() };
    stack.MajorFunction.set(major);
    stack.FileObject.set(file);
    set_parameters(stack);
    machine.bounded("a dispatch routine", || context.enter(|| irp::call_driver(device, pointer)))?;
    let since = Instant::now();
    loop {
        if let Some(status) = *waiter.status.lock() {
            return Ok(status);
        }
        if machine.is_stopped() {
            return Err(Stopped);
        }
        if since.elapsed() > machine.options.hang {
            let message = format!("an IRP of major function {major:#x} is not completed");
            return Err(rules::record(&rules::HANGS, message, irp::events(pointer)));
        }
        machine.sleep_until(&waiter.sleeper, || {
            let mut status = waiter.status.lock();
            if status.is_none() {
                waiter.done.wait_for(&mut status, LOOK);
            }
        });
    }
}

/// Gives the lab's part of a file back, after its `IRP_MJ_CLOSE` if it was ever opened.
fn end(machine: &Inner, object: PVOID) -> Result<bool, Stopped> {
    let Some(header) = machine.object(object) else { return Ok(true) };
    let address = header.context.load(Ordering::Acquire) as *const File;
    // SAFETY: `open` stored a reference there, which lives as long as the object.
    let opened = unsafe { &*address }.handles.load(Ordering::Acquire) != usize::MAX;
    if !opened {
        return dispose(machine, object).map(|()| true);
    }
    let object = object as usize;
    let close = move |machine: &Inner| {
        close(machine, object as PVOID)?;
        machine.free_object(object as PVOID)
    };
    if crate::thread::this().depth.get() == 0 && crate::irql::current() == crate::irql::PASSIVE {
        close(machine)?;
    } else {
        machine.run_later(Box::new(close));
    }
    Ok(false)
}

/// `IRP_MJ_CLOSE`, then what the lab holds.
fn close(machine: &Inner, object: PVOID) -> Result<(), Stopped> {
    let file: *mut FILE_OBJECT = object.cast();
    // SAFETY: the memory of the object stays until `free_object`.
    let device = unsafe { &*file }.DeviceObject.get();
    send(machine, &Context::system(machine), device, file, IRP_MJ_CLOSE, |_| {})?;
    machine.device(device).files.fetch_sub(1, Ordering::AcqRel);
    dispose(machine, object)
}

fn dispose(machine: &Inner, object: PVOID) -> Result<(), Stopped> {
    if let Some(header) = machine.object(object) {
        let address = header.context.swap(0, Ordering::AcqRel) as *const File;
        // SAFETY: `open` stored this reference; the swap makes this its only taker.
        let file = unsafe { Arc::from_raw(address) };
        machine.dereference(file.device as PVOID)?;
    }
    Ok(())
}

/// Opens `name` as `CreateFile` does for an asynchronous handle with read and write access.
pub(crate) fn open(machine: &Current, context: &Context, name: &str) -> Result<Result<Arc<File>, NtStatus>, Stopped> {
    let path = match name.strip_prefix(r"\\.\") {
        Some(rest) => format!(r"\??\{rest}"),
        None => name.to_owned(),
    };
    let Some(pointer) = machine.names.device(&path) else { return Ok(Err(NtStatus::OBJECT_NAME_NOT_FOUND)) };
    let extra = machine.device(pointer);
    // SAFETY: the name led to it, and `device` has found the object.
    let device = unsafe { &*pointer };
    let flags = device.Flags.get();
    if flags & DO_DEVICE_INITIALIZING != 0 || extra.deleted.load(Ordering::Acquire) {
        return Ok(Err(NtStatus::NO_SUCH_DEVICE));
    }
    if !extra.admits(context.token, READ_WRITE)
        || (flags & DO_EXCLUSIVE != 0 && extra.files.load(Ordering::Acquire) != 0)
    {
        return Ok(Err(NtStatus::ACCESS_DENIED));
    }
    machine.reference(pointer.cast());
    extra.files.fetch_add(1, Ordering::AcqRel);
    let object = machine.create_object(Kind::File, size_of::<FILE_OBJECT>(), Some(end));
    let file = Arc::new(File {
        object: object as usize,
        device: pointer as usize,
        handles: AtomicUsize::new(usize::MAX),
        requests: Mutex::default(),
    });
    if let Some(header) = machine.object(object) {
        header.context.store(Arc::into_raw(Arc::clone(&file)) as usize, Ordering::Release);
    }
    let file_pointer: *mut FILE_OBJECT = object.cast();
    // SAFETY: the object is new, large enough, and valid when zero.
    let body = unsafe { &*file_pointer };
    body.Type.set(IO_TYPE_FILE);
    body.Size.set(216);
    body.DeviceObject.set(pointer);
    body.ReadAccess.set(1);
    body.WriteAccess.set(1);
    let security =
        SecurityContext { quality_of_service: 0, access_state: 0, desired_access: READ_WRITE, full_create_options: 0 };
    let status = send(machine, context, pointer, file_pointer, IRP_MJ_CREATE, |stack| {
        stack.Parameters.set([&raw const security as usize, FILE_OPEN << 24, 0, 0]);
    })?;
    if !status.is_success() {
        machine.device(pointer).files.fetch_sub(1, Ordering::AcqRel);
        machine.dereference(object)?;
        return Ok(Err(status));
    }
    file.handles.store(1, Ordering::Release);
    Ok(Ok(file))
}

/// Closes one handle: the last one sends `IRP_MJ_CLEANUP` and gives the handles' reference back.
pub(crate) fn close_handle(machine: &Inner, context: &Context, file: &File) -> Result<(), Stopped> {
    if file.handles.fetch_sub(1, Ordering::AcqRel) != 1 {
        return Ok(());
    }
    let object = file.object as PVOID;
    send(machine, context, file.device as *mut DEVICE_OBJECT, object.cast(), IRP_MJ_CLEANUP, |_| {})?;
    machine.dereference(object)
}

/// `IoGetDeviceObjectPointer`: opens a device, and closes the handle again; what is left is the driver's reference to the file, at
/// whose end `IRP_MJ_CLOSE` is sent. The device lives as long as the file.
extern "win64" fn device_pointer(
    name: *const UNICODE_STRING,
    _access: u32,
    file: *mut usize,
    device: *mut usize,
) -> i32 {
    let machine = crate::machine::current();
    let context = Context::system(&machine);
    let opened = open(&machine, &context, &text(name)).and_then(|opened| match opened {
        Ok(opened) => {
            let found = (opened.object, opened.device);
            objects::take(found.0 as PVOID, Some(Kind::File), "IoGetDeviceObjectPointer");
            close_handle(&machine, &context, &opened).map(|()| Ok(found))
        }
        Err(status) => Ok(Err(status)),
    });
    match or_escape(opened) {
        Ok(found) => {
            // SAFETY: the driver passes a place for the file object.
            unsafe { file.write(found.0) };
            // SAFETY: the driver passes a place for the device object.
            unsafe { device.write(found.1) };
            NtStatus::SUCCESS.0
        }
        Err(status) => status.0,
    }
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe"; PASSIVE: IoGetDeviceObjectPointer => device_pointer;]
}

impl Inner {
    /// Waits until no file of the driver's devices is left; false at once when a handle to one is open.
    pub(crate) fn wait_for_files(&self, driver: &DRIVER_OBJECT) -> Result<bool, Stopped> {
        if self.has_open_handles() {
            return Ok(false);
        }
        let since = Instant::now();
        loop {
            let mut files = 0;
            let mut next = driver.DeviceObject.get();
            while !next.is_null() {
                files += self.device(next).files.load(Ordering::Acquire);
                // SAFETY: devices on the driver's list exist.
                next = unsafe { &*next }.NextDevice.get();
            }
            if files == 0 {
                return Ok(true);
            }
            if self.is_stopped() {
                return Err(Stopped);
            }
            if since.elapsed() > self.options.hang {
                let message = format!("{files} closed files are still referenced by IRPs");
                return Err(rules::record(&rules::HANGS, message, Vec::new()));
            }
            self.pause();
        }
    }
}
