//! `DbgPrint` and the bug check.
//!
//! Rust has no variadic functions for the Microsoft convention, but a routine with a fixed number of arguments finds the
//! first ones where a caller of a variadic routine puts them.

use std::ffi::{CStr, c_char};

use crate::exports::{Export, routines};
use crate::machine;
use crate::rules;
use crate::services;

/// How many arguments after the format are looked at.
const ARGUMENTS: usize = 8;

/// Formats what a driver prints.
fn format(format: *const c_char, arguments: [usize; ARGUMENTS]) -> String {
    // SAFETY: the driver vouches for a terminated string; if it is none, the fault is its own.
    let format = unsafe { CStr::from_ptr(format) }.to_string_lossy();
    let mut arguments = arguments.into_iter();
    services::format(&format, false, || arguments.next().unwrap_or(0))
}

fn print(text: &str) {
    machine::current().print(text);
}

extern "win64" fn dbg_print(
    text: *const c_char,
    a0: usize,
    a1: usize,
    a2: usize,
    a3: usize,
    a4: usize,
    a5: usize,
    a6: usize,
    a7: usize,
) -> i32 {
    print(&format(text, [a0, a1, a2, a3, a4, a5, a6, a7]));
    0
}

extern "win64" fn dbg_print_ex(
    _component: u32,
    _level: u32,
    text: *const c_char,
    a0: usize,
    a1: usize,
    a2: usize,
    a3: usize,
    a4: usize,
    a5: usize,
    a6: usize,
    a7: usize,
) -> i32 {
    print(&format(text, [a0, a1, a2, a3, a4, a5, a6, a7]));
    0
}

extern "win64" fn ke_bug_check_ex(code: u32, a: usize, b: usize, c: usize, d: usize) -> ! {
    let last = machine::current().debug_output().into_iter().rev().take(3).rev().collect();
    rules::violate(&rules::BUG_CHECK, format!("{code:#x} ({a:#x}, {b:#x}, {c:#x}, {d:#x})"), last)
}

extern "win64" fn ke_bug_check(code: u32) -> ! {
    ke_bug_check_ex(code, 0, 0, 0, 0)
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        HIGH: DbgPrint => dbg_print, DbgPrintEx => dbg_print_ex, KeBugCheckEx => ke_bug_check_ex,
            KeBugCheck => ke_bug_check;
    ]
}
