//! What the workflow, the cargo-make tasks, the scripts' README and README.md name is there: commands with their options, and files.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use yaml_rust2::{Yaml, YamlLoader};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words after each `cargo lab` up to the end of the command.
fn lab_commands(text: &str) -> BTreeSet<Vec<String>> {
    let after = text.split("cargo lab ").skip(1);
    let words = |after: &str| {
        let command = after.split(['`', '\n', '"', ',', ';', '|', '(', ')', '<', '#']).next().unwrap_or_default();
        let command = command.split(" -- ").next().unwrap_or_default();
        command.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    after.map(words).filter(|words| words.first().is_some_and(|word| word.chars().all(char::is_lowercase))).collect()
}

#[test]
fn every_cargo_lab_command_that_is_named_is_there_with_its_options() {
    let documents = ["README.md", "Makefile.toml", ".github/workflows/ci.yml", ".ci/run", "tests/ntlab/README.md"];
    let commands: BTreeSet<_> = documents.iter().flat_map(|path| lab_commands(&read(path))).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for command in commands {
        let help = Command::new(env!("CARGO_BIN_EXE_lab")).args([&command[0], "--help"]).output().expect("lab runs");
        assert!(help.status.success(), "cargo lab {}: {}", command[0], String::from_utf8_lossy(&help.stderr));
        let help = String::from_utf8_lossy(&help.stdout);
        for option in command.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option.as_str()), "cargo lab {}: {option} is not in\n{help}", command[0]);
        }
    }
}

/// Every `run` of the workflow, and whether a job has what GitHub wants of one.
fn runs(workflow: &Yaml) -> Vec<String> {
    let jobs = workflow["jobs"].as_hash().expect("jobs");
    let mut runs = Vec::new();
    for (name, job) in jobs {
        assert!(job["runs-on"].as_str().is_some(), "{name:?} runs nowhere");
        assert!(job["timeout-minutes"].as_i64().is_some(), "{name:?} may run for ever");
        for step in job["steps"].as_vec().expect("steps") {
            match (step["run"].as_str(), step["uses"].as_str()) {
                (Some(run), None) => runs.push(run.to_owned()),
                (None, Some(uses)) => assert!(uses.contains('@'), "{uses} has no version"),
                _ => panic!("{step:?} neither runs nor uses something"),
            }
        }
    }
    runs
}

#[test]
fn the_workflow_is_yaml_and_the_files_that_it_and_the_tasks_name_are_there() {
    let workflow = YamlLoader::load_from_str(&read(".github/workflows/ci.yml")).expect("YAML");
    let tasks = read("Makefile.toml");
    tasks.parse::<toml::Table>().expect("TOML");
    let scripts: String = runs(&workflow[0]).join("\n");
    let text = format!("{scripts}\n{tasks}").replace('\\', "/");
    let quotes = |letter: char| letter.is_whitespace() || "\"'`,()[]=".contains(letter);
    let mut checked = 0;
    for word in text.split(quotes).filter(|word| !word.contains(['$', '*', '{'])) {
        let ours = ["tests/", "inf/", "driver/", "user-harness/", ".ci/"].iter().any(|folder| word.starts_with(folder));
        if ours || word.starts_with("target/vm-package/scripts/") {
            let word = word.replace("target/vm-package/scripts/", "tests/windows/");
            assert!(root().join(&word).exists(), "there is no {word}");
            checked += 1;
        }
    }
    assert!(checked >= 8, "{checked} files");
}

#[test]
fn what_was_never_run_says_so() {
    assert!(read(".github/workflows/ci.yml").contains("NEVER RUN"));
    assert!(read("Makefile.toml").contains("NOT RUN"));
    let section = read("README.md");
    let section = section.split("\n## ").find(|section| section.starts_with("On a Windows VM")).expect("the section");
    assert!(section.contains("Nothing in this section was run on Windows"));
}
