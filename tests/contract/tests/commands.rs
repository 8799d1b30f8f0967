//! `wskctl` as a user runs it, on the real `.sys` in the lab: what it says, how it ends, and that what it says is documented.
//!
//! `cargo lab test` builds the program and says where it is (`WSKCTL`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use serde_json::Value;
use std::{
    collections::BTreeSet,
    env,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

fn command(arguments: &[&str]) -> Command {
    let program = env::var_os("WSKCTL").expect("WSKCTL names the program: run `cargo lab test --lab`");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn wskctl(arguments: &[&str]) -> Output {
    command(arguments).output().expect("wskctl runs")
}

/// The objects that a command writes with `--format json`. It must end well.
fn objects(arguments: &[&str]) -> Vec<Value> {
    let output = command(arguments).args(["--format", "json"]).output().expect("wskctl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ends with {}: {errors}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// Every event that `wskctl help json` documents, with the words of its description.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let text = String::from_utf8(wskctl(&["help", "json"]).stdout).expect("UTF-8");
    let mut events: Vec<(String, BTreeSet<String>)> = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let words = || line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        let Some(first) = words().next() else { continue };
        if indent < 4 {
            events.push((first.to_owned(), words().skip(1).map(str::to_owned).collect()));
        } else if let Some((_, fields)) = events.last_mut() {
            fields.extend(words().map(str::to_owned));
        }
    }
    events
}

/// Names that stand for each of many: kinds of requests, providers.
fn is_a_name_of_many(path: &str) -> bool {
    ["references", "requests", "taken_per_second", "cut"].contains(&path)
}

fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if !is_a_name_of_many(path) {
                    found.insert(name.clone());
                }
                fields(value, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(item, "", found)),
        _ => {}
    }
}

fn assert_documented(objects: &[Value]) {
    let documented = documented();
    for object in objects {
        let event = object["event"].as_str().expect("each object has an event");
        let mut seen = BTreeSet::new();
        fields(object, "", &mut seen);
        seen.remove("event");
        let known = documented.iter().filter(|(name, _)| name == event).any(|(_, fields)| seen.is_subset(fields));
        assert!(known, "`wskctl help json` does not document {event} with {seen:?}");
    }
}

/// Runs a command with that on its standard input, and ends it with Ctrl-C if it does not end by itself.
fn objects_with_input(arguments: &[&str], input: &str, ends_by_itself: bool) -> Vec<Value> {
    let mut child = command(arguments)
        .args(["--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wskctl runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    if !ends_by_itself {
        thread::sleep(Duration::from_millis(300));
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs").success());
    }
    let output = child.wait_with_output().expect("it ends");
    // Where standard output is a connection's, objects go to standard error.
    let text = if ["connect", "listen"].contains(&arguments[0]) { output.stderr } else { output.stdout };
    let text = String::from_utf8(text).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn every_command_writes_objects_and_nothing_else_and_each_is_documented() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../../user-harness/scenarios/version_refusal.toml");
    let port = wskctl::peer::free_port().expect("a port").to_string();
    let script = "startup application\nsocket\nsockets\nsocket listen\nlisten 0\naccept &\njobs\nhelp\nledger\nrecv\ncleanup\nnonsense\n";
    let runs: &[(&[&str], &str, bool)] = &[
        (&["status"], "", true),
        (&["status", "--watch", "0.1", "--times", "2"], "", true),
        (&["demo"], "", true),
        (&["hold", "--seconds", "0"], "", true),
        (&["stress", "--rounds", "1", "--processes", "1"], "", true),
        (&["timeline", "hold", "--seconds", "0"], "", true),
        (&["run", scenario, scenario], "", true),
        (&["run", "--check", "/dev/null"], "", true),
        (&["shell"], script, true),
        (&["resolve", "--canonical", "localhost"], "", true),
        (&["resolve", "127.0.0.1", "80"], "", true),
        (&["connect", "127.0.0.1", &port], "", true),
        (&["listen", "127.0.0.1", "0"], "", false),
        (&["echo", "127.0.0.1", "0"], "", false),
        (&["install"], "", true),
        (&["verifier"], "", true),
        (&["completions", "bash"], "", true),
        (&["man"], "", true),
        (&["help"], "", true),
        (&["help", "json"], "", true),
        (&["--version"], "", true),
        (&["echo", "--help"], "", true),
        (&["nonsense"], "", true),
        (&["--driver", "no-such-file.sys", "status"], "", true),
    ];
    for (arguments, input, ends_by_itself) in runs {
        let objects = objects_with_input(arguments, input, *ends_by_itself);
        assert!(!objects.is_empty(), "{arguments:?} writes nothing");
        assert_documented(&objects);
    }
}

/// Compares with a file of `golden`; `UPDATE_GOLDEN=1` rewrites it.
fn golden(name: &str, arguments: &[&str]) {
    let output = command(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("wskctl runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &output.stdout).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{arguments:?} and {} differ", path.display());
}

#[test]
fn output_for_a_person_is_as_the_golden_files_show_it() {
    golden("status.txt", &["status"]);
    golden("run.txt", &["run", "../../user-harness/scenarios/version_refusal.toml"]);
    golden("resolve.txt", &["resolve", "--canonical", "localhost", "http"]);
}

#[test]
fn a_bench_tells_every_measure_with_its_extremes() {
    let objects = objects(&["bench", "--repeats", "2", "--sample", "2"]);
    assert_documented(&objects);
    let measures: Vec<_> = objects.iter().filter(|object| object["event"] == "measure").collect();
    assert_eq!(measures.len(), 9);
    for measure in measures {
        let figure = |name: &str| measure[name].as_f64().unwrap_or_else(|| panic!("{name} of {measure}"));
        assert!(
            0.0 < figure("min") && figure("min") <= figure("median") && figure("median") <= figure("max"),
            "{measure}"
        );
        assert_eq!(measure["host"].is_null(), measure["ratio"].is_null(), "{measure}");
    }
}

#[test]
fn a_timeline_has_every_request_that_the_driver_took() {
    let objects = objects(&["timeline", "demo"]);
    assert_documented(&objects);
    let told = objects.last().expect("what was drawn");
    assert_eq!(told["event"], "timeline");
    let last_cleanup =
        objects.iter().find(|object| object["event"] == "last_cleanup").expect("the demo's last cleanup");
    let cancelled = last_cleanup["requests"].as_array().expect("a list").len();
    assert_eq!((&told["cancelled"], &told["failed"], &told["unseen"]), (&cancelled.into(), &0.into(), &0.into()));
    assert_eq!((&told["teardowns"], &told["processes"]), (&2.into(), &1.into()));
}

#[test]
fn a_watch_shows_the_status_as_often_as_it_is_told_to() {
    let shown = objects(&["status", "--watch", "0.1", "--times", "3"]);
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|object| object["event"] == "status"));
    assert!(shown[0]["taken_per_second"].is_null());
    // Each status asks for the version and the ledger: the watch sees its own requests.
    assert!(shown[2]["taken_per_second"]["ledger"].as_f64().expect("a rate") > 0.0);
}

