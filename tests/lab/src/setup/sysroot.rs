//! A folder laid out like the WDK, made of mingw's DDK headers, Wine's `wsk.h` and import libraries for Windows' exports.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Tools, files, toolchain::Architecture};
use crate::{
    command::{output_of, run},
    image::exports::{Export, Exports, Kind},
};

/// The SDK release that the folder claims to be.
const VERSION: &str = "10.0.22621.0";
/// Headers that stand before mingw's.
const HEADERS: [(&str, &str); 3] = [
    ("ntddk.h", include_str!("../../sysroot/ntddk.h")),
    ("winsock2.h", include_str!("../../sysroot/winsock2.h")),
    ("mswsock.h", include_str!("../../sysroot/mswsock.h")),
];
const POOL2: &str = include_str!("../../sysroot/pool2.c");
/// Linked into the driver instead of imported, because Wine 8 has no such export.
const STATIC: [&str; 1] = ["ExAllocatePool2"];
/// Everything the folder is made from, apart from the packages.
pub const SOURCES: &[&str] = &[HEADERS[0].1, HEADERS[1].1, HEADERS[2].1, POOL2, crate::image::exports::TABLE, VERSION];

/// MSVC's view of mingw's headers, so that an enum is an `int`, as in bindings made from the real WDK.
pub const CLANG_VIEW: [&str; 9] = [
    "--target=x86_64-pc-windows-msvc",
    "-fno-ms-compatibility",
    "-U_MSC_VER",
    "-D__GNUC__=12",
    "-D__GNUC_MINOR__=2",
    "-D__MINGW32__=1",
    "-D__MINGW64__=1",
    "-D__X86INTRIN_H",
    "-D__IMMINTRIN_H",
];

/// What ARM64 sees of the headers: mingw's know no ARM64, and what the driver uses of them is laid out as on x64.
pub const ARM64_CLANG_VIEW: [&str; 4] = ["-U_ARM64_", "-UARM64", "-D_AMD64_", "-D_WIN64"];

/// The folders that hold the headers, in the order in which wdk-build searches them.
pub fn include_folders(sysroot: &Path) -> [PathBuf; 3] {
    let include = sysroot.join("Include").join(VERSION);
    [include.join("km/crt"), include.join("km"), include.join("shared")]
}

/// Makes `sysroot` what it should be, touching only what is not so already.
pub fn lay_out(sysroot: &Path, tools: &Tools) -> Result<()> {
    lay_out_headers(sysroot, tools)?;
    Architecture::ALL.into_iter().try_for_each(|architecture| lay_out_libraries(sysroot, tools, architecture))
}

fn lay_out_headers(sysroot: &Path, tools: &Tools) -> Result<()> {
    let [crt, km, shared] = include_folders(sysroot);
    let builtin = output_of(Command::new(&tools.llvm.clang).arg("-print-resource-dir"))?;
    fs::create_dir_all(&km).with_context(|| format!("cannot make {}", km.display()))?;
    files::link(&crt, &Path::new(builtin.trim()).join("include"))?;
    files::link(&shared, &tools.mingw_include)?;
    for header in tools.mingw_include.join("ddk").read_dir().context("mingw's headers have no ddk folder")? {
        let header = header?;
        if HEADERS.iter().all(|(name, _)| header.file_name() != *name) {
            files::link(&km.join(header.file_name()), &header.path())?;
        }
    }
    files::link(&km.join("wsk.h"), &tools.wsk_h)?;
    HEADERS.iter().try_for_each(|(name, text)| files::write(&km.join(name), text))
}

fn lay_out_libraries(sysroot: &Path, tools: &Tools, architecture: Architecture) -> Result<()> {
    let libraries = sysroot.join("Lib").join(VERSION).join("km").join(architecture.library_folder());
    fs::create_dir_all(&libraries).with_context(|| format!("cannot make {}", libraries.display()))?;
    let exports = Exports::read();
    for (library, module) in
        [("ntoskrnl", "ntoskrnl.exe"), ("netio", "netio.sys"), ("hal", "hal.dll"), ("wmilib", "wmilib.sys")]
    {
        let definition = sysroot.join(format!("{library}.def"));
        files::write(&definition, module_definition(module, exports.of(module)))?;
        run(Command::new(&tools.llvm.dlltool)
            .args(["-m", architecture.dlltool_machine(), "-d"])
            .arg(&definition)
            .arg("-l")
            .arg(libraries.join(format!("{library}.lib"))))?;
    }
    if architecture == Architecture::Arm64 {
        // wdk-build links it; nothing of it is used.
        run(Command::new(&tools.llvm.ar).arg("rcD").arg(libraries.join("arm64rt.lib")))?;
    }
    build_static_library(sysroot, &libraries.join("BufferOverflowFastFailK.lib"), tools, architecture)
}

/// A module-definition file. A module that the driver may not import from gets an empty one.
fn module_definition<'a>(module: &str, exports: impl Iterator<Item = &'a Export>) -> String {
    let mut text = format!("LIBRARY {module}\nEXPORTS\n");
    for export in exports.filter(|export| !STATIC.contains(&export.name)) {
        let suffix = if export.kind == Kind::Data { " DATA" } else { "" };
        writeln!(text, "{}{suffix}", export.name).expect("writing to a string cannot fail");
    }
    text
}

fn build_static_library(sysroot: &Path, library: &Path, tools: &Tools, architecture: Architecture) -> Result<()> {
    let source = sysroot.join("pool2.c");
    let object = sysroot.join(format!("pool2-{}.obj", architecture.name()));
    files::write(&source, POOL2)?;
    run(Command::new(&tools.llvm.clang)
        .arg(format!("--target={}", architecture.target()))
        .args(["-O2", "-mno-stack-arg-probe", "-Wall", "-Werror", "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object))?;
    run(Command::new(&tools.llvm.ar).arg("rcD").arg(library).arg(&object))
}
