//! The deterministic simulation of the engine: seeded, told the time, checked against what truly happened.
//!
//! One seed is one run of [`world::World`]: processes with the real [`systole_core::engine::Engine`] as their memory,
//! on a model of the database, with crashes, stops, cuts and clock steps. Every hundredth seed runs on real `SQLite`.

pub mod broken;
mod checks;
mod checks_said;
mod database;
mod decider;
mod faults;
mod follow_up;
mod jobs;
mod outbox;
mod process;
mod random;
mod receiver;
mod reference;
pub mod rules;
mod senders;
mod server;
mod sqlite;
mod standby;
mod truth;
mod world;
mod writer;

pub use broken::{Broken, Outcome, Stats};
pub use rules::{Rule, Rules};

/// Runs one seed on the model.
///
/// Of one to three replicas, by the seed unless `replicas` says how many.
pub fn run(seed: u64, rules: Rules, replicas: Option<usize>, trace: bool) -> Outcome {
    world::World::new(seed, rules, replicas, trace).run()
}

/// Runs one seed on a real database, in `directory` or where temporary files go.
pub fn run_on_sqlite(seed: u64, directory: Option<&std::path::Path>, trace: bool) -> Outcome {
    sqlite::run(seed, directory, trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_promise_holds_in_some_hundred_runs() {
        for seed in 1..=120 {
            let outcome = run(seed, Rules::default(), None, false);
            assert_eq!(
                outcome.broken, None,
                "systole-sim --seed {seed} --sqlite-every 0"
            );
        }
    }

    #[test]
    fn every_promise_holds_on_a_real_database() {
        for seed in 1..=2 {
            let outcome = run_on_sqlite(seed, None, false);
            assert_eq!(
                outcome.broken, None,
                "systole-sim --seed {seed} --sqlite-every 1"
            );
        }
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let first = run(7, Rules::default(), None, false);
        assert_eq!(first, run(7, Rules::default(), None, false));
        assert_ne!(
            first.digest,
            run(8, Rules::default(), None, false).digest,
            "another seed is another run"
        );
    }

    #[test]
    fn a_rule_that_is_left_out_is_missed() {
        for rule in [
            Rule::Positions,
            Rule::HeadRead,
            Rule::StateWithDecision,
            Rule::PassStart,
            Rule::Holes,
        ] {
            let found =
                (1..=30).find_map(|seed| run(seed, Rules::without(rule), None, false).broken);
            assert!(found.is_some(), "nobody notices that {}", rule.without());
        }
    }
}
