//! Files that are left alone when they already are what they should be, so that nothing built from them is built again.

#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(windows)]
use std::os::windows::fs::symlink_file as symlink;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Makes `path` contain `text`.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let text = text.as_ref();
    if !path.is_symlink() && fs::read(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    clear(path)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Makes `path` a symbolic link to `target`.
pub fn link(path: &Path, target: &Path) -> Result<()> {
    if fs::read_link(path).is_ok_and(|present| present == target) {
        return Ok(());
    }
    clear(path)?;
    symlink(target, path).with_context(|| format!("cannot link {} to {}", path.display(), target.display()))
}

/// Copies `from` to `to` unless they are the same already.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    write(to, fs::read(from).with_context(|| format!("cannot read {}", from.display()))?)
}

/// The files right in `folder` whose names end in `.` and `extension`, by name, in order.
pub fn in_folder(folder: &Path, extension: &str) -> Result<BTreeMap<OsString, PathBuf>> {
    let entries = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let files = entries.map(|entry| entry.map(|entry| (entry.file_name(), entry.path())));
    let files: BTreeMap<_, _> = files.collect::<std::io::Result<_>>()?;
    Ok(files.into_iter().filter(|(_, path)| path.extension().is_some_and(|found| found == extension)).collect())
}

/// Makes room for a file at `path`: its folder exists, and no link is in the way.
fn clear(path: &Path) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if path.is_symlink() {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
