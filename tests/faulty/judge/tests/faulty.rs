//! Every rule of the lab is proven by a driver that breaks it.
//!
//! `cargo lab test` builds the image and says where it is (`FAULTY_SYS`).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::env;
use std::path::PathBuf;

use faulty_judge::{run, source_of};
use ntlab::Rule;

fn image() -> PathBuf {
    let path = env::var_os("FAULTY_SYS").map(PathBuf::from);
    path.expect("FAULTY_SYS names no image: run `cargo lab test`, which builds one")
}

/// What is wrong with how the driver that breaks `rule` was stopped.
fn complaint(rule: &Rule) -> Option<String> {
    let Some(report) = run(&image(), rule.name) else {
        return Some(format!("{}: no driver breaks it; add one, or say in the table why none can", rule.name));
    };
    let Some(first) = report.violations.first() else { return Some(format!("{}: no violation", rule.name)) };
    let text = first.to_string();
    if first.rule != rule {
        return Some(format!("{}: stopped by another rule\n{text}", rule.name));
    }
    let source = source_of(rule);
    let names_line = text.match_indices(&source).any(|(at, _)| {
        let rest = &text[at + source.len()..];
        rest.strip_prefix(':').is_some_and(|line| line.starts_with(|c: char| c.is_ascii_digit()))
    });
    (!names_line).then(|| format!("{}: the report does not name a line of {source}\n{text}", rule.name))
}

#[test]
fn each_faulty_driver_is_stopped_by_its_own_rule_with_a_report_that_names_its_line() {
    let complaints: Vec<_> = ntlab::rules().filter(|rule| rule.unprovable.is_none()).filter_map(complaint).collect();
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
    for name in ["Requests", "Network"] {
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
    assert!(line_of("pool_leak::forget", "'Flty' 2 blocks, 200 bytes, allocated by").is_some(), "{text}");
    assert!(line_of("pool_leak::request", "  called by").is_some(), "{text}");
}
