//! The border between the lab and driver code: one trampoline, with a recovery point to escape to.
//!
//! Driver code runs between `enter` and its return. A violation (or a fault) inside abandons all frames down to the
//! innermost recovery point, where the caller in the lab gets `Err(Stopped)`. So lab code that a driver may call holds
//! no lock and nothing with a destructor when it escapes.

use std::arch::global_asm;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use crate::machine::Inner;
use crate::rules;
use crate::thread::this;

/// The machine has stopped: what was under way is abandoned.
#[derive(Debug, Clone, Copy)]
#[must_use = "the caller has to leave too"]
pub(crate) struct Stopped;

/// A recovery point.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) rsp: usize,
    rbx: usize,
    r12: usize,
    r13: usize,
    r14: usize,
    r15: usize,
    escaped: usize,
    previous: *mut Frame,
}

impl Frame {
    const fn new() -> Self {
        Self { rsp: 0, rbx: 0, r12: 0, r13: 0, r14: 0, r15: 0, escaped: 0, previous: std::ptr::null_mut() }
    }
}

global_asm!(
    // System V: rdi = frame, rsi = function (Microsoft x64), rdx = eight arguments
    ".p2align 4",
    ".type ntlab_enter, @function",
    "ntlab_enter:",
    "push rbp",
    "mov [rdi + {rsp}], rsp",
    "mov [rdi + {rbx}], rbx",
    "mov [rdi + {r12}], r12",
    "mov [rdi + {r13}], r13",
    "mov [rdi + {r14}], r14",
    "mov [rdi + {r15}], r15",
    "mov rbp, rsp",
    "sub rsp, 64",
    "mov r10, rdx",
    "mov r11, rsi",
    "mov rax, [r10 + 32]",
    "mov [rsp + 32], rax",
    "mov rax, [r10 + 40]",
    "mov [rsp + 40], rax",
    "mov rax, [r10 + 48]",
    "mov [rsp + 48], rax",
    "mov rax, [r10 + 56]",
    "mov [rsp + 56], rax",
    "mov rcx, [r10]",
    "mov rdx, [r10 + 8]",
    "mov r8, [r10 + 16]",
    "mov r9, [r10 + 24]",
    "call r11",
    "mov rsp, rbp",
    "pop rbp",
    "ret",
    // System V: rdi = frame; returns from that frame's ntlab_enter
    ".p2align 4",
    ".type ntlab_escape, @function",
    "ntlab_escape:",
    "cld",
    "mov rbx, [rdi + {rbx}]",
    "mov r12, [rdi + {r12}]",
    "mov r13, [rdi + {r13}]",
    "mov r14, [rdi + {r14}]",
    "mov r15, [rdi + {r15}]",
    "mov rsp, [rdi + {rsp}]",
    "mov qword ptr [rdi + {escaped}], 1",
    "xor eax, eax",
    "pop rbp",
    "ret",
    rsp = const offset_of!(Frame, rsp),
    rbx = const offset_of!(Frame, rbx),
    r12 = const offset_of!(Frame, r12),
    r13 = const offset_of!(Frame, r13),
    r14 = const offset_of!(Frame, r14),
    r15 = const offset_of!(Frame, r15),
    escaped = const offset_of!(Frame, escaped),
);

unsafe extern "sysv64" {
    fn ntlab_enter(frame: *mut Frame, function: usize, arguments: *const [usize; 8]) -> usize;
    fn ntlab_escape(frame: *mut Frame) -> !;
}

/// Leaves the code that runs now for the innermost recovery point.
pub(crate) fn escape(_: Stopped) -> ! {
    let frame = this().frame.get();
    assert!(!frame.is_null(), "a violation outside of any call: {:?}", crate::machine::current().violations());
    // SAFETY: `frame` is the innermost recovery point of this thread, whose `ntlab_enter` has not returned; the frames
    // between hold no destructor (see the module's rule).
    unsafe { ntlab_escape(frame) }
}

/// The value, or escape: for exports, whose caller is driver code.
pub(crate) fn or_escape<T>(result: Result<T, Stopped>) -> T {
    match result {
        Ok(value) => value,
        Err(stopped) => escape(stopped),
    }
}

