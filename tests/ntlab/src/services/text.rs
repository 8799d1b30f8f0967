//! Counted strings and printf.
//!
//! Rust has no variadic functions for the Microsoft convention, but a routine with a fixed number of arguments finds the
//! first ones where a caller of a variadic routine puts them; a `va_list` is a pointer to eight-byte slots.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::fmt::Write;

use crate::exports::{Export, routines};
use crate::machine;
use crate::nt::UNICODE_STRING;
use crate::pool::Kind;
use crate::rtl::{text, wide_length};
use crate::status::NtStatus;

/// `ANSI_STRING`.
#[repr(C)]
struct AnsiString {
    length: Cell<u16>,
    maximum_length: Cell<u16>,
    buffer: Cell<*mut u8>,
}

impl AnsiString {
    fn bytes(&self) -> &[u8] {
        let length = usize::from(self.length.get());
        // SAFETY: the driver vouches for its string; if it is none, the fault is its own.
        if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(self.buffer.get(), length) } }
    }
}

/// A buffer of a string that the driver gives back with `RtlFreeUnicodeString` or `RtlFreeAnsiString`; null without memory.
fn allocate(size: usize) -> *mut u8 {
    let machine = machine::current();
    if machine.fails_allocation() {
        return std::ptr::null_mut();
    }
    let kind = Kind { zeroed: true, paged: true, internal: false };
    machine.pool.allocate(size, u32::from_le_bytes(*b"Strg"), kind).cast()
}

fn length(size: usize) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}

extern "win64" fn init_ansi_string(string: &AnsiString, source: *const c_char) {
    // SAFETY: null, or a string that the driver vouches for.
    let size = if source.is_null() { 0 } else { unsafe { libc::strlen(source) } };
    string.length.set(length(size));
    string.maximum_length.set(if source.is_null() { 0 } else { length(size + 1) });
    string.buffer.set(source.cast_mut().cast());
}

extern "win64" fn ansi_to_unicode(to: &mut UNICODE_STRING, from: &AnsiString, make: u8) -> i32 {
    let size = from.bytes().len() * 2;
    if make != 0 {
        to.Buffer = allocate(size + 2).cast();
        if to.Buffer.is_null() {
            return NtStatus::NO_MEMORY.0;
        }
        to.MaximumLength = length(size + 2);
    } else if usize::from(to.MaximumLength) < size {
        return NtStatus::BUFFER_OVERFLOW.0;
    }
    to.Length = length(size);
    for (index, byte) in from.bytes().iter().enumerate() {
        // SAFETY: the buffer has room for `size` bytes.
        unsafe { to.Buffer.wrapping_add(index).write(u16::from(*byte)) };
    }
    NtStatus::SUCCESS.0
}

extern "win64" fn unicode_to_ansi(to: &AnsiString, from: *const UNICODE_STRING, make: u8) -> i32 {
    let bytes: Vec<u8> = text(from).chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
    if make != 0 {
        to.buffer.set(allocate(bytes.len() + 1));
        if to.buffer.get().is_null() {
            return NtStatus::NO_MEMORY.0;
        }
        to.maximum_length.set(length(bytes.len() + 1));
    } else if usize::from(to.maximum_length.get()) <= bytes.len() {
        return NtStatus::BUFFER_OVERFLOW.0;
    }
    to.length.set(length(bytes.len()));
    // SAFETY: the buffer has room for the bytes and a zero.
    unsafe { put(to.buffer.get(), &bytes) };
    NtStatus::SUCCESS.0
}

/// Writes the bytes and a zero.
///
/// # Safety
/// `to` has room for them; a driver vouches for it.
unsafe fn put(to: *mut u8, bytes: &[u8]) {
    // SAFETY: the caller vouches for the room.
    unsafe { libc::memcpy(to.cast(), bytes.as_ptr().cast(), bytes.len()) };
    // SAFETY: the caller vouches for room for the terminator too.
    unsafe { to.wrapping_add(bytes.len()).write(0) };
}

