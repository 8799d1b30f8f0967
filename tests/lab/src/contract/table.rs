//! What the tests' results mean for the clauses, and how that is shown.

use std::path::Path;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{Proofs, Verdict, clauses::Clause};
use crate::{
    cli::Format,
    suite::{Ending, Place, Results, Test},
};

/// Each clause with its tests, and where those ran, if they did.
pub fn verdicts<'a>(clauses: &'a [Clause], proofs: &'a Proofs, results: Option<&Results>) -> Vec<Verdict<'a>> {
    let verdict = |clause: &'a Clause| {
        let tests = proofs.get(&clause.name).map_or(&[][..], Vec::as_slice);
        let tests: Vec<_> = tests.iter().map(|test| (test, runs(test, results))).collect();
        let proven = proves(tests.iter().flat_map(|(_, runs)| runs));
        Verdict { clause, tests, proven }
    };
    clauses.iter().map(verdict).collect()
}

/// Where the test ran, and how it ended there.
fn runs(test: &Test, results: Option<&Results>) -> Vec<(Place, Ending)> {
    let all = results.into_iter().flat_map(|results| &results.endings);
    all.filter(|((one, _), ending)| one == test && **ending != Ending::Ignored)
        .map(|((_, place), ending)| (*place, *ending))
        .collect()
}

/// A clause holds if one of its tests passed on the real driver, and none failed anywhere.
fn proves<'a>(mut runs: impl Iterator<Item = &'a (Place, Ending)> + Clone) -> bool {
    runs.clone().all(|(_, ending)| *ending == Ending::Passed) && runs.any(|(place, _)| place.runs_the_driver())
}

/// The clauses and their tests, of which none was run.
pub fn list(format: Format, verdicts: &[Verdict<'_>]) {
    match format {
        Format::Human => {
            println!("{}", table(verdicts));
            let untested = names(verdicts, |verdict| verdict.tests.is_empty());
            println!("{} clauses; without a test: {}", verdicts.len(), or_none(&untested));
        }
        Format::Json => {
            for verdict in verdicts {
                println!("{}", event(verdict, None));
            }
            println!("{}", json!({"event": "summary", "clauses": verdicts.len()}));
        }
    }
}

/// The clauses, and which are proven.
pub fn conclude(format: Format, verdicts: &[Verdict<'_>]) {
    match format {
        Format::Human => {
            println!("{}", table(verdicts));
            println!("{}", sum(verdicts));
        }
        Format::Json => {
            for verdict in verdicts {
                println!("{}", event(verdict, Some(verdict.proven)));
            }
            let (clauses, open) = (verdicts.len(), open(verdicts).len());
            println!("{}", json!({"event": "summary", "clauses": clauses, "proven": clauses - open, "open": open}));
        }
    }
}

/// How many clauses are proven, and which are not, in one line.
pub fn sum(verdicts: &[Verdict<'_>]) -> String {
    let (clauses, open) = (verdicts.len(), open(verdicts));
    format!("{clauses} clauses, {} proven, {} open: {}", clauses - open.len(), open.len(), or_none(&open))
}

/// The names of the clauses that are not proven.
pub fn open<'a>(verdicts: &[Verdict<'a>]) -> Vec<&'a str> {
    names(verdicts, |verdict| !verdict.proven)
}

/// The names of the clauses that `are`.
fn names<'a>(verdicts: &[Verdict<'a>], are: impl Fn(&Verdict<'a>) -> bool) -> Vec<&'a str> {
    verdicts.iter().filter(|verdict| are(verdict)).map(|verdict| &*verdict.clause.name).collect()
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn event(verdict: &Verdict<'_>, proven: Option<bool>) -> Value {
    let tests: Vec<_> = verdict.tests.iter().map(|(test, runs)| test_event(test, runs)).collect();
    let Clause { name, subject, text } = verdict.clause;
    json!({"event": "clause", "name": name, "subject": subject, "text": text, "proven": proven, "tests": tests})
}

fn test_event(test: &Test, runs: &[(Place, Ending)]) -> Value {
    let runs: Vec<_> = runs.iter().map(|(place, ending)| json!({"place": place, "ending": ending})).collect();
    json!({"program": program(test), "test": test.name, "runs": runs})
}

/// The root source file's name, without what all have in common.
fn program(test: &Test) -> String {
    let folder =
        test.root.parent().and_then(Path::parent).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    match test.root.file_stem().unwrap_or_default().to_string_lossy() {
        file if file == "lib" || file == "main" => folder.into_owned(),
        file => format!("{folder}/{file}"),
    }
}

fn table(verdicts: &[Verdict<'_>]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["clause", "what must hold", "proof"]);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(180);
    for verdict in verdicts {
        let proofs: Vec<_> = verdict.tests.iter().map(|(test, runs)| proof(test, runs)).collect();
        let proofs = if proofs.is_empty() { "no test".to_owned() } else { proofs.join("\n") };
        table.add_row([&verdict.clause.name, &verdict.clause.text, &proofs]);
    }
    table
}

fn proof(test: &Test, runs: &[(Place, Ending)]) -> String {
    let runs: Vec<_> = runs.iter().map(|(place, ending)| format!("{} {}", place.name(), word(*ending))).collect();
    let runs = if runs.is_empty() { "not run".to_owned() } else { runs.join(", ") };
    format!("{}: {} ({runs})", program(test), test.name)
}

fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Passed => "passed",
        Ending::Failed => "FAILED",
        Ending::Ignored => "ignored",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_is_proven_by_a_pass_on_the_driver_and_no_failure() {
        let (pass, fail) = (Ending::Passed, Ending::Failed);
        assert!(proves([(Place::Lab, pass)].iter()));
        assert!(proves([(Place::Wine, pass), (Place::Host, pass)].iter()));
        assert!(!proves([].iter()), "no test ran");
        assert!(!proves([(Place::Host, pass)].iter()), "not on the driver");
        assert!(!proves([(Place::Lab, pass), (Place::Wine, fail)].iter()));
        assert!(!proves([(Place::Lab, pass), (Place::Host, fail)].iter()));
    }

    #[test]
    fn only_what_the_runner_saw_pass_counts() {
        let clause = Clause { name: "A-1".into(), subject: "s".into(), text: "t".into() };
        let test = |name: &str| Test { root: "a/tests/b.rs".into(), name: name.into() };
        let proofs = Proofs::from([("A-1".to_owned(), vec![test("holds")])]);
        let proven = |name: &str, ending| {
            let mut results = Results::default();
            results.endings.insert((test(name), Place::Lab), ending);
            verdicts(std::slice::from_ref(&clause), &proofs, Some(&results))[0].proven
        };
        assert!(proven("holds", Ending::Passed));
        assert!(!proven("holds", Ending::Ignored), "a test that did not run proves nothing");
        assert!(!proven("holds", Ending::Failed));
        assert!(!proven("other", Ending::Passed), "another test's pass is not this one's");
        assert_eq!(program(&test("holds")), "a/b");
    }
}
