//! Drivers made of Rust functions: the exports, typed, through the same gate as a real driver's imports.
//!
//! For tests of the lab itself, and for drivers small enough to live inside a test. Declare the exports with [`imports!`];
//! each declaration is a function that looks its export up once.

use crate::exports;

/// The address at which a driver calls the export `name`.
///
/// # Panics
/// When there is no such export.
#[must_use]
pub fn import(name: &str) -> usize {
    exports::bindings().get(name).unwrap_or_else(|| panic!("the lab does not export {name}")).address
}

/// Declares exports as functions: `imports! { fn KeSetEvent(event: *mut KEVENT, increment: i32, wait: u8) -> i32; }`.
///
/// The functions are safe to name but not to misuse: wrong arguments fault inside the lab, which reports them.
#[macro_export]
macro_rules! imports {
    ($( $visibility:vis fn $name:ident ( $( $argument:ident : $type:ty ),* $(,)? ) $( -> $result:ty )? ; )*) => { $(
        #[allow(non_snake_case, missing_docs, clippy::too_many_arguments, clippy::allow_attributes, reason = "as in C")]
        $visibility fn $name($( $argument: $type ),*) $( -> $result )? {
            static ADDRESS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
            let address = *ADDRESS.get_or_init(|| $crate::builtin::import(stringify!($name)));
            // SAFETY: the export has this signature in Microsoft's headers; the declaration repeats it.
            let function: extern "win64" fn($( $type ),*) $( -> $result )? = unsafe { std::mem::transmute(address) };
            function($( $argument ),*)
        }
    )* };
}