extern "win64" fn free_unicode(string: &mut UNICODE_STRING) {
    if !string.Buffer.is_null() {
        crate::call::or_escape(machine::current().pool.free(string.Buffer as usize, None));
    }
    *string = UNICODE_STRING::EMPTY;
}

extern "win64" fn free_ansi(string: &AnsiString) {
    if !string.buffer.get().is_null() {
        crate::call::or_escape(machine::current().pool.free(string.buffer.get() as usize, None));
    }
    string.length.set(0);
    string.maximum_length.set(0);
    string.buffer.set(std::ptr::null_mut());
}

extern "win64" fn compare_unicode(a: *const UNICODE_STRING, b: *const UNICODE_STRING, ignore_case: u8) -> i32 {
    let (a, b) = (text(a), text(b));
    let order = if ignore_case != 0 { a.to_uppercase().cmp(&b.to_uppercase()) } else { a.cmp(&b) };
    order as i32
}

fn append(to: &mut UNICODE_STRING, from: *const u16, size: usize) -> i32 {
    let used = usize::from(to.Length);
    if used + size > usize::from(to.MaximumLength) {
        return NtStatus::BUFFER_TOO_SMALL.0;
    }
    // SAFETY: the driver vouches for both buffers.
    unsafe { libc::memmove(to.Buffer.wrapping_byte_add(used).cast(), from.cast(), size) };
    to.Length = length(used + size);
    NtStatus::SUCCESS.0
}

extern "win64" fn append_unicode(to: &mut UNICODE_STRING, from: *const u16) -> i32 {
    if from.is_null() { NtStatus::SUCCESS.0 } else { append(to, from, wide_length(from) * 2) }
}

extern "win64" fn append_unicode_string(to: &mut UNICODE_STRING, from: &UNICODE_STRING) -> i32 {
    append(to, from.Buffer, usize::from(from.Length))
}

/// How a conversion is to look.
#[derive(Default)]
struct Spec {
    /// `-`, `+`, space, `#`, `0`.
    flags: String,
    width: usize,
    precision: Option<usize>,
    /// `l`, `ll`, `h`, `w`, `I64`, `z`.
    size: String,
}

