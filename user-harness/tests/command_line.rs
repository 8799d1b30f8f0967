//! The command line as a shell sees it: help, usage errors, exit codes and messages that need no driver.

use std::{
    path::Path,
    process::{Command, Output},
};

fn wskctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wskctl"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_remove("WSKCLIENT_SYS")
        .output()
        .expect("wskctl starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is UTF-8")
}

fn golden(name: &str, arguments: &[&str]) {
    golden_of(name, arguments, "");
}

/// Compares with a file of `tests/golden`; `UPDATE_GOLDEN=1` rewrites it. The program runs in a folder of this package.
fn golden_of(name: &str, arguments: &[&str], folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_wskctl"));
    let output = command.args(arguments).current_dir(folder).output().expect("wskctl starts");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    let (seen, path) = (text(&output.stdout), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &seen).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(seen, expected, "{arguments:?} and {} differ", path.display());
    let widest = seen.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
    assert!(widest.chars().count() <= 100, "{widest}");
}

#[test]
#[cfg_attr(windows, ignore = "the defaults shown are those of Linux")]
fn help_is_as_the_golden_files_show_it() {
    golden("help.txt", &["--help"]);
    golden("status.txt", &["status", "--help"]);
    golden("demo.txt", &["demo", "--help"]);
    golden("hold.txt", &["hold", "--help"]);
    golden("stress.txt", &["stress", "--help"]);
    golden("bench.txt", &["bench", "--help"]);
    golden("install.txt", &["install", "--help"]);
    golden("verifier.txt", &["verifier", "--help"]);
    golden("timeline.txt", &["timeline", "--help"]);
    golden("completions.txt", &["completions", "--help"]);
    golden("man.txt", &["man", "--help"]);
    golden("json.txt", &["help", "json"]);
    golden("exit-codes.txt", &["help", "exit-codes"]);
    golden("run.txt", &["run", "--help"]);
    golden("shell.txt", &["shell", "--help"]);
    golden("connect.txt", &["connect", "--help"]);
    golden("listen.txt", &["listen", "--help"]);
    golden("echo.txt", &["echo", "--help"]);
    golden("resolve.txt", &["resolve", "--help"]);
    golden("start.txt", &["start", "--help"]);
    golden("stop.txt", &["stop", "--help"]);
    golden("uninstall.txt", &["uninstall", "--help"]);
}

#[test]
fn a_scenario_file_that_is_wrong_exits_with_2_and_shows_every_place_with_a_suggestion() {
    let path = std::env::temp_dir().join(format!("wskctl-{}.toml", std::process::id()));
    let file = "title = \"x\"\n[[step]]\nrecieve = \"a\"\n[[step]]\ncleanup = \"application\"\nstatsu = \"any\"\n";
    std::fs::write(&path, file).expect("a file");
    let output = wskctl(&["--format", "json", "run", "--check", path.to_str().expect("a path")]);
    std::fs::remove_file(&path).expect("the file goes");
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    for part in [".toml:3:1", "3 | recieve", "did you mean `receive`?", ".toml:6:1", "did you mean `status`?"] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["line"], &lines[0]["column"]), (&3.into(), &1.into()));
    assert_eq!(lines[1]["help"], "did you mean `status`?");
    assert_eq!(lines[2]["failed"], 1);
}

