//! Parts of the documents that are made from what the program itself uses.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use systole_core::delivery::ErrorClass;
use systole_core::reason::Reason;

use crate::root;

/// Compares a document, or writes it where `UPDATE_DOCS` is set.
fn check(name: &str, whole: &str) {
    let path = root().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, whole).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == whole,
        "{name} is not what the program says; write it anew: UPDATE_DOCS=1 cargo test -p systole --test tidy"
    );
}

/// The same for the part of a document between two marks.
fn check_part(name: &str, part: &str, lines: &str) {
    // A document with two parts is written by two tests.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(root().join(name)).unwrap();
    let (begin, end) = (
        format!("<!-- generated: {part} -->\n"),
        format!("<!-- end: {part} -->"),
    );
    let (before, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{name} has no mark {begin}"));
    let (_, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{name} has no mark {end}"));
    check(name, &format!("{before}{begin}{lines}{end}{after}"));
}

#[test]
fn the_settings_are_those_of_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_systole"))
        .args(["reference", "configuration"])
        .output()
        .unwrap();
    check(
        "docs/configuration.md",
        &String::from_utf8(output.stdout).unwrap(),
    );
}

#[test]
fn the_reasons_are_those_of_the_core() {
    let mut table = String::from("| reason | sentence |\n|---|---|\n");
    for reason in Reason::ALL {
        writeln!(table, "| `{}` | {} |", reason.word(), reason.sentence()).unwrap();
    }
    check_part("docs/states.md", "reasons", &table);
}

#[test]
fn the_classes_of_failed_attempts_are_those_of_the_core() {
    let mut table = String::from("| class | meaning |\n|---|---|\n");
    for class in ErrorClass::ALL {
        writeln!(table, "| `{}` | {} |", class.as_str(), class.sentence()).unwrap();
    }
    check_part("docs/operations.md", "attempts", &table);
}

#[test]
fn the_metrics_are_those_of_the_server() {
    let source = std::fs::read_to_string(root().join("crates/server/src/metrics.rs")).unwrap();
    let mut table = String::from("| metric | kind | meaning |\n|---|---|---|\n");
    for call in source.split(".register(").skip(1) {
        let mut literals = call.split('"');
        let (Some(name), Some(help)) = (literals.nth(1), literals.nth(1)) else {
            continue;
        };
        let Some(field) = call
            .split("self.")
            .nth(1)
            .and_then(|rest| rest.split('.').next())
        else {
            continue;
        };
        let declared = source
            .split(&format!(" {field}: "))
            .nth(1)
            .and_then(|rest| rest.split(",\n").next())
            .unwrap();
        let (kind, suffix) = match declared {
            counter if counter.contains("Counter") => ("counter", "_total"),
            histogram if histogram.contains("Histogram") => ("histogram", ""),
            _ => ("gauge", ""),
        };
        let label = if declared.contains("OutcomeLabel") {
            "{outcome}"
        } else if declared.contains("LoopLabel") {
            "{name}"
        } else {
            ""
        };
        writeln!(
            table,
            "| `systole_{name}{suffix}{label}` | {kind} | {help} |"
        )
        .unwrap();
    }
    assert!(
        table.lines().count() > 20,
        "metrics.rs has changed its form"
    );
    check_part("docs/operations.md", "metrics", &table);
}