/// Formats as the C runtime's printf does, for the conversions that drivers use; no floating point. `wide`: `%s` is UTF-16.
pub(crate) fn format(format: &str, wide: bool, mut next: impl FnMut() -> usize) -> String {
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = rest.next_if(|c| "-+ #0".contains(*c)) {
            spec.flags.push(flag);
        }
        let mut number = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if rest.next_if_eq(&'*').is_some() {
                return next() & 0xffff;
            }
            let mut value = 0;
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                value = (value * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(0xffff);
            }
            value
        };
        spec.width = number(&mut rest);
        if rest.next_if_eq(&'.').is_some() {
            spec.precision = Some(number(&mut rest));
        }
        while let Some(size) = rest.next_if(|c| "lhzIwtj".contains(*c)) {
            spec.size.push(size);
            if size == 'I' {
                while let Some(digit) = rest.next_if(|c| "3264".contains(*c)) {
                    spec.size.push(digit);
                }
            }
        }
        match rest.next() {
            Some('%') => out.push('%'),
            Some(conversion) => convert(&mut out, &spec, conversion, wide, next()),
            None => {}
        }
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "an `int` is the low half of its register")]
fn convert(out: &mut String, spec: &Spec, conversion: char, wide: bool, value: usize) {
    let has = |flag: char| spec.flags.contains(flag);
    let long = ["ll", "I64", "I", "z", "j", "t"].contains(&spec.size.as_str());
    let low = match spec.size.as_str() {
        _ if long => value,
        "h" => value & 0xffff,
        _ => value & 0xffff_ffff,
    };
    let signed = match spec.size.as_str() {
        _ if long => value.cast_signed() as i64,
        "h" => i64::from((value as u16).cast_signed()),
        _ => i64::from((value as u32).cast_signed()),
    };
    let is_wide = match spec.size.as_str() {
        "l" | "w" => true,
        "h" => false,
        _ => wide != conversion.is_uppercase(),
    };
    let mut prefix = "";
    let body = match conversion {
        'd' | 'i' => {
            prefix = if signed < 0 {
                "-"
            } else if has('+') {
                "+"
            } else {
                ""
            };
            signed.unsigned_abs().to_string()
        }
        'u' => low.to_string(),
        'o' => format!("{low:o}"),
        'x' | 'X' => {
            prefix = match (has('#') && low != 0, conversion) {
                (true, 'x') => "0x",
                (true, _) => "0X",
                _ => "",
            };
            if conversion == 'x' { format!("{low:x}") } else { format!("{low:X}") }
        }
        'p' => format!("{value:016X}"),
        'c' | 'C' => char::from_u32(if is_wide { value as u32 & 0xffff } else { value as u32 & 0xff })
            .unwrap_or(char::REPLACEMENT_CHARACTER)
            .to_string(),
        's' | 'S' => string(value, is_wide, spec.precision),
        'Z' if spec.size != "w" && value != 0 => {
            // SAFETY: the driver vouches for the argument.
            let string = unsafe { &*(value as *const AnsiString) };
            String::from_utf8_lossy(string.bytes()).into_owned()
        }
        'Z' if value != 0 => text(value as *const UNICODE_STRING),
        'Z' => "(null)".to_owned(),
        other => format!("%{other}({value:#x})"),
    };
    let digits = if "diuoxX".contains(conversion) { spec.precision.unwrap_or(0).saturating_sub(body.len()) } else { 0 };
    let size = prefix.len() + digits + body.chars().count();
    let pad = spec.width.saturating_sub(size);
    let zeros = has('0') && !has('-') && spec.precision.is_none() && "diuoxXp".contains(conversion);
    let spaces = |count: usize| " ".repeat(count);
    let zero = |count: usize| "0".repeat(count);
    let result = if has('-') {
        write!(out, "{prefix}{}{body}{}", zero(digits), spaces(pad))
    } else if zeros {
        write!(out, "{prefix}{}{body}", zero(pad + digits))
    } else {
        write!(out, "{}{prefix}{}{body}", spaces(pad), zero(digits))
    };
    debug_assert!(result.is_ok(), "a string takes anything");
}

