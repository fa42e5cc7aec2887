//! What the documents must have, and that what they point at is there.

use std::collections::BTreeSet;
use std::process::Command;

use crate::metadata::own;
use crate::{assert_none, files, root};

const REQUIRED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "DESIGN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "deny.toml",
    ".ci/run",
    "ci/test",
    "docs/README.md",
    "docs/quick-start.md",
    "docs/check-ins.md",
    "docs/exec.md",
    "docs/schedules.md",
    "docs/states.md",
    "docs/maintenance.md",
    "docs/configuration.md",
    "docs/api.md",
    "docs/channels.md",
    "docs/documents.md",
    "docs/openapi.json",
    "docs/operations.md",
    "docs/security.md",
];

#[test]
fn the_documents_are_there() {
    let missing: Vec<String> = REQUIRED
        .iter()
        .filter(|name| !root().join(name).is_file())
        .map(|name| (*name).to_owned())
        .collect();
    assert_none("missing", &missing);
}

#[test]
fn the_map_fits_on_a_few_screens_and_names_every_crate() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(
        map.lines().count() <= 300,
        "ARCHITECTURE.md has more than 300 lines: it is a map, not a book"
    );
    let unnamed: Vec<String> = own()
        .map(|package| package.name.trim_start_matches("systole-").to_owned())
        .filter(|name| !map.contains(&format!("`{name}`")))
        .collect();
    assert_none("crates that ARCHITECTURE.md does not name", &unnamed);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for (name, text) in files(".", &[".md"]) {
        let folder = root().join(&name).parent().unwrap().to_path_buf();
        for (_, target) in text
            .match_indices("](")
            .map(|(at, _)| (at, &text[at + 2..]))
        {
            let target = target.split([')', '#', ' ']).next().unwrap_or_default();
            let is_local =
                !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
            if is_local && !folder.join(target).exists() {
                wrong.push(format!("{name} points at {target}"));
            }
        }
    }
    assert_none("links to nothing", &wrong);
}

#[test]
fn the_readme_lists_every_command_and_says_which_are_not_built_yet() {
    let output = Command::new(env!("CARGO_BIN_EXE_systole"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (built, later) = readme
        .split_once("<!-- not built yet -->")
        .expect("README.md divides what works from what does not");
    let commands = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1);
    let mut seen = BTreeSet::new();
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        let part = if line.contains("(not built yet)") {
            later
        } else {
            built
        };
        if name != "help" {
            assert!(
                part.contains(&format!("`{name}")),
                "README.md does not name `{name}` in the right table: {line}"
            );
            seen.insert(name);
        }
    }
    assert!(seen.len() > 5, "the help has changed its form: {help}");
}
