//! Many heartbeats at once, before the server starts.

use anyhow::{Context, Result};
use jiff::SignedDuration;
use systole_core::time::Span;
use systole_server::seed::Place;

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

/// Makes `place` hold the heartbeats of `plan`, up since now.
pub fn heartbeats(place: Place<'_>, plan: Plan) -> Result<()> {
    if let Place::Directory(directory) = place {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("make {}", directory.display()))?;
    }
    let seed = systole_server::seed::Seed {
        count: plan.count,
        every: span(plan.every),
        grace: span(plan.grace),
    };
    let token = |index: u32| crate::token::token(plan.seed, u64::from(index)).to_string();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start a runtime")?
        .block_on(systole_server::seed::heartbeats(place, seed, token))
        .with_context(|| format!("make {} heartbeats", plan.count))
}

fn span(duration: SignedDuration) -> Span {
    Span::from_seconds(duration.as_secs())
}
