//! The loops behind people's history: what writes it, and what forgets.
//!
//! On a shared database they run where the lease is held; each transaction checks that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use systole_core::time::Time;
use systole_store::Error;
use systole_store::history::forget::KeptBytes;
use systole_store::retention::LogBounds;

use crate::app::App;
use crate::housekeeping::pause;
use crate::loops::Loop;

/// Between two looks at the log, at least.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// It is written once so many check-ins wait, or after so long: the more of a group are written together, the less each costs. Whoever
/// reads looks through what waits.
const ENOUGH: i64 = 20_000;
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// Steps of rolling up in one turn: a step is for some monitors, and there may be a million.
const ROLLING: usize = 10;
/// After each step, which is one transaction or some, others have the writer and the processor for as long as it took: at least
const BREATH: Duration = Duration::from_millis(5);
/// and at most
const LONG_BREATH: Duration = Duration::from_millis(250);
/// Between two runs of retention.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// Between two looks for old history.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// Rows of one retention transaction, and transactions of one run.
const CHUNK: u32 = 200;
const CHUNKS: usize = 500;
/// A reader may be so far behind what is needed no more.
const READERS: Duration = Duration::from_secs(3_600);

/// Writes history, and rolls hours up that are over.
pub(crate) async fn history(app: &App) -> Result<(), &'static str> {
    let mut drained: Option<Drained> = None;
    while !app.stop.is_cancelled() {
        let begun = Instant::now();
        let written = match app.standing.epoch() {
            Some(epoch) => turns(app, epoch, &mut drained).await,
            None => Ok(()),
        };
        match written {
            // Another replica decides now, and writes.
            Ok(()) | Err(Error::Fenced) => _ = app.loops.healed(Loop::History),
            Err(error) => {
                if app.loops.failed(Loop::History, "history cannot be written") {
                    tracing::error!(error = %crate::chain(&error), "history falls behind the log");
                }
            }
        }
        app.loops.ran(Loop::History, app.now());
        pause(app, LOOK_EVERY.saturating_sub(begun.elapsed()).max(BREATH)).await;
    }
    Ok(())
}

/// When the end of the log was reached last, by the clock that nobody steps and by the other.
#[derive(Clone, Copy)]
struct Drained(Instant, Time);

/// Reads the log to its end if that is due, and does what follows of it, in turns, until it is to be looked at again.
async fn turns(app: &App, epoch: i64, drained: &mut Option<Drained>) -> Result<(), Error> {
    let (store, begun) = (&app.store, Instant::now());
    let mut is_left = drained.is_none_or(|Drained(at, _)| at.elapsed() >= WRITE_EVERY)
        || store.unwritten_checkins().await? >= ENOUGH;
    loop {
        let mut is_more = false;
        if is_left {
            let step = Instant::now();
            let reached = Drained(step, app.now());
            is_left = !store.write_history(epoch).await?.drained;
            if !is_left {
                *drained = Some(reached);
            }
            is_more |= is_left;
            rest(app, step).await;
        }
        let step = Instant::now();
        is_more |= store.fold_history(epoch).await?;
        rest(app, step).await;
        for Drained(_, read) in std::iter::repeat_n(*drained, ROLLING).flatten() {
            let step = Instant::now();
            let is_rolling = store.roll_history(epoch, read).await?;
            is_more |= is_rolling;
            rest(app, step).await;
            if !is_rolling || app.stop.is_cancelled() {
                break;
            }
        }
        let step = Instant::now();
        is_more |= store.drop_folded(epoch).await?;
        rest(app, step).await;
        if !is_more || begun.elapsed() >= LOOK_EVERY || app.stop.is_cancelled() {
            return Ok(());
        }
    }
}

async fn rest(app: &App, step: Instant) {
    // Much may be left by a former version or a long stop: that is work, not silence.
    app.loops.ran(Loop::History, app.now());
    pause(app, step.elapsed().clamp(BREATH, LONG_BREATH)).await;
}

