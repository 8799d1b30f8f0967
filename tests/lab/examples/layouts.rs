//! Prints a C file that asserts every layout which was written by hand (in the `wsk` crate and in `ntlab`), and every one that the
//! driver relies on: an image built against one kit's headers runs where another kit's hold. `cargo lab layouts` compiles it against
//! the free headers, the workflow's Windows job against the WDK's.

/// A structure's C name, its size if the driver makes one, and the fields that the driver touches.
type Relied = (&'static str, Option<usize>, &'static [(&'static str, usize)]);

/// What the driver uses of the kernel's headers, through `wdk-sys`' bindings of them, on x64 and on ARM64.
const DRIVER: &[Relied] = &[
    ("LIST_ENTRY", Some(16), &[("Flink", 0), ("Blink", 8)]),
    ("UNICODE_STRING", Some(16), &[("Length", 0), ("MaximumLength", 2), ("Buffer", 8)]),
    ("IO_STATUS_BLOCK", Some(16), &[("Status", 0), ("Information", 8)]),
    (
        "OBJECT_ATTRIBUTES",
        Some(48),
        &[("Length", 0), ("ObjectName", 16), ("Attributes", 24), ("SecurityDescriptor", 32)],
    ),
    ("KSPIN_LOCK", Some(8), &[]),
    ("KEVENT", Some(24), &[]),
    ("KTIMER", Some(64), &[]),
    ("KDPC", Some(64), &[]),
    ("LARGE_INTEGER", Some(8), &[("QuadPart", 0)]),
    ("MDL", Some(48), &[("Next", 0), ("MdlFlags", 10), ("MappedSystemVa", 24), ("ByteCount", 40), ("ByteOffset", 44)]),
    (
        "IRP",
        Some(208),
        &[
            ("MdlAddress", 8),
            ("AssociatedIrp.SystemBuffer", 24),
            ("IoStatus", 48),
            ("RequestorMode", 64),
            ("PendingReturned", 65),
            ("Cancel", 68),
            ("CancelRoutine", 104),
            ("Tail.Overlay.DriverContext", 120),
            ("Tail.Overlay.ListEntry", 168),
            ("Tail.Overlay.CurrentStackLocation", 184),
        ],
    ),
    (
        "IO_STACK_LOCATION",
        Some(72),
        &[
            ("MajorFunction", 0),
            ("Control", 3),
            ("Parameters.DeviceIoControl.OutputBufferLength", 8),
            ("Parameters.DeviceIoControl.InputBufferLength", 16),
            ("Parameters.DeviceIoControl.IoControlCode", 24),
            ("FileObject", 48),
            ("CompletionRoutine", 56),
            ("Context", 64),
        ],
    ),
    ("FILE_OBJECT", None, &[("FsContext", 24), ("FsContext2", 32)]),
    ("DRIVER_OBJECT", None, &[("DeviceObject", 8), ("DriverUnload", 104), ("MajorFunction", 112)]),
    // mingw's is 328 bytes, Windows' 336: the driver never makes one.
    ("DEVICE_OBJECT", None, &[("Flags", 48), ("DeviceExtension", 64), ("StackSize", 76)]),
];

fn main() {
    println!("#include <ntifs.h>\n#include <ntddk.h>\n#include <wsk.h>");
    for &(name, size, fields) in DRIVER {
        print_assertions(name, size, fields);
    }
    for layout in wsk::sys::LAYOUTS.into_iter().flatten() {
        print_assertions(layout.c_name, Some(layout.size), layout.fields);
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        use {ntlab::nt::DEVICE_OBJECT, std::mem::offset_of};
        for layout in ntlab::nt::LAYOUTS {
            print_assertions(layout.c_name, Some(layout.size), layout.fields);
        }
        let device = [
            ("Flags", offset_of!(DEVICE_OBJECT, Flags)),
            ("DeviceExtension", offset_of!(DEVICE_OBJECT, DeviceExtension)),
            ("StackSize", offset_of!(DEVICE_OBJECT, StackSize)),
        ];
        print_assertions("DEVICE_OBJECT", None, &device);
    }
}

fn print_assertions(name: &str, size: Option<usize>, fields: &[(&str, usize)]) {
    if let Some(size) = size {
        println!("_Static_assert(sizeof({name}) == {size}, \"size of {name}\");");
    }
    for (field, offset) in fields {
        println!("_Static_assert(__builtin_offsetof({name}, {field}) == {offset}, \"offset of {name}.{field}\");");
    }
}
