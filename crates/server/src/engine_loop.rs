//! The loop around the engine's memory: observe, decide, sweep.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use systole_core::engine::{Engine, MonitorId, Row};
use systole_core::time::{Span, Time};
use systole_store::decide::{FollowedUp, SettingsIds};
use systole_store::lease::LEASE;
use systole_store::{DEFAULT_PROJECT, Error};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::app::App;
use crate::clock::Clock;
use crate::loops::Loop;
use crate::replica::{Changed, RENEW_EVERY, RENEW_WITHIN, TRY_EVERY};

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
/// How often the log of a shared database is read: what others appended is not handed over.
const TAIL_EVERY: Duration = Duration::from_millis(25);
/// How often a replica that stands by looks whether the checkpoint has moved.
const CHECKPOINT_EVERY: Span = Span::from_seconds(1);
/// Monitors that are reloaded at once.
const RELOAD_MAX: usize = 1_000;

/// What the loop keeps beside the shared memory.
pub(crate) struct EngineLoop {
    rows: UnboundedReceiver<Arc<Row>>,
    settings: SettingsIds,
    /// Names this process in the lease.
    holder: u32,
    /// When the lease was asked for, or renewed, for the last time; by the time that no clock steps.
    lease_asked: Time,
    /// When the renewal that succeeded last was sent.
    lease_held: Time,
    pass_begun: Time,
    followed_up: Time,
    /// Transitions up to this one are in memory: what stands by reads those after it.
    transition: i64,
    /// The cut of the checkpoint that was read last, and when that was.
    checkpoint: (Option<u64>, Time),
    /// Memory may differ from what was persisted, and the stop came before it could be read again.
    doubtful: bool,
}

/// Memory as it was persisted, with the log after it up to the head.
pub(crate) struct Booted {
    /// The memory.
    pub(crate) engine: Engine,
    settings: SettingsIds,
    /// Transitions up to this one are in it.
    transition: i64,
}

/// What the loop keeps of a boot beside the memory.
pub(crate) struct Kept {
    pub(crate) settings: SettingsIds,
    transition: i64,
}

impl Booted {
    pub(crate) fn parts(self) -> (Engine, Kept) {
        let Booted {
            engine,
            settings,
            transition,
        } = self;
        (
            engine,
            Kept {
                settings,
                transition,
            },
        )
    }
}

