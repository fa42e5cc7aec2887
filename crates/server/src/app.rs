//! What the parts of a running server share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use systole_core::engine::{CONFIGURATION, Engine, MonitorId, Record, Row};
use systole_core::time::Time;
use systole_store::Store;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::deliverer::Deliverer;
use crate::ingest::{Ingest, RefusedLimit};
use crate::keys::{Keys, constant_time_eq};
use crate::loops::Loops;
use crate::maintenance::Maintenances;
use crate::metrics::Metrics;
use crate::principals::Principals;
use crate::replica::Standing;
use crate::tokens::PingTokens;

/// See the module. One per process, behind an `Arc`.
pub struct App {
    /// What it was told.
    pub config: Config,
    /// How it is reached: `config.base_url`, or made from the listening address. Without a slash at the end.
    pub base_url: String,
    /// Another at every start, so that one can see which process answers.
    pub instance: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The time.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// The installation's key.
    pub keys: Keys,
    /// Whether this process decides.
    pub standing: Standing,
    /// Ping tokens.
    pub ping_tokens: PingTokens,
    /// API tokens and sessions.
    pub principals: Principals,
    /// The keyed hash of the project's ping key, where it has one.
    pub ping_key: RwLock<Option<[u8; 32]>>,
    /// Refused requests per source address.
    pub refused_limit: RefusedLimit,
    /// The headers of every answer to a check-in that was taken.
    pub accepted_headers: http::HeaderMap,
    /// Check-ins on their way to the log.
    pub ingest: Ingest,
    /// The engine's memory and the way to it.
    pub engine: EngineHandle,
    /// Maintenance windows.
    pub maintenance: Maintenances,
    /// Messages on their way out.
    pub deliverer: Deliverer,
    /// Counts.
    pub metrics: Metrics,
    /// Background loops and how they are.
    pub loops: Loops,
    /// Ends everything, in order: what writes, then what decides, then what sends.
    pub stop: CancellationToken,
    /// The writer has drained its queue and ended.
    pub drained: CancellationToken,
    /// The engine has decided what was left and ended.
    pub decided: CancellationToken,
}

/// The engine's memory and the way to it.
pub struct EngineHandle {
    memory: RwLock<Engine>,
    rows: mpsc::UnboundedSender<Arc<Row>>,
    /// Counts the turns of the loop.
    turns: watch::Sender<u64>,
    /// Wakes the loop without a row.
    pub nudge: Notify,
    follow_up: AtomicBool,
}

impl EngineHandle {
    /// Around a memory that has read the log up to its head.
    pub fn new(engine: Engine) -> (EngineHandle, mpsc::UnboundedReceiver<Arc<Row>>) {
        let (rows, receiver) = mpsc::unbounded_channel();
        let turns = watch::Sender::new(0);
        (
            EngineHandle {
                memory: RwLock::new(engine),
                rows,
                turns,
                nudge: Notify::new(),
                // A window may have been changed right before the former process ended.
                follow_up: AtomicBool::new(true),
            },
            receiver,
        )
    }

    /// For reading. Keep it short: folding waits.
    pub fn read(&self) -> RwLockReadGuard<'_, Engine> {
        self.memory
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// For the engine's loop alone.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Engine> {
        self.memory
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Hands a committed row over. The queue has no bound of its own: each row in it was acknowledged, and ingest
    /// admits no more than it can hold.
    pub(crate) fn hand_over(&self, row: Arc<Row>) {
        // The loop has ended: the process is about to.
        _ = self.rows.send(row);
    }

    /// Something is to be said at once that is not the engine's own news: a delivery died, a window changed.
    pub(crate) fn ask_follow_up(&self) {
        self.follow_up.store(true, Ordering::Release);
        self.nudge.notify_one();
    }

    /// What was asked for could not be done: it is tried at the next turn, which nothing hurries.
    pub(crate) fn keep_follow_up(&self) {
        self.follow_up.store(true, Ordering::Release);
    }

    pub(crate) fn take_follow_up(&self) -> bool {
        self.follow_up.swap(false, Ordering::AcqRel)
    }

    /// A turn of the loop is over: whoever waits for a decision looks again.
    pub(crate) fn settle(&self) {
        self.turns.send_modify(|turn| *turn += 1);
    }

    /// Hands a configuration row over and waits until it is decided, by this replica or another, so that whoever asks next sees
    /// what it did.
    pub async fn apply(&self, row: Row) {
        let seq = row.seq;
        let of_command = |record: &Record| match record {
            Record::Command(command) => command.monitor,
            Record::Checkin(..) => None,
        };
        let monitors: Vec<MonitorId> = row.records.iter().filter_map(of_command).collect();
        let mut turns = self.turns.subscribe();
        self.hand_over(Arc::new(row));
        let decided = turns.wait_for(|_| {
            let engine = self.read();
            engine.reached(CONFIGURATION) >= seq
                && !monitors.iter().any(|monitor| engine.is_unsettled(*monitor))
        });
        // It is durable either way; a decision that takes longer than this is said in /readyz.
        _ = tokio::time::timeout(std::time::Duration::from_secs(5), decided).await;
    }
}

impl App {
    /// The time.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Whether this is the project's ping key.
    pub fn is_ping_key(&self, key: &str) -> bool {
        let known = *self
            .ping_key
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.is_some_and(|known| constant_time_eq(&known, &self.keys.hash(key)))
    }

    /// The page of an incident.
    pub fn incident_url(&self, number: u64) -> String {
        format!("{}/incidents/{number}", self.base_url)
    }

    /// Whether the base URL leads no further than this machine.
    pub fn is_base_url_loopback(&self) -> bool {
        let host = url::Url::parse(&self.base_url)
            .ok()
            .and_then(|url| url.host().map(|host| host.to_owned()));
        match host {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
            Some(url::Host::Ipv6(address)) => address.is_loopback() || address.is_unspecified(),
            None => false,
        }
    }

    /// The page where a recipient of a channel takes their address off it; none where nobody could reach it.
    pub fn unsubscribe_url(&self, channel: i64) -> Option<String> {
        (!self.is_base_url_loopback()).then(|| {
            let token = self.keys.unsubscribe_token(channel);
            format!("{}/unsubscribe/{token}", self.base_url)
        })
    }

    /// The URL that a job calls.
    pub fn ping_url(&self, token: &str) -> String {
        format!("{}/ping/{token}", self.base_url)
    }
}
