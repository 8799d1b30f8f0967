//! What must hold of the project and of the driver's image as a whole.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use contract::{
    APPLICATION, Lab, PATIENCE, TRANSPORT,
    check::{cancelled, deregistered},
    started,
    traffic::{accepted, connected, listening},
};
use ntlab::wsk::{Level, Options, Order, Take, When};
use object::{LittleEndian as LE, pe::ImageNtHeaders64, read::pe::PeFile64};
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};
use toml::{Table, Value};

/// The repository's folder.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn table(path: &str) -> Table {
    fs::read_to_string(root().join(path)).expect(path).parse().expect(path)
}

fn keys<'a>(table: &'a Table, name: &str) -> BTreeSet<&'a str> {
    table[name].as_table().expect(name).keys().map(String::as_str).collect()
}

/// Functions that the driver's image imports, of every module.
fn imports() -> BTreeSet<String> {
    let image = fs::read(env::var_os("WSKCLIENT_SYS").expect("WSKCLIENT_SYS names the driver")).expect("the image");
    let image = PeFile64::parse(&*image).expect("a PE image");
    let table = image.import_table().expect("an import table").expect("an import table");
    let mut names = BTreeSet::new();
    let mut descriptors = table.descriptors().unwrap();
    while let Some(descriptor) = descriptors.next().unwrap() {
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE)).unwrap();
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>().unwrap() {
            if let object::read::pe::Import::Name(_, name) = table.import::<ImageNtHeaders64>(thunk).unwrap() {
                names.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    names
}

/// contract: CARD-7
#[test]
fn the_driver_is_rust_on_the_wdk_crates_and_spin() {
    let manifest = table("driver/Cargo.toml");
    let dependencies = keys(&manifest, "dependencies");
    for name in ["wdk", "wdk-sys", "wdk-alloc", "spin"] {
        assert!(dependencies.contains(name), "driver/Cargo.toml does not name {name}");
    }
    assert!(keys(&manifest, "build-dependencies").contains("wdk-build"));
    // The published crates, and no copies of our own.
    let lock = table("Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    for name in ["wdk", "wdk-sys", "wdk-alloc", "wdk-build", "spin"] {
        let source = packages.iter().find(|package| package["name"].as_str() == Some(name)).expect(name).get("source");
        let source = source.and_then(Value::as_str).unwrap_or("a path");
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
    }
    assert!(!table("Cargo.toml").contains_key("patch"), "a patched crate is not the published one");
    // wdk-alloc is the allocator of the image; it and WSK are what the driver stands on.
    let imports = imports();
    for begin in ["ExAllocatePool", "ExFreePool", "WskRegister", "WskDeregister"] {
        assert!(imports.iter().any(|name| name.starts_with(begin)), "the image does not import {begin}");
    }
    let mut files = Vec::new();
    sources(&root().join("driver"), &mut files);
    let known = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs" || extension == "toml");
    assert!(files.iter().all(known), "{files:?}");
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

/// contract: CARD-8
#[test]
fn the_top_level_is_laid_out_as_agreed() {
    let there: BTreeSet<String> =
        root().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let agreed = ["Cargo.toml", "driver", "user-harness", "inf", "tests", "Makefile.toml", "README.md"];
    for name in agreed {
        assert!(there.contains(name), "{name} is missing");
    }
    // rustup reads its file here only; `target` is what builds leave, and is in no commit.
    let more = ["Cargo.lock", "CHANGELOG.md", "rust-toolchain.toml", "target"];
    let allowed = |name: &str| {
        agreed.contains(&name) || more.contains(&name) || name.starts_with('.') || name.starts_with("LICENSE")
    };
    let others: Vec<_> = there.iter().filter(|name| !allowed(name)).collect();
    assert!(others.is_empty(), "{others:?} have no place at the top level");
}

/// contract: X-9
#[test]
fn no_path_of_the_image_leads_to_a_panic() {
    // wdk-panic bug-checks: code that can panic is linked only if the image imports that.
    let bug_checks: Vec<_> = imports().into_iter().filter(|name| name.starts_with("KeBugCheck")).collect();
    assert!(bug_checks.is_empty(), "the image can panic: it imports {bug_checks:?}");
}

/// contract: CARD-5
#[test]
fn the_harness_drives_the_driver_from_the_command_line() {
    let harness = env::var_os("WSKCTL").expect("WSKCTL names the harness");
    let driver = env::var_os("WSKCLIENT_SYS").expect("WSKCLIENT_SYS names the driver");
    let output = Command::new(harness)
        .args(["--backend", "lab", "--format", "json", "demo"])
        .env("WSKCLIENT_SYS", driver)
        .output()
        .expect("wskctl starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&summary["event"], &summary["result"]), (&"summary".into(), &"ok".into()));
    assert_eq!((&summary["violations"], &summary["leaks"]), (&0.into(), &0.into()));
    assert_eq!(summary["cancelled"], summary["pending_at_last_cleanup"]);
}

/// contract: CARD-6
#[test]
fn no_rule_is_broken_under_every_choice_that_is_left_to_wsk_with_delays_everywhere() {
    let whens = [When::Inline, When::Later, When::Any];
    let levels = [Level::Passive, Level::Dispatch, Level::Any];
    let orders = [Order::Finished, Order::Any];
    let takes = [Take::Full, Take::Any];
    let mut round = 0;
    for when in whens {
        for level in levels {
            for (order, take) in orders.into_iter().flat_map(|order| takes.map(|take| (order, take))) {
                round += 1;
                // Special pool, IRQL checking, pool tracking, I/O verification and deadlock detection are always on.
                let lab = Lab::storm(round);
                lab.machine().network().set_options(Options { when, level, order, take });
                live(&lab);
                assert!(lab.machine().violations().is_empty(), "{when:?} {level:?} {order:?} {take:?}");
                // The lab's end unloads the driver, and fails on a violation or a leak.
            }
        }
    }
}

/// Each kind of request on a socket, with some that stay pending up to the last cleanups.
fn live(lab: &Lab) {
    let client = lab.client();
    started(&client, APPLICATION);
    started(&client, TRANSPORT);
    for provider in [APPLICATION, TRANSPORT] {
        let (listener, address) = listening(&client, provider);
        let mut taken = accepted(&mut listener.begin_accept(), address);
        taken.peer.send(b"in").unwrap();
        assert_eq!(taken.socket.begin_receive_all(2).wait(PATIENCE).unwrap(), b"in");
        taken.socket.send(b"out".to_vec()).unwrap();
        assert_eq!(taken.peer.receive(3).unwrap(), b"out");
        taken.socket.local_address().unwrap();
        taken.socket.close_gracefully(Some(200)).unwrap();
        let made = connected(&client, provider);
        let (receive, accept) = (made.socket.begin_receive(8), listener.begin_accept());
        let alone = made.socket.begin_receive(8);
        alone.cancel();
        cancelled(alone);
        client.cleanup(provider).unwrap();
        cancelled(receive);
        cancelled(accept);
    }
    deregistered(&client);
    client.close();
}
