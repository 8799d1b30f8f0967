//! The contract's clauses: `tests/contract/clauses.toml`.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{collections::BTreeSet, fs};

use crate::workspace::Workspace;

/// One clause.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// As `WSA-2`.
    pub name: String,
    /// The provider, or whatever else it is about.
    pub subject: String,
    /// What must hold.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contract {
    clause: Vec<Clause>,
}

/// Every clause, in the contract's order.
pub fn read(workspace: &Workspace) -> Result<Vec<Clause>> {
    let path = workspace.root().join("tests/contract/clauses.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| workspace.shown(&path))
}

fn parse(text: &str) -> Result<Vec<Clause>> {
    let Contract { clause: clauses } = toml::from_str(text)?;
    let mut names = BTreeSet::new();
    for clause in &clauses {
        ensure!(names.insert(&clause.name), "clause {} is there twice", clause.name);
        ensure!(!clause.text.is_empty(), "clause {} says nothing", clause.name);
    }
    Ok(clauses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_in_their_order_and_none_may_come_twice() {
        let one = "[[clause]]\nname = \"B-1\"\nsubject = \"b\"\ntext = \"It holds.\"\n";
        let two = "[[clause]]\nname = \"A-1\"\nsubject = \"a\"\ntext = \"It holds too.\"\n";
        let names = |text: &str| parse(text).unwrap().into_iter().map(|clause| clause.name).collect::<Vec<_>>();
        assert_eq!(names(&format!("{one}{two}")), ["B-1", "A-1"]);
        assert!(parse(&format!("{one}{one}")).unwrap_err().to_string().contains("B-1 is there twice"));
        assert!(parse(&one.replace("It holds.", "")).is_err());
    }
}
