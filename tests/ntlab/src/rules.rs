//! The rules, and what happens when one is broken: the machine stops, as at a bug check.

use std::fmt;

use crate::call::{self, Stopped};
use crate::machine;
use crate::symbols::{Place, Symbols};
use crate::thread::{CALLS, this};

/// Something that a driver must or must not do.
#[derive(Debug)]
pub struct Rule {
    /// The lab's name of the rule.
    pub name: &'static str,
    /// Microsoft's name: a Driver Verifier or static rule, or the bug check it ends in.
    pub windows_name: Option<&'static str>,
    /// What must hold.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// Why no driver can show that the rule works, when none can.
    pub unprovable: Option<&'static str>,
}

/// Every rule of the lab: those of the kernel, then those of WSK.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(crate::wsk::rules::RULES).copied()
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Rule {}

/// A broken rule.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The rule.
    pub rule: &'static Rule,
    /// What happened.
    pub message: String,
    /// The life of the IRP or pool block that it happened to.
    pub history: Vec<String>,
    /// The thread's last calls into the kernel, the last one first.
    pub calls: Vec<String>,
    /// Where in the driver: the routine that returned or the instruction that faulted, if that was it, and return
    /// addresses, the innermost first.
    pub stack: Vec<String>,
    /// The IRQL at which it happened.
    pub irql: u8,
    pub(crate) symbols: Symbols,
}

impl Violation {
    /// The driver's source that the report names: on the stack, the innermost place first, then in the message and the history.
    /// Reads the .pdb beside the .sys; empty without one.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let lines = self.stack.iter().chain([&self.message]).chain(&self.history);
        lines.flat_map(|line| self.symbols.places(line)).collect()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule.name)?;
        if let Some(name) = self.rule.windows_name {
            write!(f, " (Windows: {name})")?;
        }
        writeln!(f, ": {}", self.symbols.explain(&self.message))?;
        writeln!(f, "  rule:   {}", self.rule.meaning)?;
        writeln!(f, "  remedy: {}", self.rule.remedy)?;
        writeln!(f, "  IRQL:   {}", self.irql)?;
        for (title, lines) in [("history", &self.history), ("calls", &self.calls), ("stack", &self.stack)] {
            if !lines.is_empty() {
                writeln!(f, "  {title}:")?;
                for line in lines {
                    writeln!(f, "    {}", self.symbols.explain(line))?;
                }
            }
        }
        Ok(())
    }
}

/// Records a violation and stops the machine. The caller leaves by returning the error.
pub(crate) fn record(rule: &'static Rule, message: impl Into<String>, history: Vec<String>) -> Stopped {
    let thread = this();
    let machine = machine::current();
    let count = thread.call_count.get();
    let calls = (count.saturating_sub(CALLS)..count)
        .rev()
        .filter_map(|index| {
            let export = thread.calls[index % CALLS].get();
            // SAFETY: the ring holds null or exports that live for ever.
            unsafe { export.as_ref() }.map(|export| export.name.to_owned())
        })
        .collect();
    let place = Some(thread.place.get()).filter(|&place| machine.in_driver(place));
    let place = place.map(|place| machine.describe_code(place));
    // Once driver code has returned, what it left on the stack says nothing.
    let stack = machine.stack();
    machine.violated(Violation {
        rule,
        message: message.into(),
        history,
        calls,
        stack: place.into_iter().filter(|place| stack.first() != Some(place)).chain(stack.iter().cloned()).collect(),
        irql: thread.irql.get(),
        symbols: machine.symbols(),
    })
}

/// Records a violation and leaves for the innermost recovery point. For exports: no lock, nothing to drop.
pub(crate) fn violate(rule: &'static Rule, message: impl Into<String>, history: Vec<String>) -> ! {
    call::escape(record(rule, message, history))
}

macro_rules! rules {
    ($($id:ident = $name:literal / $windows:expr, $meaning:literal, $remedy:literal $(, unprovable $why:literal)?;)*) => {
        $(
            #[doc = concat!("`", $name, "`.")]
            pub static $id: Rule = Rule {
                name: $name,
                windows_name: $windows,
                meaning: $meaning,
                remedy: $remedy,
                unprovable: [$($why,)?].first().copied(),
            };
        )*
        /// The kernel's rules.
        pub static RULES: &[&Rule] = &[ $( &$id ),* ];
    };
}

