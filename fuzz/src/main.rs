//! One program for all targets: libFuzzer, which brings the main function, feeds the one that `SYSTOLE_FUZZ` names.
#![no_main]

use std::io::Write as _;
use std::sync::LazyLock;

use systole_fuzz::TARGETS;

static RUN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("SYSTOLE_FUZZ").unwrap_or_default();
    if name == "list" {
        let lines: String = TARGETS
            .iter()
            .map(|target| format!("{} {} {}\n", target.name, target.runs, target.longest))
            .collect();
        let written = std::io::stdout().write_all(lines.as_bytes());
        std::process::exit(written.is_err().into());
    }
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!(
            "SYSTOLE_FUZZ={name:?} names no target; there are {}",
            names.join(", ")
        );
        std::process::exit(2);
    };
    target.run
});

libfuzzer_sys::fuzz_target!(init: { LazyLock::force(&RUN); }, |input: &[u8]| -> () { RUN(input) });
