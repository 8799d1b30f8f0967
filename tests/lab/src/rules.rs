//! `cargo lab rules`: every rule of the lab, and whether its faulty driver proves it, found out by running them all.

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use ntlab::Rule;
use serde_json::json;

use crate::{
    artifacts,
    cli::{self, Format},
    report::{Outcome, progress},
    setup,
    workspace::Workspace,
};

/// `cargo lab rules`
pub fn run(workspace: &Workspace, options: &cli::Rules) -> Result<Outcome> {
    let image = setup::prepare(workspace).and_then(|tools| artifacts::build_faulty(workspace, &tools));
    let image = image.inspect_err(|error| options.format.summarize_failure(error, &[]))?;
    progress("running the faulty drivers");
    let rules: Vec<_> = ntlab::rules().map(|rule| (rule, faulty_judge::prove(&image, rule).is_ok())).collect();
    let proven = rules.iter().filter(|(_, proven)| *proven).count();
    match options.format {
        Format::Human => {
            println!("{}", table(&rules));
            println!("{} rules, {proven} proven", rules.len());
        }
        Format::Json => {
            for (rule, proven) in &rules {
                println!("{}", event(rule, *proven));
            }
            println!("{}", json!({"event": "summary", "rules": rules.len(), "proven": proven}));
        }
    }
    Ok(Outcome::of(rules.iter().all(|(rule, proven)| *proven || rule.unprovable.is_some())))
}

fn event(rule: &Rule, proven: bool) -> serde_json::Value {
    json!({
        "event": "rule",
        "name": rule.name,
        "windows_name": rule.windows_name,
        "meaning": rule.meaning,
        "remedy": rule.remedy,
        "proven": proven,
        "unprovable": rule.unprovable,
    })
}

fn table(rules: &[(&Rule, bool)]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["rule", "in Windows", "what must hold", "what to do", "proven"]);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(160);
    for &(rule, proven) in rules {
        let verdict = match rule.unprovable {
            _ if proven => "yes".to_owned(),
            Some(reason) => format!("cannot be: {reason}"),
            None => "no".to_owned(),
        };
        table.add_row([rule.name, rule.windows_name.unwrap_or(""), rule.meaning, rule.remedy, &verdict]);
    }
    table
}