rules! {
    DOUBLE_COMPLETION = "DoubleCompletion" / Some("DoubleCompletion, MULTIPLE_IRP_COMPLETE_REQUESTS (0x44)"),
        "An IRP is completed once.", "Decide atomically who completes: completion, canceller or teardown.";
    PENDING_NOT_MARKED = "PendingReturnedNotMarked" / Some("MarkIrpPending2"),
        "Who returns STATUS_PENDING has marked the IRP pending.", "Call IoMarkIrpPending before the IRP can be completed.";
    MARKED_NOT_RETURNED = "MarkedNotReturned" / Some("MarkIrpPending"),
        "Who marks an IRP pending returns STATUS_PENDING.", "Return STATUS_PENDING whatever became of the IRP meanwhile.";
    PENDED_COMPLETED = "PendedCompletedRequest" / Some("PendedCompletedRequest"),
        "A dispatch routine that has completed an IRP, and has not marked it, does not return STATUS_PENDING.", "Return the status that the IRP was completed with.";
    STATUS_WITHOUT_COMPLETION = "StatusWithoutCompletion" / Some("DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "Who returns another status than STATUS_PENDING has completed the IRP or passed it on.", "Complete the IRP, or mark it and return STATUS_PENDING.";
    STATUS_DIFFERS = "StatusDiffers" / Some("DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "The status returned is the status the IRP was completed with.", "Keep the status in a local, complete, return the local.";
    COMPLETED_PENDING = "CompletedWithPendingStatus" / Some("DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "No IRP is completed with STATUS_PENDING.", "Set IoStatus before completing.";
    CANCEL_ROUTINE_SET = "CancelRoutineSetAtCompletion" / Some("IrpCancelField, CANCEL_STATE_IN_COMPLETED_IRP (0x48)"),
        "A completed IRP has no cancel routine.", "Take it out with IoSetCancelRoutine(NULL); if that returns NULL, the cancel routine completes.";
    COMPLETION_IRQL = "CompletionIrql" / Some("IrqlIoPassive, DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "IRPs are completed at DISPATCH_LEVEL or below.", "Queue a DPC.";
    COMPLETION_UNDER_LOCK = "CompletionUnderSpinLock" / Some("SpinLockSafe"),
        "No IRP is completed under a spin lock.", "Take the IRP out of the queue under the lock, release it, complete.";
    INFORMATION_BEYOND_BUFFER = "InformationBeyondBuffer" / Some("BufferedIo: copies kernel memory to user mode"),
        "Information is no more than the output buffer's length.", "Check the output length; answer STATUS_BUFFER_TOO_SMALL with Information 0.";
    INVARIANT_MDL = "InvariantMdl" / Some("Invariant MDL Checking"),
        "What a process passes to be written or sent is not modified: the memory of IRP_MJ_WRITE and METHOD_IN_DIRECT.", "Work on a copy.";
    IRP_NOT_RECLAIMED = "IrpNotReclaimed" / Some("IoAllocateIrp: MULTIPLE_IRP_COMPLETE_REQUESTS (0x44)"),
        "The completion routine of a driver's own IRP returns STATUS_MORE_PROCESSING_REQUIRED.", "Return it, also after freeing or reusing the IRP.";
    NO_STACK_LOCATION = "NoStackLocation" / Some("NO_MORE_IRP_STACK_LOCATIONS (0x35)"),
        "An IRP passed on has a free stack location.", "Set the device's StackSize, or allocate the IRP with enough locations.";
    IRP_FREED_IN_USE = "IrpFreedInUse" / Some("DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "Only an IRP that its owner has back is freed or reused.", "Cancel it, wait for its completion, then free it.";
    IRP_FOREIGN = "IrpForeign" / Some("IoAllocateFree, DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "IoFreeIrp gets IRPs from IoAllocateIrp.", "Complete what the I/O manager made; free what the driver allocated.";
    IRP_REUSED_FOREIGN = "IrpReusedForeign" / Some("IoReuseIrp"),
        "IoReuseIrp gets IRPs from IoAllocateIrp.", "Reuse what the driver allocated; the I/O manager's IRPs are used once.";
    IRP_OWN_COMPLETED = "IrpOwnCompleted" / Some("IoAllocateComplete"),
        "An IRP that the driver allocated is completed by the driver that it was passed to.", "Free it, or pass it on.";
    IRP_LEAK = "IrpLeak" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0x62"),
        "At unload all IRPs that the driver allocated are freed.", "Call IoFreeIrp when the IRP has come back for the last time.";
    IRP_USE_AFTER_COMPLETE = "IrpUseAfterComplete" / Some("DRIVER_VERIFIER_IOMANAGER_VIOLATION (0xC9)"),
        "An IRP is not touched after its completion or release.", "Copy what is needed out of it first.";
    CANCEL_LOCK_NOT_OWNED = "CancelSpinLockNotOwned" / Some("CancelSpinLock"),
        "IoReleaseCancelSpinLock is called once for each IoAcquireCancelSpinLock, and once in a cancel routine.", "Pair acquire and release.";
    CANCEL_LOCK_NOT_RELEASED = "CancelSpinLockNotReleased" / Some("CancelSpinLockRelease"),
        "A cancel routine releases the cancel spin lock.", "Call IoReleaseCancelSpinLock(Irp->CancelIrql) in it.";
    CANCEL_NOT_CHECKED = "CancelNotChecked" / Some("IrpCancelField"),
        "Who sets a cancel routine looks at Irp->Cancel afterwards: what was cancelled before is not left pending.", "If Cancel is set and IoSetCancelRoutine(NULL) returns the routine, complete the IRP as cancelled.";
    SLOW_CANCEL = "SlowCancel" / Some("IO_DRIVER_CANCEL_TIMEOUT"),
        "A request that is cancelled as its process or thread ends is completed soon.", "Set a cancel routine on what stays pending, or pass it to a driver that does; bound what cannot be cancelled.";
    IRQL_AT_RETURN = "IrqlAtReturn" / Some("IrqlReturn, IRQL_UNEXPECTED_VALUE (0xC8)"),
        "A routine returns at the IRQL it was called at.", "Restore what was saved.";
    IRQL_CHANGE = "IrqlChange" / Some("IRQL_NOT_GREATER_OR_EQUAL (0x09), IRQL_NOT_LESS_OR_EQUAL (0x0A)"),
        "KeRaiseIrql raises and KeLowerIrql lowers.", "Check the saved IRQL.";
    IRQL_TOO_HIGH = "IrqlTooHigh" / Some("IrqlKeDispatchLte and others, DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4)"),
        "No routine is called above its documented highest IRQL.", "Do it in a work item or a system thread.";
    WAIT_AT_DISPATCH = "WaitAtDispatch" / Some("IrqlKeWaitForMultipleObjects, DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4)"),
        "No thread waits at DISPATCH_LEVEL.", "Wait at PASSIVE_LEVEL, or with a timeout of zero.";
    LOCK_HELD_AT_RETURN = "LockHeldAtReturn" / Some("SpinLock, DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4)"),
        "No spin lock is held at return to the caller.", "Release it on every path.";
    LOCK_NOT_OWNED = "LockNotOwned" / Some("SpinLockRelease, SPIN_LOCK_NOT_OWNED (0x10)"),
        "A spin lock is released once, by the thread that holds it, the way it was taken.", "Pair acquire and release.";
    LOCK_ORDER = "LockOrder" / Some("Deadlock Detection, DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0x1001"),
        "Spin locks held together are always taken in the same order.", "Fix one order, or hold one lock at a time.";
    RECURSIVE_LOCK = "RecursiveLock" / Some("SpinLock, SPIN_LOCK_ALREADY_OWNED (0x0F)"),
        "A thread does not take a spin lock that it holds.", "Split the routine into one that locks and one that expects the lock.";
    LOCK_IRQL = "LockIrql" / Some("SpinLock, IRQL_NOT_GREATER_OR_EQUAL (0x09)"),
        "A spin lock is held at DISPATCH_LEVEL.", "Use the acquiring routine that fits the IRQL.";
    POOL_LEAK = "PoolLeak" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0x62"),
        "At unload all pool has been freed.", "Free it, by the tag and the caller in the report.";
    DOUBLE_FREE = "DoubleFree" / Some("BAD_POOL_CALLER (0xC2) 0x07"),
        "Pool is freed once.", "Give each block one owner.";
    BAD_FREE = "BadFree" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0x10, BAD_POOL_CALLER (0xC2)"),
        "What is freed is the start of a pool block of the driver.", "Free the pointer that the allocation returned.";
    POOL_TAG = "PoolTagMismatch" / Some("BAD_POOL_CALLER (0xC2) 0x0A"),
        "A pool block is freed with the tag that it was allocated with.", "Name the tag once, as a constant.";
    ZERO_SIZE = "ZeroSizePool" / Some("BAD_POOL_CALLER (0xC2) 0x00"),
        "Pool is allocated with a size and a tag.", "Do not allocate nothing.";
    EXECUTABLE_POOL = "ExecutablePool" / Some("NonPagedPoolExecute: code integrity checks, 0xC4 0x2000"),
        "Nonpaged pool is not executable.", "Use NonPagedPoolNx or POOL_FLAG_NON_PAGED.";
    USE_AFTER_FREE = "UseAfterFree" / Some("PAGE_FAULT_IN_FREED_SPECIAL_POOL (0xCC)"),
        "Freed pool is not touched.", "Hold a reference for as long as the block is reached.";
    POOL_OVERRUN = "PoolOverrun" / Some("PAGE_FAULT_BEYOND_END_OF_ALLOCATION (0xCD), SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION (0xC1)"),
        "Nothing is touched behind the end of a pool block.", "Check lengths against the block's size.";
    POOL_UNDERRUN = "PoolUnderrun" / Some("SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION (0xC1)"),
        "Nothing is touched in front of a pool block.", "Check offsets, and what is subtracted from them.";
    ACCESS_VIOLATION = "AccessViolation" / Some("PAGE_FAULT_IN_NONPAGED_AREA (0x50), SYSTEM_SERVICE_EXCEPTION (0x3B)"),
        "A driver touches only memory that is there, as its protection allows.", "See the address and the stack.";
    BUG_CHECK = "BugCheck" / Some("KeBugCheckEx"),
        "A driver does not stop the system.", "Handle the case; a panic shows as a bug check too.";
    HANGS = "DriverHangs" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4), DPC_WATCHDOG_VIOLATION (0x133)"),
        "Dispatch routines, DPCs, DriverEntry and DriverUnload return, and no spin lock is waited for without end.", "Nothing waits in a dispatch routine; every wait is bounded or abortable.";
    BAD_OBJECT = "BadObject" / Some("INVALID_KERNEL_HANDLE (0x93), REFERENCE_BY_POINTER (0x18)"),
        "Objects and handles given to the kernel exist, and are of the type that the routine takes.", "Pair references, and do not use an object after the last one.";
    PAGED_AT_DISPATCH = "PagedAtDispatch" / Some("Force IRQL checking: IRQL_NOT_LESS_OR_EQUAL (0x0A), DRIVER_IRQL_NOT_LESS_OR_EQUAL (0xD1)"),
        "Paged pool and PAGE sections are touched below DISPATCH_LEVEL only.", "Keep what is needed at raised IRQL in nonpaged pool or sections, or lock it with an MDL.";
    PAGED_OBJECT = "PagedObject" / Some("KeInitializeEvent: storage must be resident"),
        "Dispatcher objects, spin locks, timers and DPCs are in nonpaged memory.", "Allocate with POOL_FLAG_NON_PAGED.";
    BAD_MDL = "BadMdl" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0xB0 to 0xB9"),
        "MDLs are locked, mapped, unlocked and freed in order.", "Unlock before freeing; never free the I/O manager's MDL.";
    TIMER_FREED = "ActiveInFreedMemory" / Some("TIMER_OR_DPC_INVALID (0xC7)"),
        "Freed memory holds no set timer, no queued DPC or work item and no held spin lock.", "Cancel, flush and release first.";
    TIMER_LIVE = "TimerLiveAtUnload" / Some("DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS (0xCE)"),
        "At unload no timer of the driver is set.", "Call KeCancelTimer in DriverUnload, then KeFlushQueuedDpcs.";
    DPC_LIVE = "DpcLiveAtUnload" / Some("DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS (0xCE)"),
        "At unload no DPC of the driver is queued or runs.", "Call KeFlushQueuedDpcs in DriverUnload.";
    WORK_LIVE = "WorkItemLiveAtUnload" / Some("DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS (0xCE)"),
        "At unload every work item has run and is freed.", "Wait for it in DriverUnload, then call IoFreeWorkItem.";
    THREAD_LIVE = "ThreadLiveAtUnload" / Some("DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS (0xCE)"),
        "At unload no system thread of the driver runs.", "Have it end, and wait for the thread object in DriverUnload.";
    LINK_LIVE = "LinkLiveAtUnload" / None,
        "At unload the driver's symbolic links are deleted.", "Call IoDeleteSymbolicLink in DriverUnload, and where DriverEntry fails.";
    DEVICE_LIVE = "DeviceLiveAtUnload" / None,
        "At unload the driver's devices are deleted.", "Call IoDeleteDevice in DriverUnload, and where DriverEntry fails.";
    LIVE_AT_UNLOAD = "LiveAtUnload" / Some("DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS (0xCE)"),
        "At unload the driver has given back its handles, references, lookaside lists, resources and notifications.", "Undo in DriverUnload all that DriverEntry did, in reverse order.";
    ETW_LIVE_AT_UNLOAD = "EtwLiveAtUnload" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0xDD"),
        "A driver that unloads has no ETW provider registered.", "Call EtwUnregister for each EtwRegister, last of all in DriverUnload.";
    ETW_HANDLE = "EtwUseAfterUnregister" / Some("DRIVER_VERIFIER_DETECTED_VIOLATION (0xC4) 0xDC"),
        "An ETW registration handle is one that EtwRegister gave, and is used until EtwUnregister.", "Write the last event before unregistering; forget the handle with it.";
    KERNEL_STACK = "KernelStack" / Some("UNEXPECTED_KERNEL_MODE_TRAP (0x7F) 0x08, Using the Kernel Stack"),
        "A driver gets by with the 24 KiB of a kernel stack.", "Put large objects into pool; bound recursion.";
}
