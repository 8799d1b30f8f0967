//! What Microsoft documents of each routine: the highest IRQL at which it may be called, and the Windows it came with.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The documentation of a routine, as far as it can be put in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Documented {
    /// The highest IRQL; none when there is only prose about it.
    pub(crate) irql: Option<u8>,
    /// The build of the first Windows version that has it.
    pub(crate) build: Option<u32>,
}

/// Its first lines name the source.
const TABLE: &str = include_str!("../data/ddi.tsv");

fn parse(line: &'static str) -> Option<(&'static str, Documented)> {
    let mut fields = line.split('\t');
    let name = fields.next().filter(|name| !name.starts_with('#'))?;
    let (irql, build) = (fields.next()?, fields.next()?);
    Some((name, Documented { irql: irql.parse().ok(), build: build.parse().ok() }))
}

/// The documentation of the routine `name`.
pub(crate) fn of(name: &str) -> Option<Documented> {
    static ALL: OnceLock<HashMap<&'static str, Documented>> = OnceLock::new();
    ALL.get_or_init(|| TABLE.lines().filter_map(parse).collect()).get(name).copied()
}

/// Whether Windows of the given build lacks the routine.
pub(crate) fn is_newer(name: &str, build: u32) -> bool {
    of(name).and_then(|documented| documented.build).is_some_and(|first| first > build)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports;

    /// Exports whose limit is enforced elsewhere than at the gate.
    const ELSEWHERE: [(&str, &str); 2] = [
        ("IofCompleteRequest", "CompletionIrql names the IRP"),
        ("WskCaptureProviderNPI", "PASSIVE_LEVEL if it waits; the routine sees the timeout"),
    ];

    #[test]
    fn every_export_has_its_documented_highest_irql() {
        let wrong: Vec<String> = exports::all()
            .into_iter()
            .filter(|export| export.gated && !ELSEWHERE.iter().any(|(name, _)| *name == export.name))
            .filter_map(|export| {
                let irql = of(export.name)?.irql.filter(|irql| *irql != export.max_irql)?;
                Some(format!("{}: {}, documented {irql}", export.name, export.max_irql))
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn no_export_is_newer_than_the_windows_that_the_lab_is() {
        let windows = crate::Options::default().windows;
        let newer: Vec<&str> =
            exports::all().iter().map(|export| export.name).filter(|name| is_newer(name, windows)).collect();
        assert!(newer.is_empty(), "{newer:?}");
    }

    #[test]
    fn the_table_knows_when_a_routine_came() {
        assert_eq!(of("ExAllocatePool2"), Some(Documented { irql: Some(2), build: Some(19041) }));
        assert!(is_newer("ExAllocatePool2", 18363));
        assert!(!is_newer("ExAllocatePoolWithTag", 18363));
        assert!(!is_newer("NoSuchRoutine", 0));
    }
}
