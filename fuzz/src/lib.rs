//! Targets for fuzzing: each takes any bytes, reads them as a stranger's input, and asserts what must hold for all of them.
//!
//! [`TARGETS`] is the one list of them; `ci/fuzz` runs it. Inputs are text where that is possible, a line for each part,
//! so that a corpus can be read and written by hand. README.md says which target covers which reader.
#![expect(clippy::unwrap_used, reason = "what panics here has been found")]

mod targets;

use targets::{
    addresses, answers, channels, checkins, documents, forms, headers, letters, queries, records,
    replies, requests, schedules, settings, shown, signatures, times,
};

/// One target.
pub struct Target {
    /// Its name: of its corpus, and in `SYSTOLE_FUZZ`.
    pub name: &'static str,
    /// What is done with an input.
    pub run: fn(&[u8]),
    /// How many inputs `ci/fuzz` tries: some five seconds' worth.
    pub runs: u32,
    /// The longest input, in bytes.
    pub longest: u32,
}

const fn target(name: &'static str, run: fn(&[u8]), runs: u32, longest: u32) -> Target {
    Target {
        name,
        run,
        runs,
        longest,
    }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("addresses", addresses::run, 800_000, 200),
    target("answers", answers::run, 500_000, 2_000),
    target("channels", channels::run, 300_000, 1_000),
    target("checkins", checkins::run, 500_000, 500),
    target("documents", documents::run, 150_000, 1_000),
    target("forms", forms::run, 300_000, 500),
    target("headers", headers::run, 600_000, 500),
    target("letters", letters::run, 6_000, 1_000),
    target("queries", queries::run, 50_000, 500),
    target("records", records::run, 500_000, 500),
    target("replies", replies::run, 250_000, 20_000),
    target("requests", requests::run, 150_000, 1_000),
    target("schedules", schedules::run, 20_000, 300),
    target("settings", settings::run, 40_000, 1_000),
    target("shown", shown::run, 40_000, 1_000),
    target("signatures", signatures::run, 400_000, 500),
    target("times", times::run, 500_000, 1_000),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        let files = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let read = |file: std::io::Result<std::fs::DirEntry>| {
            let path = file.unwrap().path();
            (path.display().to_string(), std::fs::read(path).unwrap())
        };
        files.map(read).collect()
    }

    #[test]
    fn every_target_holds_for_its_corpus() {
        for target in TARGETS {
            let inputs = corpus(target);
            assert!(
                inputs.len() >= 3,
                "{} needs inputs to begin with",
                target.name
            );
            for (path, input) in inputs {
                assert!(
                    input.len() <= target.longest as usize,
                    "{path} is longer than the target takes"
                );
                (target.run)(&input);
            }
        }
    }

    #[test]
    fn the_readme_says_what_every_target_covers() {
        let readme = include_str!("../README.md");
        for target in TARGETS {
            assert!(
                readme.contains(&format!("| `{}` |", target.name)),
                "fuzz/README.md has no row for {}",
                target.name
            );
        }
    }
}
