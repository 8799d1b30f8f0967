//! What an image must be to load as a kernel driver on 64-bit Windows, each failure with the way to mend it.

use object::pe;
use serde::Serialize;

use super::{Image, exports::Exports};
use crate::setup::toolchain::Architecture;

/// A check that an image did not pass.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The name of the check.
    pub check: &'static str,
    /// What was found.
    pub found: String,
    /// What to do.
    pub mend: &'static str,
}

/// Judges `image` as a driver for x64; an image that may ship gives no failure.
pub fn failures(image: &Image, exports: &Exports) -> Vec<Failure> {
    failures_on(Architecture::X64, image, exports)
}

/// Judges `image` as a driver for `architecture`.
pub fn failures_on(architecture: Architecture, image: &Image, exports: &Exports) -> Vec<Failure> {
    let headers = header_failures(architecture, image).into_iter();
    headers.chain(section_failures(image)).chain(import_failures(image, exports)).collect()
}

fn header_failures(architecture: Architecture, image: &Image) -> Vec<Failure> {
    let headers = &image.headers;
    let has = |flag| headers.dll_characteristics & flag != 0;
    let stripped = headers.characteristics & pe::IMAGE_FILE_RELOCS_STRIPPED != 0;
    [
        (
            headers.machine == architecture.machine(),
            "machine",
            format!("machine {:#06x}", headers.machine),
            "build the driver for the target of that processor: x86_64 or aarch64-pc-windows-msvc",
        ),
        (
            headers.subsystem == pe::IMAGE_SUBSYSTEM_NATIVE,
            "subsystem",
            format!("subsystem {}", headers.subsystem),
            "driver/build.rs must call wdk_build::configure_wdk_binary_build, which links with /SUBSYSTEM:NATIVE",
        ),
        (
            headers.entry_point != 0,
            "entry-point",
            "no entry point".to_owned(),
            "export DriverEntry: the linker is given /ENTRY:DriverEntry",
        ),
        (
            headers.relocations != 0 && !stripped,
            "relocations",
            "no base relocations".to_owned(),
            "link without /FIXED: the kernel loads drivers at any address",
        ),
        (
            has(pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE),
            "dynamic-base",
            "not marked as relocatable".to_owned(),
            "link with /DYNAMICBASE",
        ),
        (
            has(pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT),
            "nx-compatible",
            "not marked as NX compatible".to_owned(),
            "link with /NXCOMPAT",
        ),
        (
            headers.thread_local_storage == 0,
            "thread-local-storage",
            "a thread-local storage directory".to_owned(),
            "the kernel initialises no thread-local storage: remove what brings it in",
        ),
    ]
    .into_iter()
    .filter(|(holds, ..)| !holds)
    .map(|(_, check, found, mend)| Failure { check, found, mend })
    .collect()
}

fn section_failures(image: &Image) -> Vec<Failure> {
    let both = image.sections.iter().filter(|section| section.is_writable_code());
    both.map(|section| Failure {
        check: "writable-code",
        found: format!("section {} is both writable and executable", section.name),
        mend: "find the link argument that merges sections (/MERGE, /SECTION) and drop it",
    })
    .collect()
}

fn import_failures(image: &Image, exports: &Exports) -> Vec<Failure> {
    let mut failures: Vec<_> = image
        .imports
        .iter()
        .filter(|import| !exports.has(&import.module, &import.name))
        .map(|import| {
            let found = format!("{}!{}", import.module, import.name);
            if is_c_runtime(&import.module) {
                Failure { check: "no-c-runtime", found, mend: "the kernel has no C runtime: link with /NODEFAULTLIB" }
            } else if exports.has_module(&import.module) {
                Failure {
                    check: "windows-export",
                    found,
                    mend: "Windows exports no such name (it is inline, a macro, in a static library, or Wine's own): \
                           call what the inline function calls",
                }
            } else {
                Failure { check: "import-module", found, mend: "import from ntoskrnl.exe and netio.sys only" }
            }
        })
        .collect();
    if image.imports.is_empty() {
        failures.push(Failure {
            check: "imports",
            found: "no imports at all".to_owned(),
            mend: "this is not the driver: look at what was built",
        });
    }
    failures
}

