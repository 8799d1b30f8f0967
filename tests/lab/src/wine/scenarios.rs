//! The scenario files in Wine, as `wskctl run` plays them. What stock Wine's WSK is without is named for each file that is skipped.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{HARNESS, Teller, event, prefix::Prefix, session::HOME};
use crate::setup::files;

const LIMIT: Duration = Duration::from_mins(3);

/// What became of the files.
pub struct Played {
    pub passed: usize,
    /// What each that was skipped would have needed.
    pub skipped: BTreeMap<String, String>,
}

/// Runs all of them. One that fails is an error.
pub fn run(prefix: &mut Prefix<'_>, teller: &Teller) -> Result<Played> {
    let names = files::in_folder(&prefix.drive_c("wskclient/scenarios"), "toml")?;
    let names: Vec<_> = names.into_keys().map(|name| name.to_string_lossy().into_owned()).collect();
    let paths: Vec<_> = names.iter().map(|name| format!(r"{HOME}\scenarios\{name}")).collect();
    let arguments = ["--backend", "device", "--format", "json", "run"];
    let arguments: Vec<_> = arguments.into_iter().chain(paths.iter().map(String::as_str)).collect();
    let output = prefix.start(HARNESS, &arguments)?.finish(LIMIT).context("a scenario failed")?;
    let events: Vec<_> = output.lines().filter_map(event).collect();
    let mut played = Played { passed: 0, skipped: BTreeMap::new() };
    for told in &events {
        let text = |field| told.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = text("file").rsplit('\\').next().unwrap_or_default().to_owned();
        match text("event") {
            "result" if text("result") == "ok" => {
                teller.tell("scenario", &format!("{name}: ok"));
                played.passed += 1;
            }
            "skipped" => {
                teller.tell("scenario", &format!("{name}: skipped, needs {}", text("lacks")));
                played.skipped.insert(name, text("lacks").to_owned());
            }
            _ => (),
        }
    }
    ensure!(played.passed + played.skipped.len() == names.len(), "of {names:?} some were not heard of");
    ensure!(played.passed > 0, "every scenario was skipped");
    Ok(played)
}
