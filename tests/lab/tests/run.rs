//! `cargo lab run` on drivers that this repository's Rust did not build: C, compiled by mingw gcc.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use ntlab::{Machine, Options, Report};

/// What mingw's compiler takes to make a driver of one file.
const FLAGS: [&str; 9] = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-multichar",
    "-O1",
    "-shared",
    "-nostdlib",
    "-Wl,--subsystem,native",
    "-Wl,--entry,DriverEntry",
];

fn drivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers")
}

/// Compiles a driver. None where there is no mingw gcc; continuous integration has one.
fn compile(name: &str, more: &[&str]) -> Option<PathBuf> {
    let Ok(gcc) = which::which("x86_64-w64-mingw32-gcc") else {
        assert!(env::var_os("CI").is_none(), "mingw gcc is missing: `cargo lab setup` installs it");
        eprintln!("not tested: there is no mingw gcc, which `cargo lab setup` installs");
        return None;
    };
    let printed = Command::new(&gcc).args(["-M", "-x", "c", "-include", "windef.h", "/dev/null"]).output().unwrap();
    let rule = String::from_utf8(printed.stdout).unwrap();
    let header = rule.split_whitespace().map(Path::new).find(|path| path.ends_with("windef.h")).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(format!("{name}{}.sys", more.concat()));
    let status = Command::new(gcc)
        .args(FLAGS)
        .args(more)
        .arg("-I")
        .arg(header.parent().unwrap().join("ddk"))
        .arg("-o")
        .arg(&file)
        .arg(drivers().join(format!("{name}.c")))
        .args(["-lntoskrnl", "-lhal", "-lnetio"])
        .status()
        .unwrap();
    assert!(status.success());
    Some(file)
}

