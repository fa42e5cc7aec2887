//! What became of a heartbeat over hours and days.

use systole_core::engine::MonitorId;
use systole_core::history::{DAY, Rollup};
use systole_core::time::{Span, Time};
use systole_store::history::rolled::{Period, Resolution, floor};
use systole_wire::{DurationText, History, HistoryPeriod, RunDurations, Uptime};

use super::{ApiError, monitors};
use crate::app::App;
use crate::principals::Principal;

/// Periods of one answer.
const PERIODS_MAX: usize = 1_000;

/// Its hours or days, newest first, up to now, and what part of the last days it was well.
///
/// # Errors
/// 404.
pub async fn history(
    app: &App,
    by: &Principal,
    id: MonitorId,
    resolution: Resolution,
    since: Option<Time>,
) -> Result<History, ApiError> {
    let row = monitors::row(app, by, id).await?;
    let now = app.now();
    let usual = match resolution {
        Resolution::Hour => days(7),
        Resolution::Day => days(90),
    };
    // Before it was made there is nothing to tell.
    let oldest = now - longest(resolution);
    let from = since.unwrap_or(now - usual).max(oldest).max(row.created_at);
    let mut periods = app.store.rollups(id, resolution, from, now).await?;
    periods.reverse();
    Ok(History {
        resolution: match resolution {
            Resolution::Hour => "hour".to_owned(),
            Resolution::Day => "day".to_owned(),
        },
        uptime: uptime(app, id, now).await?,
        items: periods
            .iter()
            .map(|period| wire(*period, now, resolution))
            .collect(),
    })
}

/// What one answer may hold.
fn longest(resolution: Resolution) -> Span {
    let periods = i64::try_from(PERIODS_MAX - 1).unwrap_or_default();
    Span::from_seconds(resolution.length().as_seconds() * periods)
}

const fn days(n: i64) -> Span {
    Span::from_seconds(n * DAY.as_seconds())
}

async fn uptime(app: &App, id: MonitorId, now: Time) -> Result<Uptime, ApiError> {
    let of = async |resolution: Resolution, span: Span| -> Result<Option<f64>, ApiError> {
        // Whole periods: the first one may begin a little earlier.
        let from = floor(now - span, resolution.length());
        let periods = app.store.rollups(id, resolution, from, now).await?;
        Ok(share(&joined(&periods)))
    };
    Ok(Uptime {
        day: of(Resolution::Hour, days(1)).await?,
        week: of(Resolution::Hour, days(7)).await?,
        month: of(Resolution::Day, days(30)).await?,
        quarter: of(Resolution::Day, days(90)).await?,
    })
}

/// All of them as one.
pub fn joined(periods: &[Period]) -> Rollup {
    let rollups = periods.iter().map(|period| period.rollup);
    rollups.fold(Rollup::default(), Rollup::joined)
}

/// As a number between 0 and 1; nothing where nothing is known.
fn share(rollup: &Rollup) -> Option<f64> {
    rollup
        .uptime()
        .map(|millionths| f64::from(millionths) / 1e6)
}

fn wire(period: Period, now: Time, resolution: Resolution) -> HistoryPeriod {
    let rollup = period.rollup;
    let text = |span: Span| DurationText(span.to_string());
    HistoryPeriod {
        start: period.start.to_string(),
        end: (period.start + resolution.length()).min(now).to_string(),
        checkins: rollup.checkins,
        successes: rollup.successes,
        failures: rollup.failures,
        missed: rollup.missed,
        overran: rollup.overran,
        up: text(rollup.up),
        down: text(rollup.down),
        unknown: text(rollup.unknown),
        uptime: share(&rollup),
        runs: rollup.average().map(|average| RunDurations {
            count: rollup.runs,
            shortest: text(rollup.shortest),
            average: text(average),
            longest: text(rollup.longest),
        }),
    }
}
