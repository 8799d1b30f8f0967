//! What drivers can import, and the gate through which they call it.
//!
//! The address that a driver's import table gets is not the export itself but a small thunk: it notes the call, lets the
//! thread escape if its machine has stopped, and checks the export's highest IRQL. So no export has to.

use std::arch::global_asm;
use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::call::{self, Stopped};
use crate::irql;
use crate::memory::{Access, Region};
use crate::rules;
use crate::thread::{CALLS, this};
use crate::unwind::Start;

/// Something that a driver can import.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Export {
    /// Where it is. For data, the address of the variable.
    pub address: usize,
    /// The module that Windows has it in.
    pub module: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The highest IRQL that Microsoft documents for it.
    pub max_irql: u8,
    /// Whether calls go through the gate. C runtime routines and data do not.
    pub gated: bool,
}

impl Export {
    /// A routine with a documented highest IRQL.
    pub(crate) fn routine(module: &'static str, name: &'static str, address: *const (), max_irql: u8) -> Self {
        Self { address: address as usize, module, name, max_irql, gated: true }
    }

    /// Bound directly: a variable, or a routine with a calling convention of its own.
    pub(crate) fn direct(module: &'static str, name: &'static str, address: *const ()) -> Self {
        Self { address: address as usize, module, name, max_irql: irql::HIGH, gated: false }
    }
}

/// Lists exports: `routines!["module"; MAX_IRQL: Name => function, ...; ...]`.
macro_rules! routines {
    ($module:literal; $( $irql:ident : $( $name:ident => $function:path ),* $(,)? );* $(;)?) => {
        vec![ $( $( crate::exports::Export::routine(
            $module,
            stringify!($name),
            $function as *const (),
            crate::irql::$irql,
        ) ),* ),* ]
    };
}
pub(crate) use routines;

global_asm!(
    // r10 = the export; all other registers and the stack as the driver passed them
    ".p2align 4",
    ".type ntlab_gate, @function",
    "ntlab_gate:",
    "push rcx",
    "push rdx",
    "push r8",
    "push r9",
    "push r10",
    "sub rsp, 32",
    "mov rcx, r10",
    "mov rdx, [rsp + 72]",
    "lea r8, [rsp + 72]",
    "mov r9, rbp",
    "call {note}",
    "add rsp, 32",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rdx",
    "pop rcx",
    "jmp qword ptr [r10 + {address}]",
    note = sym note_call,
    address = const offset_of!(Export, address),
);

unsafe extern "C" {
    fn ntlab_gate();
}

extern "win64" fn note_call(export: &'static Export, caller: usize, stack: usize, base: usize) {
    let thread = this();
    thread.caller.set(caller);
    thread.stack.set(stack);
    thread.start.set(Start { instruction: caller, stack: stack + 8, base });
    thread.place.set(0);
    let count = thread.call_count.get();
    thread.calls[count % CALLS].set(export);
    thread.call_count.set(count + 1);
    let machine = crate::machine::current();
    if machine.is_stopped() {
        call::escape(Stopped);
    }
    if thread.irql.get() > export.max_irql {
        rules::violate(
            &rules::IRQL_TOO_HIGH,
            format!("{} was called at IRQL {}; its highest is {}", export.name, thread.irql.get(), export.max_irql),
            Vec::new(),
        );
    }
    // SAFETY: driver code runs under a recovery point, which is on this thread's stack.
    let used = unsafe { &*thread.frame.get() }.rsp.wrapping_sub(stack);
    if machine.uses_stack(used) {
        rules::violate(&rules::KERNEL_STACK, format!("{used} bytes are in use at {}", export.name), Vec::new());
    }
    machine.at_point();
}

/// Executable memory for thunks, never given back: drivers of any machine may hold their addresses.
struct Thunks {
    page: Option<Region>,
    used: usize,
}

static THUNKS: Mutex<Thunks> = Mutex::new(Thunks { page: None, used: 0 });
const THUNK_SIZE: usize = 32;
const THUNK_SPACE: usize = 64 * 1024;

/// The address at which drivers call `export`. Makes a thunk: call it once for each export.
pub(crate) fn gated(export: Export) -> usize {
    if !export.gated {
        return export.address;
    }
    let export: &'static Export = Box::leak(Box::new(export));
    let mut thunks = THUNKS.lock();
    if thunks.page.is_none() {
        thunks.page = Some(Region::map(THUNK_SPACE, Access::All).expect("memory for thunks"));
    }
    let address = thunks.page.as_ref().map_or(0, Region::base) + thunks.used;
    thunks.used += THUNK_SIZE;
    assert!(thunks.used <= THUNK_SPACE, "too many exports");
    let mut code = [0x90_u8; THUNK_SIZE];
    code[..2].copy_from_slice(&[0x49, 0xba]); // mov r10, export
    code[2..10].copy_from_slice(&(std::ptr::from_ref(export) as usize).to_le_bytes());
    code[10..12].copy_from_slice(&[0x49, 0xbb]); // mov r11, ntlab_gate
    code[12..20].copy_from_slice(&(ntlab_gate as *const () as usize).to_le_bytes());
    code[20..23].copy_from_slice(&[0x41, 0xff, 0xe3]); // jmp r11
    // SAFETY: the thunk's bytes lie inside the writable region, and nobody has its address yet.
    unsafe { (address as *mut [u8; THUNK_SIZE]).write(code) };
    address
}

/// What an import is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    pub(crate) module: &'static str,
    pub(crate) address: usize,
}

pub(crate) fn all() -> Vec<Export> {
    let lists = [
        crate::debug::exports(),
        crate::device::exports(),
        crate::dispatcher::exports(),
        crate::etw::exports(),
        crate::file::exports(),
        crate::ip_helper::exports(),
        crate::irp::exports(),
        crate::locks::exports(),
        crate::mdl::exports(),
        crate::objects::exports(),
        crate::pool::exports(),
        crate::process::exports(),
        crate::rtl::exports(),
        crate::security::exports(),
        crate::services::exports(),
        crate::slist::exports(),
        crate::system_thread::exports(),
        crate::timer::exports(),
        crate::work::exports(),
        crate::wsk::exports(),
    ];
    lists.into_iter().flatten().collect()
}

static BINDINGS: OnceLock<HashMap<&'static str, Binding>> = OnceLock::new();

/// Every export, by name.
pub(crate) fn bindings() -> &'static HashMap<&'static str, Binding> {
    BINDINGS.get_or_init(|| {
        all()
            .into_iter()
            .map(|export| (export.name, Binding { module: export.module, address: gated(export) }))
            .collect()
    })
}
