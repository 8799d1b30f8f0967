//! `IoCallDriver` and `IoCompleteRequest`: down the stack locations and up again.
//!
//! Models "Completing IRPs", "`IoMarkIrpPending`" and "Implementing an `IoCompletion` routine". Whether `STATUS_PENDING` was
//! returned exactly when the location was marked is judged for each location when both have happened: the return of
//! its dispatch routine, and its passing by the completion.

use std::sync::atomic::Ordering;

use super::{Header, Owner, State, header};
use crate::call::{self, Stopped};
use crate::machine;
use crate::nt::{
    DEVICE_OBJECT, IO_TYPE_IRP, IRP, PVOID, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS,
    SL_PENDING_RETURNED,
};
use crate::process::Context;
use crate::rules::{self, Rule};
use crate::status::NtStatus;
use crate::{irql, thread};

const RETURNED: u64 = 1;
const RETURNED_PENDING: u64 = 2;
const PASSED: u64 = 4;
const PASSED_MARKED: u64 = 8;
/// Locations that are judged; deeper stacks do not occur.
const JUDGED: i8 = 16;

fn broken(rule: &'static Rule, message: impl Into<String>, header: Option<&Header>) -> Stopped {
    rules::record(rule, message, header.map_or_else(Vec::new, Header::history))
}

/// Notes one of the two things that must agree about a location, and judges when both are there. `unmarked` is the rule for a
/// dispatch routine that returned `STATUS_PENDING` without having marked the location.
fn judge(header: &Header, location: i8, bits: u64, unmarked: &'static Rule) -> Result<u64, Stopped> {
    if !(1..=JUDGED).contains(&location) {
        return Ok(0);
    }
    let shift = 4 * (u32::from(location.cast_unsigned()) - 1);
    let before = header.marks.fetch_or(bits << shift, Ordering::AcqRel) >> shift & 15;
    let now = before | bits;
    if now & RETURNED != 0 && now & PASSED != 0 {
        match (now & RETURNED_PENDING != 0, now & PASSED_MARKED != 0) {
            (true, false) => {
                return Err(broken(
                    unmarked,
                    format!("the dispatch routine at stack location {location} returned STATUS_PENDING"),
                    Some(header),
                ));
            }
            (false, true) => {
                return Err(broken(
                    &rules::MARKED_NOT_RETURNED,
                    format!("the dispatch routine at stack location {location} returned another status"),
                    Some(header),
                ));
            }
            _ => {}
        }
    }
    Ok(now)
}

/// What the dispatch routine for a major function is called in messages.
pub(crate) const fn name_of(major: u8) -> &'static str {
    match major {
        0x00 => "the dispatch routine for IRP_MJ_CREATE",
        0x02 => "the dispatch routine for IRP_MJ_CLOSE",
        0x03 => "the dispatch routine for IRP_MJ_READ",
        0x04 => "the dispatch routine for IRP_MJ_WRITE",
        0x0e => "the dispatch routine for IRP_MJ_DEVICE_CONTROL",
        0x0f => "the dispatch routine for IRP_MJ_INTERNAL_DEVICE_CONTROL",
        0x12 => "the dispatch routine for IRP_MJ_CLEANUP",
        _ => "a dispatch routine",
    }
}

/// An IRP on its way to a driver: what calling the driver's dispatch routine takes. Holds the IRP's slot.
struct Passed {
    device: usize,
    irp: usize,
    incarnation: u32,
}

/// `IoCallDriver`: gives the IRP to the driver of `device`.
pub(crate) fn call_driver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> Result<i32, Stopped> {
    pass(device, irp)?.dispatch().map(|status| status.0)
}

/// `IoCallDriver` by a driver: where the machine forces requests to pend, the lower driver gets the IRP later, on another thread.
pub(super) fn call_lower_driver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> Result<i32, Stopped> {
    let machine = machine::current();
    let passed = pass(device, irp)?;
    let Some(header) = header(irp).filter(|_| machine.forces_pending()) else {
        return passed.dispatch().map(|status| status.0);
    };
    header.force(passed.location());
    machine.reference(device.cast());
    machine.run_later(Box::new(move |machine| {
        let device = passed.device;
        Context::system(machine).enter(|| passed.dispatch())?;
        machine.dereference(device as PVOID)
    }));
    Ok(NtStatus::PENDING.0)
}

