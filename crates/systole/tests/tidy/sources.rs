//! What source files may not be or hold.

use crate::{assert_none, files};

/// A file is a room. These are larger, for the reason given.
const LARGE: &[(&str, usize, &str)] = &[];
const LINES_MAX: usize = 900;

#[test]
fn files_are_rooms_not_halls() {
    let mut wrong = Vec::new();
    for (name, text) in files(".", &[".rs"]) {
        let lines = text.lines().count();
        let most = LARGE
            .iter()
            .find(|(large, ..)| *large == name)
            .map_or(LINES_MAX, |(_, most, _)| *most);
        if lines > most {
            wrong.push(format!(
                "{name} has {lines} lines, at most {most}: divide it, or give the reason in LARGE"
            ));
        }
    }
    assert_none("files too large", &wrong);
}

#[test]
fn nothing_is_left_for_later_in_a_mark() {
    // In pieces, since this file is read too.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("HA", "CK:"),
    ];
    let mut wrong = Vec::new();
    for (name, text) in files(
        ".",
        &[
            ".rs", ".md", ".toml", ".sh", ".mjs", ".js", ".css", ".html", ".sql", ".yaml",
        ],
    ) {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("open work belongs into an issue", &wrong);
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let places = [
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("/home", "/"),
        concat!("/Use", "rs/"),
    ];
    let mut wrong = Vec::new();
    for (name, text) in files(
        ".",
        &[
            ".rs", ".md", ".toml", ".sh", ".mjs", ".json", ".yaml", "run", "test",
        ],
    ) {
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                wrong.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("paths of one machine", &wrong);
}

#[test]
fn every_crate_and_module_begins_with_what_it_is() {
    let mut wrong = Vec::new();
    for (name, text) in files(".", &[".rs"]) {
        // Tests in a file of their own belong to the file that they test.
        let is_tests = name.ends_with("tests.rs");
        if name.contains("/src/") && !is_tests && !text.starts_with("//!") {
            wrong.push(format!(
                "{name} does not begin with a //! line that says what it is for"
            ));
        }
    }
    assert_none("rooms without a sign on the door", &wrong);
}

#[test]
fn a_test_is_never_ignored() {
    let mark = concat!("#[igno", "re");
    let wrong: Vec<String> = files(".", &[".rs"])
        .into_iter()
        .filter(|(_, text)| text.contains(mark))
        .map(|(name, _)| name)
        .collect();
    assert_none("what is missing must fail, not be skipped", &wrong);
}
