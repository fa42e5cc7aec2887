//! The binary: `systole serve` and the commands that talk to it.
//!
//! [`cli`] says what can be typed, [`config`] what can be set, `commands/` holds one room per client command,
//! [`client`] how they reach the server. Nothing is decided here.

mod cli;
mod client;
mod commands;
mod config;
mod failure;
mod out;
mod serve;
mod table;
mod telemetry;
mod times;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    match commands::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