/// Reads what was persisted and the log after it, up to the head.
pub(crate) async fn boot(store: &systole_store::Store) -> Result<Booted, Error> {
    let transition = store.numbers().await?.transition;
    let booted = store.boot().await?;
    let mut engine = Engine::boot(booted.boot);
    loop {
        let rows = store.tail(engine.vector(), TAIL_LIMIT).await?;
        if rows.is_empty() {
            return Ok(Booted {
                engine,
                settings: booted.settings,
                transition,
            });
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
    /// With what was booted; answers the memory, too.
    pub(crate) fn new(rows: UnboundedReceiver<Arc<Row>>, booted: Kept, holder: u32) -> EngineLoop {
        let Kept {
            settings,
            transition,
        } = booted;
        EngineLoop {
            rows,
            settings,
            transition,
            checkpoint: (None, Time::MIN),
            holder,
            lease_asked: Time::MIN,
            lease_held: Time::MIN,
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
        while self.goes_on(app) {
            self.wait(app, &mut batch).await;
            self.turn(app, &mut batch).await?;
            if self.doubtful {
                // What is not known must not be written; the next start reads it from the log.
                return Ok(());
            }
        }
        if !app.store.is_shared() {
            self.last_pass(app).await;
        }
        Ok(())
    }

    /// The writer ends first; what it appended last is still in the queue then. And whoever still decides hands that over, even
    /// where a long turn outlasted the writer.
    fn goes_on(&self, app: &App) -> bool {
        let decides = app.store.is_shared() && app.standing.epoch().is_some();
        decides || !app.drained.is_cancelled() || !self.rows.is_empty()
    }

    async fn wait(&mut self, app: &App, batch: &mut Vec<Arc<Row>>) {
        let sleep = self.sleep(app);
        tokio::select! {
            biased;
            _ = self.rows.recv_many(batch, 256) => {}
            () = app.engine.nudge.notified() => {}
            () = app.stop.cancelled(), if app.standing.epoch().is_some() && app.store.is_shared() => {}
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
        let longest = if app.store.is_shared() {
            TAIL_EVERY
        } else {
            SLEEP_MAX
        };
        until.since(now).as_std().min(longest)
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
            Err(Error::Fenced) if app.store.is_shared() => {
                tracing::warn!("another replica decides now; this one stands by");
                app.standing.stands_by();
                self.doubtful = !self.boot_again(app).await;
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
                self.step_down(app).await;
                self.doubtful = !self.boot_again(app).await;
                Ok(())
            }
        }
    }

    async fn try_turn(&mut self, app: &App, batch: &mut [Arc<Row>]) -> Result<(), Error> {
        if app.store.is_shared() {
            // Of all streams together, in one order: what was handed over only says that there is something to read.
            self.lead(app).await?;
            if app.standing.epoch().is_none() {
                return self.follow(app, true).await;
            }
            self.catch_up(app).await?;
        } else {
            let in_order =
                observe(&mut app.engine.write(), batch.iter().map(AsRef::as_ref)).is_ok();
            let held = app.engine.read().held_since(app.now()).is_some();
            // Two commits of one stream may be handed over in the other order; and where a stream stands still, the log
            // alone has its end marker, or a batch that was given up and written all the same.
            if !in_order || held {
                self.catch_up(app).await?;
            }
        }
        let Some(epoch) = app.standing.epoch() else {
            return Ok(());
        };
        loop {
            let wants = app.engine.write().wants_decision(app.now());
            if !wants || !self.decide(app, epoch).await? {
                break;
            }
            // Many decisions must not outlast the lease.
            self.lead(app).await?;
            if app.standing.epoch() != Some(epoch) {
                return Ok(());
            }
        }
        self.follow_up(app, epoch).await?;
        self.sweep(app, epoch).await
    }

    /// Holds the lease of a shared database, or tries to get it; hands it over when this process stops.
    async fn lead(&mut self, app: &App) -> Result<(), Error> {
        if !app.store.is_shared() {
            return Ok(());
        }
        let now = Clock::uptime();
        let stopping = app.stop.is_cancelled();
        match app.standing.epoch() {
            Some(epoch) if stopping => {
                app.standing.stands_by();
                app.engine.write().step_down();
                app.store.release_lease(epoch).await?;
                tracing::info!("handed deciding over");
            }
            Some(epoch) if now.since(self.lease_asked) >= RENEW_EVERY => {
                self.lease_asked = now;
                let renewal = app.store.renew_lease(epoch, self.holder);
                match tokio::time::timeout(RENEW_WITHIN, renewal).await {
                    Ok(Ok(true)) => self.lease_held = now,
                    Ok(Ok(false)) => return Err(Error::Fenced),
                    // It may have been renewed; nobody else decides before it has run out.
                    Ok(Err(_)) | Err(_) => {}
                }
                if Clock::uptime().since(self.lease_held) >= LEASE {
                    tracing::warn!(
                        "the lease could not be renewed in time; this replica stands by"
                    );
                    app.standing.stands_by();
                    self.doubtful = !self.boot_again(app).await;
                }
            }
            None if !stopping && now.since(self.lease_asked) >= TRY_EVERY => {
                self.lease_asked = now;
                if let Some(epoch) = app.store.acquire_lease(self.holder).await? {
                    self.lease_held = now;
                    self.take_over(app, epoch).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The lease is ours. Whoever had it before decides no more: what was persisted until now is the truth, and only what it
    /// has decided since this process read it is read again.
    async fn take_over(&mut self, app: &App, epoch: i64) -> Result<(), Error> {
        self.follow(app, false).await?;
        let unsettled: Vec<MonitorId> = app.engine.read().unsettled().collect();
        self.reload(app, &unsettled).await?;
        let numbers = app.store.numbers().await?;
        app.engine
            .write()
            .take_over(numbers.cut, numbers.next_incident);
        app.standing.decides(epoch);
        // Whatever was folded while standing by is written soon.
        self.pass_begun = Time::MIN;
        app.metrics.takeovers.inc();
        tracing::info!(epoch, "this replica decides now");
        Ok(())
    }

    /// Memory is in doubt: somebody, maybe this process again, takes the lease and reads what was persisted.
    async fn step_down(&mut self, app: &App) {
        if let Some(epoch) = app.standing.epoch()
            && app.store.is_shared()
        {
            app.standing.stands_by();
            let release = app.store.release_lease(epoch);
            _ = tokio::time::timeout(RENEW_WITHIN, release).await;
        }
    }

    /// Reads the log up to its head, and of what another replica has persisted that which this memory cannot know by itself: the
    /// monitors of its transitions, and now and then those that it may have judged without news.
    async fn follow(&mut self, app: &App, look_at_checkpoint: bool) -> Result<(), Error> {
        let now = Clock::uptime();
        let mut moved = None;
        if look_at_checkpoint && now.since(self.checkpoint.1) >= CHECKPOINT_EVERY {
            let (cut, vector) = app.store.checkpoint().await?;
            moved = (self.checkpoint.0 != Some(cut)).then_some(vector);
            self.checkpoint = (Some(cut), now);
        }
        let mut decided = BTreeSet::new();
        while let Some((last, monitors)) = app.store.transitions(self.transition).await? {
            self.transition = last;
            decided.extend(monitors);
        }
        self.catch_up(app).await?;
        if let Some(vector) = moved {
            let unsettled = app
                .engine
                .write()
                .checkpoint_moved(&vector)
                .map_err(|_| Error::Corrupt("rows were dropped before they were read"))?;
            decided.extend(unsettled);
        }
        self.reload(app, &decided.into_iter().collect::<Vec<_>>())
            .await
    }

    /// Takes what was persisted of these monitors for their states.
    async fn reload(&mut self, app: &App, monitors: &[MonitorId]) -> Result<(), Error> {
        for monitors in monitors.chunks(RELOAD_MAX) {
            let (persisted, rows) = app.store.persisted(monitors).await?;
            app.engine.write().reload(persisted, &rows);
        }
        Ok(())
    }

    /// Says again what is to be said again, and tells what could not be delivered.
    async fn follow_up(&mut self, app: &App, epoch: i64) -> Result<(), Error> {
        let now = app.now();
        let asked = app.engine.take_follow_up();
        if !asked && now.since(self.followed_up) < FOLLOW_UP_EVERY {
            return Ok(());
        }
        self.followed_up = now;
        let done = self.follow_up_now(app, epoch, now, asked).await;
        if asked && done.is_err() {
            app.engine.keep_follow_up();
        }
        done
    }

    async fn follow_up_now(
        &self,
        app: &App,
        epoch: i64,
        now: Time,
        asked: bool,
    ) -> Result<(), Error> {
        if !app.store.wants_follow_up(now, asked).await? {
            return Ok(());
        }
        let mut deciding = app.store.begin_decision(epoch).await?;
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
            // Of a stream that has more, as many as were asked for.
            let was_all = rows.len() < TAIL_LIMIT as usize;
            if app.store.is_shared() {
                let mut changed = Changed::default();
                changed.note(&rows);
                changed.follow(app).await?;
            }
            observe(&mut app.engine.write(), rows.iter())?;
            if was_all {
                return Ok(());
            }
        }
    }

    /// One deciding transaction; answers whether anything was decided.
    async fn decide(&mut self, app: &App, epoch: i64) -> Result<bool, Error> {
        let begun = app.now();
        let mut deciding = app.store.begin_decision(epoch).await?;
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

    async fn sweep(&mut self, app: &App, epoch: i64) -> Result<(), Error> {
        let now = app.now();
        if !app.engine.read().is_in_pass() {
            if now.since(self.pass_begun) < PASS_EVERY {
                return Ok(());
            }
            self.pass_begun = now;
            app.engine.write().begin_pass();
        }
        self.sweep_chunk(app, epoch, SWEEP_ROWS).await.map(drop)
    }

    async fn sweep_chunk(&mut self, app: &App, epoch: i64, rows: usize) -> Result<bool, Error> {
        let Some(chunk) = app.engine.write().sweep(rows) else {
            return Ok(false);
        };
        app.store.sweep(epoch, &chunk, &mut self.settings).await?;
        app.engine.write().swept(&chunk);
        if chunk.end.is_some() {
            app.metrics.passes.inc();
        }
        Ok(true)
    }

    /// A pass from the present, to its end; whatever fails here the log makes good at the next start.
    async fn last_pass(&mut self, app: &App) {
        let Some(epoch) = app.standing.epoch() else {
            return;
        };
        for _ in 0..2 {
            app.engine.write().begin_pass();
            loop {
                match self.sweep_chunk(app, epoch, 5_000).await {
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
        // Of replicas nobody decides until one has read the states.
        let longest = if app.store.is_shared() {
            Duration::from_millis(500)
        } else {
            Duration::from_secs(5)
        };
        while !app.stop.is_cancelled() {
            match self.read_all(app).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(error = %crate::chain(&error), "cannot read the states")
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = app.stop.cancelled() => {}
            }
            wait = (wait * 2).min(longest);
        }
        false
    }
}

impl EngineLoop {
    async fn read_all(&mut self, app: &App) -> Result<(), Error> {
        let (engine, kept) = boot(&app.store).await?.parts();
        if app.store.is_shared() {
            // Rows that said what others changed may have been passed over.
            let (known, old) = app.store.tokens_of_monitors(app.now()).await?;
            app.ping_tokens.replace(&known, old);
            app.maintenance.reload(&app.store, DEFAULT_PROJECT).await?;
        }
        *app.engine.write() = engine;
        Kept {
            settings: self.settings,
            transition: self.transition,
        } = kept;
        Ok(())
    }
}

/// The idempotency key of a delivery: the same on every attempt, never the same again.
fn delivery_key() -> String {
    format!("msg_{}", uuid::Uuid::now_v7().simple())
}
