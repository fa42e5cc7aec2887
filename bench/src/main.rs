//! Benchmarks of Systole beside bare limits, in one run, as ratios. README.md says how to read them.

mod alerts;
mod api;
mod bare;
mod bench;
mod chaos;
mod create;
mod histogram;
mod history;
mod instructions;
mod kill;
mod load;
mod machine;
mod peers;
mod ping;
mod process;
mod readback;
mod receiver;
mod report;
mod response;
mod scale;
mod seed;
mod shim;
mod token;

use std::process::ExitCode;

use clap::Parser;

/// Every run of every benchmark draws from this seed.
const SEED: u64 = 20_261_121;

/// Each figure with its goal beside it; exit status 1 if one that must hold does not
#[derive(Parser)]
#[command(name = "bench", version)]
enum Command {
    /// What a durable ping costs beside a bare server, and how that grows
    Ping(ping::Options),
    /// From a deadline to the webhook
    Alerts(alerts::Options),
    /// Monitors made one by one, many to a request, and by apply
    Create(create::Options),
    /// Kill -9 under load: acknowledged, found, lost
    Kill(kill::Options),
    /// What a year of history takes, and how fast it is read
    History(history::Options),
    /// Several servers on one PostgreSQL, which die, stand still and are cut off: lost, duplicated, missed
    Chaos(chaos::Options),
    /// Other servers that take pings, beside ours
    Peers(peers::Options),
    /// What more monitors change, on both databases
    Scale(scale::Options),
    /// The bare server that the others compare with
    #[command(hide = true)]
    Bare,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Ping(options) => ping::run(options),
        Command::Alerts(options) => alerts::run(options),
        Command::Create(options) => create::run(options),
        Command::Kill(options) => kill::run(options),
        Command::History(options) => history::run(options),
        Command::Chaos(options) => chaos::run(options),
        Command::Peers(options) => peers::run(options),
        Command::Scale(options) => scale::run(options),
        Command::Bare => bare::serve(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
