//! The loop around the engine's memory: observe, decide, sweep.

use std::sync::Arc;
use std::time::Duration;

use systole_core::engine::{Engine, Row};
use systole_core::time::{Span, Time};
use systole_store::Error;
use systole_store::decide::{FollowedUp, SettingsIds};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::app::App;
use crate::loops::Loop;

/// Rows read by one statement.
const TAIL_LIMIT: u32 = 1_000;
/// How long a pass lasts at least, from one beginning to the next.
const PASS_EVERY: Span = Span::from_seconds(30);
/// Rows of one chunk of a pass: short enough that check-ins hardly wait for it.
const SWEEP_ROWS: usize = 250;
/// Between two chunks check-ins have the writer.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);
/// How often it is looked whether anything is to be said again, unless somebody asks earlier.
const FOLLOW_UP_EVERY: Span = Span::from_seconds(5);
/// The longest sleep: the wall clock may have been stepped meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the loop keeps beside the shared memory.
pub(crate) struct EngineLoop {
    rows: UnboundedReceiver<Arc<Row>>,
    settings: SettingsIds,
    epoch: i64,
    pass_begun: Time,
    followed_up: Time,
    /// Memory may differ from what was persisted, and the stop came before it could be read again.
    doubtful: bool,
}

/// Reads what was persisted and the log after it, up to the head.
pub(crate) async fn boot(store: &systole_store::Store) -> Result<(Engine, SettingsIds), Error> {
    let booted = store.boot().await?;
    let mut engine = Engine::boot(booted.boot);
    loop {
        let rows = store.tail(engine.vector(), TAIL_LIMIT).await?;
        if rows.is_empty() {
            return Ok((engine, booted.settings));
        }
        observe(&mut engine, rows.iter())?;
    }
}

fn observe<'a>(engine: &mut Engine, rows: impl Iterator<Item = &'a Row>) -> Result<(), Error> {
    for row in rows {
        engine
            .observe(row)
            .map_err(|_| Error::Corrupt("a row of the log is missing"))?;
    }
    Ok(())
}

impl EngineLoop {
    pub(crate) fn new(
        rows: UnboundedReceiver<Arc<Row>>,
        settings: SettingsIds,
        epoch: i64,
    ) -> EngineLoop {
        EngineLoop {
            rows,
            settings,
            epoch,
            // What was just read from the log is written back at once: the next start need not read it again.
            pass_begun: Time::MIN,
            followed_up: Time::MIN,
            doubtful: false,
        }
    }