#[test]
fn a_command_line_without_meaning_exits_with_2() {
    for arguments in [
        &[][..],
        &["dance"],
        &["status", "--watch", "never"],
        &["status", "--times", "3"],
        &["completions", "cmd"],
        &["demo", "--format", "xml"],
        &["hold", "--connections", "0"],
        &["hold", "--seconds", "18446744073709551615"],
        &["connect", "localhost", "65536"],
        &["connect", "-4", "-6", "localhost", "7"],
        &["echo", "--datagrams", "3", "7"],
        &["listen"],
        &["--seed", "x", "demo"],
    ] {
        let output = wskctl(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?} speaks on standard error only");
        assert!(
            text(&output.stderr).contains("try '--help'") || text(&output.stderr).contains("Usage:"),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_command_line_without_meaning_is_an_object_too_where_json_is_asked_for() {
    for arguments in [&["--format", "json", "dance"][..], &["--format=json", "hold", "--connections", "0"]] {
        let output = wskctl(arguments);
        assert_eq!(output.status.code(), Some(2));
        let object: serde_json::Value = serde_json::from_str(text(&output.stdout).trim()).expect("one line of JSON");
        assert_eq!((&object["event"], &object["exit_code"]), (&"error".into(), &2.into()));
        assert_eq!(object["what"], "understand the command line");
        assert!(text(&output.stderr).starts_with("error: "), "a person reads it on standard error");
    }
    let output = wskctl(&["--format", "json", "demo", "--help"]);
    let object: serde_json::Value = serde_json::from_str(text(&output.stdout).trim()).expect("one line of JSON");
    assert!(object["text"].as_str().expect("text").contains("Usage: wskctl demo"));
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn without_a_driver_every_command_exits_with_3_and_says_what_to_try() {
    let commands: [&[&str]; 8] = [
        &["status"],
        &["hold"],
        &["shell"],
        &["bench"],
        &["stress"],
        &["resolve", "localhost"],
        &["connect", "localhost", "7"],
        &["echo", "7"],
    ];
    for command in commands {
        let output = wskctl(&[&["--driver", "no-such-file.sys"], command].concat());
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        assert_eq!(
            text(&output.stderr),
            "wskctl: load no-such-file.sys: there is no such file\n  try: `cargo lab build` makes the driver; --driver PATH.sys \
             or WSKCLIENT_SYS names another one\n"
        );
        assert!(output.stdout.is_empty(), "{command:?}");
    }
    let output = wskctl(&["--driver", "/dev/null", "status"]);
    assert_eq!(output.status.code(), Some(3));
    let output = wskctl(&["--driver", env!("CARGO_BIN_EXE_wskctl"), "status"]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output.stderr);
    assert!(told.contains("not a driver image") && told.contains("try: `cargo lab build`"), "{told}");
    // The search goes up from the program and from the folder it is run in: both are where no driver was ever built.
    let folder = std::env::temp_dir().join(format!("wskctl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("wskctl");
    std::fs::copy(env!("CARGO_BIN_EXE_wskctl"), &program).expect("a copy of the program");
    let output = Command::new(&program).arg("status").current_dir(&folder).env_remove("WSKCLIENT_SYS").output();
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    let output = output.expect("wskctl runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).starts_with("wskctl: find the driver: there is no target/lab/out/release/wskclient.sys")
    );
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_demo_that_can_not_begin_still_ends_with_its_summary() {
    let output = wskctl(&["--format", "json", "--driver", "no-such-file.sys", "demo"]);
    assert_eq!(output.status.code(), Some(3));
    let last: serde_json::Value =
        serde_json::from_str(text(&output.stdout).lines().last().expect("a summary")).expect("JSON");
    assert_eq!(last["event"], "summary");
    assert_eq!(last["result"], "failed");
    assert_eq!(last["error"], "load no-such-file.sys: there is no such file");
}

#[test]
#[cfg(not(windows))]
fn the_device_backend_is_for_windows_and_says_so() {
    let output = wskctl(&["--backend", "device", "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("the device backend exists on Windows only"));
}

#[test]
fn help_for_a_command_is_that_commands_help_and_an_unknown_topic_is_a_usage_error() {
    assert_eq!(text(&wskctl(&["help", "demo"]).stdout), text(&wskctl(&["demo", "--help"]).stdout));
    assert_eq!(text(&wskctl(&["help"]).stdout), text(&wskctl(&["--help"]).stdout));
    let output = wskctl(&["help", "jason"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("find help for `jason`: there is help for: status, demo"));
}

#[test]
fn every_shell_gets_a_completion_script_and_man_a_page_that_name_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&wskctl(&["completions", shell]).stdout);
        assert!(["status", "demo", "hold", "--watch"].iter().all(|word| script.contains(word)), "{shell}");
    }
    let page = text(&wskctl(&["man"]).stdout);
    assert!(page.starts_with(".ie") || page.contains(".TH wskctl 1"), "{page}");
    assert!([".SH STATUS", ".SH DEMO", ".SH HOLD", "Exit codes:"].iter().all(|part| page.contains(part)), "{page}");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn an_error_is_an_object_too_where_json_is_asked_for() {
    let output = wskctl(&["--format", "json", "--driver", "no-such-file.sys", "status"]);
    assert_eq!(output.status.code(), Some(3));
    let object: serde_json::Value = serde_json::from_str(text(&output.stdout).trim()).expect("one line of JSON");
    assert_eq!(object["event"], "error");
    assert_eq!(object["what"], "load no-such-file.sys");
    assert_eq!(object["exit_code"], 3);
    assert!(object["status"].is_null() && object["winsock"].is_null());
    assert!(object["advice"].as_str().expect("advice").contains("--driver PATH.sys"));
    assert!(text(&output.stderr).starts_with("wskctl: load no-such-file.sys: there is no such file\n  try: "));
}

#[test]
fn a_saved_recording_is_drawn_in_every_form() {
    let folder = std::env::temp_dir().join(format!("wskctl-timeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).display().to_string();
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/demo.jsonl").display().to_string();
    let (html, svg) = (path("demo.html"), path("demo.svg"));
    let output = wskctl(&["timeline", "--from", &recording, "--html", &html, "--svg", &svg, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&told["requests"], &told["cancelled"], &told["sockets"]), (&87.into(), &10.into(), &11.into()));
    let read = |path: &str| std::fs::read_to_string(path).expect("it was written");
    assert!(read(&svg).starts_with("<svg ") && read(&html).starts_with("<!doctype html>"));
    let folder_itself = folder.display().to_string();
    let output = wskctl(&["timeline", "--from", &recording, "--svg", &folder_itself]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with(&format!("wskctl: write {folder_itself}: ")));
    std::fs::write(path("bad.jsonl"), "{}\n").expect("a file");
    let output = wskctl(&["timeline", "--from", &path("bad.jsonl")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("bad.jsonl: line 1 is no request of a recording"));
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    golden_of("timeline-demo.txt", &["timeline", "--from", "demo.jsonl"], "tests/golden");
}

#[test]
#[cfg(unix)]
fn that_nobody_reads_the_output_any_more_is_no_failure_and_is_not_told() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_wskctl"));
    let output = command.args(["completions", "bash"]).stdout(writer).output().expect("wskctl runs");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
#[cfg(not(windows))]
fn what_manages_the_driver_on_windows_says_so_elsewhere() {
    for command in ["install", "uninstall", "start", "stop", "verifier"] {
        let output = wskctl(&[command]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        let error = text(&output.stderr);
        assert!(error.contains("on Windows only; here `--backend lab` runs the driver"), "{error}");
        assert!(error.contains("\n  try: wskctl --backend lab status\n"), "{error}");
    }
}

#[test]
fn output_that_is_not_a_terminal_has_no_colour() {
    let output = wskctl(&["--driver", "no-such-file.sys", "demo"]);
    assert!(!output.stdout.contains(&0x1B) && !output.stderr.contains(&0x1B));
}
