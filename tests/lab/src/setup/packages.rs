//! The tools that come from the distribution's packages, looked for first and installed only when one is missing.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command::output_of,
    report::{Unprepared, progress},
};

/// LLVM releases that are known to do, the best first.
const LLVM_VERSIONS: [u32; 4] = [22, 21, 20, 19];
/// Packages whose names do not depend on an LLVM release: compiler, headers and import lists; `wsk.h`; Wine itself.
const PACKAGES: [&str; 5] = ["gcc-mingw-w64-x86-64", "libwine-dev", "wine", "wine64", "wine64-preloader"];
/// Where Debian puts Wine's loader, and what is to lie beside it.
const DEBIAN_LOADER: [&str; 2] = ["/usr/lib/wine/wine64", "/usr/lib/wine/wine64-preloader"];
/// Where distributions put Wine's kernel-mode headers.
const WINE_HEADERS: [&str; 4] = [
    "/usr/include/wine/wine/windows",
    "/usr/include/wine/windows",
    "/usr/include/wine-stable/wine/windows",
    "/opt/wine-stable/include/wine/windows",
];

/// Every tool that is not Rust's.
#[derive(Debug)]
pub struct Tools {
    pub llvm: Llvm,
    pub mingw_gcc: PathBuf,
    /// The folder of mingw's `windows.h`; its `ddk` folder is a DDK.
    pub mingw_include: PathBuf,
    /// Wine's `wsk.h`.
    pub wsk_h: PathBuf,
    pub wine: PathBuf,
    pub wineserver: PathBuf,
}

/// One LLVM release's tools.
#[derive(Debug)]
pub struct Llvm {
    pub version: u32,
    pub clang: PathBuf,
    pub lld_link: PathBuf,
    pub dlltool: PathBuf,
    pub ar: PathBuf,
    /// The folder with `libclang.so`, for bindgen.
    pub library_folder: PathBuf,
}

/// Finds the tools; installs packages only if one is missing.
pub fn find_or_install() -> Result<Tools> {
    find_or_install_with(find, wanted_packages)
}

/// Finds what only some commands need; installs `packages` only if something is missing.
pub fn find_or_install_these<T>(packages: &[&str], find: impl Fn() -> Result<T>) -> Result<T> {
    find_or_install_with(find, || Ok(packages.iter().map(|&package| package.to_owned()).collect()))
}

fn find_or_install_with<T>(find: impl Fn() -> Result<T>, packages: impl Fn() -> Result<Vec<String>>) -> Result<T> {
    match find() {
        Ok(tools) => Ok(tools),
        Err(missing) => {
            progress(format!("{missing:#}"));
            install(packages)?;
            find().context("after installing the packages")
        }
    }
}

fn find() -> Result<Tools> {
    let mingw_gcc = program("x86_64-w64-mingw32-gcc")?;
    Ok(Tools {
        llvm: find_llvm()?,
        mingw_include: mingw_include(&mingw_gcc)?,
        mingw_gcc,
        wsk_h: WINE_HEADERS
            .iter()
            .map(|folder| Path::new(folder).join("ddk/wsk.h"))
            .find(|path| path.is_file())
            .context("Wine's ddk/wsk.h is missing")?,
        wine: wine()?,
        wineserver: program("wineserver")?,
    })
}

/// Wine with its preloader, which Debian packs by itself. Without it Linux (from 6.9 on anywhere in the GiB behind the loader) puts the
/// heap of one process in some thousands where Windows' shared user data has to be. Then that process does not start, and who creates
/// it gets `ERROR_INTERNAL_ERROR` (1359).
fn wine() -> Result<PathBuf> {
    let [loader, preloader] = DEBIAN_LOADER.map(Path::new);
    ensure!(!loader.exists() || preloader.exists(), "Wine's preloader is missing");
    program("wine64").or_else(|_| program("wine"))
}

/// The path of a program that is to be on the path.
pub fn program(name: &str) -> Result<PathBuf> {
    which::which(name).with_context(|| format!("{name} is missing"))
}

fn find_llvm() -> Result<Llvm> {
    LLVM_VERSIONS.into_iter().find_map(|version| llvm(version).ok()).with_context(|| {
        format!("clang, lld and llvm are missing (one release of {LLVM_VERSIONS:?}, all three packages)")
    })
}

fn llvm(version: u32) -> Result<Llvm> {
    let tool = |name: &str| program(&format!("{name}-{version}"));
    let library_folder = output_of(Command::new(tool("llvm-config")?).arg("--libdir"))?;
    Ok(Llvm {
        version,
        clang: tool("clang")?,
        lld_link: tool("lld-link")?,
        dlltool: tool("llvm-dlltool")?,
        ar: tool("llvm-ar")?,
        library_folder: PathBuf::from(library_folder.trim()),
    })
}

/// The compiler itself knows where its `windows.h` is: it lists it as a dependency of a file that includes it.
fn mingw_include(gcc: &Path) -> Result<PathBuf> {
    let rule = output_of(Command::new(gcc).args(["-M", "-x", "c", "-include", "windef.h", "/dev/null"]))?;
    let header = rule.split_whitespace().map(Path::new).find(|path| path.ends_with("windef.h"));
    let folder = header.and_then(Path::parent).context("mingw's headers are missing")?;
    Ok(folder.canonicalize()?)
}

/// `packages` is asked once apt knows what there is.
fn install(packages: impl Fn() -> Result<Vec<String>>) -> Result<()> {
    let apt_get = which::which("apt-get").map_err(|_| {
        Unprepared(format!(
            "install LLVM (clang, lld, llvm; one of {LLVM_VERSIONS:?}), mingw-w64 and Wine with its headers; this \
             program can do it by itself only where there is apt-get"
        ))
    })?;
    if output_of(Command::new("id").arg("-u"))?.trim() != "0" {
        let packages = packages().unwrap_or_else(|_| packages_with(LLVM_VERSIONS[0])).join(" ");
        return Err(Unprepared(format!(
            "packages are missing, and only root may install them; run\n  sudo apt-get update && sudo apt-get install \
             --yes --no-install-recommends {packages}\nand try again"
        ))
        .into());
    }
    progress("installing packages with apt-get");
    let apt = || {
        let mut command = Command::new(&apt_get);
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--quiet"]);
        command
    };
    output_of(apt().arg("update"))?;
    output_of(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages()?))?;
    Ok(())
}

fn packages_with(llvm: u32) -> Vec<String> {
    let versioned = ["clang", "lld", "llvm"].map(|name| format!("{name}-{llvm}"));
    PACKAGES.map(str::to_owned).into_iter().chain(versioned).collect()
}

/// The packages with the best LLVM release that apt offers whole.
fn wanted_packages() -> Result<Vec<String>> {
    let offered = |version: &u32| {
        packages_with(*version).iter().all(|package| {
            output_of(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
                .is_ok_and(|text| text.contains("Version:"))
        })
    };
    let version = LLVM_VERSIONS
        .into_iter()
        .find(offered)
        .with_context(|| format!("apt offers no LLVM of {LLVM_VERSIONS:?}, or no mingw-w64 or Wine"))?;
    Ok(packages_with(version))
}
