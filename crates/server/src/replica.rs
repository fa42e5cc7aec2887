//! One of several replicas on a shared database: whether this one decides, and what the others have changed.
//!
//! Any replica accepts, one decides, every one knows. The lease says who decides; its epoch is checked in every deciding
//! transaction, so a replica that only believes that it decides changes nothing. With the embedded database there is
//! one process, and it decides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use systole_core::engine::{Action, CONFIGURATION, MonitorId, Record, Row};
use systole_core::time::{Span, Time};
use systole_store::durability::Durability;
use systole_store::monitors::KnownToken;
use systole_store::{DEFAULT_PROJECT, Error, Store};

use crate::app::App;

/// How often the lease is renewed.
pub(crate) const RENEW_EVERY: Span = Span::from_millis(500);
/// How often a replica that stands by tries to take it.
pub(crate) const TRY_EVERY: Span = Span::from_millis(250);
/// A renewal that takes longer has failed.
pub(crate) const RENEW_WITHIN: Duration = Duration::from_millis(1_000);
/// A stream that is silent for so long is closed by whoever sees it.
pub(crate) const SILENT: Span = Span::from_seconds(15);
/// For so long a token that is not in the database is not looked for again.
const UNKNOWN_FOR: Span = Span::from_seconds(1);
/// So many such tokens are remembered; beyond it all are forgotten.
const UNKNOWN_MAX: usize = 10_000;

/// Which part this process has.
#[derive(Default)]
pub struct Standing {
    /// The epoch of the lease that it holds; 0 while it stands by.
    epoch: AtomicI64,
    /// What an acknowledged row survives, as far as it is known.
    durability: Mutex<Option<Durability>>,
    unknown: Mutex<HashMap<u128, Time>>,
}

impl Standing {
    /// It decides, in this epoch.
    pub(crate) fn decides(&self, epoch: i64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// It stands by.
    pub(crate) fn stands_by(&self) {
        self.epoch.store(0, Ordering::Release);
    }

    /// The epoch in which it decides; `None` while it stands by.
    pub fn epoch(&self) -> Option<i64> {
        Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch > 0)
    }

    /// What the database said that an acknowledged row survives.
    pub(crate) fn durable(&self, durability: Option<Durability>) {
        *self
            .durability
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = durability;
    }

    /// What an acknowledged row survives; `None` with the embedded database, and as long as it is not known.
    pub fn durability(&self) -> Option<Durability> {
        *self
            .durability
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u128, Time>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The monitor of a token that memory does not know: another replica may have made it a moment ago, and its creation not have
/// been read yet. What is not there is not looked for again for a second.
///
/// # Errors
/// What the database says.
pub(crate) async fn look_for_token(
    app: &App,
    token: &str,
    now: Time,
) -> Result<Option<MonitorId>, Error> {
    if !app.store.is_shared() {
        return Ok(None);
    }
    let hash = app.keys.short_hash(token);
    let known = app.standing.lock().get(&hash).copied();
    if known.is_some_and(|at| now.since(at) < UNKNOWN_FOR) {
        return Ok(None);
    }
    let found = app.store.monitor_of_token(&app.keys.hash(token)).await?;
    match found {
        Some(monitor) => app.ping_tokens.insert(KnownToken { hash, monitor }),
        None => {
            let mut unknown = app.standing.lock();
            if unknown.len() >= UNKNOWN_MAX {
                unknown.clear();
            }
            unknown.insert(hash, now);
        }
    }
    Ok(found)
}

/// What rows of the configuration stream have changed that this process keeps in memory.
#[derive(Default)]
pub(crate) struct Changed {
    monitors: Vec<MonitorId>,
    other: bool,
}

impl Changed {
    /// Notes what these rows change.
    pub(crate) fn note(&mut self, rows: &[Row]) {
        let configuration = rows.iter().filter(|row| row.stream == CONFIGURATION);
        for record in configuration.flat_map(|row| &row.records) {
            let Record::Command(command) = record else {
                continue;
            };
            match (&command.action, command.monitor) {
                (Action::Create(_) | Action::Delete | Action::Configure, Some(monitor)) => {
                    self.monitors.push(monitor);
                }
                (Action::Configure, None) => self.other = true,
                _ => {}
            }
        }
    }

    /// Reads again what has changed.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn follow(mut self, app: &App) -> Result<(), Error> {
        self.monitors.sort_unstable();
        self.monitors.dedup();
        if !self.monitors.is_empty() {
            app.standing.lock().clear();
        }
        for monitors in self.monitors.chunks(1_000) {
            let (known, old) = app.store.tokens_of(monitors, app.now()).await?;
            app.ping_tokens.change(monitors, &known, &old);
        }
        if self.other {
            app.maintenance.reload(&app.store, DEFAULT_PROJECT).await?;
            app.engine.ask_follow_up();
        }
        Ok(())
    }
}

/// Reads again what other replicas may have changed without a row in the log: tokens of the API, the ping key, channels.
///
/// # Errors
/// What the database says.
pub(crate) async fn refresh(app: &App) -> Result<(), Error> {
    app.principals.reload(&app.store).await?;
    let ping_key = ping_key(&app.store).await?;
    *app.ping_key.write().unwrap_or_else(PoisonError::into_inner) = ping_key;
    app.deliverer.forget_configs();
    Ok(())
}

/// The keyed hash of the project's ping key.
///
/// # Errors
/// What the database says.
pub(crate) async fn ping_key(store: &Store) -> Result<Option<[u8; 32]>, Error> {
    let key = store.ping_key(DEFAULT_PROJECT).await?;
    Ok(key.and_then(|key| key.hash.try_into().ok()))
}
