//! `systole-sim`: runs seeds of the simulation and says which promises broke.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use systole_sim::{Broken, Outcome, Rule, Rules, Stats};

/// The deterministic simulation of Systole's engine.
#[derive(Parser, Clone)]
#[command(version)]
struct Arguments {
    /// How many seeds to run; with --rules-off, how many at most for each rule.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Run this seed alone and say every step.
    #[arg(long)]
    seed: Option<u64>,
    /// How many replicas; one to three, by the seed, where not said.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    replicas: Option<u8>,
    /// Leave one rule of the protocol out (by name), or each in turn; then a broken promise must be found, with three replicas
    /// and with one unless --replicas says how many.
    #[arg(long, value_name = "NAME|each")]
    rules_off: Option<String>,
    /// Every so many seeds, one runs on a real database (`SQLite`); 0 for none.
    #[arg(long, default_value_t = 100)]
    sqlite_every: u64,
    /// Where databases are made; by default the directory for temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rules = match arguments.rules_off.as_deref() {
        None => Vec::new(),
        Some("each") => Rule::ALL.to_vec(),
        Some(name) => match Rule::ALL.iter().find(|rule| rule.name() == name) {
            Some(rule) => vec![*rule],
            None => {
                let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
                eprintln!(
                    "there is no rule {name:?}; the rules are {}",
                    names.join(", ")
                );
                return ExitCode::from(2);
            }
        },
    };
    let good = match (arguments.seed, rules.as_slice()) {
        (Some(seed), []) => one(&arguments, seed, Rules::default()),
        (Some(seed), [rule, ..]) => one(&arguments, seed, Rules::without(*rule)),
        (None, []) => all_rules(&arguments),
        (None, rules) => without_each(&arguments, rules),
    };
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Arguments {
    fn on_sqlite(&self, seed: u64) -> bool {
        self.sqlite_every > 0 && seed.is_multiple_of(self.sqlite_every)
    }

    fn run(&self, seed: u64, rules: Rules, trace: bool) -> Outcome {
        if rules.off().is_none() && self.on_sqlite(seed) {
            systole_sim::run_on_sqlite(seed, self.directory.as_deref(), trace)
        } else {
            systole_sim::run(seed, rules, self.replicas.map(usize::from), trace)
        }
    }
}

/// How to see a seed again.
fn again(seed: u64, rules: Rules, arguments: &Arguments) -> String {
    let off = rules
        .off()
        .map(|rule| format!(" --rules-off {rule}"))
        .unwrap_or_default();
    let replicas = arguments
        .replicas
        .map(|replicas| format!(" --replicas {replicas}"))
        .unwrap_or_default();
    let sqlite_every = arguments.sqlite_every;
    format!("systole-sim --seed {seed} --sqlite-every {sqlite_every}{replicas}{off}")
}

fn one(arguments: &Arguments, seed: u64, rules: Rules) -> bool {
    let outcome = arguments.run(seed, rules, true);
    table(&outcome.stats);
    match outcome.broken {
        Some(broken) => {
            say(&format!("seed {seed}: {broken}"));
            false
        }
        None => {
            say(&format!("seed {seed}: every promise held"));
            true
        }
    }
}

/// Runs seeds on all threads until they are used up or `enough` says so; answers what was counted and found.
fn seeds(
    arguments: &Arguments,
    rules: Rules,
    progress: bool,
    first_only: bool,
) -> (Stats, Vec<(u64, Broken)>) {
    let next = AtomicU64::new(arguments.start);
    let end = arguments.start.saturating_add(arguments.seeds);
    let stop = AtomicBool::new(false);
    let results = Mutex::new((Stats::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = arguments.run(seed, rules, false);
                    let Ok(mut results) = results.lock() else {
                        return;
                    };
                    results.0.add(&outcome.stats);
                    if let Some(broken) = outcome.broken {
                        if progress {
                            eprintln!("seed {seed}: {broken}\n  {}", again(seed, rules, arguments));
                        }
                        results.1.push((seed, broken));
                        stop.fetch_or(first_only, Ordering::Relaxed);
                    }
                    if progress && seed.is_multiple_of(1_000) {
                        eprintln!(
                            "{} seeds, {} broken",
                            seed - arguments.start + 1,
                            results.1.len()
                        );
                    }
                }
            });
        }
    });
    let (stats, mut found) = results.into_inner().unwrap_or_default();
    found.sort_by_key(|(seed, _)| *seed);
    (stats, found)
}

fn all_rules(arguments: &Arguments) -> bool {
    let begin = Instant::now();
    let (stats, found) = seeds(arguments, Rules::default(), true, false);
    table(&stats);
    say(&format!("{:>12}  {}", arguments.seeds, "seeds"));
    say(&format!(
        "{:>12}  {}",
        stats.faults(),
        "faults of all kinds"
    ));
    say(&format!(
        "{:>12}  {}",
        stats.seconds / 3_600,
        "simulated hours"
    ));
    say(&format!(
        "{:>12.1}  {}",
        begin.elapsed().as_secs_f64(),
        "seconds"
    ));
    say(&format!(
        "{:>12}  {}",
        found.len(),
        "broken promises among 1 to 6"
    ));
    for (seed, broken) in &found {
        say(&format!(
            "seed {seed}: {broken}\n  {}",
            again(*seed, Rules::default(), arguments)
        ));
    }
    found.is_empty()
}

fn without_each(arguments: &Arguments, rules: &[Rule]) -> bool {
    let numbers = arguments
        .replicas
        .map_or(vec![3, 1], |replicas| vec![replicas]);
    let mut all = true;
    for rule in rules {
        for replicas in &numbers {
            let arguments = Arguments {
                replicas: Some(*replicas),
                ..arguments.clone()
            };
            all &= is_missed(&arguments, *rule, *replicas);
        }
    }
    all
}

/// Whether a promise is broken without this rule.
fn is_missed(arguments: &Arguments, rule: Rule, replicas: u8) -> bool {
    let off = Rules::without(rule);
    let (_, found) = seeds(arguments, off, false, true);
    let what = format!("{rule}, {replicas} replicas ({})", rule.without());
    let Some((seed, broken)) = found.first() else {
        say(&format!("{what}: NOT found by {} seeds", arguments.seeds));
        return false;
    };
    let command = again(*seed, off, arguments);
    say(&format!(
        "{what}: found by seed {seed}\n  {broken}\n  {command}"
    ));
    true
}

fn table(stats: &Stats) {
    for (title, figure) in stats.lines() {
        say(&format!("{figure:>12}  {title}"));
    }
}

/// What this program is for goes to its standard output.
#[expect(clippy::print_stdout, reason = "the report is this program's output")]
fn say(line: &str) {
    println!("{line}");
}
