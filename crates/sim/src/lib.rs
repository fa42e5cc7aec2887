//! The deterministic simulation of the engine: seeded, told the time, checked against what truly happened.
//!
//! One seed is one run of [`world::World`]: processes with the real [`systole_core::engine::Engine`] as their memory,
//! on a model of the database, with crashes, stops, cuts and clock steps. Every hundredth seed runs on real `SQLite`.

pub mod broken;
mod checks;
mod database;
mod faults;
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
mod truth;
mod world;

pub use broken::{Broken, Outcome, Stats};
pub use rules::{Rule, Rules};

/// Runs one seed on the model.
pub fn run(seed: u64, rules: Rules, trace: bool) -> Outcome {
    world::World::new(seed, rules, trace).run()
}

/// Runs one seed on a real database, in `directory` or where temporary files go.
pub fn run_on_sqlite(seed: u64, directory: Option<&std::path::Path>, trace: bool) -> Outcome {
    sqlite::run(seed, directory, trace)
}
