//! The judgement on the finished driver, for people and for programs.

use std::path::Path;

use anyhow::Result;
use comfy_table::{Table, presets};
use serde_json::json;

use super::{
    Image,
    checks::{self, Failure},
    exports::Exports,
};
use crate::{cli::Format, report::Outcome, workspace::Workspace};

/// Checks the driver at `path` and prints what it is made of.
pub fn judge(workspace: &Workspace, path: &Path, format: Format) -> Result<Outcome> {
    let image = Image::read(path)?;
    let failures = checks::failures(&image, &Exports::read());
    match format {
        Format::Human => print_tables(&workspace.shown(path), &image, &failures),
        Format::Json => print_events(&workspace.shown(path), &image, &failures),
    }
    Ok(Outcome::of(failures.is_empty()))
}

fn panic_paths(image: &Image) -> &'static str {
    if image.has_panic_path() { "linked" } else { "none" }
}

fn print_tables(path: &str, image: &Image, failures: &[Failure]) {
    println!("{path}: {} bytes, panic paths: {}", image.size, panic_paths(image));
    println!("{}", sections_table(image));
    println!("{}", imports_table(image));
    for failure in failures {
        println!("FAILED {}: {}\n       {}", failure.check, failure.found, failure.mend);
    }
    if failures.is_empty() {
        println!("image: ok");
    }
}

fn sections_table(image: &Image) -> Table {
    let mut table = table(["section", "bytes", "access"]);
    for section in &image.sections {
        table.add_row([section.name.clone(), section.size.to_string(), section.access()]);
    }
    table
}

fn imports_table(image: &Image) -> Table {
    let mut table = table(["module", "imports"]);
    let width = 100;
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic).set_width(width);
    for imports in image.imports.chunk_by(|one, next| one.module == next.module) {
        let names: Vec<_> = imports.iter().map(|import| import.name.as_str()).collect();
        table.add_row([imports[0].module.clone(), names.join(" ")]);
    }
    table
}

fn table(head: impl Into<comfy_table::Row>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    table
}

fn print_events(path: &str, image: &Image, failures: &[Failure]) {
    for failure in failures {
        println!(
            "{}",
            json!({"event": "failed", "check": failure.check, "found": failure.found, "mend": failure.mend})
        );
    }
    let sections: Vec<_> = image
        .sections
        .iter()
        .map(|section| json!({"name": section.name, "size": section.size, "access": section.access()}))
        .collect();
    let imports: Vec<_> = image.imports.iter().map(|import| format!("{}!{}", import.module, import.name)).collect();
    println!(
        "{}",
        json!({
            "event": "summary",
            "result": if failures.is_empty() { "ok" } else { "failed" },
            "image": path,
            "size": image.size,
            "panic_paths": panic_paths(image),
            "sections": sections,
            "imports": imports,
        })
    );
}
