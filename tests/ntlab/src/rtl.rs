//! Runtime routines: memory, strings, versions.

use std::ffi::{c_char, c_int, c_void};

use crate::exports::{Export, routines};
use crate::nt::{PVOID, UNICODE_STRING};

std::arch::global_asm!(
    // Touches each page of a large frame in order, as the C runtime's does: rax = size, all registers kept.
    ".p2align 4",
    ".type ntlab_chkstk, @function",
    "ntlab_chkstk:",
    "push rcx",
    "push rax",
    "lea rcx, [rsp + 24]",
    "cmp rax, 4096",
    "jb 3f",
    "2:",
    "sub rcx, 4096",
    "test qword ptr [rcx], rcx",
    "sub rax, 4096",
    "cmp rax, 4096",
    "ja 2b",
    "3:",
    "sub rcx, rax",
    "test qword ptr [rcx], rcx",
    "pop rax",
    "pop rcx",
    "ret",
);

unsafe extern "C" {
    fn ntlab_chkstk();
}

extern "win64" fn memcpy(to: PVOID, from: *const c_void, size: usize) -> PVOID {
    // SAFETY: the driver vouches for both ranges; if they are not there, the fault is its own.
    unsafe { libc::memmove(to, from, size) }
}

extern "win64" fn memset(to: PVOID, byte: c_int, size: usize) -> PVOID {
    // SAFETY: the driver vouches for the range; if it is not there, the fault is its own.
    unsafe { libc::memset(to, byte, size) }
}

extern "win64" fn memcmp(a: *const c_void, b: *const c_void, size: usize) -> c_int {
    // SAFETY: the driver vouches for the range; if it is not there, the fault is its own.
    unsafe { libc::memcmp(a, b, size) }
}

extern "win64" fn strlen(text: *const c_char) -> usize {
    // SAFETY: the driver vouches for the range; if it is not there, the fault is its own.
    unsafe { libc::strlen(text) }
}

extern "win64" fn strcmp(a: *const c_char, b: *const c_char) -> c_int {
    // SAFETY: the driver vouches for the range; if it is not there, the fault is its own.
    unsafe { libc::strcmp(a, b) }
}

/// Units before the terminating zero.
pub(crate) fn wide_length(text: *const u16) -> usize {
    let mut length = 0;
    // SAFETY: the driver vouches for a terminated string; if it is none, the fault is its own.
    while unsafe { text.wrapping_add(length).read() } != 0 {
        length += 1;
    }
    length
}

extern "win64" fn wcslen(text: *const u16) -> usize {
    wide_length(text)
}

extern "win64" fn compare_memory(a: *const u8, b: *const u8, size: usize) -> usize {
    // SAFETY: the driver vouches for both ranges.
    let a = unsafe { std::slice::from_raw_parts(a, size) };
    // SAFETY: the driver vouches for both ranges.
    let b = unsafe { std::slice::from_raw_parts(b, size) };
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

extern "win64" fn init_unicode_string(string: *mut UNICODE_STRING, source: *const u16) {
    let length = if source.is_null() { 0 } else { wide_length(source) * 2 };
    let value = UNICODE_STRING {
        Length: u16::try_from(length).unwrap_or(0xfffc),
        MaximumLength: if source.is_null() { 0 } else { u16::try_from(length + 2).unwrap_or(0xfffe) },
        Buffer: source.cast_mut(),
    };
    // SAFETY: the driver vouches for the string.
    unsafe { string.write(value) };
}

/// The text of a string that a driver passes.
pub(crate) fn text(string: *const UNICODE_STRING) -> String {
    // SAFETY: the driver vouches for the string; if it is none, the fault is its own.
    let string = unsafe { string.read() };
    // SAFETY: the buffer is part of the string that the driver vouches for.
    unsafe { string.text() }
}

extern "win64" fn equal_unicode_string(a: *const UNICODE_STRING, b: *const UNICODE_STRING, ignore_case: u8) -> u8 {
    let (a, b) = (text(a), text(b));
    u8::from(if ignore_case != 0 { a.to_uppercase() == b.to_uppercase() } else { a == b })
}

extern "win64" fn copy_unicode_string(to: *mut UNICODE_STRING, from: *const UNICODE_STRING) {
    // SAFETY: the driver vouches for the strings.
    let to = unsafe { &mut *to };
    to.Length = 0;
    if from.is_null() {
        return;
    }
    // SAFETY: not null, so a string that the driver vouches for.
    let from = unsafe { from.read() };
    let length = from.Length.min(to.MaximumLength);
    // SAFETY: both buffers hold `length` bytes, as the driver says.
    unsafe { libc::memmove(to.Buffer.cast(), from.Buffer.cast(), usize::from(length)) };
    to.Length = length;
}

pub(crate) fn exports() -> Vec<Export> {
    let mut exports = routines!["ntoskrnl.exe";
        HIGH: RtlInitUnicodeString => init_unicode_string, RtlCopyUnicodeString => copy_unicode_string,
            RtlCompareMemory => compare_memory;
        PASSIVE: RtlEqualUnicodeString => equal_unicode_string;
    ];
    let runtime: [(&str, *const ()); 8] = [
        ("memcpy", memcpy as *const ()),
        ("memmove", memcpy as *const ()),
        ("memset", memset as *const ()),
        ("memcmp", memcmp as *const ()),
        ("strlen", strlen as *const ()),
        ("strcmp", strcmp as *const ()),
        ("wcslen", wcslen as *const ()),
        ("__chkstk", ntlab_chkstk as *const ()),
    ];
    exports.extend(runtime.map(|(name, address)| Export::direct("ntoskrnl.exe", name, address)));
    exports
}