/// Moves the IRP to the location of the driver of `device`.
fn pass(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> Result<Passed, Stopped> {
    let header = header(irp);
    // SAFETY: the caller owns the IRP; if it is none, the fault is the driver's.
    let body = unsafe { &*irp };
    let incarnation = if let Some(header) = header {
        if header.state().0 != State::Live {
            return Err(broken(&rules::IRP_USE_AFTER_COMPLETE, "IoCallDriver on an IRP that is over", Some(header)));
        }
        header.hold_slot();
        header.incarnation.load(Ordering::Relaxed)
    } else {
        0
    };
    if body.CurrentLocation.get() <= 1 {
        return Err(broken(&rules::NO_STACK_LOCATION, "IoCallDriver on an IRP without a free location", header));
    }
    body.advance();
    // SAFETY: the location is inside the IRP, as `CurrentLocation` was above 1.
    unsafe { &*body.current() }.DeviceObject.set(device);
    if let Some(header) = header {
        header.note("passed to the driver of device", device as usize);
    }
    Ok(Passed { device: device as usize, irp: irp as usize, incarnation })
}

impl Passed {
    fn body(&self) -> &IRP {
        // SAFETY: `pass` was given an IRP by its owner, and no driver has had it since.
        unsafe { &*(self.irp as *const IRP) }
    }

    fn location(&self) -> i8 {
        self.body().CurrentLocation.get()
    }

    /// Calls the dispatch routine and judges what it returns.
    fn dispatch(self) -> Result<NtStatus, Stopped> {
        let (device, header) = (self.device as *mut DEVICE_OBJECT, header(self.irp as *const IRP));
        let location = self.location();
        thread::this().last_completed.set((0, 0));
        // SAFETY: the location is inside the IRP.
        let major = unsafe { &*self.body().current() }.MajorFunction.get();
        // SAFETY: the caller passed a device; if it is none, the fault is the driver's.
        let driver = unsafe { &*device }.DriverObject.get();
        // SAFETY: a device that exists has a driver object; if the driver wrote to the field, the fault is its own.
        let routine = unsafe { &*driver }.MajorFunction.get(usize::from(major)).map_or(0, std::cell::Cell::get);
        let what = name_of(major);
        let value = call::driver(what, routine, &[self.device, self.irp])?;
        let status = NtStatus::returned(value);
        if let Some(header) = header {
            if header.incarnation.load(Ordering::Acquire) == self.incarnation {
                returned(header, location, status, what)?;
            }
            machine::current().release_slot(header);
        }
        Ok(status)
    }
}

fn returned(header: &Header, location: i8, status: NtStatus, what: &str) -> Result<(), Stopped> {
    let pending = status == NtStatus::PENDING;
    // Whoever completes it on another thread does so rightfully: then what is missing is the mark.
    let own = thread::this().last_completed.get() == (std::ptr::from_ref(header) as usize, location);
    let unmarked = if own { &rules::PENDED_COMPLETED } else { &rules::PENDING_NOT_MARKED };
    let now = judge(header, location, RETURNED | if pending { RETURNED_PENDING } else { 0 }, unmarked)?;
    if pending || now == 0 {
        return Ok(());
    }
    if now & PASSED == 0 {
        let message = format!("{what} returned {status:?}, but the IRP is not completed");
        return Err(broken(&rules::STATUS_WITHOUT_COMPLETION, message, Some(header)));
    }
    let (state, _) = header.state();
    let last = NtStatus(header.final_status.load(Ordering::Acquire));
    let over = matches!(state, State::Done | State::Free);
    if over && location == header.stack_size.get() && header.owner.get() == Owner::Manager && last != status {
        let message = format!("{what} returned {status:?}, but the IRP was completed with {last:?}");
        return Err(broken(&rules::STATUS_DIFFERS, message, Some(header)));
    }
    Ok(())
}

/// Checks what `IoCompleteRequest` must find, and marks the IRP as being completed.
fn begin(body: &IRP, header: Option<&Header>) -> Result<(), Stopped> {
    if let Some(header) = header {
        let (state, word) = header.state();
        if state != State::Live || !header.change(word, State::Completing) {
            return Err(broken(&rules::DOUBLE_COMPLETION, "the IRP is completed already", Some(header)));
        }
        header.used.store(true, Ordering::Relaxed);
        header.note("IoCompleteRequest by", thread::this().caller.get());
    }
    let is_own = header.is_some_and(|header| header.owner.get() == Owner::Driver);
    if is_own && body.CurrentLocation.get() > body.StackCount.get() {
        return Err(broken(&rules::IRP_OWN_COMPLETED, "the IRP was passed to no driver", header));
    }
    if body.Type.get() != IO_TYPE_IRP || body.CurrentLocation.get() > body.StackCount.get() {
        return Err(broken(&rules::DOUBLE_COMPLETION, "no driver has the IRP, or it is none", header));
    }
    let thread = thread::this();
    if thread.irql.get() > irql::DISPATCH {
        let message = format!("the IRQL is {}", thread.irql.get());
        return Err(broken(&rules::COMPLETION_IRQL, message, header));
    }
    if let Some(lock) = thread.locks().next() {
        let message = format!("the thread holds {}", machine::current().describe_lock(&lock));
        return Err(broken(&rules::COMPLETION_UNDER_LOCK, message, header));
    }
    if body.IoStatus.get().Status == NtStatus::PENDING.0 {
        return Err(broken(&rules::COMPLETED_PENDING, "IoStatus.Status is STATUS_PENDING", header));
    }
    let routine = body.CancelRoutine.load(Ordering::Acquire);
    if routine != 0 {
        let message = format!("its cancel routine is {}", machine::current().describe_code(routine));
        return Err(broken(&rules::CANCEL_ROUTINE_SET, message, header));
    }
    Ok(())
}

/// `IoCompleteRequest`, by a driver or on behalf of one.
pub(crate) fn complete(irp: *mut IRP) -> Result<(), Stopped> {
    let machine = machine::current();
    let header = header(irp);
    if let Some(header) = header {
        header.hold_slot();
    }
    // SAFETY: the caller owns the IRP; if it is none, the fault is the driver's. Freed IRPs stay readable.
    let body = unsafe { &*irp };
    begin(body, header)?;
    thread::this()
        .last_completed
        .set((header.map_or(0, |header| std::ptr::from_ref(header) as usize), body.CurrentLocation.get()));
    machine.at_point();
    let before = irql::current();
    let raises = before < irql::DISPATCH && header.is_some_and(Header::is_forced) && machine.random() & 1 == 0;
    if raises {
        // Lower drivers complete at either level.
        irql::raise(irql::DISPATCH);
    }
    let whole = walk(irp, body, header)?;
    if raises {
        irql::lower(before);
    }
    if whole {
        finish(irp, body, header)?;
    }
    if let Some(header) = header {
        machine.release_slot(header);
    }
    Ok(())
}

/// Goes up the stack locations; false when a completion routine has taken the IRP back.
fn walk(irp: *mut IRP, body: &IRP, header: Option<&Header>) -> Result<bool, Stopped> {
    let top = body.StackCount.get();
    while body.CurrentLocation.get() <= top {
        let location = body.CurrentLocation.get();
        // SAFETY: the location is inside the IRP: at most `StackCount`, and its driver was given it.
        let stack = unsafe { &*body.current() };
        body.skip();
        let mut marked = stack.Control.get() & SL_PENDING_RETURNED;
        if let Some(header) = header {
            let bits = PASSED | if marked != 0 { PASSED_MARKED } else { 0 };
            judge(header, location, bits, &rules::PENDING_NOT_MARKED)?;
            if header.was_forced(location) {
                marked = SL_PENDING_RETURNED;
            }
        }
        body.PendingReturned.set(marked);
        let status = NtStatus(body.IoStatus.get().Status);
        let control = stack.Control.get();
        let wanted = (status.is_success() && control & SL_INVOKE_ON_SUCCESS != 0)
            || (!status.is_success() && control & SL_INVOKE_ON_ERROR != 0)
            || (body.Cancel.load(Ordering::Acquire) != 0 && control & SL_INVOKE_ON_CANCEL != 0);
        let (routine, context) = (stack.CompletionRoutine.get(), stack.Context.get());
        stack.clear();
        let above = location < top;
        if wanted {
            // SAFETY: when there is a location above, `skip` has moved to it.
            let device = if above { unsafe { &*body.current() }.DeviceObject.get() } else { std::ptr::null_mut() };
            if !continues(irp, header, routine, device, context as usize)? {
                return Ok(false);
            }
        } else if above && marked != 0 {
            // SAFETY: when there is a location above, `skip` has moved to it.
            let control = &unsafe { &*body.current() }.Control;
            control.set(control.get() | SL_PENDING_RETURNED);
        }
    }
    Ok(true)
}

/// Calls a completion routine, which has the IRP meanwhile; false when it keeps it.
fn continues(
    irp: *mut IRP,
    header: Option<&Header>,
    routine: usize,
    device: *mut DEVICE_OBJECT,
    context: usize,
) -> Result<bool, Stopped> {
    let word = header.map(|header| {
        header.note("completion routine", routine);
        header.set_state(State::Live)
    });
    let value = call::driver("a completion routine", routine, &[device as usize, irp as usize, context])?;
    if NtStatus::returned(value) == NtStatus::MORE_PROCESSING_REQUIRED {
        return Ok(false);
    }
    if let (Some(header), Some(word)) = (header, word)
        && !header.change(word, State::Completing)
    {
        return Err(broken(
            &rules::DOUBLE_COMPLETION,
            "a completion routine completed, freed or reused the IRP and let its completion go on",
            Some(header),
        ));
    }
    Ok(true)
}

/// What the I/O manager does when no driver is left.
fn finish(irp: *mut IRP, body: &IRP, header: Option<&Header>) -> Result<(), Stopped> {
    let routine = header.and_then(|header| header.finish.get());
    let (Some(header), Some((routine, context))) = (header, routine) else {
        return Err(broken(
            &rules::IRP_NOT_RECLAIMED,
            "the completion of an IRP that a driver allocated reached the I/O manager",
            header,
        ));
    };
    header.final_status.store(body.IoStatus.get().Status, Ordering::Release);
    header.note("completed with", body.IoStatus.get().Status.cast_unsigned() as usize);
    header.set_state(State::Done);
    routine(body, context)?;
    machine::current().release_body(irp);
    Ok(())
}
