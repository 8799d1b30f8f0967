//! The real `.sys` in stock Wine: somebody else's WSK, a real user process, a real kill.
//!
//! `cargo lab wine` does the work; this judges its summary. It is ignored unless asked for, because it takes Wine:
//! `cargo lab test` asks for it.

use std::{env, process::Command};

use serde_json::Value;

/// contract: WSA-2, WSA-10, WSP-8, WSP-9, CARD-1, CARD-3, CARD-4, CARD-5
#[test]
#[ignore = "needs Wine: run `cargo lab test --wine`"]
fn the_driver_serves_a_real_process_in_wine_and_survives_its_death() {
    let text = lab("wine");
    print!("{text}");

    let summary: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON");
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["backend"], "wine");
    assert_eq!(summary["result"], "ok");
    assert_eq!(summary["references"], 3);
    assert_eq!(summary["survived_kill"], true);
    assert_eq!(summary["installed_from_inf"], true, "and uninstalled without a trace");
    assert_eq!(summary["example_echoed"], 3 << 20, "the wsk crate's example ran there, too");
    assert_eq!(summary["missing_functions_refused"], true, "an IRP that was never taken is the wsk crate's again");
    let pending = summary["pending_at_last_cleanup"].as_u64().expect("the demo counts what was pending");
    assert!(pending > 0, "nothing was pending at the last cleanup");
    assert_eq!(summary["cancelled"], pending, "every pending request ends cancelled");
    // The same command tells the same through the device, before and after somebody was killed, as in the lab.
    let here = demos(&lab("demo"));
    let there = demos(&text);
    assert_eq!((here.len(), there.len()), (1, 2));
    assert_eq!(there, [here[0].clone(), here[0].clone()]);
}

/// What a `cargo lab` command writes.
fn lab(command: &str) -> String {
    let lab = env::var_os("LAB").expect("LAB names the program behind `cargo lab`");
    let output = Command::new(lab).args([command, "--format", "json"]).output().expect("`cargo lab` starts");
    assert!(output.status.success(), "{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The steps that each demo told of, without ports, places and times, which differ everywhere.
fn demos(text: &str) -> Vec<Vec<Value>> {
    const STEPS: [&str; 10] = [
        "startup",
        "listen",
        "connections",
        "send",
        "standing",
        "cleanup",
        "receive",
        "last_cleanup",
        "restart",
        "echo",
    ];
    const DIFFER: [&str; 6] = ["address", "place", "teardown_us", "startup_us", "echo_us", "peers_reset"];
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is an object"));
    let mut demos: Vec<Vec<Value>> = Vec::new();
    for mut event in events {
        if event["event"] == "open" {
            demos.push(Vec::new());
        }
        if let Some(requests) = event["requests"].as_array_mut() {
            for request in requests.iter_mut() {
                without(request, &DIFFER);
            }
            requests.sort_by_key(Value::to_string);
        }
        without(&mut event, &DIFFER);
        if let Some(demo) = demos.last_mut()
            && STEPS.iter().any(|step| event["event"] == *step)
        {
            demo.push(event);
        }
    }
    demos
}

fn without(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for &field in fields {
            object.remove(field);
        }
    }
}
