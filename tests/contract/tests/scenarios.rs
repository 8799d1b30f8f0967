//! The worked examples of `user-harness/scenarios`, each on the real driver. Which clauses one proves stands in its own `proves`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::choice;
use std::path::PathBuf;
use wskctl::scenario::{Failure, Scenario};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../user-harness/scenarios"))
}

fn holds(name: &str) {
    let path = folder().join(name).with_extension("toml");
    let scenario = Scenario::read(&path).expect("the file is there").unwrap_or_else(|wrong| panic!("{}", wrong.text()));
    assert!(!scenario.proves.is_empty(), "{name} names the clauses that it proves");
    let backend = choice().open().expect("the driver starts");
    let ran = scenario.run(&backend, |done| {
        println!("{:5} {:<50} {}", done.line, done.what, done.outcome);
        Ok(())
    });
    let verdict = backend.finish().expect("the lab judges");
    match ran {
        Ok(()) => assert!(verdict.is_clean(), "{}", verdict.report),
        Err(Failure::Step(problem)) => panic!("{}\n{}", problem.text(&scenario.source), verdict.report),
        Err(Failure::Error(error)) => panic!("{error}\n{}", verdict.report),
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*

        #[test]
        fn every_file_of_the_folder_is_run_here() {
            let here = [$(stringify!($name)),*];
            for entry in folder().read_dir().expect("the folder is there") {
                let path = entry.expect("an entry").path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
                    assert!(here.contains(&name), "{name} is missing here");
                }
            }
        }
    };
}

scenarios! {
    accept_during_cleanup
    application_cuts
    before_startup
    blocking_calls_of_1_1
    cancel_one
    datagrams
    events
    graceful_close_under_transport
    half_close
    ipv6
    last_cleanup_with_requests_pending
    names
    namespace_counts
    options
    process_death
    providers_apart
    reset_seen_by_peer
    restart
    san
    two_clients
    version_refusal
}
