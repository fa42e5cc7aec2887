//! What people read of the past: runs made of check-ins, and rollups of hours and days.
//!
//! Pure: whoever writes history behind the log hands in what happened, and the period that it is asked about.

mod rollup;
mod runs;

pub use rollup::{DAY, Facts, HOUR, Heard, Reach, Rollup, rollup};
pub use runs::{OpenRun, OpenRuns};
