//! Every rule of the lab is proven by a driver that breaks it.
//!
//! `cargo lab test` builds the image and says where it is (`FAULTY_SYS`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::env;
use std::path::PathBuf;

use faulty_judge::{prove, run};

fn image() -> PathBuf {
    let path = env::var_os("FAULTY_SYS").map(PathBuf::from);
    path.expect("FAULTY_SYS names no image: run `cargo lab test`, which builds one")
}

#[test]
fn each_faulty_driver_is_stopped_by_its_own_rule_with_a_report_that_names_function_file_and_line() {
    let provable = ntlab::rules().filter(|rule| rule.unprovable.is_none());
    let complaint = |rule: &ntlab::Rule| prove(&image(), rule).err().map(|error| format!("{}: {error}", rule.name));
    let complaints: Vec<_> = provable.filter_map(complaint).collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn at_least_forty_five_rules_are_to_be_proven() {
    assert!(ntlab::rules().filter(|rule| rule.unprovable.is_none()).count() >= 45);
}

#[test]
fn no_two_rules_have_the_same_name() {
    let mut names: Vec<_> = ntlab::rules().map(|rule| rule.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn correct_twins_of_the_faulty_drivers_pass() {
    for name in ["Requests", "Services", "Network", "Indications"] {
        let report = run(&image(), name).expect("it is in the image");
        assert!(report.is_clean(), "{name}: {report}");
    }
}

#[test]
fn a_place_in_the_report_has_function_file_and_line() {
    let report = run(&image(), "DoubleCompletion").expect("it is in the image");
    let places = report.violations[0].places();
    let own = places.iter().find(|place| place.file.ends_with("faults/double_completion.rs"));
    let place = own.unwrap_or_else(|| panic!("{places:?}"));
    assert!(place.function.contains("double_completion") && place.line == 9, "{place}");
}

#[test]
fn a_leak_is_reported_with_the_stack_that_allocated_it() {
    let report = run(&image(), "PoolLeak").expect("it is in the image");
    let text = report.to_string();
    let line_of = |function: &str, how: &str| {
        let names = |line: &&str| line.contains(function) && line.contains("faults/pool_leak.rs:");
        text.lines().find(|line| line.contains(how) && names(line))
    };
    assert!(line_of("pool_leak::forget", "'Flty' 3 blocks, 300 bytes, allocated by").is_some(), "{text}");
    assert!(line_of("pool_leak::request", "  called by").is_some(), "{text}");
}
