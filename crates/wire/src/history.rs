//! What became of a monitor over hours and days.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::DurationText;

/// A monitor's hours or days, newest first. The first one is not over yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// `hour` or `day`; days are those of UTC.
    #[schema(example = "day")]
    pub resolution: String,
    /// What part of the last days it was well.
    pub uptime: Uptime,
    /// The periods.
    pub items: Vec<HistoryPeriod>,
}

/// What part of the time of which anything is known it was well, from 0 to 1; null where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Uptime {
    /// Of the last 24 hours, and what is missing to a whole hour.
    #[serde(rename = "24h")]
    pub day: Option<f64>,
    /// Of the last 7 days, and what is missing to a whole hour.
    #[serde(rename = "7d")]
    pub week: Option<f64>,
    /// Of the last 30 days, and what is missing to a whole day.
    #[serde(rename = "30d")]
    pub month: Option<f64>,
    /// Of the last 90 days, and what is missing to a whole day.
    #[serde(rename = "90d")]
    pub quarter: Option<f64>,
}

/// An hour or a day. `up`, `down` and `unknown` add up to its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPeriod {
    /// When it begins.
    #[schema(format = DateTime)]
    pub start: String,
    /// When it ends; of the one that is not over, now.
    #[schema(format = DateTime)]
    pub end: String,
    /// Check-ins of every kind.
    pub checkins: u64,
    /// Those that reported a success.
    pub successes: u64,
    /// Those that reported a failure.
    pub failures: u64,
    /// Expected beats that were missing and so made it down.
    pub missed: u64,
    /// Runs that passed their limit and so made it down.
    pub overran: u64,
    /// How long it was known to be well.
    pub up: DurationText,
    /// How long an incident was open.
    pub down: DurationText,
    /// How long nobody can tell: before the first check-in, while it was paused, in an outage of Systole itself.
    pub unknown: DurationText,
    /// `up` by `up` and `down`, from 0 to 1; null where nothing is known.
    pub uptime: Option<f64>,
    /// The runs that ended in it, where any was measured.
    pub runs: Option<RunDurations>,
}

/// How long runs took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunDurations {
    /// How many.
    pub count: u64,
    /// The shortest.
    pub shortest: DurationText,
    /// On average.
    pub average: DurationText,
    /// The longest.
    pub longest: DurationText,
}
