//! How a command ends when it does not end well.

use std::process::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// It was asked wrongly: exit status 2.
    Usage(String),
    /// It was tried and failed: exit status 1.
    Failed(anyhow::Error),
    /// It failed and everything has been said already: exit status 1.
    Told,
    /// A command that was run for somebody ended with this status, which becomes ours.
    Status(u8),
    /// A question that is answered by the exit status could not be answered: exit status 2, as diff(1) has it.
    Undecided(anyhow::Error),
}

impl Failure {
    /// A failure with a sentence of its own.
    pub fn failed(message: impl std::fmt::Display) -> Failure {
        Failure::Failed(anyhow::anyhow!("{message}"))
    }

    /// Says why on stderr and gives the exit status.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Usage(message) => {
                eprintln!("systole: {message}");
                ExitCode::from(2)
            }
            // Whoever reads our output has stopped reading, as `head` does; that is no failure to tell of.
            Failure::Failed(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
            Failure::Failed(error) => {
                eprintln!("systole: {error:#}");
                ExitCode::FAILURE
            }
            Failure::Told => ExitCode::FAILURE,
            Failure::Status(status) => ExitCode::from(status),
            Failure::Undecided(error) => {
                eprintln!("systole: {error:#}");
                ExitCode::from(2)
            }
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Failed(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(error.into())
    }
}