fn run(driver: &Path, arguments: &[&str]) -> (i32, String) {
    let lab = Command::new(env!("CARGO_BIN_EXE_lab")).arg("run").arg(driver).args(arguments).output().unwrap();
    let Output { status, stdout, stderr } = lab;
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// Writes a file into the tests' folder.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

fn fails(name: &str, more: &[&str], arguments: &[&str], code: i32, says: &[&str]) {
    let Some(driver) = compile(name, more) else { return };
    let (found, text) = run(&driver, arguments);
    assert_eq!(found, code, "{text}");
    for word in says {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[test]
fn a_driver_in_c_plays_its_scenario_without_a_violation() {
    let Some(driver) = compile("echo", &[]) else { return };
    let scenario = drivers().join("echo.toml");
    let scenario = scenario.to_str().unwrap();
    let (code, text) =
        run(&driver, &["--scenario", scenario, "--output", "--seeds", "3", "--chaos", "delays=200,pending=500"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("| echo: number 4711, 'ab  |002a'"), "{text}");
    assert!(text.contains(r"devices: \\.\Echo"), "{text}");
    assert_eq!(text.matches("0 violations, 0 blocks leaked").count(), 3, "{text}");
    assert!(text.contains("3 seeds, 0 failed"), "{text}");
}

#[test]
fn a_driver_in_c_survives_cancellation_and_kills_at_any_point() {
    let Some(driver) = compile("echo", &[]) else { return };
    let scenario = drivers().join("echo.toml");
    let arguments = ["--scenario", scenario.to_str().unwrap(), "--seeds", "10", "--chaos", "storm", "--format", "json"];
    let (code, text) = run(&driver, &arguments);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches(r#""event":"run""#).count(), 10, "{text}");
    assert!(
        text.ends_with("{\"event\":\"summary\",\"result\":\"passed\",\"runs\":10,\"failed\":0,\"seeds\":[]}\n"),
        "{text}"
    );
}

#[test]
fn a_race_is_found_by_its_seed_and_replayed() {
    let Some(driver) = compile("races", &[]) else { return };
    let scenario = drivers().join("races.toml");
    let scenario = ["--scenario", scenario.to_str().unwrap()];
    let (code, text) = run(&driver, &scenario);
    assert_eq!(code, 0, "without chaos: {text}");
    let chaos = ["--chaos", "delays=300,cancels=500"];
    let find = [&scenario[..], &chaos, &["--seeds", "20", "--replays", "10"]].concat();
    let (code, text) = run(&driver, &find);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("DoubleCompletion") || text.contains("IrpUseAfterComplete"), "{text}");
    let replays: Vec<_> = text.lines().filter(|line| line.contains("of 10 replays failed")).collect();
    println!("{}", replays.join("\n"));
    let steady = |line: &&&str| line.starts_with("10 ") || line.starts_with("9 ");
    assert!(replays.iter().any(|line| steady(&line)), "{text}");
    assert!(replays.iter().filter(|line| !steady(line)).all(|line| line.contains("the seed decides")), "{text}");
    let command = text.lines().find_map(|line| line.strip_prefix("replay: cargo lab run ")).unwrap();
    assert!(command.contains("--seed ") && command.contains("--chaos delays=300,cancels=500"), "{command}");
}

#[test]
fn chaos_that_there_is_not_is_wrong_usage() {
    let (code, text) = run(Path::new("no.sys"), &["--chaos", "skills=1"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("there are delays, pending"), "{text}");
}

#[test]
fn a_driver_in_c_holds_when_each_allocation_fails_in_turn() {
    let Some(driver) = compile("echo", &[]) else { return };
    let scenario = drivers().join("echo.toml");
    let (code, text) = run(&driver, &["--scenario", scenario.to_str().unwrap(), "--low-resources", "--hang", "5"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("failed in turn; 0 runs broke a rule"), "{text}");
}

#[test]
fn without_a_scenario_every_device_is_opened() {
    let Some(driver) = compile("echo", &[]) else { return };
    let (code, text) = run(&driver, &["--format", "json"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(r#""result":"passed","devices":["\\\\.\\Echo"],"steps":1"#), "{text}");
}

#[test]
fn what_comes_back_otherwise_than_expected_is_told() {
    let Some(driver) = compile("echo", &[]) else { return };
    let scenario =
        file("wrong.toml", b"[[step]]\nopen = '\\\\.\\Echo'\n[[step]]\nread = 2\noutput = { hex = \"0001\" }\n");
    let (code, text) = run(&driver, &["--scenario", scenario.to_str().unwrap()]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("step 2") && text.contains("2 bytes [00 00]"), "{text}");
    assert!(text.contains("replay: cargo lab run "), "{text}");
}

#[test]
fn a_scenario_may_have_a_network_in_memory() {
    let Some(driver) = compile("echo", &[]) else { return };
    let network = b"[network]\ndelay_us = 500\nwindow = 3\nloses_one_in = 4\nreorders = true\necho = ['127.0.0.1:7']\n";
    let scenario = file("network.toml", network);
    let (code, text) = run(&driver, &["--scenario", scenario.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    let scenario = file("twice.toml", b"[network]\necho = ['127.0.0.1:7', '127.0.0.1:7']\n");
    let (code, text) = run(&driver, &["--scenario", scenario.to_str().unwrap()]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("an echo at 127.0.0.1:7"), "{text}");
}

#[test]
fn a_scenario_that_is_wrong_is_wrong_usage() {
    let scenario = file("misspelt.toml", b"[[step]]\nopne = 'x'\n");
    let (code, text) = run(Path::new("no.sys"), &["--scenario", scenario.to_str().unwrap()]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("opne"), "{text}");
}

#[test]
fn a_file_that_is_no_driver_cannot_be_loaded() {
    let mut arm = vec![0; 512];
    arm[..2].copy_from_slice(b"MZ");
    arm[0x3c] = 0x80;
    arm[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xaa");
    for (name, content, says) in [
        ("empty.sys", &b""[..], "no PE file"),
        ("text.sys", b"hello", "no PE file"),
        ("short.sys", b"MZ", "no PE file"),
        ("arm.sys", &arm, "another processor (ARM64)"),
    ] {
        let (code, text) = run(&file(name, content), &[]);
        assert_eq!(code, 4, "{text}");
        assert!(text.contains(says), "{text}");
    }
    let (code, text) = run(Path::new("there-is-none.sys"), &[]);
    assert_eq!(code, 4, "{text}");
}

#[test]
fn an_image_cut_anywhere_is_refused_or_run_but_never_fatal() {
    let Some(driver) = compile("leaks", &["-DREFUSES"]) else { return };
    let whole = fs::read(driver).unwrap();
    for part in 1..8 {
        let (code, text) = run(&file("cut.sys", &whole[..whole.len() * part / 8]), &["--hang", "2"]);
        assert!(code == 4 || code == 1, "{code} {text}");
    }
}

#[test]
fn the_imports_of_three_public_wsk_clients_are_there_and_work() {
    let Some(driver) = compile("clients", &[]) else { return };
    let scenario = file(
        "clients.toml",
        b"[[step]]\nopen = '\\\\.\\Clients'\n[[step]]\nioctl = 0x80002000\nstatus = \"STATUS_SUCCESS\"\ninformation = 0\n",
    );
    let (code, text) = run(&driver, &["--scenario", scenario.to_str().unwrap(), "--output"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("| clients: 2 addresses") && text.contains("| clients: told 1 times"), "{text}");
}

#[test]
fn what_came_after_the_chosen_windows_is_refused_all_at_once() {
    let names = ["3790", "ExInitializeLookasideListEx", "ExDeleteLookasideListEx", "WskRegister"];
    fails("clients", &[], &["--windows", "3790"], 4, &names);
}

#[test]
fn missing_imports_are_listed_all_at_once() {
    let names = ["HalReturnToFirmware", "KeDeregisterBugCheckReasonCallback"];
    fails("imports_too_much", &[], &[], 4, &names);
    let lines = names.map(|name| format!("!{name}\"}}\n"));
    fails("imports_too_much", &[], &["--format", "json"], 4, &lines.each_ref().map(String::as_str));
}

#[test]
fn an_entry_point_that_faults_is_an_access_violation() {
    fails("faults_in_entry", &[], &[], 1, &["AccessViolation", "write to 0x10"]);
}

#[test]
fn an_entry_point_that_refuses_is_reported_with_its_status() {
    fails("leaks", &["-DREFUSES"], &[], 1, &["DriverEntry failed: STATUS_DEVICE_NOT_READY"]);
}

#[test]
fn a_driver_that_hangs_in_unload_is_stopped() {
    fails("hangs_in_unload", &[], &["--hang", "1"], 1, &["DriverHangs", "DriverUnload"]);
    fails("hangs_in_unload", &["-DWAITS"], &["--hang", "1"], 1, &["DriverHangs", "DriverUnload"]);
}

/// What becomes of a driver that is started, opened if it has the echo driver's device, and unloaded, in this process.
fn in_process(driver: &Path) -> Report {
    let machine = Machine::new(Options { hang: Duration::from_secs(1), ..Options::default() });
    let loaded = machine.load(driver).unwrap();
    if loaded.start().is_ok()
        && let Ok(handle) = machine.process().open(r"\\.\Echo")
    {
        let answer = handle.ioctl(0x8000_2000, b"hello", vec![0; 16]).take();
        assert_eq!(answer.output, b"hello");
    }
    machine.finish()
}

#[test]
fn drivers_that_never_return_or_fault_leave_the_process_to_the_others() {
    let compiled =
        [("hangs_in_unload", &[][..]), ("hangs_in_unload", &["-DWAITS"]), ("faults_in_entry", &[]), ("echo", &[])];
    let compiled: Vec<_> = compiled.into_iter().filter_map(|(name, more)| compile(name, more)).collect();
    let [loops, waits, faults, echo] = &compiled[..] else { return };
    let broken = |report: Report| report.violations.first().map(|first| first.rule.name);
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let hanging = [loops, waits].map(|driver| scope.spawn(|| broken(in_process(driver))));
            for _ in 0..10 {
                assert_eq!(broken(in_process(faults)), Some("AccessViolation"));
                let report = in_process(echo);
                assert!(report.is_clean(), "{report}");
            }
            for thread in hanging {
                assert_eq!(thread.join().unwrap(), Some("DriverHangs"));
            }
        });
    }
}

#[test]
fn code_in_a_page_section_does_not_run_at_dispatch_level() {
    let Some(driver) = compile("paged_code", &[]) else { return };
    let (code, text) = run(&driver, &[]);
    assert_eq!(code, 0, "{text}");
    fails("paged_code", &["-DRAISES"], &[], 1, &["PagedAtDispatch", "in a PAGE section"]);
}

#[test]
fn a_leak_is_told_with_its_tag() {
    fails("leaks", &[], &[], 1, &["PoolLeak", "'Leak'", "100 bytes"]);
}

#[test]
fn a_check_that_is_missing_shows_when_memory_does() {
    fails(
        "forgets_to_check",
        &[],
        &["--low-resources"],
        1,
        &["AccessViolation", "--fail-allocation 0", "1 runs broke"],
    );
}
