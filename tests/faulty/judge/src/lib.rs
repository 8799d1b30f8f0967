//! Starts each driver of `faulty.sys` in a machine of its own and makes the same few requests of it.
//!
//! One idea: what a rule is worth is found out by running: it is proven when the driver that breaks it is stopped by it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use ntlab::wsk::{Level, Options as WskOptions, Order, Take, When};
use ntlab::{Machine, Options, Report, Rule, Stop};

/// `CTL_CODE(0x8000, 0x800 + step, METHOD_BUFFERED, FILE_ANY_ACCESS)`.
const fn code(step: u32) -> u32 {
    0x8000 << 16 | (0x800 + step) << 2
}

/// How long a request may take before it counts as one that pends.
const GLANCE: Duration = Duration::from_millis(200);
/// How long a driver may hang.
const HANG: Duration = Duration::from_secs(8);

/// Runs the driver called `name` in the image: two requests, cancelled if they pend; its process ends; it is unloaded.
///
/// None if there is no such driver in it.
///
/// # Panics
/// The image cannot be loaded.
#[must_use]
pub fn run(image: &Path, name: &str) -> Option<Report> {
    let hang = if name == ntlab::rules::HANGS.name { GLANCE } else { HANG };
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
    for step in 0..2 {
        let request = handle.ioctl(code(step), &[0; 16], vec![0; 16]);
        if request.wait(GLANCE).is_none() {
            let _it_was_pending = request.cancel();
        }
    }
    process.exit();
}

/// Whether the driver that breaks `rule` is stopped by it.
#[must_use]
pub fn proves(image: &Path, rule: &Rule) -> bool {
    run(image, rule.name).is_some_and(|report| report.violations.first().is_some_and(|first| first.rule == rule))
}

/// The file in which the driver that breaks `rule` is, as its name ends.
#[must_use]
pub fn source_of(rule: &Rule) -> String {
    let mut name = String::new();
    for (index, letter) in rule.name.chars().enumerate() {
        if letter.is_uppercase() && index != 0 {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    format!("faults/{name}.rs")
}
