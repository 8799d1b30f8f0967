//! The fields of kernel objects that an IRP of the client's own takes, by hand: the same on x64 and ARM64.
//!
//! Source: *IRP structure*, *`IO_STACK_LOCATION` structure*, *`OBJECT_ATTRIBUTES` structure*; `cargo lab layouts` compares them with the
//! C headers.

use crate::sys::{Irp, Layout, NtStatus};
use core::ffi::c_void;

/// IRP, of which only the named fields are used.
#[repr(C, align(16))]
pub(crate) struct IrpFields {
    _before: [u8; 48],
    pub io_status: IoStatusBlock,
    _between: [u8; 120],
    pub current_stack_location: *mut StackLocation,
    _after: [u8; 16],
}

/// `IO_STATUS_BLOCK`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoStatusBlock {
    pub status: NtStatus,
    pub information: usize,
}

/// `IO_STACK_LOCATION`, of which only the named fields are used.
#[repr(C, align(8))]
pub(crate) struct StackLocation {
    _before: [u8; 3],
    pub control: u8,
    _between: [u8; 52],
    pub completion_routine:
        Option<unsafe extern "C" fn(device: *mut c_void, irp: *mut Irp, context: *mut c_void) -> NtStatus>,
    pub context: *mut c_void,
}

/// KEVENT.
#[repr(C, align(8))]
pub(crate) struct EventObject(pub [u8; 24]);

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
pub(crate) struct ObjectAttributes {
    pub length: u32,
    pub root: *mut c_void,
    pub name: *mut c_void,
    pub attributes: u32,
    pub security: *mut c_void,
    pub quality: *mut c_void,
}

macro_rules! layouts {
    ($($name:ident = $c_name:literal, $size:literal { $($field:ident = $c_field:literal @ $offset:literal),* })*) => {
        #[cfg(target_pointer_width = "64")]
        const _: () = {
            $(
                assert!(size_of::<$name>() == $size);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
            )*
        };
        /// For comparing with the C headers.
        pub(crate) const LAYOUTS: &[Layout] = &[$(Layout {
            c_name: $c_name,
            size: size_of::<$name>(),
            fields: &[$(($c_field, core::mem::offset_of!($name, $field))),*],
        }),*];
    };
}

layouts! {
    IrpFields = "IRP", 208 {
        io_status = "IoStatus" @ 48,
        current_stack_location = "Tail.Overlay.CurrentStackLocation" @ 184
    }
    IoStatusBlock = "IO_STATUS_BLOCK", 16 { status = "Status" @ 0, information = "Information" @ 8 }
    StackLocation = "IO_STACK_LOCATION", 72 {
        control = "Control" @ 3,
        completion_routine = "CompletionRoutine" @ 56,
        context = "Context" @ 64
    }
    EventObject = "KEVENT", 24 {}
    ObjectAttributes = "OBJECT_ATTRIBUTES", 48 {
        length = "Length" @ 0,
        root = "RootDirectory" @ 8,
        name = "ObjectName" @ 16,
        attributes = "Attributes" @ 24,
        security = "SecurityDescriptor" @ 32,
        quality = "SecurityQualityOfService" @ 40
    }
}