/// Calls `function` under a recovery point.
///
/// # Safety
/// `function` is code for the Microsoft x64 convention that takes at most eight integer arguments.
unsafe fn enter(function: usize, arguments: &[usize; 8]) -> Result<usize, Stopped> {
    let thread = this();
    let (irql, held) = (thread.irql.get(), thread.held_count.get());
    let mut frame = Frame::new();
    frame.previous = thread.frame.replace(&raw mut frame);
    // SAFETY: `frame` outlives the call and is the innermost recovery point during it; the caller vouches for `function`.
    let value = unsafe { ntlab_enter(&raw mut frame, function, arguments) };
    thread.frame.set(frame.previous);
    if frame.escaped == 0 {
        return Ok(value);
    }
    thread.irql.set(irql);
    thread.held_count.set(held);
    Err(Stopped)
}

/// Calls driver code without judging what it leaves behind: a cancel routine is called with a lock that it releases.
pub(crate) fn driver_any(function: usize, arguments: &[usize]) -> Result<usize, Stopped> {
    if crate::machine::current().is_stopped() {
        return Err(Stopped);
    }
    let mut all = [0; 8];
    all[..arguments.len()].copy_from_slice(arguments);
    let thread = this();
    let running = &thread.shared().routine;
    let outer = running.load(Ordering::Relaxed);
    let call = (thread.caller.get(), thread.stack.get(), thread.start.get());
    running.store(function, Ordering::Relaxed);
    thread.depth.set(thread.depth.get() + 1);
    // SAFETY: the driver registered `function` for this role, whose arguments these are.
    let outcome = unsafe { enter(function, &all) };
    thread.depth.set(thread.depth.get() - 1);
    running.store(outer, Ordering::Relaxed);
    if outcome.is_ok() {
        // The call into the kernel that this was part of goes on.
        thread.caller.set(call.0);
        thread.stack.set(call.1);
        thread.start.set(call.2);
    }
    thread.place.set(function);
    outcome
}

/// Calls driver code at the present IRQL; it must return at the same IRQL, holding the same spin locks.
pub(crate) fn driver(what: &'static str, function: usize, arguments: &[usize]) -> Result<usize, Stopped> {
    let thread = this();
    let (irql, held) = (thread.irql.get(), thread.held_count.get());
    let value = driver_any(function, arguments)?;
    let machine = crate::machine::current();
    if thread.held_count.get() > held {
        let locks = thread.locks().map(|lock| machine.describe_lock(&lock)).collect::<Vec<_>>().join(", ");
        return Err(rules::record(
            &rules::LOCK_HELD_AT_RETURN,
            format!("{what} at {} returned holding {locks}", machine.describe_code(function)),
            Vec::new(),
        ));
    }
    if thread.irql.get() != irql {
        return Err(rules::record(
            &rules::IRQL_AT_RETURN,
            format!(
                "{what} at {} returned at IRQL {}; it was called at {irql}",
                machine.describe_code(function),
                thread.irql.get()
            ),
            Vec::new(),
        ));
    }
    if machine.is_stopped() { Err(Stopped) } else { Ok(value) }
}

extern "win64" fn run<F: FnOnce() -> R, R>(slots: *mut (Option<F>, Option<R>)) {
    // SAFETY: `guard` passes its own pair, which outlives the call and which nobody else reaches meanwhile.
    let (body, result) = unsafe { &mut *slots };
    if let Some(body) = body.take() {
        *result = Some(body());
    }
}

/// Runs lab code on behalf of `machine` under a recovery point, so that it may call [`rules::violate`].
pub(crate) fn guard<R>(machine: &Inner, body: impl FnOnce() -> R) -> Result<R, Stopped> {
    fn entry<F: FnOnce() -> R, R>(_: &(Option<F>, Option<R>)) -> usize {
        run::<F, R> as *const () as usize
    }
    let thread = this();
    let (irql, held) = (thread.irql.get(), thread.held_count.get());
    let before = thread.enter_machine(machine);
    let mut slots = (Some(body), None);
    let function = entry(&slots);
    let arguments = [(&raw mut slots) as usize, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: `function` is `run` for the type of `slots`.
    let outcome = unsafe { enter(function, &arguments) };
    if machine.is_stopped() {
        // What a driver that broke a rule left raised or held is not the next machine's on this thread.
        thread.irql.set(irql);
        thread.held_count.set(held);
    }
    thread.enter_machine(before);
    outcome?;
    slots.1.ok_or(Stopped)
}
