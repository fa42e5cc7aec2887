//! Heartbeats made by a check-in by name with `?create=1`: a day and an hour of grace, as Healthchecks has it.

use std::sync::Arc;

use systole_core::engine::MonitorId;
use systole_core::heartbeat::Settings;
use systole_core::schedule::Schedule;
use systole_core::time::Span;
use systole_store::monitors::{KnownToken, MonitorFields, StoredToken};
use systole_store::{DEFAULT_PROJECT, Error};

use crate::app::App;
use crate::keys::{KeyError, random_uuid};

/// Why none was made.
pub enum Refused {
    /// Not a slug.
    Slug,
    /// A monitor of this name has another slug.
    Taken,
    /// The database refuses.
    Store(Error),
}

/// Makes a heartbeat of this slug.
///
/// # Errors
/// [`Refused`].
pub async fn heartbeat(app: &App, slug: &str) -> Result<MonitorId, Refused> {
    if systole_wire::rules::slug(slug).is_err() {
        return Err(Refused::Slug);
    }
    let schedule = Schedule::Every(Span::from_seconds(86_400));
    let fields = MonitorFields {
        name: slug.to_owned(),
        slug: slug.to_owned(),
        description: String::new(),
        severity: "critical".to_owned(),
        labels: Vec::new(),
        owner: String::new(),
        runbook_url: String::new(),
        channels: None,
        set: None,
        settings: Arc::new(Settings::new(schedule, Span::from_seconds(3_600))),
    };
    let (token, stored) =
        new_token(app).map_err(|_| Refused::Store(Error::Corrupt("no random bytes")))?;
    match app
        .store
        .create_monitors(
            app.now(),
            "check-in by name",
            DEFAULT_PROJECT,
            &[(fields, stored)],
        )
        .await
    {
        Ok((ids, row)) => {
            let monitor = ids.first().copied().unwrap_or_default();
            // Before its token is known: the engine ignores check-ins of monitors that it has not met.
            app.engine.apply(row).await;
            app.ping_tokens.insert(KnownToken {
                hash: app.keys.short_hash(&token),
                monitor,
            });
            Ok(monitor)
        }
        // Another request has just made it.
        Err(Error::Taken { .. }) => match app.store.monitor_by_slug(DEFAULT_PROJECT, slug).await {
            Ok(Some(id)) => Ok(id),
            Ok(None) => Err(Refused::Taken),
            Err(error) => Err(Refused::Store(error)),
        },
        Err(error) => Err(Refused::Store(error)),
    }
}

/// A new ping token, in clear and as it is stored.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_token(app: &App) -> Result<(String, StoredToken), KeyError> {
    let token = random_uuid()?.to_string();
    let stored = store_token(app, &token)?;
    Ok((token, stored))
}

/// A given ping token as it is stored: found by its keyed hash, encrypted for showing.
///
/// # Errors
/// When the system gives no random bytes.
pub fn store_token(app: &App, token: &str) -> Result<StoredToken, KeyError> {
    let cipher = app.keys.seal("ping-token", token.as_bytes())?;
    Ok(StoredToken {
        hash: app.keys.hash(token).to_vec(),
        cipher,
    })
}

/// The ping token of a monitor, for people who may see it.
///
/// # Errors
/// When it was encrypted with another key.
pub fn shown_token(app: &App, cipher: &[u8]) -> Result<String, KeyError> {
    let bytes = app.keys.open("ping-token", cipher)?;
    String::from_utf8(bytes).map_err(|_| KeyError::Sealed)
}
