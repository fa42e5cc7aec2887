//! Carries decided messages out; decides nothing but when to try again.
//!
//! What a decision made for this process comes claimed through memory, so that deadline to message is one commit.
//! Everything else (retries, what another process left, groups) is claimed from the outbox when it is due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use systole_core::delivery::{Breaker, Health, MaySend, Outcome, Step, next_step};
use systole_core::time::{Span, Time};
use systole_store::deliveries::{Attempt, CLAIM, Finish, Finished, Outgoing};
use systole_store::{DEFAULT_PROJECT, Error};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::channels::{Config, Sending};
use crate::compose;
use crate::keys::random;
use crate::loops::Loop;
use crate::metrics::OutcomeLabel;
use crate::outbound::{Answer, Outbound, SendError};

/// Requests under way at once.
const CONCURRENCY: usize = 64;
/// Of these, so many of one channel: one that is slow must not hold the others up.
const CONCURRENCY_OF_ONE: usize = 48;
/// A claim this old is not written any more: the request could outlive the claim.
const WRITE_BEFORE: Span = Span::from_micros(CLAIM.as_micros() - 10_000_000);
/// Attempts that are recorded in one transaction.
const FINISH_MAX: usize = 400;
/// The longest sleep between two looks at the outbox.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// See the module.
pub struct Deliverer {
    outbound: Outbound,
    now: mpsc::UnboundedSender<(Time, Vec<Outgoing>)>,
    nudge: Notify,
    finished: mpsc::UnboundedSender<Finished>,
    breakers: Mutex<HashMap<i64, Breaker>>,
    configs: Mutex<HashMap<i64, Arc<(i64, Config)>>>,
    slots: Mutex<HashMap<i64, Arc<Semaphore>>>,
}

/// What the loop receives from: decisions with the time of their claims, and attempts that have ended.
pub struct Incoming {
    decided: mpsc::UnboundedReceiver<(Time, Vec<Outgoing>)>,
    finished: mpsc::UnboundedReceiver<Finished>,
}

impl Deliverer {
    /// With nothing to do yet.
    pub fn new(outbound: Outbound) -> (Deliverer, Incoming) {
        let (now, incoming) = mpsc::unbounded_channel();
        let (finished, recorded) = mpsc::unbounded_channel();
        let deliverer = Deliverer {
            outbound,
            now,
            nudge: Notify::new(),
            finished,
            breakers: Mutex::default(),
            configs: Mutex::default(),
            slots: Mutex::default(),
        };
        (
            deliverer,
            Incoming {
                decided: incoming,
                finished: recorded,
            },
        )
    }

    /// The client, for other requests to user-given URLs.
    pub const fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// What a decision has claimed for this process. Their claims count from the decision.
    pub(crate) fn send_now(&self, outgoing: Vec<Outgoing>) {
        if let Some(first) = outgoing.first() {
            // Where the loop has ended the rows stay in the outbox.
            _ = self.now.send((first.decided_at, outgoing));
        }
    }

    /// A channel changed.
    pub fn nudge(&self) {
        self.lock_configs().clear();
        self.nudge.notify_one();
    }

    /// Channels may have been changed through another replica.
    pub(crate) fn forget_configs(&self) {
        self.lock_configs().clear();
    }

    /// Something became due.
    pub(crate) fn look_again(&self) {
        self.nudge.notify_one();
    }

