//! Jobs that report: some without end, some that fall silent now and then. Each remembers what was acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::hooks::Hooks;
use crate::api::Client;
use crate::token::{Random, run_id, token};

/// A sender waits so long for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The schedule and the grace of jobs that fall silent, in seconds.
pub const EVERY: i64 = 4;
pub const GRACE: i64 = 2;
/// After so much calm an incident must have been opened: the schedule, the grace and some seconds more.
const CALM_ENOUGH: i64 = EVERY + GRACE + 15;
/// Once the last disturbance has ended: 15 s until a stream is closed, up to 4 s until somebody looks, 4 s by which
/// an outage is widened, and some seconds until everything is connected again.
const AFTERMATH: i64 = 32;

/// What all senders share.
pub struct Field {
    pub seed: u64,
    /// Where the servers are; nowhere while they are started.
    pub addresses: RwLock<[Option<SocketAddr>; super::REPLICAS]>,
    pub hooks: Hooks,
    pub stop: AtomicBool,
    /// No job falls silent any more.
    pub settle: AtomicBool,
    /// Jobs that are silent.
    pub silent: AtomicU64,
    next_run: AtomicU64,
    /// Milliseconds of calm until now, and when the present disturbance ends.
    calm: AtomicI64,
    disturbed_until: Mutex<Instant>,
    pub attempts: AtomicU64,
    /// Answers that no fault explains, with their numbers.
    pub refused: Mutex<std::collections::BTreeMap<u16, u64>>,
}

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub run: Uuid,
    pub sent: Timestamp,
    /// `None` where no answer came, or a refusal.
    pub acknowledged: Option<Timestamp>,
}

/// What one job did.
#[derive(Clone, Debug)]
pub struct History {
    pub monitor: String,
    /// In order.
    pub attempts: Vec<Attempt>,
    /// It was silent on purpose after the attempts of these numbers, and long enough for an incident.
    pub silences: Vec<usize>,
}

impl Field {
    pub fn new(seed: u64, hooks: Hooks) -> Field {
        Field {
            seed,
            addresses: RwLock::default(),
            hooks,
            stop: AtomicBool::new(false),
            settle: AtomicBool::new(false),
            silent: AtomicU64::new(0),
            next_run: AtomicU64::new(0),
            calm: AtomicI64::new(0),
            disturbed_until: Mutex::new(Instant::now()),
            attempts: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }

    /// Something is broken, until told otherwise.
    pub fn disturbed(&self) {
        *self
            .disturbed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now() + Duration::from_secs(86_400);
    }

    /// It has ended: what it leaves behind takes a while.
    pub fn undisturbed(&self) {
        *self
            .disturbed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) =
            Instant::now() + Duration::from_secs(AFTERMATH.unsigned_abs());
    }

    fn is_calm(&self) -> bool {
        let until = self
            .disturbed_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *until < Instant::now()
    }

    /// Counts the calm until told to stop.
    pub fn keep_time(&self) {
        const STEP: Duration = Duration::from_millis(100);
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(STEP);
            if self.is_calm() {
                self.calm.fetch_add(100, Ordering::Relaxed);
            }
        }
    }

    fn address(&self, replica: usize) -> Option<SocketAddr> {
        self.addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner)[replica]
    }
}

/// Connections to all servers.
struct Sender<'a> {
    field: &'a Field,
    random: Random,
    clients: [Option<(SocketAddr, Client)>; super::REPLICAS],
}

impl<'a> Sender<'a> {
    fn new(field: &'a Field, number: u64) -> Sender<'a> {
        Sender {
            field,
            random: Random::new(field.seed ^ (number + 1).wrapping_mul(0x9e37_79b9)),
            clients: Default::default(),
        }
    }

    /// Reports until somebody has acknowledged, each time to another server.
    fn report(&mut self, token: Uuid, attempts: &mut Vec<Attempt>) -> bool {
        let replicas = super::REPLICAS as u64;
        let mut replica = usize::try_from(self.random.below(replicas)).unwrap_or(0);
        while !self.field.stop.load(Ordering::Relaxed) {
            if let Some((address, mut client)) = self.client(replica) {
                let number = self.field.next_run.fetch_add(1, Ordering::Relaxed);
                let run = run_id(self.field.seed, number);
                let sent = Timestamp::now();
                self.field.attempts.fetch_add(1, Ordering::Relaxed);
                let answer = client.ping_run(&token.to_string(), run).ok();
                attempts.push(Attempt {
                    run,
                    sent,
                    acknowledged: (answer == Some(200)).then(Timestamp::now),
                });
                if answer.is_some() {
                    self.clients[replica] = Some((address, client));
                }
                match answer {
                    Some(200) => return true,
                    Some(503) | None => {}
                    Some(other) => {
                        let refused = self.field.refused.lock();
                        let mut refused = refused.unwrap_or_else(PoisonError::into_inner);
                        *refused.entry(other).or_default() += 1;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(100));
            replica = (replica + 1) % super::REPLICAS;
        }
        false
    }

    /// The connection to a server, while there is one.
    fn client(&mut self, replica: usize) -> Option<(SocketAddr, Client)> {
        let address = self.field.address(replica)?;
        let known = self.clients[replica]
            .take()
            .filter(|(known, _)| *known == address);
        match known {
            Some(known) => Some(known),
            None => Some((address, Client::connect_within(address, PATIENCE).ok()?)),
        }
    }
}

/// Reports for many monitors in turn, without end.
pub fn steady(field: &Field, first: u32, monitors: u32, pause: Duration) -> Vec<History> {
    let mut sender = Sender::new(field, u64::from(first));
    let mut histories: Vec<History> = (first..first + monitors)
        .map(|number| History::new(format!("steady-{number}")))
        .collect();
    while !field.stop.load(Ordering::Relaxed) {
        for (number, history) in (first..).zip(&mut histories) {
            sender.report(token(field.seed, u64::from(number)), &mut history.attempts);
            std::thread::sleep(pause);
        }
    }
    histories
}

/// Reports every so often, and falls silent now and then until its incident is known.
pub fn lapsing(field: &Field, number: u32) -> History {
    let mut sender = Sender::new(field, u64::from(number));
    let mut history = History::new(format!("lapsing-{number}"));
    let token = token(field.seed, u64::from(number));
    loop {
        let beating = Duration::from_millis(8_000 + sender.random.below(25_000));
        let begun = Instant::now();
        while begun.elapsed() < beating || field.settle.load(Ordering::Relaxed) {
            if !sender.report(token, &mut history.attempts) {
                return history;
            }
            std::thread::sleep(Duration::from_millis(500 + sender.random.below(400)));
        }
        field.silent.fetch_add(1, Ordering::Relaxed);
        history.silences.push(history.attempts.len() - 1);
        wait_for_incident(field, &history);
        std::thread::sleep(Duration::from_millis(sender.random.below(3_000)));
        field.silent.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the receiver was told, or until it must have been opened although the message may be under way.
fn wait_for_incident(field: &Field, history: &History) {
    // An answer may take seconds, and a deadline pass before it: that incident belongs to the silence before.
    let since = history
        .attempts
        .last()
        .and_then(|last| last.acknowledged)
        .unwrap_or(Timestamp::MIN);
    let calm = field.calm.load(Ordering::Relaxed);
    while !field.hooks.knows_of(&history.monitor, since) && !field.stop.load(Ordering::Relaxed) {
        if field.calm.load(Ordering::Relaxed) - calm > CALM_ENOUGH * 1_000 {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

impl History {
    fn new(monitor: String) -> History {
        History {
            monitor,
            attempts: Vec::new(),
            silences: Vec::new(),
        }
    }
}
