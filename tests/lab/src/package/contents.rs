//! What else is in the package: the scripts, the scenarios, a README, the sums of everything; and the zip.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::{setup::files, workspace::Workspace};

const SUMS: &str = "SHA256SUMS";
/// Read by people and by Notepad.
const README: &str = include_str!("readme.txt");

/// A finished package folder.
pub struct Contents {
    folder: PathBuf,
    /// Relative to the folder, with forward slashes, in order; the sums last.
    names: Vec<String>,
}

impl Contents {
    /// Adds scripts, scenarios, README and sums to the binaries in `folder`.
    pub fn finish(workspace: &Workspace, folder: &Path, version: &str, commit: &str) -> Result<Self> {
        for script in files_below(&workspace.root().join("tests/windows"))? {
            let text = fs::read_to_string(workspace.root().join("tests/windows").join(&script))?;
            files::write(&folder.join("scripts").join(&script), with_windows_line_ends(&text))?;
        }
        for (name, scenario) in files::in_folder(&workspace.scenarios(), "toml")? {
            files::copy(&scenario, &folder.join("scenarios").join(name))?;
        }
        let readme = README.replace("@VERSION@", version).replace("@COMMIT@", commit);
        files::write(&folder.join("README.txt"), with_windows_line_ends(&readme))?;
        let mut names = files_below(folder)?;
        let mut sums = String::new();
        for name in &names {
            let digest = Sha256::digest(fs::read(folder.join(name))?);
            // Two spaces, as sha256sum writes and checks.
            writeln!(sums, "{digest:x}  {name}")?;
        }
        files::write(&folder.join(SUMS), sums)?;
        names.push(SUMS.to_owned());
        Ok(Self { folder: folder.to_owned(), names })
    }

    /// Writes the zip: the same contents give the same zip.
    pub fn pack(&self, path: &Path) -> Result<()> {
        let mut zip = ZipWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let options = options.last_modified_time(zip::DateTime::default());
        for name in &self.names {
            zip.start_file(format!("wskclient/{name}"), options)?;
            zip.write_all(&fs::read(self.folder.join(name))?)?;
        }
        zip.finish()?;
        Ok(())
    }

    /// The names in the zip at `path`, after checking each file against the sums in it.
    pub fn read_back(&self, path: &Path) -> Result<Vec<String>> {
        let mut zip = ZipArchive::new(File::open(path)?)?;
        let mut read = |name: &str| {
            let mut bytes = Vec::new();
            zip.by_name(&format!("wskclient/{name}"))?.read_to_end(&mut bytes)?;
            Ok::<_, anyhow::Error>(bytes)
        };
        let sums = String::from_utf8(read(SUMS)?)?;
        for line in sums.lines() {
            let (digest, name) = line.split_once("  ").context("a line of the sums has two columns")?;
            ensure!(format!("{:x}", Sha256::digest(read(name)?)) == digest, "{name} differs from its sum");
        }
        let names: Vec<_> = zip
            .file_names()
            .map(|name| Ok(name?.trim_start_matches("wskclient/").to_owned()))
            .collect::<Result<_>>()?;
        let unsummed = names.iter().find(|name| *name != SUMS && !sums.contains(&format!("  {name}\n")));
        ensure!(unsummed.is_none() && names.len() == self.names.len(), "{unsummed:?} has no sum, or a file is missing");
        Ok(names)
    }
}

/// Unpacks the zip into `folder`; gives the package's own folder in it.
pub fn unpack(zip: &Path, folder: &Path) -> Result<PathBuf> {
    let mut archive = ZipArchive::new(File::open(zip).with_context(|| format!("cannot read {}", zip.display()))?)?;
    archive.extract(folder).with_context(|| format!("cannot unpack {}", zip.display()))?;
    Ok(folder.join("wskclient"))
}

/// The files below `folder`, relative to it, in order.
fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(folder)?.to_str().context("a file's name is not Unicode")?;
            names.push(name.replace('\\', "/"));
        }
    }
    Ok(names)
}

fn with_windows_line_ends(text: &str) -> String {
    text.lines().flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zip_is_read_back_and_a_file_that_differs_from_its_sum_is_refused() {
        let folder = std::env::temp_dir().join(format!("cargo-lab-package-{}", std::process::id()));
        let digest = Sha256::digest(b"driver");
        files::write(&folder.join("x64/a.sys"), "driver").unwrap();
        files::write(&folder.join(SUMS), format!("{digest:x}  x64/a.sys\n")).unwrap();
        let contents = Contents { folder: folder.clone(), names: vec!["x64/a.sys".to_owned(), SUMS.to_owned()] };
        let zip = folder.join("package.zip");
        contents.pack(&zip).unwrap();
        assert_eq!(contents.read_back(&zip).unwrap(), contents.names);
        let first = fs::read(&zip).unwrap();
        contents.pack(&zip).unwrap();
        assert_eq!(fs::read(&zip).unwrap(), first, "the same contents give the same zip");

        files::write(&folder.join("x64/a.sys"), "other").unwrap();
        contents.pack(&zip).unwrap();
        assert!(contents.read_back(&zip).is_err());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_readme_has_about_ten_lines_and_names_scripts_that_are_there() {
        assert!((8..=14).contains(&README.lines().count()));
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../windows");
        let words = README.split_whitespace().filter_map(|word| word.strip_prefix(r"scripts\"));
        let named: Vec<_> = words.inspect(|name| assert!(scripts.join(name).is_file(), "{name}")).collect();
        assert_eq!(named.len(), 5);
    }

    #[test]
    fn every_script_says_that_it_was_not_run_and_is_read_by_every_windows_powershell() {
        for script in files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../windows")).unwrap() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../windows").join(&script);
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains("NOT RUN"), "{script}");
            // Windows PowerShell reads a file without a byte order mark in the system's code page.
            assert!(text.is_ascii(), "{script}");
        }
    }
}
