//! `cargo lab contract`: every clause of the contract, the tests that prove it, where each ran and how it ended.
//!
//! The clauses are in `tests/contract/clauses.toml`. Tests name theirs in a doc line (`/// contract: WSA-2, X-5`), which is read from
//! the sources. A clause is proven if a test of it passed, with the real `.sys`, and none failed.

mod clauses;
mod table;
mod tags;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::{
    cli,
    report::Outcome,
    suite::{Ending, Place, Results, Test},
    test::Bench,
    workspace::Workspace,
};
use clauses::Clause;

/// The seed of the lab's choices.
const SEED: u64 = 1;

/// `cargo lab contract`
pub fn run(workspace: &Workspace, options: &cli::Contract) -> Result<Outcome> {
    judge(workspace, options).inspect_err(|error| options.format.summarize_failure(error, &[]))
}

fn judge(workspace: &Workspace, options: &cli::Contract) -> Result<Outcome> {
    let clauses = clauses::read(workspace)?;
    let proofs = tags::find(workspace, &clauses)?;
    if options.list {
        table::list(options.format, &table::verdicts(&clauses, &proofs, None));
        return Ok(Outcome::Holds);
    }
    let results = run_tagged(workspace, &proofs)?;
    let verdicts = table::verdicts(&clauses, &proofs, Some(&results));
    table::conclude(options.format, &verdicts);
    Ok(Outcome::of(results.failed == 0 && verdicts.iter().all(|verdict| verdict.proven)))
}

/// Runs the programs that have tests of clauses. What they write goes to standard error.
fn run_tagged(workspace: &Workspace, proofs: &Proofs) -> Result<Results> {
    let bench = Bench::prepare(workspace, |line| eprintln!("{line}"))?
        .only(|program| proofs.values().flatten().any(|test| test.root == program.root));
    let mut results = bench.host(&[])?;
    results.add(bench.lab(&[], SEED)?);
    results.add(bench.wine(&[])?);
    results.add(bench.portable(&[])?);
    Ok(results)
}

/// How many clauses are proven by a run of every test, in one line; and whether none is open.
pub fn state(workspace: &Workspace, results: &Results) -> Result<(String, bool)> {
    let clauses = clauses::read(workspace)?;
    let proofs = tags::find(workspace, &clauses)?;
    let verdicts = table::verdicts(&clauses, &proofs, Some(results));
    Ok((format!("contract: {}", table::sum(&verdicts)), table::open(&verdicts).is_empty()))
}

/// The tests of each clause, by its name.
type Proofs = BTreeMap<String, Vec<Test>>;

/// A clause, its tests, and whether they prove it.
struct Verdict<'a> {
    clause: &'a Clause,
    tests: Vec<(&'a Test, Vec<(Place, Ending)>)>,
    proven: bool,
}
