//! The one task that appends to this process's stream.

use std::sync::Arc;
use std::time::Duration;

use systole_core::engine::{Engine, MonitorId, Position, Record, Row};
use systole_core::outage::BEAT;
use systole_core::time::{Span, Time};
use systole_store::Error;
use systole_store::log::Batch;
use systole_store::record::BatchPacker;

use super::{NotDurable, Pending};
use crate::app::App;
use crate::loops::Loop;

/// Check-ins of one commit: beyond it a commit takes long without being cheaper.
const BATCH_MAX: usize = 1_024;
/// A batch whose outcome stays open for so long is given up, with what waits behind it.
const GIVE_UP: Span = Span::from_seconds(10);

/// The writer's own memory.
pub(crate) struct Writer {
    stream: u32,
    seq: u64,
    /// By monitor: the row of its last check-in. A record names the one before it.
    last: Vec<Position>,
    /// A batch was given up: its place is taken for ever, so the next goes into a new stream.
    given_up: bool,
}

/// How an append ended.
enum Appended {
    Durable(Time),
    GivenUp,
    Closed,
}

impl Writer {
    /// Begins a stream where memory says each monitor's chain ends.
    pub(crate) fn new(stream: u32, engine: &Engine) -> Writer {
        let mut last = Vec::new();
        for (id, monitor) in engine.monitors() {
            let index = id as usize;
            if last.len() <= index {
                last.resize(index + 1, Position::NONE);
            }
            last[index] = monitor.last;
        }
        Writer {
            stream,
            seq: 1,
            last,
            given_up: false,
        }
    }

    /// Appends until told to stop, then drains what is queued.
    ///
    /// # Errors
    /// When the stream was closed by another process: this one must not go on.
    pub(crate) async fn run(mut self, app: &App) -> Result<(), &'static str> {
        let _drained = app.drained.clone().drop_guard();
        // A beat at once: it ends the hole that was our downtime, and says that the log can be written.
        self.commit(app, Vec::new()).await?;
        app.loops.ran(Loop::Writer, app.now());
        loop {
            let stopping = app.stop.is_cancelled();
            if stopping {
                app.ingest.close();
            }
            let pending = app.ingest.take(BATCH_MAX);
            if pending.is_empty() {
                if stopping {
                    return Ok(());
                }
                let wait = Duration::from_micros(BEAT.as_micros().unsigned_abs());
                tokio::select! {
                    () = app.ingest.wake.notified() => continue,
                    () = app.stop.cancelled() => continue,
                    () = tokio::time::sleep(wait) => {}
                }
            }
            self.commit(app, pending).await?;
            app.loops.ran(Loop::Writer, app.now());
        }
    }

    async fn commit(&mut self, app: &App, mut pending: Vec<Pending>) -> Result<(), &'static str> {
        if self.given_up {
            match app.store.open_stream(&replica(), app.now()).await {
                Ok(stream) => (self.stream, self.seq, self.given_up) = (stream, 1, false),
                Err(_) => {
                    refuse(app, pending);
                    return Ok(());
                }
            }
        }
        let at = app.now();
        let position = Position::new(self.stream, self.seq);
        let mut packer = BatchPacker::new(at);
        for waiting in &mut pending {
            waiting.record.previous = self.previous(waiting.record.monitor, position);
            packer.push(&waiting.record);
        }
        let body = if pending.is_empty() {
            Vec::new()
        } else {
            packer.finish()
        };
        let batch = Batch {
            stream: self.stream,
            seq: self.seq,
            at,
            count: pending.len(),
            body,
        };
        match append(app, &batch).await {
            Appended::Durable(put) => {
                self.seq += 1;
                acknowledge(app, &batch, put, pending);
                Ok(())
            }
            Appended::GivenUp => {
                refuse(app, pending);
                self.given_up = true;
                Ok(())
            }
            Appended::Closed => {
                refuse(app, pending);
                Err("another process has closed this one's log stream; it must start again")
            }
        }
    }

    /// The row of the monitor's check-in before this one, which now takes its place. Of several in one row the first
    /// carries the way on.
    fn previous(&mut self, monitor: MonitorId, position: Position) -> Position {
        let index = monitor as usize;
        if index >= self.last.len() {
            self.last.resize(index + 1, Position::NONE);
        }
        std::mem::replace(&mut self.last[index], position)
    }
}

/// The name of this process in `log_stream`.
pub(crate) fn replica() -> String {
    format!("{}", std::process::id())
}

/// Sends the batch, the same again as long as its outcome is open.
async fn append(app: &App, batch: &Batch) -> Appended {
    let begun = app.now();
    let mut wait = Duration::from_millis(50);
    loop {
        match app.store.append(batch, || app.now()).await {
            Ok(put) => {
                app.loops.healed(Loop::Writer);
                return Appended::Durable(put);
            }
            Err(Error::StreamClosed) => return Appended::Closed,
            Err(error) => {
                app.metrics.append_failures.inc();
                if app.loops.failed(Loop::Writer, "the log cannot be written") {
                    tracing::error!(error = %crate::chain(&error), "cannot append to the log; check-ins are refused");
                }
            }
        }
        if app.now().since(begun) >= GIVE_UP || app.stop.is_cancelled() {
            return Appended::GivenUp;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}

fn acknowledge(app: &App, batch: &Batch, put: Time, pending: Vec<Pending>) {
    app.metrics.commits.inc();
    app.metrics.checkins.inc_by(pending.len() as u64);
    let records = pending
        .iter()
        .map(|waiting| Record::Checkin(waiting.record.monitor, waiting.record.checkin));
    let row = Row {
        stream: batch.stream,
        seq: batch.seq,
        at: batch.at,
        put,
        records: records.collect(),
        end: false,
    };
    app.engine.hand_over(Arc::new(row));
    for waiting in pending {
        // The sender has gone: its check-in counts all the same.
        _ = waiting.acknowledge.send(Ok(()));
    }
}

fn refuse(app: &App, pending: Vec<Pending>) {
    let queued = app.ingest.take(usize::MAX);
    for waiting in pending.into_iter().chain(queued) {
        _ = waiting.acknowledge.send(Err(NotDurable::NotWritten));
    }
}
