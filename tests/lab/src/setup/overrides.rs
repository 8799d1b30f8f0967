//! Private copies of the three crates that assume a Windows host, put in place by cargo's `paths` setting.
//!
//! Their manifests stay as they are, so `Cargo.lock` does too, and one lock file serves both hosts. What wdk-build
//! generates is untouched: only its refusal to compile elsewhere, and how it makes a symbolic link.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand};
use walkdir::WalkDir;

use super::files;
use crate::{
    command::{cargo, run},
    workspace::Workspace,
};

const WINDOWS: &str = include_str!("../../sysroot/windows.rs");
const WINDOWS_FUTURE: &str = "//! Nothing that wdk-build uses is here.\n";
/// What the copies are made from, apart from the registry.
pub const SOURCES: &[&str] = &[WINDOWS, WINDOWS_FUTURE];
/// The crates that are replaced.
const CRATES: [&str; 3] = ["wdk-build", "windows", "windows-future"];

/// An edit of wdk-build's source: file, what is there, what takes its place.
const EDITS: [(&str, &str, &str); 3] = [
    ("src/utils.rs", "#[cfg(target_os = \"windows\")]", "#[cfg(all())]"),
    ("src/utils.rs", "#[cfg(not(target_os = \"windows\"))]", "#[cfg(any())]"),
    ("src/cargo_make.rs", "std::os::windows::fs::symlink_file", "std::os::unix::fs::symlink"),
];

/// The argument that makes cargo use the copies.
pub fn cargo_config(workspace: &Workspace) -> String {
    let folders = CRATES.map(|name| workspace.overrides().join(name));
    format!("paths={folders:?}")
}

/// Makes the copies from the registry's sources.
pub fn copy(workspace: &Workspace) -> Result<()> {
    run(cargo().current_dir(workspace.root()).args(["fetch", "--locked"]))?;
    let metadata = MetadataCommand::new()
        .current_dir(workspace.root())
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .context("cannot read the workspace's metadata")?;
    let overrides = workspace.overrides();
    copy_wdk_build(source_of(&metadata, "wdk-build")?, &overrides.join("wdk-build"))?;
    blank(source_of(&metadata, "windows")?, &overrides.join("windows"), WINDOWS)?;
    blank(source_of(&metadata, "windows-future")?, &overrides.join("windows-future"), WINDOWS_FUTURE)
}

fn source_of<'a>(metadata: &'a Metadata, name: &str) -> Result<&'a Path> {
    let package = metadata.packages.iter().find(|package| *package.name == name);
    let manifest = &package.with_context(|| format!("{name} is not in Cargo.lock"))?.manifest_path;
    Ok(manifest.parent().context("a manifest has a folder")?.as_std_path())
}

fn copy_wdk_build(source: &Path, copy: &Path) -> Result<()> {
    for file in ["Cargo.toml", "build.rs"] {
        files::copy(&source.join(file), &copy.join(file))?;
    }
    for entry in WalkDir::new(source.join("src")) {
        let entry = entry?;
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(source)?;
            files::write(&copy.join(path), edited(path, fs::read_to_string(entry.path())?)?)?;
        }
    }
    Ok(())
}

/// `text`, the file at `path` of wdk-build, with this module's edits.
fn edited(path: &Path, mut text: String) -> Result<String> {
    for (file, present, wanted) in EDITS.iter().filter(|(file, ..)| Path::new(file) == path) {
        ensure!(text.contains(present), "wdk-build's {file} no longer contains `{present}`: mend tests/lab's EDITS");
        text = text.replace(present, wanted);
    }
    Ok(text)
}

/// A crate with `source`'s manifest and `text` for its whole library. The manifest loses a hint to the compiler that a
/// stable cargo warns about.
fn blank(source: &Path, copy: &Path, text: &str) -> Result<()> {
    let manifest = fs::read_to_string(source.join("Cargo.toml"))?.replace("mostly-unused = true", "");
    files::write(&copy.join("Cargo.toml"), manifest)?;
    files::write(&copy.join("src/lib.rs"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_replace_the_refusal_to_compile_outside_windows() {
        let text = "#[cfg(target_os = \"windows\")]\nfn a() {}\n#[cfg(not(target_os = \"windows\"))]\nfn a() {}\n";
        let edited = edited(Path::new("src/utils.rs"), text.to_owned()).unwrap();
        assert_eq!(edited, "#[cfg(all())]\nfn a() {}\n#[cfg(any())]\nfn a() {}\n");
    }

    #[test]
    fn an_edit_that_finds_nothing_is_an_error() {
        assert!(edited(Path::new("src/cargo_make.rs"), String::new()).is_err());
    }
}