    fn lock_configs(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Arc<(i64, Config)>>> {
        self.configs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn slots_of(&self, channel: i64) -> Arc<Semaphore> {
        let mut slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_one = slots
            .entry(channel)
            .or_insert_with(|| Arc::new(Semaphore::new(CONCURRENCY_OF_ONE)));
        Arc::clone(of_one)
    }

    /// Channels all of whose slots are taken.
    fn busy(&self) -> Vec<i64> {
        let slots = self
            .slots
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_busy = |slots: &Semaphore| slots.available_permits() == 0;
        slots
            .iter()
            .filter(|(_, slots)| is_busy(slots))
            .map(|(channel, _)| *channel)
            .collect()
    }

    fn may_send(&self, channel: i64, now: Time) -> MaySend {
        let mut breakers = self
            .breakers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        breakers.entry(channel).or_default().may_send(now)
    }

    fn record(&self, channel: i64, health: Health, now: Time) {
        let mut breakers = self
            .breakers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        breakers.entry(channel).or_default().record(health, now);
    }

    /// The channel's configuration, decrypted; `None` when the channel is gone.
    pub(crate) async fn config(
        &self,
        app: &App,
        channel: i64,
    ) -> Result<Option<Arc<(i64, Config)>>, Error> {
        if let Some(known) = self.lock_configs().get(&channel) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(row) = app.store.channel(DEFAULT_PROJECT, channel).await? else {
            return Ok(None);
        };
        let opened = app.keys.open("channel", &row.fields.config_cipher).ok();
        let value = opened.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let config = value.and_then(|value| Config::parse(&row.fields.kind, &value).ok());
        let config = config.ok_or(Error::Corrupt("a channel's configuration cannot be read"))?;
        let config = Arc::new((row.rev, config));
        self.lock_configs().insert(channel, Arc::clone(&config));
        Ok(Some(config))
    }
}

/// Sends until told to stop, then waits for what is under way.
pub(crate) async fn run(app: &Arc<App>, mut incoming: Incoming) -> Result<(), &'static str> {
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    let tracker = TaskTracker::new();
    let sent = CancellationToken::new();
    let finisher = tokio::spawn(finisher(Arc::clone(app), incoming.finished, sent.clone()));
    // Asked after a look, not before each wait: a fresh decision should not wait for a query.
    let mut pause = Duration::ZERO;
    while !app.decided.is_cancelled() {
        tokio::select! {
            biased;
            received = incoming.decided.recv() => {
                if let Some((claimed_at, outgoing)) = received {
                    spawn(app, &tracker, &slots, claimed_at, outgoing);
                }
                continue;
            }
            () = app.decided.cancelled() => break,
            () = app.deliverer.nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        match look(app, &slots, &tracker).await {
            Ok(()) => {
                pause = wait(app).await;
                app.loops.healed(Loop::Deliverer);
                app.loops.ran(Loop::Deliverer, app.now());
            }
            Err(error) => {
                if app
                    .loops
                    .failed(Loop::Deliverer, "the outbox cannot be read")
                {
                    tracing::error!(error = %crate::chain(&error), "cannot look into the outbox");
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    tracker.close();
    // An HTTP request takes ten seconds at most; mail may take longer. What is not finished then is sent again by the next
    // start.
    _ = tokio::time::timeout(Duration::from_secs(12), tracker.wait()).await;
    sent.cancel();
    _ = finisher.await;
    Ok(())
}

async fn wait(app: &App) -> Duration {
    match app.store.next_delivery_at().await {
        // Due and not claimed: it waits for another or for its channel. Whoever finishes nudges.
        Ok(Some(at)) if at <= app.now() => Duration::from_millis(500),
        Ok(Some(at)) => at
            .since(app.now())
            .as_std()
            .clamp(Duration::from_millis(20), LOOK_EVERY),
        _ => LOOK_EVERY,
    }
}

/// Claims what is due, as much as there are free slots.
async fn look(app: &Arc<App>, slots: &Arc<Semaphore>, tracker: &TaskTracker) -> Result<(), Error> {
    let free = slots.available_permits();
    if free == 0 {
        return Ok(());
    }
    let now = app.now();
    let mut waiting = waiting_channels(app, now);
    waiting.extend(app.deliverer.busy());
    let claimed = app
        .store
        .claim(now, u32::try_from(free).unwrap_or(1), &waiting)
        .await?;
    spawn(app, tracker, slots, now, claimed);
    Ok(())
}

/// Channels whose breaker says to wait. Looking must not use up the single probe that an open one grants.
fn waiting_channels(app: &App, now: Time) -> Vec<i64> {
    let breakers = app
        .deliverer
        .breakers
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let waits = |breaker: &Breaker| matches!(breaker.clone().may_send(now), MaySend::WaitUntil(_));
    breakers
        .iter()
        .filter(|(_, breaker)| waits(breaker))
        .map(|(channel, _)| *channel)
        .collect()
}

fn spawn(
    app: &Arc<App>,
    tracker: &TaskTracker,
    slots: &Arc<Semaphore>,
    claimed_at: Time,
    outgoing: Vec<Outgoing>,
) {
    for together in groups(outgoing) {
        let (app, slots) = (Arc::clone(app), Arc::clone(slots));
        tracker.spawn(async move {
            let channel = together.first().map_or(0, |first| first.channel);
            // The channel's own first: who waits for it must hold nothing that others need.
            let of_one = app.deliverer.slots_of(channel).acquire_owned().await;
            let (Ok(_of_one), Ok(_slot)) = (of_one, slots.acquire_owned().await) else {
                return;
            };
            if let Err(error) = deliver(&app, &together, claimed_at).await {
                // Its claim lapses and it is tried again.
                tracing::error!(error = %crate::chain(&error), "cannot record a delivery");
            }
        });
    }
}

/// Those of one group and channel go together.
fn groups(outgoing: Vec<Outgoing>) -> Vec<Vec<Outgoing>> {
    let mut groups: Vec<Vec<Outgoing>> = Vec::new();
    for one in outgoing {
        let fits = |group: &&mut Vec<Outgoing>| {
            one.grouped.is_some()
                && group[0].grouped == one.grouped
                && group[0].channel == one.channel
                // What has been tried before keeps its members: its key may be known already.
                && group[0].attempts == one.attempts
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

async fn deliver(app: &App, together: &[Outgoing], claimed_at: Time) -> Result<(), Error> {
    let Some(first) = together.first() else {
        return Ok(());
    };
    let claims: Vec<(i64, i64)> = together.iter().map(|one| (one.id, one.claim)).collect();
    let now = app.now();
    let config = match app.deliverer.config(app, first.channel).await {
        Err(Error::Corrupt(why)) => {
            tracing::error!(
                channel = first.channel,
                why,
                "a delivery is dead: save its channel again, then replay it"
            );
            let attempt = not_tried(now, why);
            app.store
                .finish(now, &claims, &attempt, Finish::Dead)
                .await?;
            return Ok(());
        }
        config => config?,
    };
    let Some(config) = config else {
        let attempt = not_tried(now, "the channel was deleted");
        app.store
            .finish(now, &claims, &attempt, Finish::Dead)
            .await?;
        return Ok(());
    };
    if together.len() > 1 && !config.1.can_group() {
        for one in together {
            Box::pin(deliver(app, std::slice::from_ref(one), claimed_at)).await?;
        }
        return Ok(());
    }
    if let MaySend::WaitUntil(until) = app.deliverer.may_send(first.channel, now) {
        return app.store.put_back(&claims, until).await;
    }
    let Some(message) = compose::message(app, together) else {
        return Ok(());
    };
    let unsubscribe_url = app.unsubscribe_url(first.channel);
    let sending = Sending {
        delivery_id: &first.key,
        attempt: first.attempts,
        now,
        base_url: &app.base_url,
        channel: first.channel,
        unsubscribe_url: unsubscribe_url.as_deref(),
    };
    let Some(request) = config.1.request(&message, &sending) else {
        app.deliverer.record(first.channel, Health::Unknown, now);
        let attempt = not_tried(now, "this channel's format has no such message");
        app.store
            .finish(now, &claims, &attempt, Finish::NotSent)
            .await?;
        return Ok(());
    };
    let in_time = || app.now().since(claimed_at) < WRITE_BEFORE;
    let answer = app.deliverer.outbound.deliver(request, in_time).await;
    let after = app.now();
    if matches!(&answer, Err(error) if error.class == systole_core::delivery::ErrorClass::ClaimTooOld)
    {
        app.deliverer.record(first.channel, Health::Unknown, after);
        return Ok(());
    }
    let outcome = judge(&config.1, &answer, after);
    app.deliverer.record(first.channel, outcome.health(), after);
    let attempt = attempt(now, after, &answer, outcome);
    app.metrics
        .attempts
        .get_or_create(&OutcomeLabel {
            outcome: attempt.outcome.clone(),
        })
        .inc();
    if first.attempts == 1 {
        app.metrics
            .notification_seconds
            .observe(after.since(first.at).as_seconds_f64());
    }
    let finish = match next_step(outcome, first.attempts, first.decided_at, after, jitter()) {
        Step::Delivered => Finish::Delivered,
        Step::RetryAt(at) => Finish::RetryAt(at),
        Step::Dead(reason) => {
            tracing::error!(delivery = first.id, channel = first.channel, reason = ?reason, detail = attempt.detail,
                "a delivery is dead; replay it when the channel works again");
            Finish::Dead
        }
    };
    // The finisher has ended only where the process is about to: the claim runs out and it is sent again.
    _ = app.deliverer.finished.send(Finished {
        claims,
        attempt,
        finish,
    });
    Ok(())
}

/// Writes down what attempts came to, many in one transaction: after a burst each on its own would hold the log's
/// writer for seconds.
async fn finisher(
    app: Arc<App>,
    mut finished: mpsc::UnboundedReceiver<Finished>,
    sent: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = finished.recv_many(&mut batch, FINISH_MAX) => {}
            () = sent.cancelled() => return,
        }
        let begun = app.now();
        let mut tries = 1;
        while let Err(error) = app.store.finish_all(app.now(), &batch).await {
            tracing::error!(error = %crate::chain(&error), tries, "cannot record deliveries");
            // Until their claims run out nobody else sends them, so a database that comes back meanwhile spares the
            // receiver a repetition.
            let patient = !sent.is_cancelled() && app.now().since(begun) < WRITE_BEFORE;
            if tries >= 5 && !patient {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200 * tries.min(5))).await;
            tries += 1;
        }
        if batch.iter().any(|one| one.finish == Finish::Dead) {
            app.engine.ask_follow_up();
        }
        batch.clear();
        // What waited behind them may go now.
        app.deliverer.look_again();
    }
}

fn not_tried(now: Time, why: &str) -> Attempt {
    Attempt {
        at: now,
        latency: Span::ZERO,
        outcome: "not_sent".to_owned(),
        status: None,
        detail: why.to_owned(),
    }
}

fn judge(config: &Config, answer: &Result<Answer, SendError>, now: Time) -> Outcome {
    match answer {
        Ok(answer) => config.judge(answer, now),
        Err(error) => error.outcome(),
    }
}

fn attempt(
    begun: Time,
    ended: Time,
    answer: &Result<Answer, SendError>,
    outcome: Outcome,
) -> Attempt {
    let (status, detail) = match answer {
        Ok(answer) => (Some(answer.status()), answer.detail()),
        Err(error) => (None, error.message.clone()),
    };
    let outcome = outcome
        .class()
        .map_or("delivered", |class| class.as_str())
        .to_owned();
    Attempt {
        at: begun,
        latency: ended.since(begun),
        outcome,
        status,
        detail: detail.trim_end_matches([':', ' ']).to_owned(),
    }
}

/// Uniform in `[0, 1)`; without random bytes retries merely bunch.
fn jitter() -> f64 {
    random::<4>().map_or(0.5, |bytes| {
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    })
}

/// Sends a test message on a channel at once; answers how it went.
///
/// # Errors
/// What the database says.
pub async fn test(app: &App, channel: i64) -> Result<Option<Attempt>, Error> {
    let Some(config) = app.deliverer.config(app, channel).await? else {
        return Ok(None);
    };
    let now = app.now();
    let message = systole_core::message::Message::channel_test(now);
    let key = format!("msg_{}", uuid::Uuid::now_v7().simple());
    let unsubscribe_url = app.unsubscribe_url(channel);
    let sending = Sending {
        delivery_id: &key,
        attempt: 1,
        now,
        base_url: &app.base_url,
        channel,
        unsubscribe_url: unsubscribe_url.as_deref(),
    };
    let Some(request) = config.1.request(&message, &sending) else {
        return Ok(Some(not_tried(
            now,
            "this channel's format has no test message",
        )));
    };
    let answer = app.deliverer.outbound.deliver(request, || true).await;
    let after = app.now();
    let outcome = judge(&config.1, &answer, after);
    Ok(Some(attempt(now, after, &answer, outcome)))
}
