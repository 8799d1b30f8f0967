//! `cargo lab build`: the driver for Windows, and the harness for Windows, for Wine and for this machine.
//!
//! The environment of the driver's build is the same every time, so that bindgen runs once and not again.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cli,
    command::{cargo, run},
    image::{self, Image},
    report::{Outcome, progress},
    setup::{self, Tools, files, overrides, sysroot, toolchain, toolchain::Architecture},
    suite::{self, Program},
    workspace::{Profile, Workspace},
};

/// The contract's test programs that need nothing of the lab's own.
const PORTABLE: [&str; 13] = [
    "blocking",
    "cleanup",
    "connections",
    "device",
    "ledger",
    "namespaces",
    "overlapped",
    "process_death",
    "restarts",
    "san",
    "scenarios",
    "sockets",
    "startup",
];
const BCRYPT_PRIMITIVES: &str = include_str!("../sysroot/bcryptprimitives.c");

/// `cargo lab build`
pub fn run_command(workspace: &Workspace, options: &cli::Build) -> Result<Outcome> {
    let profile = if options.debug { Profile::Debug } else { Profile::Release };
    match build_everything(workspace, profile) {
        Ok(driver) => image::report::judge(workspace, &driver, options.format),
        Err(error) => {
            options.format.summarize_failure(&error, &[]);
            Err(error)
        }
    }
}

fn build_everything(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let tools = setup::prepare(workspace)?;
    let driver = build_driver(workspace, &tools, profile)?;
    build_windows_harness(workspace, &tools)?;
    build_native_harness(workspace)?;
    Ok(driver)
}

/// Builds the driver and puts it, with its symbols, where others find it.
pub fn build_driver(workspace: &Workspace, tools: &Tools, profile: Profile) -> Result<PathBuf> {
    progress(format!("building wskclient.sys ({})", profile.folder()));
    run(driver_cargo(workspace, tools, "build").args(profile_arguments(profile)))?;
    let built = workspace.build().join(toolchain::DRIVER).join(profile.folder());
    let driver = workspace.driver(profile);
    files::copy(&built.join("wskclient.dll"), &driver)?;
    files::copy(&built.join("wskclient.pdb"), &driver.with_extension("pdb"))?;
    Ok(driver)
}

/// Builds the wrong drivers, as the driver is built: one image and its symbols.
pub fn build_faulty(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    build_image(workspace, tools, "faulty", &workspace.faulty())
}

/// Builds the `wsk` crate's example, whose image must pass the checks.
pub fn build_echo(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    let image = build_image(workspace, tools, "wsk-echo", &workspace.echo())?;
    ensure_sound(workspace, &image)?;
    Ok(image)
}

/// Builds the driver that tries what the `wsk` crate promises. Its panic path is that of a test.
pub fn build_wsk_cases(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    build_image(workspace, tools, "wsk-cases", &workspace.wsk_cases())
}

/// Builds the driver of a package, and puts it, with its symbols, at `image`.
fn build_image(workspace: &Workspace, tools: &Tools, package: &str, image: &Path) -> Result<PathBuf> {
    progress(format!("building {package}.sys"));
    run(windows_cargo(workspace, tools, "build", package).arg("--release"))?;
    let built = workspace.build().join(toolchain::DRIVER).join(Profile::Release.folder());
    let library = built.join(package.replace('-', "_"));
    files::copy(&library.with_extension("dll"), image)?;
    files::copy(&library.with_extension("pdb"), &image.with_extension("pdb"))?;
    Ok(image.to_owned())
}

/// A driver that must pass the image's checks before anything runs it.
pub fn build_sound_driver(workspace: &Workspace, tools: &Tools, profile: Profile) -> Result<PathBuf> {
    let driver = build_driver(workspace, tools, profile)?;
    ensure_sound(workspace, &driver)?;
    Ok(driver)
}

fn ensure_sound(workspace: &Workspace, driver: &Path) -> Result<()> {
    let failures = image::checks::failures(&Image::read(driver)?, &image::exports::Exports::read());
    let found: Vec<_> = failures.iter().map(|failure| failure.found.as_str()).collect();
    ensure!(failures.is_empty(), "{} would not load on Windows: {}", workspace.shown(driver), found.join("; "));
    Ok(())
}

/// A cargo command on the driver's package, for the lab's and Wine's target.
pub fn driver_cargo(workspace: &Workspace, tools: &Tools, subcommand: &str) -> Command {
    windows_cargo(workspace, tools, subcommand, "wskclient")
}

/// The same on another package that is a driver.
pub fn windows_cargo(workspace: &Workspace, tools: &Tools, subcommand: &str, package: &str) -> Command {
    let mut command = windows_cargo_for(workspace, tools, Architecture::X64, &workspace.build(), subcommand);
    command.args(["--package", package]);
    command
}

