//! `DbgPrint` and the bug check.
//!
//! Rust has no variadic functions for the Microsoft convention, but a routine with a fixed number of arguments finds the
//! first ones where a caller of a variadic routine puts them.

use std::ffi::{CStr, c_char};
use std::fmt::Write;

use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::UNICODE_STRING;
use crate::rules;

/// How many arguments after the format are looked at.
const ARGUMENTS: usize = 8;

/// Formats as `DbgPrint` does, for the conversions that drivers use.
fn format(format: *const c_char, arguments: [usize; ARGUMENTS]) -> String {
    // SAFETY: the driver vouches for a terminated string; if it is none, the fault is its own.
    let format = unsafe { CStr::from_ptr(format) }.to_string_lossy();
    let mut arguments = arguments.into_iter();
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(c) = rest.next_if(|c| "-+ #0123456789.lhzIwt".contains(*c)) {
            flags.push(c);
        }
        let wide = flags.contains('w') || flags.contains('l');
        let long = flags.matches('l').count() > 1 || flags.contains("I64") || flags.contains('z');
        let conversion = rest.next();
        if conversion == Some('%') {
            out.push('%');
            continue;
        }
        let Some(value) = arguments.next() else {
            out.push_str("%?");
            continue;
        };
        convert(&mut out, conversion, value, wide, long);
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "an `int` is the low half of its register")]
fn convert(out: &mut String, conversion: Option<char>, value: usize, wide: bool, long: bool) {
    let low = if long { value } else { value & 0xffff_ffff };
    let signed = if long { value.cast_signed() as i64 } else { i64::from((value as u32).cast_signed()) };
    let result = match conversion {
        Some('d' | 'i') => write!(out, "{signed}"),
        Some('u') => write!(out, "{low}"),
        Some('x') => write!(out, "{low:x}"),
        Some('X') => write!(out, "{low:X}"),
        Some('p') => write!(out, "{value:#x}"),
        Some('c') => write!(out, "{}", char::from(value as u8)),
        Some('s' | 'S' | 'Z') if value == 0 => write!(out, "(null)"),
        Some('Z') if wide => write!(out, "{}", crate::rtl::text(value as *const UNICODE_STRING)),
        // SAFETY: the driver vouches for the argument.
        Some('s') => write!(out, "{}", unsafe { CStr::from_ptr(value as *const c_char) }.to_string_lossy()),
        Some(other) => write!(out, "%{other}({value:#x})"),
        None => Ok(()),
    };
    debug_assert!(result.is_ok(), "a string takes anything");
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
