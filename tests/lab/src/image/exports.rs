//! The names that 64-bit Windows really exports from the modules a WSK client driver may import from.
//!
//! The import libraries of the Linux build are made from the same table, so a name that only Wine has cannot be linked.

use std::collections::HashMap;

/// The table, with where it comes from in its head.
pub const TABLE: &str = include_str!("../../data/exports.tsv");

/// Code or data: data has no thunk to jump through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Code,
    Data,
}

/// One exported name.
pub struct Export {
    pub module: &'static str,
    pub name: &'static str,
    pub kind: Kind,
}

/// The exports of every module in the table.
pub struct Exports {
    table: Vec<Export>,
    modules_of: HashMap<&'static str, Vec<&'static str>>,
}

impl Exports {
    /// Reads the table that this program carries.
    pub fn read() -> Self {
        let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
        let table: Vec<_> = rows.filter_map(export).collect();
        let mut modules_of = HashMap::<_, Vec<_>>::new();
        for export in &table {
            modules_of.entry(export.name).or_default().push(export.module);
        }
        Self { table, modules_of }
    }

    /// The exports of `module`; none when the driver may not import from it.
    pub fn of<'a>(&'a self, module: &'a str) -> impl Iterator<Item = &'a Export> {
        self.table.iter().filter(move |export| export.module == module)
    }

    /// Whether the driver may import from `module` at all.
    pub fn has_module(&self, module: &str) -> bool {
        self.of(module).next().is_some()
    }

    /// Whether Windows' `module` exports `name`.
    pub fn has(&self, module: &str, name: &str) -> bool {
        self.modules_of.get(name).is_some_and(|modules| modules.contains(&module))
    }
}

/// A line of the table: module, name, kind, origin.
fn export(line: &'static str) -> Option<Export> {
    let mut columns = line.split('\t');
    let (module, name) = (columns.next()?, columns.next()?);
    let kind = if columns.next()? == "data" { Kind::Data } else { Kind::Code };
    Some(Export { module, name, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let rows = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(Exports::read().table.len(), rows);
        assert!(rows > 2000);
    }

    #[test]
    fn the_table_knows_wsk_and_what_is_inline_is_not_in_it() {
        let exports = Exports::read();
        for name in ["WskRegister", "WskDeregister", "WskCaptureProviderNPI", "WskReleaseProviderNPI"] {
            assert!(exports.has("netio.sys", name), "{name}");
        }
        for name in ["ExAllocatePool2", "IofCompleteRequest", "KeAcquireSpinLockRaiseToDpc", "KfRaiseIrql"] {
            assert!(exports.has("ntoskrnl.exe", name), "{name}");
        }
        for name in ["IoCreateDeviceSecure", "KeInitializeSpinLock", "KeQuerySystemTime", "IoSetCompletionRoutine"] {
            assert!(!exports.has("ntoskrnl.exe", name), "{name}");
        }
    }
}
