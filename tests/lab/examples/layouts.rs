//! Prints a C file that asserts every layout which the `wsk` crate and `ntlab` wrote by hand, for `cargo lab layouts` to
//! compile against the headers.

fn main() {
    println!("#include <ntifs.h>\n#include <ntddk.h>\n#include <wsk.h>");
    for layout in wsk::sys::LAYOUTS.into_iter().flatten() {
        print_assertions(layout.c_name, layout.size, layout.fields);
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    for layout in ntlab::nt::LAYOUTS {
        print_assertions(layout.c_name, layout.size, layout.fields);
    }
}

fn print_assertions(name: &str, size: usize, fields: &[(&str, usize)]) {
    println!("_Static_assert(sizeof({name}) == {size}, \"size of {name}\");");
    for (field, offset) in fields {
        println!("_Static_assert(__builtin_offsetof({name}, {field}) == {offset}, \"offset of {name}.{field}\");");
    }
}