fn is_c_runtime(module: &str) -> bool {
    ["msvcr", "msvcp", "vcruntime", "ucrtbase", "api-ms-win-crt"].iter().any(|prefix| module.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Headers, Import, Section};

    fn driver() -> Image {
        let section = |name: &str, characteristics| Section { name: name.to_owned(), size: 0x1000, characteristics };
        let import = |module: &str, name: &str| Import { module: module.to_owned(), name: name.to_owned() };
        Image {
            size: 0x4000,
            sections: vec![section(".text", pe::IMAGE_SCN_MEM_EXECUTE), section(".data", pe::IMAGE_SCN_MEM_WRITE)],
            imports: vec![import("ntoskrnl.exe", "IofCompleteRequest"), import("netio.sys", "WskRegister")],
            headers: Headers {
                machine: pe::IMAGE_FILE_MACHINE_AMD64,
                subsystem: pe::IMAGE_SUBSYSTEM_NATIVE,
                characteristics: pe::IMAGE_FILE_EXECUTABLE_IMAGE,
                dll_characteristics: pe::IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE | pe::IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
                entry_point: 0x1000,
                relocations: 12,
                thread_local_storage: 0,
            },
        }
    }

    /// The checks that the good driver fails after `spoil`.
    fn failed_after(spoil: impl FnOnce(&mut Image)) -> Vec<&'static str> {
        let mut image = driver();
        spoil(&mut image);
        failures(&image, &Exports::read()).iter().map(|failure| failure.check).collect()
    }

    fn failed_with_import(module: &str, name: &str) -> Vec<&'static str> {
        let import = Import { module: module.to_owned(), name: name.to_owned() };
        failed_after(|image| image.imports.push(import))
    }

    #[test]
    fn a_good_driver_passes() {
        assert!(failed_after(|_| ()).is_empty());
    }

    #[test]
    fn each_wrong_header_fails_its_own_check() {
        assert_eq!(failed_after(|image| image.headers.machine = pe::IMAGE_FILE_MACHINE_ARM64), ["machine"]);
        assert_eq!(failed_after(|image| image.headers.subsystem = pe::IMAGE_SUBSYSTEM_WINDOWS_CUI), ["subsystem"]);
        assert_eq!(failed_after(|image| image.headers.entry_point = 0), ["entry-point"]);
        assert_eq!(failed_after(|image| image.headers.relocations = 0), ["relocations"]);
        assert_eq!(
            failed_after(|image| image.headers.characteristics |= pe::IMAGE_FILE_RELOCS_STRIPPED),
            ["relocations"]
        );
        assert_eq!(failed_after(|image| image.headers.dll_characteristics = 0), ["dynamic-base", "nx-compatible"]);
        assert_eq!(failed_after(|image| image.headers.thread_local_storage = 40), ["thread-local-storage"]);
    }

    #[test]
    fn a_section_that_is_writable_and_executable_fails() {
        assert_eq!(
            failed_after(|image| image.sections[0].characteristics |= pe::IMAGE_SCN_MEM_WRITE),
            ["writable-code"]
        );
    }

    #[test]
    fn an_import_that_windows_does_not_export_fails() {
        assert_eq!(failed_with_import("ntoskrnl.exe", "IoCreateDeviceSecure"), ["windows-export"]);
        assert_eq!(failed_with_import("netio.sys", "#7"), ["windows-export"]);
        assert_eq!(failed_with_import("hal.dll", "KeStallExecutionProcessor"), ["import-module"]);
        assert_eq!(failed_with_import("vcruntime140.dll", "memcpy"), ["no-c-runtime"]);
        assert_eq!(failed_after(|image| image.imports.clear()), ["imports"]);
    }
}
