//! The small loops: clock and write-ahead log, the self heartbeat.

use std::time::Duration;

use systole_core::time::{Span, Time};
use systole_store::Error;

use crate::app::App;
use crate::loops::Loop;
use crate::replica;

/// The write-ahead log is moved into the database file beyond this size.
const WAL_BYTES: u64 = 8 << 20;
/// Beyond this size the writer is held for a moment, so that the file can begin anew.
const WAL_RESTART_BYTES: u64 = 64 << 20;
/// Between two looks of the housekeeper.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same on a shared database: what was configured through one replica is known to all within a second.
const SHARED_EVERY: Duration = Duration::from_millis(500);
/// Turns between two looks for streams that are silent.
const CLOSE_TURNS: u64 = 8;
/// The self heartbeat is called at most this often.
const CALL_EVERY: Duration = Duration::from_secs(60);

pub(crate) async fn pause(app: &App, length: Duration) {
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = app.stop.cancelled() => {}
    }
}

/// Follows the wall clock and keeps the write-ahead log short.
pub(crate) async fn housekeeper(app: &App) -> Result<(), &'static str> {
    let mut turn: u64 = 0;
    while !app.stop.is_cancelled() {
        if app.store.is_shared() {
            shared(app, turn).await;
            turn += 1;
            pause(app, SHARED_EVERY).await;
            continue;
        }
        if let Some(step) = app.clock.adjust() {
            let seconds = Span::from_micros(step.abs());
            let direction = if step > 0 { "forward" } else { "back" };
            tracing::warn!(%seconds, direction, "the wall clock was stepped; deadlines are judged with care");
        }
        let wal_bytes = app.store.wal_bytes();
        if wal_bytes > WAL_BYTES {
            match app
                .store
                .checkpoint_wal(wal_bytes > WAL_RESTART_BYTES)
                .await
            {
                Ok(()) => _ = app.loops.healed(Loop::Housekeeper),
                Err(error) => {
                    if app
                        .loops
                        .failed(Loop::Housekeeper, "the write-ahead log cannot be moved")
                    {
                        tracing::error!(error = %crate::chain(&error), "the write-ahead log grows");
                    }
                }
            }
        }
        app.loops.ran(Loop::Housekeeper, app.now());
        pause(app, LOOK_EVERY).await;
    }
    Ok(())
}

/// On a shared database: follows its clock, reads what other replicas have configured, closes streams that nobody writes any
/// more.
async fn shared(app: &App, turn: u64) {
    let outcome = async {
        let asked = app.clock.ask();
        let database = app.store.database_now().await?;
        if let Some(step) = app.clock.answered(asked, database) {
            let seconds = Span::from_micros(step.abs());
            let direction = if step > 0 { "forward" } else { "back" };
            tracing::warn!(%seconds, direction, "the database's clock was stepped; deadlines are judged with care");
        }
        replica::refresh(app).await?;
        if turn.is_multiple_of(CLOSE_TURNS) {
            app.standing.durable(app.store.durability().await?);
            for stream in app.store.close_silent_streams(replica::SILENT).await? {
                tracing::warn!(
                    stream,
                    "closed the log stream of a replica that was silent for 15 s"
                );
            }
        }
        Ok::<_, Error>(())
    };
    match outcome.await {
        Ok(()) => {
            if app.loops.healed(Loop::Housekeeper) {
                tracing::info!("the database can be reached again");
            }
            app.loops.ran(Loop::Housekeeper, app.now());
        }
        Err(error) => {
            if app
                .loops
                .failed(Loop::Housekeeper, "the database cannot be reached")
            {
                tracing::error!(error = %crate::chain(&error), "cannot follow the database");
            }
        }
    }
}

/// Calls the self heartbeat's URL after full engine passes, so that our own death is noticed by whoever waits for it.
pub(crate) async fn self_heartbeat(app: &App) -> Result<(), &'static str> {
    let mut told = app.metrics.passes.get();
    let mut last_call: Option<Time> = None;
    while !app.stop.is_cancelled() {
        let passes = app.metrics.passes.get();
        let now = app.now();
        let due = last_call.is_none_or(|at| now.since(at).as_std() >= CALL_EVERY);
        if let Some(url) = &app.config.self_heartbeat_url
            && passes > told
            && due
            && app
                .loops
                .not_ready(now)
                .iter()
                .all(|reason| reason.starts_with(Loop::SelfHeartbeat.name()))
        {
            told = passes;
            last_call = Some(now);
            match app.deliverer.outbound().get(url).await {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    _ = app.loops.healed(Loop::SelfHeartbeat)
                }
                Ok(answer) => {
                    if app
                        .loops
                        .failed(Loop::SelfHeartbeat, "its URL answers with an error")
                    {
                        tracing::warn!(status = answer.status, "the self heartbeat was refused");
                    }
                }
                Err(error) => {
                    if app
                        .loops
                        .failed(Loop::SelfHeartbeat, "its URL cannot be reached")
                    {
                        tracing::warn!(%error, "the self heartbeat was not sent");
                    }
                }
            }
        }
        app.loops.ran(Loop::SelfHeartbeat, app.now());
        pause(app, LOOK_EVERY).await;
    }
    Ok(())
}
