//! `cargo lab layouts`: what was written by hand is what the C headers say, size by size and offset by offset.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{
    artifacts,
    command::{output_of, status_of},
    report::{Outcome, progress},
    setup::{self, Tools, files, sysroot},
    workspace::Workspace,
};

/// `cargo lab layouts`
pub fn run(workspace: &Workspace) -> Result<Outcome> {
    let tools = setup::prepare(workspace)?;
    let assertions = check(workspace, &tools)?;
    println!("layouts: {assertions} sizes and offsets agree with the headers");
    Ok(Outcome::Holds)
}

/// Compiles the assertions against the headers; their number.
pub fn check(workspace: &Workspace, tools: &Tools) -> Result<usize> {
    progress("comparing layouts with the C headers");
    let example = ["--quiet", "--package", "lab", "--example", "layouts"];
    let text = output_of(artifacts::lab_cargo(workspace, "run").args(example))?;
    let source = workspace.lab().join("layouts.c");
    files::write(&source, &text)?;
    let mut clang = Command::new(&tools.llvm.clang);
    clang.args(sysroot::CLANG_VIEW).args(["-fsyntax-only", "-ferror-limit=0", "-Wno-everything", "-nostdinc"]);
    for folder in sysroot::include_folders(&workspace.sysroot()) {
        clang.arg("-isystem").arg(folder);
    }
    let status = status_of(clang.arg(&source))?;
    ensure!(status.success(), "a layout written by hand differs from the C headers, as clang says above");
    Ok(text.matches("_Static_assert").count())
}
