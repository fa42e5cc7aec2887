//! One room per command.

mod apply;
mod apply_diff;
mod apply_many;
mod db;
mod db_copy;
mod db_status;
pub mod demo_receiver;
mod diff;
mod doctor;
mod documents;
mod exec;
mod export;
mod get;
mod ping;
mod place;
mod plan;
mod progress;
mod schedule;
mod windows;

use crate::cli::{Command, ReferencePage};
use crate::failure::Failure;
use crate::{config, out, serve};

/// Does what was asked.
///
/// # Errors
/// Why it was not done.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(flags) => serve::command(&flags),
        Command::Ping(args) => alone(ping::run(args)),
        Command::Exec(args) => exec::command(args),
        Command::Apply(args) => alone(apply::run(args)),
        Command::Get(args) => alone(get::run(args)),
        Command::Schedule(args) => schedule::run(&args),
        Command::DemoReceiver(args) => alone(demo_receiver::run(args)),
        Command::Agent(_) => later("agent"),
        Command::Probe(_) => later("probe"),
        Command::Check(_) => later("check"),
        Command::Triage(_) => later("triage"),
        Command::Import(_) => later("import"),
        Command::Export(args) => alone(export::run(args)),
        Command::Diff(args) => alone(diff::run(args)),
        Command::Doctor(args) => alone(doctor::run(args)),
        Command::Db(args) => alone(db::run(args)),
        Command::Reference {
            page: ReferencePage::Configuration,
        } => Ok(out::print(&config::reference())?),
    }
}

/// Answers for what the contract names and this release does not have.
fn later(command: &str) -> Result<(), Failure> {
    Err(Failure::Usage(format!(
        "`systole {command}` is not built yet"
    )))
}

/// Runs a client command; one thread is enough for it.
fn alone(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
