//! What heartbeats told us: check-ins, and the runs that they make.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::DurationText;

/// What a check-in says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckinKind {
    /// A run has begun.
    Start,
    /// It went well.
    Success,
    /// It did not.
    Fail,
    /// A note that changes nothing.
    Log,
    /// It ended with an exit status: 0 is a success, anything else a failure.
    ExitStatus,
}

/// One check-in, as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkin {
    /// Its id.
    pub id: String,
    /// When it became ours.
    #[schema(format = DateTime)]
    pub received_at: String,
    /// What it says.
    pub kind: CheckinKind,
    /// The run that it belongs to, where the sender named one.
    pub rid: Option<String>,
    /// The exit status, for kind `exit_status`.
    pub exit_status: Option<u8>,
    /// How long the run took, where it ended one that had started.
    pub duration: Option<DurationText>,
    /// The method of its request.
    #[schema(example = "GET")]
    pub method: Option<String>,
    /// The address that it came from.
    pub source: Option<String>,
    /// What the sender called itself.
    pub user_agent: Option<String>,
    /// A short message, where the dialect has one.
    pub message: Option<String>,
    /// The body, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body in base64, where it is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Whether the body was longer than what is kept.
    #[serde(default)]
    pub body_truncated: bool,
}

/// How a run ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Started, not ended.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Fail,
    /// Took longer than it may, and has not ended.
    Overran,
}

/// One execution of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// The run id that the sender gave it.
    pub rid: Option<String>,
    /// The slot that it belongs to.
    #[schema(format = DateTime)]
    pub slot: Option<String>,
    /// When it started, where the start was reported.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// How long it took.
    pub duration: Option<DurationText>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Its exit status, where one was reported.
    pub exit_status: Option<u8>,
}
