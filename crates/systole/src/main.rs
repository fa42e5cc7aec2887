//! The binary: reads the command line, does what it says, and reports what went wrong.

use std::process::ExitCode;

use clap::Parser as _;
use systole::{cli, commands};

fn main() -> ExitCode {
    let command = cli::Cli::parse().command;
    match commands::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