/// A cargo command for a driver on `architecture`, in its environment, with its files in `folder`.
pub fn windows_cargo_for(
    workspace: &Workspace,
    tools: &Tools,
    architecture: Architecture,
    folder: &Path,
    subcommand: &str,
) -> Command {
    let target = architecture.target();
    let arm64_view = [sysroot::CLANG_VIEW.join(" "), sysroot::ARM64_CLANG_VIEW.join(" ")].join(" ");
    let mut command = lab_cargo_in(workspace, folder, subcommand);
    command
        .args(["--target", target, "--config", &overrides::cargo_config(workspace)])
        .env("WDKContentRoot", workspace.sysroot())
        .env("LIBCLANG_PATH", &tools.llvm.library_folder)
        // One environment for both, because bindgen is built again whenever the first of these changes.
        .env("BINDGEN_EXTRA_CLANG_ARGS", sysroot::CLANG_VIEW.join(" "))
        .env("BINDGEN_EXTRA_CLANG_ARGS_aarch64_pc_windows_msvc", arm64_view)
        .env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_")), &tools.llvm.lld_link)
        .args(["--config", &format!("target.{target}.rustflags={:?}", driver_rustflags(workspace))]);
    command
}

/// No path of the machine that built it goes into the image, and the same sources give the same image.
fn driver_rustflags(workspace: &Workspace) -> Vec<String> {
    let mut flags =
        vec!["-Clink-arg=/Brepro".to_owned(), format!("--remap-path-prefix={}=wskclient", workspace.root().display())];
    if let Some(home) = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo"))) {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    flags
}

/// A cargo command in a target folder of its own, with nobody's flags from outside.
pub fn lab_cargo(workspace: &Workspace, subcommand: &str) -> Command {
    lab_cargo_in(workspace, &workspace.build(), subcommand)
}

fn lab_cargo_in(workspace: &Workspace, folder: &Path, subcommand: &str) -> Command {
    let mut command = cargo();
    command
        .current_dir(workspace.root())
        .args([subcommand, "--locked", "--target-dir"])
        .arg(folder)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET");
    command
}

fn profile_arguments(profile: Profile) -> &'static [&'static str] {
    match profile {
        Profile::Release => &["--release"],
        Profile::Debug => &[],
    }
}

/// Builds wskctl.exe, and beside it the one system library that Wine lacks.
pub fn build_windows_harness(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    progress("building wskctl.exe");
    run(lab_cargo(workspace, "build").args(["--package", "wskctl", "--release", "--target", toolchain::HARNESS]))?;
    let harness = workspace.windows_wskctl();
    files::copy(&workspace.build().join(toolchain::HARNESS).join("release/wskctl.exe"), &harness)?;
    build_bcrypt_primitives(workspace, tools)?;
    Ok(harness)
}

/// Builds the contract's test programs that run on Windows, too: those that need nothing of the lab's own.
pub fn build_contract_for_windows(workspace: &Workspace) -> Result<Vec<Program>> {
    progress("building the contract's tests for Windows");
    suite::build_with(&mut contract_for_windows(workspace, "test"))
}

/// A cargo command on those programs.
pub fn contract_for_windows(workspace: &Workspace, subcommand: &str) -> Command {
    let mut command = lab_cargo(workspace, subcommand);
    // They go into the package, too.
    command.env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    command.args(["--package", "contract", "--release", "--target", toolchain::HARNESS]);
    command.args(PORTABLE.iter().flat_map(|name| ["--test", name]));
    command
}

/// Builds the one system library that Wine lacks, and gives its path.
pub fn build_bcrypt_primitives(workspace: &Workspace, tools: &Tools) -> Result<PathBuf> {
    let folder = workspace.lab().join("wine-libraries");
    let source = folder.join("bcryptprimitives.c");
    let library = folder.join("bcryptprimitives.dll");
    if library.is_file() && fs::read_to_string(&source).is_ok_and(|text| text == BCRYPT_PRIMITIVES) {
        return Ok(library);
    }
    files::write(&source, BCRYPT_PRIMITIVES)?;
    run(Command::new(&tools.mingw_gcc)
        .args(["-shared", "-Os", "-s", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ladvapi32"))?;
    Ok(library)
}

/// Builds the harness for this machine.
pub fn build_native_harness(workspace: &Workspace) -> Result<PathBuf> {
    progress("building wskctl");
    run(lab_cargo(workspace, "build").args(["--package", "wskctl", "--release"]))?;
    let harness = workspace.native_wskctl();
    let built = workspace.build().join("release/wskctl");
    // A hard link would be written through by the next build, so this is a copy; it keeps the permission to run.
    fs::create_dir_all(workspace.out()).context("cannot make target/lab/out")?;
    fs::copy(&built, &harness).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(harness)
}