/// Drops rows of the log that are not needed any more, and history that is older, or more, than it may be.
pub(crate) async fn retention(app: &App) -> Result<(), &'static str> {
    let mut seen = Seen::default();
    let mut forgotten: Option<Instant> = None;
    while !app.stop.is_cancelled() {
        let is_due = forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY);
        let epoch = app.standing.epoch();
        match drop_old(app, epoch, &mut seen, is_due).await {
            Ok(()) | Err(Error::Fenced) => {
                if is_due && epoch.is_some() {
                    forgotten = Some(Instant::now());
                }
                app.loops.healed(Loop::Retention);
            }
            Err(error) => {
                if app
                    .loops
                    .failed(Loop::Retention, "old rows cannot be dropped")
                {
                    tracing::error!(error = %crate::chain(&error), "cannot drop what is old");
                }
            }
        }
        app.loops.ran(Loop::Retention, app.now());
        pause(app, RETENTION_EVERY).await;
    }
    Ok(())
}

async fn drop_old(
    app: &App,
    epoch: Option<i64>,
    seen: &mut Seen,
    forget: bool,
) -> Result<(), Error> {
    let now = Instant::now();
    // Also while standing by: whoever takes over knows what was to be read an hour ago.
    seen.add(now, app.store.log_bounds().await?);
    let Some(epoch) = epoch else {
        return Ok(());
    };
    if let Some(bounds) = seen.before(now) {
        let mut dropped = 0;
        for _ in 0..CHUNKS {
            let rows = app.store.drop_log(bounds, CHUNK).await?;
            dropped += rows;
            if rows < u64::from(CHUNK) || app.stop.is_cancelled() {
                break;
            }
            pause(app, BREATH).await;
        }
        if dropped > 0 {
            tracing::debug!(rows = dropped, "rows of the log were dropped");
        }
    }
    if !forget {
        return Ok(());
    }
    let mut kept = KeptBytes::default();
    forget_history(app, epoch, None, &mut kept).await?;
    if let Some(older_than) = kept.too_old(app.config.keep.bytes) {
        tracing::info!(%older_than, "history takes more than --retention-bytes: the oldest goes");
        forget_history(app, epoch, Some(older_than), &mut KeptBytes::default()).await?;
    }
    Ok(())
}

async fn forget_history(
    app: &App,
    epoch: i64,
    older_than: Option<Time>,
    kept: &mut KeptBytes,
) -> Result<(), Error> {
    let mut after = None;
    while !app.stop.is_cancelled() {
        after = app
            .store
            .forget_history(epoch, &app.config.keep, older_than, after, app.now(), kept)
            .await?;
        if after.is_none() {
            break;
        }
        pause(app, BREATH).await;
    }
    Ok(())
}

/// How far everything had come, and when that was seen; by the clock that nobody steps.
#[derive(Default)]
struct Seen(VecDeque<(Instant, LogBounds)>);

impl Seen {
    fn add(&mut self, at: Instant, bounds: LogBounds) {
        self.0.push_back((at, bounds));
    }

    /// What was seen long enough ago; what is older than that is forgotten.
    fn before(&mut self, now: Instant) -> Option<&LogBounds> {
        let is_due = |(at, _): &(Instant, LogBounds)| now.duration_since(*at) >= READERS;
        while self.0.get(1).is_some_and(is_due) {
            self.0.pop_front();
        }
        self.0
            .front()
            .filter(|seen| is_due(seen))
            .map(|(_, bounds)| bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_by_what_was_seen_an_hour_ago() {
        let begun = Instant::now();
        let minutes = |n: u64| begun + Duration::from_secs(n * 60);
        let mut seen = Seen::default();
        for n in 0..200 {
            seen.add(minutes(n), LogBounds::default());
            assert_eq!(seen.before(minutes(n)).is_some(), n >= 60, "{n} min");
            assert!(seen.0.len() <= 61, "{n} min");
        }
        assert_eq!(seen.0.front().map(|(at, _)| *at), Some(minutes(139)));
    }
}
