//! Starts each driver of `faulty.sys` in a machine of its own and makes the same few requests of it.
//!
//! One idea: what a rule is worth is found out by running: it is proven when the driver that breaks it is stopped by it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use ntlab::wsk::{Level, Options as WskOptions, Order, Take, When};
use ntlab::{Machine, Options, Place, Report, Rule, Stop, rules};

/// The requests: `CTL_CODE(0x8000, 0x800 + step, method, FILE_ANY_ACCESS)`, twice `METHOD_BUFFERED`, then `METHOD_IN_DIRECT`.
const REQUESTS: [u32; 3] = [0x8000_2000, 0x8000_2004, 0x8000_2009];

/// How long a request may take before it counts as one that pends.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a driver may hang.
const HANG: Duration = Duration::from_secs(8);

/// Runs the driver called `name` in the image: three requests, cancelled if they pend; its process ends; it is unloaded.
///
/// None if there is no such driver in it.
///
/// # Panics
/// The image cannot be loaded.
#[must_use]
pub fn run(image: &Path, name: &str) -> Option<Report> {
    let is_slow = [&rules::HANGS, &rules::SLOW_CANCEL].iter().any(|rule| rule.name == name);
    let hang = if is_slow { GLANCE } else { HANG };
    let machine = Machine::new(Options { seed: 1, hang, ..Options::default() });
    // Inside the call: a driver that overlaps calls does so every time.
    let (when, level) = (When::Inline, Level::Passive);
    machine.network().set_options(WskOptions { when, level, order: Order::Finished, take: Take::Full });
    let driver = machine.load_service(image, name).unwrap_or_else(|error| panic!("{error}"));
    match driver.start() {
        Ok(()) => exercise(&machine),
        Err(Stop::Status(_)) => return None,
        Err(_) => {}
    }
    Some(machine.finish())
}

fn exercise(machine: &Machine) {
    let process = machine.process();
    let Ok(handle) = process.open(r"\\.\Faulty") else { return };
    for code in REQUESTS {
        let request = handle.ioctl(code, &[0; 16], vec![0; 16]);
        if request.wait(GLANCE).is_none() {
            let _it_was_pending = request.cancel();
        }
    }
    process.exit();
}

/// What is wrong with how the driver that breaks `rule` is stopped: it must be by this rule, with a report that names function, file
/// and line.
///
/// # Errors
/// What it is.
pub fn prove(image: &Path, rule: &Rule) -> Result<(), String> {
    let report = run(image, rule.name).ok_or("no driver breaks it; add one, or say in the table why none can")?;
    let first = report.violations.first().ok_or("no violation")?;
    if first.rule != rule {
        return Err(format!("stopped by another rule\n{first}"));
    }
    let source = source_of(rule);
    let names_place = |place: &Place| place.file.ends_with(&source) && place.line != 0 && place.function != "?";
    if !first.places().iter().any(names_place) {
        return Err(format!("the report does not name function and line in {source}\n{first}"));
    }
    Ok(())
}

/// The file in which the driver that breaks `rule` is, as its name ends.
fn source_of(rule: &Rule) -> String {
    let mut name = String::new();
    for (index, letter) in rule.name.chars().enumerate() {
        if letter.is_uppercase() && index != 0 {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    format!("faults/{name}.rs")
}