/// At most `limit` characters of a terminated string.
fn string(address: usize, wide: bool, limit: Option<usize>) -> String {
    let limit = limit.unwrap_or(usize::MAX);
    if address == 0 {
        return "(null)".to_owned();
    }
    let unit = |index: usize| -> u16 {
        if wide {
            // SAFETY: the driver vouches for a string of `limit` units or a terminated one.
            unsafe { (address as *const u16).wrapping_add(index).read_unaligned() }
        } else {
            // SAFETY: the driver vouches for a string of `limit` units or a terminated one.
            u16::from(unsafe { (address as *const u8).wrapping_add(index).read() })
        }
    };
    let units: Vec<u16> = (0..limit).map(unit).take_while(|unit| *unit != 0).collect();
    if wide {
        return String::from_utf16_lossy(&units);
    }
    let bytes: Vec<u8> = units.iter().map(|unit| unit.to_le_bytes()[0]).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Puts text into a buffer as `_snprintf` does: no terminating zero when it fills the buffer, -1 when it does not fit.
fn put_narrow(buffer: *mut u8, count: usize, formatted: &str) -> i32 {
    let bytes = formatted.as_bytes();
    for (index, byte) in bytes.iter().chain(&[0]).take(count).enumerate() {
        // SAFETY: the driver vouches for `count` bytes.
        unsafe { buffer.wrapping_add(index).write(*byte) };
    }
    if bytes.len() > count { -1 } else { i32::try_from(bytes.len()).unwrap_or(-1) }
}

/// As `put_narrow`, in UTF-16.
fn put_wide(buffer: *mut u16, count: usize, formatted: &str) -> i32 {
    let units: Vec<u16> = formatted.encode_utf16().collect();
    for (index, unit) in units.iter().chain(&[0]).take(count).enumerate() {
        // SAFETY: the driver vouches for `count` units.
        unsafe { buffer.wrapping_add(index).write(*unit) };
    }
    if units.len() > count { -1 } else { i32::try_from(units.len()).unwrap_or(-1) }
}

fn narrow_text(address: *const c_char) -> String {
    // SAFETY: the driver vouches for a terminated string; if it is none, the fault is its own.
    unsafe { CStr::from_ptr(address) }.to_string_lossy().into_owned()
}

fn wide_text(address: *const u16) -> String {
    string(address as usize, true, None)
}

/// The arguments of a `va_list`.
fn listed(mut list: *const usize) -> impl FnMut() -> usize {
    move || {
        // SAFETY: the driver vouches for as many arguments as its format asks for.
        let value = unsafe { list.read() };
        list = list.wrapping_add(1);
        value
    }
}

extern "win64" fn vsnprintf(buffer: *mut u8, count: usize, text: *const c_char, list: *const usize) -> i32 {
    put_narrow(buffer, count, &format(&narrow_text(text), false, listed(list)))
}

extern "win64" fn vsnwprintf(buffer: *mut u16, count: usize, text: *const u16, list: *const usize) -> i32 {
    put_wide(buffer, count, &format(&wide_text(text), true, listed(list)))
}

/// Declares variadic routines that look at eight arguments after the format.
macro_rules! variadic {
    ($( $name:ident ( $( $argument:ident : $type:ty ),* ; $text:ident : $format:ty ) $body:expr; )*) => { $(
        extern "win64" fn $name(
            $( $argument: $type, )* $text: $format,
            a: usize, b: usize, c: usize, d: usize, e: usize, f: usize, g: usize, h: usize,
        ) -> i32 {
            let mut rest = [a, b, c, d, e, f, g, h].into_iter();
            let next = move || rest.next().unwrap_or(0);
            let put: fn($( $type, )* &str, &mut dyn FnMut() -> usize) -> i32 = $body;
            let (text, mut next) = (Text::of($text), next);
            put($( $argument, )* &text, &mut next)
        }
    )* };
}

/// Text of either width.
trait Text {
    fn of(self) -> String;
}

impl Text for *const c_char {
    fn of(self) -> String {
        narrow_text(self)
    }
}

impl Text for *const u16 {
    fn of(self) -> String {
        wide_text(self)
    }
}

variadic! {
    snprintf(buffer: *mut u8, count: usize; text: *const c_char)
        |buffer, count, text, next| put_narrow(buffer, count, &format(text, false, next));
    snwprintf(buffer: *mut u16, count: usize; text: *const u16)
        |buffer, count, text, next| put_wide(buffer, count, &format(text, true, next));
    sprintf(buffer: *mut u8; text: *const c_char)
        |buffer, text, next| put_narrow(buffer, usize::MAX, &format(text, false, next));
    swprintf(buffer: *mut u16; text: *const u16)
        |buffer, text, next| put_wide(buffer, usize::MAX, &format(text, true, next));
}

pub(super) fn exports() -> Vec<Export> {
    let mut exports = routines!["ntoskrnl.exe";
        HIGH: RtlInitAnsiString => init_ansi_string, RtlInitString => init_ansi_string;
        APC: RtlFreeUnicodeString => free_unicode, RtlFreeAnsiString => free_ansi;
        PASSIVE: RtlAnsiStringToUnicodeString => ansi_to_unicode, RtlUnicodeStringToAnsiString => unicode_to_ansi,
            RtlCompareUnicodeString => compare_unicode, RtlAppendUnicodeToString => append_unicode,
            RtlAppendUnicodeStringToString => append_unicode_string;
    ];
    let runtime: [(&str, *const ()); 6] = [
        ("_vsnprintf", vsnprintf as *const ()),
        ("_vsnwprintf", vsnwprintf as *const ()),
        ("_snprintf", snprintf as *const ()),
        ("_snwprintf", snwprintf as *const ()),
        ("sprintf", sprintf as *const ()),
        ("swprintf", swprintf as *const ()),
    ];
    exports.extend(runtime.map(|(name, address)| Export::direct("ntoskrnl.exe", name, address)));
    exports
}