    /// Runs until told to stop, then writes every dirty state, so that the next start is quick.
    ///
    /// # Errors
    /// When another process has taken over: this one must not go on.
    pub(crate) async fn run(mut self, app: &App) -> Result<(), &'static str> {
        let _decided = app.decided.clone().drop_guard();
        let mut batch = Vec::new();
        // The writer ends first; what it appended last is still in the queue then.
        while !(app.drained.is_cancelled() && self.rows.is_empty()) {
            self.wait(app, &mut batch).await;
            self.turn(app, &mut batch).await?;
            if self.doubtful {
                // What is not known must not be written; the next start reads it from the log.
                return Ok(());
            }
        }
        self.last_pass(app).await;
        Ok(())
    }

    async fn wait(&mut self, app: &App, batch: &mut Vec<Arc<Row>>) {
        let sleep = self.sleep(app);
        tokio::select! {
            biased;
            _ = self.rows.recv_many(batch, 256) => {}
            () = app.engine.nudge.notified() => {}
            () = app.drained.cancelled() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }

    fn sleep(&self, app: &App) -> Duration {
        let engine = app.engine.read();
        let now = app.now();
        if engine.is_in_pass() {
            return SWEEP_PAUSE;
        }
        let timer = engine.next_timer().unwrap_or(Time::NEVER);
        // A timer that is due and still not decided is held by our own silence: a row will end that.
        let until = if timer <= now {
            now + Span::from_millis(250)
        } else {
            timer
        };
        until.since(now).as_std().min(SLEEP_MAX)
    }

    async fn turn(&mut self, app: &App, batch: &mut Vec<Arc<Row>>) -> Result<(), &'static str> {
        let outcome = self.try_turn(app, batch).await;
        batch.clear();
        match outcome {
            Ok(()) => {
                if app.loops.healed(Loop::Engine) {
                    tracing::info!("decisions can be written again");
                }
                app.engine.settle();
                app.loops.ran(Loop::Engine, app.now());
                Ok(())
            }
            Err(Error::Fenced) => {
                Err("another process has taken over deciding; this one must start again")
            }
            Err(error) => {
                app.metrics.decision_failures.inc();
                if app
                    .loops
                    .failed(Loop::Engine, "decisions cannot be written")
                {
                    tracing::error!(error = %crate::chain(&error), "cannot decide; reading the states again until it works");
                }
                self.doubtful = !self.boot_again(app).await;
                Ok(())
            }
        }
    }

    async fn try_turn(&mut self, app: &App, batch: &mut [Arc<Row>]) -> Result<(), Error> {
        let in_order = observe(&mut app.engine.write(), batch.iter().map(AsRef::as_ref)).is_ok();
        let held = app.engine.read().held_since(app.now()).is_some();
        // Two commits of one stream may be handed over in the other order; and where a stream stands still, the log
        // alone has its end marker, or a batch that was given up and written all the same.
        if !in_order || held {
            self.catch_up(app).await?;
        }
        loop {
            let wants = app.engine.write().wants_decision(app.now());
            if !wants || !self.decide(app).await? {
                break;
            }
        }
        self.follow_up(app).await?;
        self.sweep(app).await
    }

    /// Says again what is to be said again, and tells what could not be delivered.
    async fn follow_up(&mut self, app: &App) -> Result<(), Error> {
        let now = app.now();
        let asked = app.engine.take_follow_up();
        if !asked && now.since(self.followed_up) < FOLLOW_UP_EVERY {
            return Ok(());
        }
        self.followed_up = now;
        let done = self.follow_up_now(app, now, asked).await;
        if asked && done.is_err() {
            app.engine.keep_follow_up();
        }
        done
    }

    async fn follow_up_now(&self, app: &App, now: Time, asked: bool) -> Result<(), Error> {
        if !app.store.wants_follow_up(now, asked).await? {
            return Ok(());
        }
        let mut deciding = app.store.begin_decision(self.epoch).await?;
        let cut = app.engine.read().version();
        let followed = deciding.follow_up(now, cut, delivery_key).await?;
        if followed == FollowedUp::default() {
            return deciding.rollback().await;
        }
        deciding.commit().await?;
        tracing::info!(
            reminders = followed.reminders,
            deaths = followed.deaths,
            released = followed.released,
            "said again what is open, told what could not be delivered, let go what a maintenance held back"
        );
        app.metrics
            .incident_events
            .inc_by((followed.reminders + followed.deaths) as u64);
        app.deliverer.look_again();
        Ok(())
    }

    /// Reads what the log has beyond memory.
    async fn catch_up(&mut self, app: &App) -> Result<(), Error> {
        loop {
            let vector = app.engine.read().vector().clone();
            let rows = app.store.tail(&vector, TAIL_LIMIT).await?;
            if rows.is_empty() {
                return Ok(());
            }
            observe(&mut app.engine.write(), rows.iter())?;
        }
    }

    /// One deciding transaction; answers whether anything was decided.
    async fn decide(&mut self, app: &App) -> Result<bool, Error> {
        let begun = app.now();
        let mut deciding = app.store.begin_decision(self.epoch).await?;
        let now = app.now();
        loop {
            let vector = app.engine.read().vector().clone();
            let rows = deciding.tail(&vector, TAIL_LIMIT).await?;
            if rows.is_empty() {
                break;
            }
            observe(&mut app.engine.write(), rows.iter())?;
        }
        let Some(decision) = app.engine.write().decide(now) else {
            deciding.rollback().await?;
            return Ok(false);
        };
        if !decision.is_news() {
            deciding.rollback().await?;
            app.engine.write().install(decision);
            return Ok(true);
        }
        let outgoing = deciding
            .write(&decision, &mut self.settings, delivery_key)
            .await?;
        deciding.commit().await?;
        let events: usize = decision
            .changes
            .iter()
            .map(|change| change.events.len())
            .sum();
        app.metrics.decisions.inc();
        app.metrics.incident_events.inc_by(events as u64);
        app.metrics
            .decision_seconds
            .observe(app.now().since(begun).as_seconds_f64());
        app.engine.write().install(decision);
        app.deliverer.send_now(outgoing);
        Ok(true)
    }

    async fn sweep(&mut self, app: &App) -> Result<(), Error> {
        let now = app.now();
        if !app.engine.read().is_in_pass() {
            if now.since(self.pass_begun) < PASS_EVERY {
                return Ok(());
            }
            self.pass_begun = now;
            app.engine.write().begin_pass();
        }
        self.sweep_chunk(app, SWEEP_ROWS).await.map(drop)
    }

    async fn sweep_chunk(&mut self, app: &App, rows: usize) -> Result<bool, Error> {
        let Some(chunk) = app.engine.write().sweep(rows) else {
            return Ok(false);
        };
        app.store
            .sweep(self.epoch, &chunk, &mut self.settings)
            .await?;
        app.engine.write().swept(&chunk);
        if chunk.end.is_some() {
            app.metrics.passes.inc();
        }
        Ok(true)
    }

    /// A pass from the present, to its end; whatever fails here the log makes good at the next start.
    async fn last_pass(&mut self, app: &App) {
        for _ in 0..2 {
            app.engine.write().begin_pass();
            loop {
                match self.sweep_chunk(app, 5_000).await {
                    Ok(true) if app.engine.read().is_in_pass() => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(error = %crate::chain(&error), "cannot store every state; the next start reads more of the log");
                        return;
                    }
                }
            }
        }
    }

    /// The outcome of a transaction is not known, or a row is missing: memory is worth nothing, what was persisted is
    /// the truth. Answers whether it could be read before the stop.
    async fn boot_again(&mut self, app: &App) -> bool {
        let mut wait = Duration::from_millis(100);
        while !app.stop.is_cancelled() {
            match boot(&app.store).await {
                Ok((engine, settings)) => {
                    *app.engine.write() = engine;
                    self.settings = settings;
                    return true;
                }
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "cannot read the states")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = app.stop.cancelled() => {}
            }
            wait = (wait * 2).min(Duration::from_secs(5));
        }
        false
    }
}

/// The idempotency key of a delivery: the same on every attempt, never the same again.
fn delivery_key() -> String {
    format!("msg_{}", uuid::Uuid::now_v7().simple())
}
