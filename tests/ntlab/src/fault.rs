//! Faults in driver code become violations.
//!
//! The signal handler only moves the thread: it has it continue in [`landing`], on the part of its stack below the driver's
//! frames, where ordinary code can tell what was touched and escape. Faults of threads that run no driver code go to
//! whoever handled them before.

use std::cell::Cell;
use std::sync::Once;

use libc::{c_int, c_void, siginfo_t, ucontext_t};

use crate::call;
use crate::thread::this;
use crate::unwind::Start;
use crate::{rules, steps};

/// What the handler saw.
#[derive(Debug, Clone, Copy)]
struct Fault {
    signal: c_int,
    address: usize,
    code: usize,
    write: bool,
}

thread_local! {
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

const SIGNALS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
static mut PREVIOUS: [std::mem::MaybeUninit<libc::sigaction>; 5] = [const { std::mem::MaybeUninit::uninit() }; 5];

/// The signal that has a thread of a stopped machine leave driver code that makes no call.
pub(crate) fn leave_signal() -> c_int {
    libc::SIGRTMIN() + 5
}

/// Installs the handlers, once for the process.
pub(crate) fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            // SAFETY: zero is a valid `sigaction`, completed below.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            // SAFETY: both structures are valid for the call; `call_once` makes this the only writer of `PREVIOUS`.
            let previous = unsafe { &raw mut PREVIOUS[index] };
            // SAFETY: both structures are valid for the call.
            unsafe { libc::sigaction(signal, &raw const action, previous.cast()) };
        }
        // SAFETY: zero is a valid `sigaction`, completed below.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_leave as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: the structure is valid for the call.
        unsafe { libc::sigaction(leave_signal(), &raw const action, std::ptr::null_mut()) };
    });
}

fn register(context: &ucontext_t, register: c_int) -> usize {
    isize::try_from(context.uc_mcontext.gregs[register.cast_unsigned() as usize]).unwrap_or(0).cast_unsigned()
}

fn set_register(context: &mut ucontext_t, register: c_int, value: usize) {
    context.uc_mcontext.gregs[register.cast_unsigned() as usize] = (value as u64).cast_signed();
}

/// What driver code may use of a stack before its frames are given up.
const DEEPEST: usize = 256 << 10;

/// Has the thread continue in `routine`, on the stack below its innermost recovery point.
fn redirect(context: &mut ucontext_t, rsp: usize, routine: extern "C" fn() -> !) {
    let thread = this();
    // SAFETY: null, or the machine for which this thread runs, which outlives that.
    let machine = unsafe { thread.machine.get().as_ref() };
    if machine.is_some_and(|machine| machine.in_driver(register(context, libc::REG_RIP))) {
        let (instruction, stack) = (register(context, libc::REG_RIP), register(context, libc::REG_RSP));
        thread.stack.set(stack);
        thread.start.set(Start { instruction, stack, base: register(context, libc::REG_RBP) });
    }
    // Below the driver's frames, which are still to be looked at, unless its stack pointer is none of this stack.
    let now = register(context, libc::REG_RSP);
    let rsp = if now < rsp && rsp - now < DEEPEST { now } else { rsp };
    set_register(context, libc::REG_RSP, ((rsp - 512) & !15) - 8);
    set_register(context, libc::REG_RIP, routine as *const () as usize);
    let flags = register(context, libc::REG_EFL) & !0x400; // direction: up
    set_register(context, libc::REG_EFL, flags);
}

/// Whether the fault was one of pageable memory that the thread may touch: it goes on.
fn resolves(signal: c_int, info: *mut siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: null, or the machine for which this thread runs, which outlives that.
    let machine = unsafe { this().machine.get().as_ref() };
    let Some(machine) = machine.filter(|_| signal == libc::SIGSEGV) else { return false };
    // SAFETY: the kernel passes valid information.
    let info = unsafe { &*info };
    // SAFETY: `si_addr` is there for this signal.
    let address = unsafe { info.si_addr() } as usize;
    // SAFETY: the kernel passes a valid context to an SA_SIGINFO handler.
    let writes = register(unsafe { &*context.cast::<ucontext_t>() }, libc::REG_ERR) & 2 != 0;
    machine.resolves_fault(address, writes)
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid context to an SA_SIGINFO handler.
    if signal == libc::SIGTRAP && steps::stepped(register(unsafe { &*context.cast() }, libc::REG_RIP)) {
        return;
    }
    let frame = this().frame.get();
    if !frame.is_null() && resolves(signal, info, context) {
        return;
    }
    if frame.is_null() {
        // Not ours: as it was before, and again.
        if let Some(index) = SIGNALS.iter().position(|&known| known == signal) {
            // SAFETY: `install` wrote the entry before this handler could run.
            let previous = unsafe { &raw const PREVIOUS[index] };
            // SAFETY: `previous` is the handler that was there before `install`.
            unsafe { libc::sigaction(signal, previous.cast(), std::ptr::null_mut()) };
        }
        return;
    }
    // SAFETY: the kernel passes a valid context to an SA_SIGINFO handler.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    // SAFETY: the kernel passes valid information.
    let info = unsafe { &*info };
    // SAFETY: `si_addr` is there for these signals.
    let address = unsafe { info.si_addr() } as usize;
    FAULT.set(Some(Fault {
        signal,
        address,
        code: register(context, libc::REG_RIP),
        write: register(context, libc::REG_ERR) & 2 != 0,
    }));
    // SAFETY: `frame` is the innermost recovery point of this thread, on its stack.
    let rsp = unsafe { (*frame).rsp };
    redirect(context, rsp, landing);
}

extern "C" fn on_leave(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let thread = this();
    let frame = thread.frame.get();
    // SAFETY: null, or the machine for which this thread runs, which outlives that.
    let machine = unsafe { thread.machine.get().as_ref() };
    let (Some(machine), false) = (machine, frame.is_null()) else { return };
    // SAFETY: the kernel passes a valid context to an SA_SIGINFO handler.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    if machine.is_stopped() && machine.in_driver(register(context, libc::REG_RIP)) {
        // SAFETY: `frame` is the innermost recovery point of this thread, on its stack.
        let rsp = unsafe { (*frame).rsp };
        redirect(context, rsp, leaving);
    }
}

extern "C" fn leaving() -> ! {
    call::escape(call::Stopped)
}

/// Where a thread that faulted continues.
extern "C" fn landing() -> ! {
    let machine = crate::machine::current();
    let Some(fault) = FAULT.take() else { call::escape(call::Stopped) };
    if machine.is_stopped() {
        call::escape(call::Stopped);
    }
    let thread = this();
    if machine.in_driver(fault.code) {
        thread.place.set(fault.code);
    }
    let code = if machine.in_driver(fault.code) || !machine.in_driver(thread.caller.get()) {
        machine.describe_code(fault.code)
    } else {
        format!("{}, called by {}", thread.last_call(), machine.describe_code(thread.caller.get()))
    };
    if fault.signal == libc::SIGSEGV || fault.signal == libc::SIGBUS {
        let verb = match fault.write {
            true => "write to",
            false if fault.address == fault.code => "execution of",
            false => "read of",
        };
        let (rule, what, history) = machine.describe_fault(fault.address);
        rules::violate(rule, format!("{verb} {:#x} by {code}: {what}", fault.address), history);
    }
    let what = match fault.signal {
        libc::SIGILL => "an illegal instruction",
        libc::SIGFPE => "an arithmetic fault",
        _ => "a breakpoint",
    };
    rules::violate(&rules::ACCESS_VIOLATION, format!("{what} at {code}"), Vec::new());
}
