//! The real `.sys` in stock Wine: somebody else's WSK, a real user process, a real kill.
//!
//! `cargo lab wine` does the work; this judges its summary. It is ignored unless asked for, because it takes Wine:
//! `cargo lab test` asks for it.
#![cfg(unix)]

use std::{env, process::Command};

use serde_json::Value;

/// contract: WSA-2, WSA-10, WSP-8, WSP-9, CARD-1, CARD-3, CARD-4, CARD-5
#[test]
#[ignore = "needs Wine: run `cargo lab test --wine`"]
fn the_driver_serves_a_real_process_in_wine_and_survives_its_death() {
    let lab = env::var_os("LAB").expect("LAB names the program behind `cargo lab`");
    let output = Command::new(lab).args(["wine", "--format", "json"]).output().expect("`cargo lab wine` starts");
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));

    let summary: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("the last line is JSON");
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["backend"], "wine");
    assert_eq!(summary["result"], "ok");
    assert_eq!(summary["references"], 3);
    assert_eq!(summary["survived_kill"], true);
    assert_eq!(summary["installed_from_inf"], true, "and uninstalled without a trace");
    let (passed, skipped) = (&summary["scenarios_passed"], &summary["scenarios_skipped"]);
    assert!(passed.as_u64().is_some_and(|passed| passed >= 7), "{passed} scenarios ran");
    assert!(skipped.as_object().is_some_and(|skipped| skipped.contains_key("cancel_one.toml")), "{skipped}");
    assert_eq!(summary["example_echoed"], 3 << 20, "the wsk crate's example ran there, too");
    assert_eq!(summary["missing_functions_refused"], true, "an IRP that was never taken is the wsk crate's again");
    let pending = summary["pending_at_last_cleanup"].as_u64().expect("the demo counts what was pending");
    assert!(pending > 0, "nothing was pending at the last cleanup");
    assert_eq!(summary["cancelled"], pending, "every pending request ends cancelled");
}
