//! Our own metrics, in one table: [`Metrics::new`] registers each with its help, `/metrics` prints them.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::loops::Loop;

/// The database is not waited for any longer: who asks for metrics wants the others then.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// One label: an outcome's word.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `delivered`, or the class of the error.
    pub outcome: String,
}

/// One label: a loop's name.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct LoopLabel {
    /// Its name.
    pub name: &'static str,
}

/// See the module.
pub struct Metrics {
    registry: Registry,
    /// Check-ins made durable.
    pub checkins: Counter,
    /// Requests to check-in routes that were refused.
    pub refused: Counter,
    /// Group commits.
    pub commits: Counter,
    /// Failed appends.
    pub append_failures: Counter,
    /// Deciding transactions with news.
    pub decisions: Counter,
    /// Deciding transactions that failed.
    pub decision_failures: Counter,
    /// Incident events decided.
    pub incident_events: Counter,
    /// How long a deciding transaction takes.
    pub decision_seconds: Histogram,
    /// Completed passes.
    pub passes: Counter,
    /// How often this replica took deciding over.
    pub takeovers: Counter,
    decides: Gauge,
    clock_error: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// Attempts by outcome.
    pub attempts: Family<OutcomeLabel, Counter>,
    /// From what went wrong to the first attempt's end.
    pub notification_seconds: Histogram,
    monitors: Gauge,
    open_incidents: Gauge,
    no_channel: Gauge,
    waiting: Gauge,
    unsettled: Gauge,
    dirty: Gauge,
    deliveries_pending: Gauge,
    deliveries_dead: Gauge,
    outbox_age: Gauge,
    loop_ok: Family<LoopLabel, Gauge>,
    loop_age: Family<LoopLabel, Gauge>,
    loop_failures: Family<LoopLabel, Gauge>,
    clock_steps: Gauge,
    outages: Gauge,
    history_lag_rows: Gauge,
    history_lag_seconds: Gauge,
    database_bytes: Gauge,
    wal_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Metrics {
        let buckets = || {
            Histogram::new([
                0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
            ])
        };
        let mut metrics = Metrics {
            registry: Registry::with_prefix("systole"),
            checkins: Counter::default(),
            refused: Counter::default(),
            commits: Counter::default(),
            append_failures: Counter::default(),
            decisions: Counter::default(),
            decision_failures: Counter::default(),
            incident_events: Counter::default(),
            decision_seconds: buckets(),
            passes: Counter::default(),
            takeovers: Counter::default(),
            decides: Gauge::default(),
            clock_error: Gauge::default(),
            attempts: Family::default(),
            notification_seconds: buckets(),
            monitors: Gauge::default(),
            open_incidents: Gauge::default(),
            no_channel: Gauge::default(),
            waiting: Gauge::default(),
            unsettled: Gauge::default(),
            dirty: Gauge::default(),
            deliveries_pending: Gauge::default(),
            deliveries_dead: Gauge::default(),
            outbox_age: Gauge::default(),
            loop_ok: Family::default(),
            loop_age: Family::default(),
            loop_failures: Family::default(),
            clock_steps: Gauge::default(),
            outages: Gauge::default(),
            history_lag_rows: Gauge::default(),
            history_lag_seconds: Gauge::default(),
            database_bytes: Gauge::default(),
            wal_bytes: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("checkins", "Check-ins made durable", self.checkins.clone());
        r.register(
            "checkins_refused",
            "Requests to check-in routes that were refused",
            self.refused.clone(),
        );
        r.register(
            "log_commits",
            "Group commits and beats appended to the log",
            self.commits.clone(),
        );
        r.register(
            "log_append_failures",
            "Failed appends to the log",
            self.append_failures.clone(),
        );
        r.register(
            "decisions",
            "Deciding transactions with news",
            self.decisions.clone(),
        );
        r.register(
            "decision_failures",
            "Deciding transactions that failed",
            self.decision_failures.clone(),
        );
        r.register(
            "incident_events",
            "Incident events decided",
            self.incident_events.clone(),
        );
        r.register(
            "decision_seconds",
            "Duration of a deciding transaction",
            self.decision_seconds.clone(),
        );
        r.register(
            "checkpoint_passes",
            "Completed passes over dirty states",
            self.passes.clone(),
        );
        r.register(
            "delivery_attempts",
            "Delivery attempts by outcome",
            self.attempts.clone(),
        );
        r.register(
            "notification_seconds",
            "From what went wrong to the end of the first attempt to tell it",
            self.notification_seconds.clone(),
        );
        r.register(
            "takeovers",
            "How often this replica took deciding over",
            self.takeovers.clone(),
        );
        r.register(
            "decides",
            "1 where this replica decides, 0 where it stands by",
            self.decides.clone(),
        );
        r.register(
            "clock_error_seconds",
            "How far this replica's time may be off the database's",
            self.clock_error.clone(),
        );
        r.register("monitors", "Monitors", self.monitors.clone());
        r.register(
            "incidents_open",
            "Open incidents",
            self.open_incidents.clone(),
        );
        r.register(
            "monitors_without_channel",
            "Monitors that resolve to no channel",
            self.no_channel.clone(),
        );
        r.register(
            "ingest_waiting",
            "Check-ins waiting to be written",
            self.waiting.clone(),
        );
        r.register(
            "monitors_unsettled",
            "Monitors that wait for a decision",
            self.unsettled.clone(),
        );
        r.register(
            "monitors_dirty",
            "Monitors whose state differs from its row",
            self.dirty.clone(),
        );
        r.register(
            "deliveries_pending",
            "Deliveries that wait or are being sent",
            self.deliveries_pending.clone(),
        );
        r.register(
            "deliveries_dead",
            "Deliveries given up",
            self.deliveries_dead.clone(),
        );
        r.register(
            "outbox_oldest_seconds",
            "Age of the oldest pending delivery",
            self.outbox_age.clone(),
        );
        r.register(
            "loop_ok",
            "1 while the loop does its work",
            self.loop_ok.clone(),
        );
        r.register(
            "loop_last_run_seconds",
            "Time since the loop last ran",
            self.loop_age.clone(),
        );
        r.register(
            "loop_failures",
            "Failed runs of the loop",
            self.loop_failures.clone(),
        );
        r.register(
            "clock_steps",
            "Steps of the clock that is followed: the machine's, or the shared database's",
            self.clock_steps.clone(),
        );
        r.register(
            "outages",
            "Outages of this installation that are remembered",
            self.outages.clone(),
        );
        r.register(
            "history_lag_rows",
            "Rows of the log that are not in history yet",
            self.history_lag_rows.clone(),
        );
        r.register(
            "history_lag_seconds",
            "Age of the oldest of them",
            self.history_lag_seconds.clone(),
        );
        r.register(
            "database_bytes",
            "Size of the database file",
            self.database_bytes.clone(),
        );
        r.register(
            "wal_bytes",
            "Size of the write-ahead log",
            self.wal_bytes.clone(),
        );
    }

    /// The text of `/metrics`.
    pub async fn text(&self, app: &App) -> String {
        self.measure(app);
        // While the database cannot be reached, the others matter most: these keep their last values.
        _ = tokio::time::timeout(ASK_WITHIN, self.ask(app)).await;
        let mut text = String::new();
        // Writing to a String does not fail.
        _ = encode(&mut text, &self.registry);
        text
    }

    fn measure(&self, app: &App) {
        let now = app.now();
        {
            let engine = app.engine.read();
            self.monitors.set(count(engine.len()));
            self.unsettled.set(count(engine.unsettled().count()));
            self.dirty.set(count(engine.dirty()));
            self.outages.set(count(engine.outages().iter().count()));
        }
        self.waiting.set(count(app.ingest.waiting()));
        for (of, health) in app.loops.health() {
            let label = |of: Loop| LoopLabel { name: of.name() };
            self.loop_ok
                .get_or_create(&label(of))
                .set(i64::from(health.failing.is_none()));
            if let Some(at) = health.last_run {
                self.loop_age
                    .get_or_create(&label(of))
                    .set(now.since(at).as_seconds());
            }
            self.loop_failures
                .get_or_create(&label(of))
                .set(i64::try_from(health.failures).unwrap_or(i64::MAX));
        }
        self.clock_steps.set(app.clock.steps());
        self.decides.set(i64::from(app.standing.epoch().is_some()));
        self.clock_error.set(
            app.clock
                .error()
                .map_or(0.0, systole_core::time::Span::as_seconds_f64),
        );
        self.wal_bytes
            .set(i64::try_from(app.store.wal_bytes()).unwrap_or(i64::MAX));
    }

    /// What the database knows.
    async fn ask(&self, app: &App) {
        let now = app.now();
        let project = systole_store::DEFAULT_PROJECT;
        if let Ok(open) = app.store.count_open_incidents(project).await {
            self.open_incidents.set(open);
        }
        if let Ok(none) = app.store.count_without_channel(project).await {
            self.no_channel.set(none);
        }
        if let Ok(depths) = app.store.outbox_depths().await {
            self.deliveries_pending.set(depths.pending);
            self.deliveries_dead.set(depths.dead);
            self.outbox_age.set(
                depths
                    .oldest
                    .map_or(0, |oldest| now.since(oldest).as_seconds()),
            );
        }
        if let Ok(lag) = app.store.history_lag().await {
            self.history_lag_rows.set(lag.rows);
            self.history_lag_seconds.set(
                lag.oldest
                    .map_or(0, |oldest| now.since(oldest).as_seconds()),
            );
        }
        if let Ok(bytes) = app.store.database_bytes().await {
            self.database_bytes
                .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
