//! Which tests name which clauses, read from the workspace's sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{MetadataCommand, TargetKind};
use serde::Deserialize;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta, spanned::Spanned};

use super::{Proofs, clauses::Clause};
use crate::{suite::Test, workspace::Workspace};

/// The tests of each clause, in every package of the workspace. A tag on something that is no test, or that names no clause, is an error.
pub fn find(workspace: &Workspace, clauses: &[Clause]) -> Result<Proofs> {
    let mut metadata = MetadataCommand::new();
    metadata.current_dir(workspace.root()).no_deps().other_options(["--locked".to_owned()]);
    let metadata = metadata.exec().context("cannot ask cargo for the workspace's packages")?;
    let mut finder = Finder::new(clauses);
    for target in metadata.packages.iter().flat_map(|package| &package.targets) {
        if !target.kind.contains(&TargetKind::CustomBuild) {
            finder.read_program(target.src_path.as_std_path())?;
        }
    }
    finder.read_scenarios(workspace.root())?;
    Ok(finder.proofs)
}

/// A scenario file, as far as it matters here.
#[derive(Deserialize)]
struct Scenario {
    #[serde(default)]
    proves: Vec<String>,
}

/// Walks through the modules of a program.
struct Finder<'a> {
    known: BTreeSet<&'a str>,
    proofs: Proofs,
    root: PathBuf,
}

impl<'a> Finder<'a> {
    fn new(clauses: &'a [Clause]) -> Self {
        let known = clauses.iter().map(|clause| &*clause.name).collect();
        Self { known, proofs: BTreeMap::new(), root: PathBuf::new() }
    }

    fn read_program(&mut self, root: &Path) -> Result<()> {
        root.clone_into(&mut self.root);
        let folder = root.parent().context("a source file lies in a folder")?.to_owned();
        self.read_file(root, &folder, "")
    }

    /// The scenarios of the harness: for each there is a test of its name among the contract's.
    fn read_scenarios(&mut self, root: &Path) -> Result<()> {
        self.root = root.join("tests/contract/tests/scenarios.rs");
        for entry in root.join("user-harness/scenarios").read_dir().context("cannot list the scenarios")? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let Scenario { proves } = toml::from_str(&text).with_context(|| path.display().to_string())?;
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                for clause in proves {
                    self.proves(&clause, &name).with_context(|| path.display().to_string())?;
                }
            }
        }
        Ok(())
    }

    /// The program's test `name` proves `clause`.
    fn proves(&mut self, clause: &str, name: &str) -> Result<()> {
        ensure!(self.known.contains(clause), "there is no clause `{clause}`");
        let test = Test { root: self.root.clone(), name: name.to_owned() };
        self.proofs.entry(clause.to_owned()).or_default().push(test);
        Ok(())
    }

    /// The file of a module whose path is `path`, and whose own modules lie in `folder`.
    fn read_file(&mut self, file: &Path, folder: &Path, path: &str) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("cannot parse {}", file.display()))?;
        self.read_items(&parsed.items, folder, path).with_context(|| file.display().to_string())
    }

    fn read_items(&mut self, items: &[Item], folder: &Path, path: &str) -> Result<()> {
        for item in items {
            match item {
                Item::Mod(module) => self.read_module(module, folder, path)?,
                Item::Fn(function) => {
                    let name = format!("{path}{}", function.sig.ident);
                    let is_test = function.attrs.iter().any(is_test);
                    self.take(&function.attrs, is_test.then_some(&*name))?;
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn read_module(&mut self, module: &ItemMod, folder: &Path, path: &str) -> Result<()> {
        let name = module.ident.to_string();
        let (inside, folder_inside) = (format!("{path}{name}::"), folder.join(&name));
        if let Some((_, items)) = &module.content {
            return self.read_items(items, &folder_inside, &inside);
        }
        let candidates = [folder.join(format!("{name}.rs")), folder_inside.join("mod.rs")];
        let Some(file) = candidates.iter().find(|file| file.is_file()) else {
            bail!("line {}: there is no file for module {name}", module.span().start().line);
        };
        self.read_file(file, &folder_inside, &inside)
    }

    /// Takes the tags of a function; `test` is its name if it is a test.
    fn take(&mut self, attributes: &[Attribute], test: Option<&str>) -> Result<()> {
        let tags: Vec<_> = attributes.iter().filter_map(|attribute| Some((attribute, tag(attribute)?))).collect();
        for (attribute, tag) in tags {
            let line = attribute.span().start().line;
            let Some(name) = test else { bail!("line {line}: `contract: {tag}` on something that is no test") };
            for clause in tag.split(',').map(str::trim) {
                self.proves(clause, name).with_context(|| format!("line {line}"))?;
            }
        }
        Ok(())
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

/// The clauses that a doc line names: what follows `contract:`.
fn tag(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else { return None };
    let text = text.value();
    let clauses = text.trim().strip_prefix("contract:")?;
    meta.path.is_ident("doc").then(|| clauses.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clauses() -> Vec<Clause> {
        let clause = |name: &str| Clause { name: name.into(), subject: "s".into(), text: "t".into() };
        vec![clause("A-1"), clause("B-2")]
    }

    /// The tests found in a program of these files; the first is the root.
    fn found(files: &[(&str, &str)]) -> Result<Vec<(String, Vec<String>)>> {
        let folder = std::env::temp_dir().join(format!(
            "cargo-lab-tags-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, text)?;
        }
        let clauses = clauses();
        let mut finder = Finder::new(&clauses);
        let read = finder.read_program(&folder.join(files[0].0));
        fs::remove_dir_all(&folder)?;
        read?;
        let names = |tests: Vec<Test>| tests.into_iter().map(|test| test.name).collect();
        Ok(finder.proofs.into_iter().map(|(clause, tests)| (clause, names(tests))).collect())
    }

    #[test]
    fn tags_are_found_in_modules_of_every_form_and_name_the_tests_as_the_runner_does() {
        let root = "mod plain; mod nested; mod inner { /// contract: B-2\n#[test] fn here() {} }\n\
                    /// It is so.\n///\n/// contract: A-1, B-2\n#[test]\nfn top() {}\n#[test] fn other() {}";
        let files = [
            ("main.rs", root),
            ("plain.rs", "/// contract: A-1\n#[test] fn one() {}"),
            ("nested/mod.rs", "mod deep;"),
            ("nested/deep.rs", "#[doc = \" contract: A-1\"]\n#[test] fn two() {}"),
        ];
        let expected = [
            ("A-1".to_owned(), vec!["plain::one".to_owned(), "nested::deep::two".to_owned(), "top".to_owned()]),
            ("B-2".to_owned(), vec!["inner::here".to_owned(), "top".to_owned()]),
        ];
        assert_eq!(found(&files).unwrap(), expected);
    }

    #[test]
    fn a_tag_that_names_no_clause_is_an_error_that_says_where() {
        let error = found(&[("lib.rs", "\n/// contract: A-1, C-3\n#[test] fn one() {}")]).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("lib.rs") && error.contains("line 2") && error.contains("no clause `C-3`"), "{error}");
    }

    #[test]
    fn a_tag_on_something_that_is_no_test_is_an_error() {
        let error = found(&[("lib.rs", "/// contract: A-1\nfn helper() {}")]).unwrap_err();
        assert!(format!("{error:#}").contains("no test"), "{error:#}");
    }
}
