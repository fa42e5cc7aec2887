//! The loops behind people's history: what writes it, and what forgets.
//!
//! On a shared database they run where the lease is held; each transaction checks that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use systole_core::time::Time;
use systole_store::Error;
use systole_store::retention::LogBounds;

use crate::app::App;
use crate::housekeeping::pause;
use crate::loops::Loop;

/// Between two looks at the log, at least.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Between two transactions check-ins have the writer: at least so long,
const BREATH: Duration = Duration::from_millis(5);
/// and so many times as long as one took.
const SHARE: u32 = 3;
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
    while !app.stop.is_cancelled() {
        let begun = Instant::now();
        let written = match app.standing.epoch() {
            Some(epoch) => write(app, epoch, begun).await,
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
        pause(app, WRITE_EVERY.saturating_sub(begun.elapsed()).max(BREATH)).await;
    }
    Ok(())
}

/// Reads the log to its end, and does what follows of it until it is to be looked at again.
async fn write(app: &App, epoch: i64, begun: Instant) -> Result<(), Error> {
    let mut read;
    loop {
        let step = Instant::now();
        read = app.now();
        let written = app.store.write_history(epoch).await?;
        if rest(app, step).await {
            return Ok(());
        }
        if written.drained {
            break;
        }
    }
    loop {
        let step = Instant::now();
        let is_more = app.store.fold_history(epoch).await?
            || app.store.roll_history(epoch, read).await?
            || app.store.drop_folded(epoch).await?;
        if rest(app, step).await || !is_more || begun.elapsed() >= WRITE_EVERY {
            return Ok(());
        }
    }
}

/// After a transaction. Answers whether the process stops.
async fn rest(app: &App, step: Instant) -> bool {
    // Much may be left by a former version or a long stop: that is work, not silence.
    app.loops.ran(Loop::History, app.now());
    pause(app, (step.elapsed() * SHARE).max(BREATH)).await;
    app.stop.is_cancelled()
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
    let keep = &app.config.keep;
    forget_history(app, epoch, None).await?;
    while let Some(older_than) = app.store.oldest_history(keep.bytes).await? {
        if app.stop.is_cancelled() {
            break;
        }
        tracing::info!(%older_than, "history takes more than --retention-bytes: the oldest goes");
        let before = app.store.history_chunks().await?;
        forget_history(app, epoch, Some(older_than)).await?;
        if app.store.history_chunks().await? == before {
            break;
        }
    }
    Ok(())
}

async fn forget_history(app: &App, epoch: i64, older_than: Option<Time>) -> Result<(), Error> {
    let mut after = None;
    while !app.stop.is_cancelled() {
        after = app
            .store
            .forget_history(epoch, &app.config.keep, older_than, after, app.now())
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
