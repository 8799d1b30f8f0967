//! The driver's INF: read into sections and lines as `SetupAPI` reads it, stamped, and judged.
//!
//! The parser takes what this project's INF uses of *General Syntax Rules for INF Files* (sections, comments, quotes, lists,
//! string tokens) and refuses the rest.

pub mod rules;

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

/// The service that the INF makes.
pub const SERVICE: &str = "WskClient";

/// The INF before it is stamped, which keeps every rule.
pub fn source(workspace: &Workspace) -> Result<String> {
    let path = workspace.root().join("inf/wskclient.inx");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let broken = rules::broken(&Inf::parse(&text).with_context(|| path.display().to_string())?);
    ensure!(broken.is_empty(), "{} breaks rules of InfVerif's: {broken:?}", workspace.shown(&path));
    Ok(text)
}

/// `source` with its date (month/day/year) and version, with the line ends of a Windows text file.
pub fn stamped(source: &str, date: &str, version: &str) -> Result<String> {
    let is_version = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == "DriverVer");
    ensure!(source.lines().filter(is_version).count() == 1, "the INF has not one line `DriverVer =`");
    let lines = source.lines().map(|line| {
        if is_version(&line) { format!("DriverVer   = {date},{version}\r\n") } else { format!("{line}\r\n") }
    });
    Ok(lines.collect())
}

/// An INF's sections, in the file's order.
#[derive(Clone, Debug)]
pub struct Inf {
    sections: Vec<Section>,
}

/// One section.
#[derive(Clone, Debug)]
pub struct Section {
    pub name: String,
    pub lines: Vec<Line>,
}

/// `key = value, value`, or a list without a key.
#[derive(Clone, Debug)]
pub struct Line {
    pub key: Option<String>,
    pub values: Vec<String>,
}

impl Inf {
    /// Reads an INF's text.
    pub fn parse(text: &str) -> Result<Self> {
        ensure!(text.is_ascii(), "an INF that is not UTF-16 must be ASCII");
        let mut sections = Vec::<Section>::new();
        for (number, line) in text.lines().enumerate() {
            let line = uncommented(line).trim();
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let name = name.strip_suffix(']').with_context(|| format!("line {}: no `]`", number + 1))?;
                sections.push(Section { name: name.trim().to_owned(), lines: Vec::new() });
                continue;
            }
            let Some(section) = sections.last_mut() else {
                bail!("line {}: outside any section", number + 1);
            };
            ensure!(!line.ends_with('\\'), "line {}: continued lines are not read here", number + 1);
            section.lines.push(parsed(line).with_context(|| format!("line {}", number + 1))?);
        }
        Ok(Self { sections })
    }

    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section called `name`, in any case.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name.eq_ignore_ascii_case(name))
    }

    /// The first value of `key` in `section`, its string tokens replaced.
    pub fn value(&self, section: &str, key: &str) -> Option<String> {
        let line = self.section(section)?.with_key(key).next()?;
        Some(self.expanded(line.values.first()?))
    }

    /// `text` with `%token%` replaced by what `[Strings]` says; tokens that are not there, and directory ids, stay.
    pub fn expanded(&self, text: &str) -> String {
        let mut parts = text.split('%').enumerate();
        let mut result = parts.next().map_or(String::new(), |(_, first)| first.to_owned());
        for (index, part) in parts {
            let string = (index % 2 == 1).then(|| self.string(part)).flatten();
            match string {
                Some(string) => result.push_str(string),
                None if index % 2 == 1 => result.extend(["%", part, "%"]),
                None => result.push_str(part),
            }
        }
        result
    }

    /// What `[Strings]` says of `token`.
    pub fn string(&self, token: &str) -> Option<&str> {
        self.section("Strings")?.with_key(token).next()?.values.first().map(String::as_str)
    }
}

impl Section {
    /// The lines whose key is `key`, in any case.
    pub fn with_key<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Line> + use<'a> {
        let key = key.to_owned();
        self.lines.iter().filter(move |line| line.key.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(&key)))
    }
}

/// `line` up to a semicolon that is not quoted.
fn uncommented(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|character| {
        quoted ^= character == '"';
        character == ';' && !quoted
    });
    &line[..end.unwrap_or(line.len())]
}

fn parsed(line: &str) -> Result<Line> {
    let mut quoted = false;
    let equals = line.find(|character| {
        quoted ^= character == '"';
        character == '=' && !quoted
    });
    let (key, list) = match equals {
        Some(at) => (Some(line[..at].trim().to_owned()), &line[at + 1..]),
        None => (None, line),
    };
    Ok(Line { key, values: values(list)? })
}

/// The list's items, without their quotes.
fn values(list: &str) -> Result<Vec<String>> {
    let mut items = vec![String::new()];
    let mut quoted = false;
    for character in list.trim().chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(String::new()),
            _ => items.last_mut().context("a list begins with an item")?.push(character),
        }
    }
    ensure!(!quoted, "a quote is not closed");
    Ok(items.into_iter().map(|item| item.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_comments_quotes_and_tokens_are_read_as_setupapi_reads_them() {
        let text = "; head\n[Version]\nSignature = \"$WINDOWS NT$\" ; end\nProvider=%Me%\n[Files]\na.sys\n[Strings]\nMe = \"a; b, c\"";
        let inf = Inf::parse(text).unwrap();
        assert_eq!(inf.value("version", "signature").unwrap(), "$WINDOWS NT$");
        assert_eq!(inf.value("Version", "Provider").unwrap(), "a; b, c");
        assert_eq!(inf.section("Files").unwrap().lines[0].values, ["a.sys"]);
        assert_eq!(inf.expanded(r"%13%\%Me%"), r"%13%\a; b, c");
    }

    #[test]
    fn what_is_not_an_inf_is_refused() {
        for text in ["a = b", "[Version", "[Version]\na = \"b", "[Version]\na = b \\", "[Version]\nProvider = \u{e9}"] {
            assert!(Inf::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stamping_changes_the_version_line_and_the_line_ends_and_nothing_else() {
        let inf = stamped("[Version]\nDriverVer   =\nPnpLockdown = 1\n", "11/21/2026", "0.1.0.0").unwrap();
        assert_eq!(inf, "[Version]\r\nDriverVer   = 11/21/2026,0.1.0.0\r\nPnpLockdown = 1\r\n");
        assert!(stamped("[Version]\n", "11/21/2026", "0.1.0.0").is_err());
    }
}
