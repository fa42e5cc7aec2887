//! Every background loop of the server, listed: when it last ran, and what is wrong with it.
//!
//! Loops are idempotent, take no input, run by period and by nudge alike, and stop on one cancellation token. One that
//! ends before it is told to takes the process down, loudly: `serve` sees to that.

use std::sync::Mutex;

use systole_core::time::{Span, Time};

/// A background loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loop {
    /// Appends check-ins and beats to the log.
    Writer,
    /// Folds, decides, sweeps.
    Engine,
    /// Sends messages.
    Deliverer,
    /// Moves the write-ahead log into the database file; follows the wall clock.
    Housekeeper,
    /// Writes history behind the log, and rolls hours up.
    History,
    /// Drops what is older than it may be.
    Retention,
    /// Calls the self heartbeat's URL.
    SelfHeartbeat,
}

impl Loop {
    /// Every loop.
    pub const ALL: [Loop; 7] = [
        Loop::Writer,
        Loop::Engine,
        Loop::Deliverer,
        Loop::Housekeeper,
        Loop::History,
        Loop::Retention,
        Loop::SelfHeartbeat,
    ];

    /// Its name for people and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Loop::Writer => "writer",
            Loop::Engine => "engine",
            Loop::Deliverer => "deliverer",
            Loop::Housekeeper => "housekeeper",
            Loop::History => "history",
            Loop::Retention => "retention",
            Loop::SelfHeartbeat => "self_heartbeat",
        }
    }

    /// How long it may take between two runs before something is wrong.
    const fn overdue_after(self) -> Span {
        match self {
            Loop::Writer | Loop::Engine | Loop::Deliverer => Span::from_seconds(15),
            Loop::Housekeeper => Span::from_seconds(60),
            Loop::History | Loop::Retention | Loop::SelfHeartbeat => Span::from_seconds(600),
        }
    }

    /// Whether the server is of no use while it fails.
    const fn is_vital(self) -> bool {
        matches!(self, Loop::Writer | Loop::Engine | Loop::Deliverer)
    }
}

/// How a loop is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Health {
    /// When it last completed a run.
    pub last_run: Option<Time>,
    /// What is wrong, free of addresses and credentials.
    pub failing: Option<&'static str>,
    /// Failed runs since the start.
    pub failures: u64,
}

/// How all of them are.
#[derive(Default)]
pub struct Loops {
    health: Mutex<[Health; Loop::ALL.len()]>,
}

impl Loops {
    /// It completed a run.
    pub fn ran(&self, of: Loop, now: Time) {
        self.lock()[of as usize].last_run = Some(now);
    }

    /// Something is wrong with it; `true` when that is news.
    pub fn failed(&self, of: Loop, why: &'static str) -> bool {
        let health = &mut self.lock()[of as usize];
        health.failures += 1;
        health.failing.replace(why) != Some(why)
    }

    /// Nothing is wrong with it any more; `true` when that is news.
    pub fn healed(&self, of: Loop) -> bool {
        self.lock()[of as usize].failing.take().is_some()
    }

    /// Whether something is known to be wrong with it.
    pub fn is_failing(&self, of: Loop) -> bool {
        self.lock()[of as usize].failing.is_some()
    }

    /// How each is.
    pub fn health(&self) -> Vec<(Loop, Health)> {
        Loop::ALL.into_iter().zip(*self.lock()).collect()
    }

    /// Why the server is not ready, in words free of addresses and credentials; empty when it is.
    pub fn not_ready(&self, now: Time) -> Vec<String> {
        let mut reasons = Vec::new();
        for (of, health) in self.health() {
            let name = of.name();
            match (health.failing, health.last_run) {
                (Some(why), _) if of.is_vital() => reasons.push(format!("{name}: {why}")),
                (_, None) => reasons.push(format!("{name}: has not run yet")),
                (_, Some(at)) if of.is_vital() && now.since(at) > of.overdue_after() => {
                    reasons.push(format!("{name}: has not run since {at}"));
                }
                _ => {}
            }
        }
        reasons
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Health; Loop::ALL.len()]> {
        self.health
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_loop_has_run_and_no_vital_one_fails() {
        let loops = Loops::default();
        let now = Time::from_seconds(100);
        assert_eq!(loops.not_ready(now).len(), Loop::ALL.len());
        for of in Loop::ALL {
            loops.ran(of, now);
        }
        assert!(loops.not_ready(now).is_empty());
        assert!(loops.failed(Loop::Writer, "the log cannot be written"));
        assert!(
            !loops.failed(Loop::Writer, "the log cannot be written"),
            "said once"
        );
        loops.failed(Loop::SelfHeartbeat, "no answer");
        assert_eq!(loops.not_ready(now), ["writer: the log cannot be written"]);
        assert!(loops.healed(Loop::Writer));
        assert_eq!(
            loops.not_ready(now + Span::from_seconds(20)).len(),
            3,
            "vital loops are overdue"
        );
    }
}
