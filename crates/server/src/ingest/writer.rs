//! The one task that appends to this process's stream.

use std::pin::{Pin, pin};
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
    /// A batch was given up: its place is taken for ever, so the next goes into a new stream. Its monitors, each with
    /// the row before, which is its last again unless the batch was written after all.
    given_up: Option<Vec<(MonitorId, Position)>>,
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
            given_up: None,
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
                    self.end(app).await;
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
        loop {
            if self.given_up.is_some() {
                let begun = in_time(app, &mut pending, pin!(self.begin_anew(app))).await;
                if let Err(error) = begun {
                    app.metrics.append_failures.inc();
                    tracing::debug!(error = %crate::chain(&error), "cannot open a new stream");
                    refuse(app, pending);
                    return Ok(());
                }
            }
            let batch = self.pack(app, &mut pending);
            match in_time(app, &mut pending, pin!(append(app, &batch))).await {
                Appended::Durable(put) => {
                    self.seq += 1;
                    acknowledge(app, &batch, put, pending);
                    return Ok(());
                }
                Appended::GivenUp => {
                    self.given_up = Some(before(&pending));
                    refuse(app, pending);
                    return Ok(());
                }
                Appended::Closed if app.store.is_shared() => {
                    // This process stood still, or was cut off: another one has closed its stream, so the batch is known
                    // not to be in it. What its senders still wait for goes into a new one.
                    tracing::warn!(
                        "the log stream of this process was closed by another; beginning a new one"
                    );
                    self.given_up = Some(before(&pending));
                }
                Appended::Closed => {
                    refuse(app, pending);
                    return Err(
                        "another process has closed this one's log stream; it must start again",
                    );
                }
            }
        }
    }

    /// Closes the stream, unless it is the only one: then the time until the next start is to be seen as a hole.
    async fn end(&self, app: &App) {
        if app.store.is_shared()
            && let Err(error) = app.store.close_stream(self.stream, self.seq - 1).await
        {
            tracing::debug!(error = %crate::chain(&error), "the log stream stays open; another replica closes it");
        }
    }

    fn pack(&mut self, app: &App, pending: &mut [Pending]) -> Batch {
        let at = app.now();
        let position = Position::new(self.stream, self.seq);
        let mut packer = BatchPacker::new(at);
        for waiting in &mut *pending {
            waiting.record.previous = self.previous(waiting.record.monitor, position);
            packer.push(&waiting.record);
        }
        let body = if pending.is_empty() {
            Vec::new()
        } else {
            packer.finish()
        };
        Batch {
            stream: self.stream,
            seq: self.seq,
            at,
            count: pending.len(),
            body,
        }
    }

    /// A new stream, where a batch was given up: with the old one closed it is certain whether the batch is in it.
    async fn begin_anew(&mut self, app: &App) -> Result<(), Error> {
        let Some(before) = &self.given_up else {
            return Ok(());
        };
        // Before the batch, or behind it where it was written after all: left open, the stream would hold deadlines until
        // somebody closes it as silent.
        if app.store.is_shared() && !app.store.end_stream(self.stream, self.seq - 1).await? {
            app.store.end_stream(self.stream, self.seq).await?;
        }
        let stream = app.store.open_stream(&process_name(), app.now()).await?;
        let found = app.store.row_body(self.stream, self.seq).await?;
        // Where the batch is not, the end marker stands, which has no body.
        if found.is_none_or(|(_, body)| body.is_empty()) {
            // Of several of one monitor the first knows the row before.
            for (monitor, position) in before.iter().rev() {
                self.last[*monitor as usize] = *position;
            }
        }
        (self.stream, self.seq, self.given_up) = (stream, 1, None);
        Ok(())
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

/// The monitors of a batch, each with the row before.
fn before(pending: &[Pending]) -> Vec<(MonitorId, Position)> {
    let before = |waiting: &Pending| (waiting.record.monitor, waiting.record.previous);
    pending.iter().map(before).collect()
}

/// The name of this process in `log_stream`: host and number.
pub(crate) fn process_name() -> String {
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    format!("{host}/{}", std::process::id())
}

/// Waits for what the writer does, and meanwhile refuses whoever has waited too long: a disk that hangs must not keep jobs
/// waiting.
async fn in_time<T>(
    app: &App,
    pending: &mut [Pending],
    mut does: Pin<&mut impl Future<Output = T>>,
) -> T {
    loop {
        tokio::select! {
            done = &mut does => return done,
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                let overdue = app.now() - GIVE_UP;
                let refused = app.ingest.refuse_before(overdue) + refuse_before(pending, overdue);
                // Where it fails, rather than hangs, the reason is known already.
                if refused > 0 && !app.loops.is_failing(Loop::Writer) {
                    app.loops.failed(Loop::Writer, "the log is not written in time");
                    tracing::error!("an append to the log takes longer than 10 s; check-ins are refused");
                }
            }
        }
    }
}

/// Refuses those that were stamped before `overdue`; answers how many. They stay in their batch: it may be written.
pub(super) fn refuse_before(pending: &mut [Pending], overdue: Time) -> usize {
    let mut refused = 0;
    for waiting in pending
        .iter_mut()
        .take_while(|waiting| waiting.record.checkin.at <= overdue)
    {
        refused += usize::from(waiting.answer(Err(NotDurable::NotInTime)));
    }
    refused
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
    // The engine reads a shared database's log itself, of all replicas together: to wake it at every commit would have it
    // read without a pause.
    if !app.store.is_shared() {
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
    }
    for mut waiting in pending {
        // The sender has gone, or was told to come again: its check-in counts all the same.
        waiting.answer(Ok(()));
    }
}

fn refuse(app: &App, pending: Vec<Pending>) {
    let queued = app.ingest.take(usize::MAX);
    for mut waiting in pending.into_iter().chain(queued) {
        waiting.answer(Err(NotDurable::NotWritten));
    }
}