#[test]
fn a_person_sees_no_escape_sequence_where_the_output_is_no_terminal() {
    let output = wskctl(&["status", "--watch", "0.1", "--times", "2"]);
    assert!(output.status.success() && !output.stdout.contains(&0x1B));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.matches("not registered as a WSK client").count(), 2, "{text}");
}

/// contract: WSA-2, WSP-8, X-1, X-7, CARD-3
#[test]
fn after_stress_the_balance_is_even_and_the_pool_is_as_before() {
    let objects = objects(&["stress", "--seconds", "60", "--rounds", "6", "--seed", "11", "--delays", "20"]);
    assert_documented(&objects);
    let summary = objects.last().expect("a summary");
    assert_eq!((&summary["event"], &summary["result"]), (&"summary".into(), &"ok".into()));
    let balance = &summary["balance"];
    assert_eq!(balance["taken"], balance["completed"]);
    assert!(balance["cancelled"].as_u64() > Some(0) && summary["work"]["bytes"].as_u64() > Some(0), "{summary}");
    assert_eq!(balance["pool"]["blocks"], balance["pool"]["blocks_before"]);
    assert_eq!((&summary["violations"], &summary["leaks"]), (&0.into(), &0.into()));
    assert_eq!(summary["processes"], 13, "six in each of two places, and the one that warms up");
    let replay = summary["replay"].as_str().expect("a command");
    assert!(replay.starts_with("wskctl stress --backend lab --delays 20 --seed 11 --processes 2 "), "{replay}");
    assert!(replay.ends_with(" --rounds 6"), "{replay}");
}

#[test]
fn the_same_seed_stresses_with_the_same_processes() {
    let killed = |seed: &str| {
        let objects = objects(&["stress", "--rounds", "8", "--processes", "1", "--seconds", "60", "--seed", seed]);
        objects.last().expect("a summary")["killed"].clone()
    };
    assert_eq!(killed("5"), killed("5"));
}

#[test]
fn a_run_that_ctrl_c_ends_still_balances_and_exits_with_130() {
    let mut command = command(&["stress", "--seconds", "600", "--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wskctl runs");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("the start is told");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    let mut text = String::new();
    output.read_to_string(&mut text).expect("the rest");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&objects[0]["result"], &objects[0]["interrupted"]), (&"ok".into(), &true.into()));
    assert_eq!(objects[1]["exit_code"], 130);
}
