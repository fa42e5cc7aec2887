//! Many heartbeats at once, before the server starts: for benchmarks.

use std::path::Path;
use std::sync::Arc;

use systole_core::engine::Position;
use systole_core::heartbeat::{Checkin, Settings, Signal};
use systole_core::schedule::Schedule;
use systole_core::time::Span;
use systole_store::log::Batch;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Store};

use crate::clock::Clock;
use crate::engine_loop;
use crate::keys::Keys;
use crate::serve::ServeError;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// How many.
    pub count: u32,
    /// Their period.
    pub every: Span,
    /// Their grace.
    pub grace: Span,
}

/// Where to make them.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// In a data directory, whose key is made too.
    Directory(&'a Path),
    /// In a shared database.
    Database {
        /// Its URL.
        url: &'a str,
        /// The key that its replicas will be given.
        key: &'a [u8; 32],
    },
}

const CHUNK: u32 = 1_000;

/// Makes heartbeats `seeded 0`, `seeded 1` … that have just reported a success, with the tokens that `token` gives.
/// No server may use the place.
///
/// # Errors
/// What the disk or the database says.
pub async fn heartbeats(
    place: Place<'_>,
    seed: Seed,
    token: impl Fn(u32) -> String,
) -> Result<(), ServeError> {
    let clock = Clock::start();
    let (store, keys) = match place {
        Place::Directory(directory) => (
            Store::open(directory).await?,
            Keys::load(None, None, directory)?,
        ),
        Place::Database { url, key } => (Store::connect(url).await?, Keys::new(key)),
    };
    if store.key_check().await?.is_none() {
        store.install(clock.now(), keys.id(), keys.check()).await?;
    }
    let settings = Arc::new(Settings::new(Schedule::Every(seed.every), seed.grace));
    let stream = store.open_stream("seed", clock.now()).await?;
    for (seq, first) in (1..).zip((0..seed.count).step_by(CHUNK as usize)) {
        let mut monitors = Vec::new();
        for index in first..(first + CHUNK).min(seed.count) {
            monitors.push(monitor(&keys, index, &token(index), &settings)?);
        }
        let (ids, _) = store
            .create_monitors(clock.now(), "seed", DEFAULT_PROJECT, &monitors)
            .await?;
        let at = clock.now();
        let mut packer = BatchPacker::new(at);
        for monitor in &ids {
            packer.push(&CheckinRecord {
                monitor: *monitor,
                checkin: Checkin {
                    at,
                    signal: Signal::Success,
                    run: None,
                },
                previous: Position::NONE,
                method: Method::Get,
                source: None,
                user_agent: "seed".into(),
                message: String::new(),
                body: Vec::new(),
                body_truncated: false,
            });
        }
        let batch = Batch {
            stream,
            seq,
            at,
            count: ids.len(),
            body: packer.finish(),
        };
        store.append(&batch, || clock.now()).await?;
    }
    let epoch = store.take_lease(stream).await?;
    let (mut engine, kept) = engine_loop::boot(&store).await?.parts();
    let mut settings = kept.settings;
    engine.begin_pass();
    while let Some(chunk) = engine.sweep(5_000) {
        store.sweep(epoch, &chunk, &mut settings).await?;
        engine.swept(&chunk);
    }
    store.checkpoint_wal(true).await?;
    Ok(())
}

fn monitor(
    keys: &Keys,
    index: u32,
    token: &str,
    settings: &Arc<Settings>,
) -> Result<(MonitorFields, StoredToken), ServeError> {
    let fields = MonitorFields {
        name: format!("seeded {index}"),
        slug: format!("seeded-{index}"),
        description: String::new(),
        severity: "critical".to_owned(),
        labels: Vec::new(),
        owner: String::new(),
        runbook_url: String::new(),
        channels: None,
        set: None,
        settings: Arc::clone(settings),
    };
    let cipher = keys.seal("ping-token", token.as_bytes())?;
    Ok((
        fields,
        StoredToken {
            hash: keys.hash(token).to_vec(),
            cipher,
        },
    ))
}
