//! What `systole doctor` finds, and what a server says of itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// Somebody is not told, or something does not work.
    Problem,
}

impl Level {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at, a stable word for programs.
    #[schema(example = "database")]
    pub check: String,
    /// How it is.
    pub level: Level,
    /// What was found and what it means.
    pub message: String,
    /// What to do, where something is to be done.
    #[serde(default)]
    pub advice: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &str, message: impl Into<String>) -> Finding {
        Finding {
            check: check.to_owned(),
            level: Level::Ok,
            message: message.into(),
            advice: None,
        }
    }

    /// Somebody should look at it.
    pub fn warning(check: &str, message: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            check: check.to_owned(),
            level: Level::Warning,
            message: message.into(),
            advice: Some(advice.into()),
        }
    }

    /// Something does not work.
    pub fn problem(check: &str, message: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            level: Level::Problem,
            ..Finding::warning(check, message, advice)
        }
    }
}

/// What a server finds when it looks at itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// Another at every start; `/healthz` says it in the header `Systole-Instance`, so that one can see who answers there.
    pub instance: String,
    /// The server's version.
    pub version: String,
    /// Its time.
    #[schema(format = DateTime)]
    pub now: String,
    /// What its ping URLs begin with.
    pub base_url: String,
    /// What it found, in the order in which it looked.
    pub findings: Vec<Finding>,
}
