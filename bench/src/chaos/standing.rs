//! Who decides, by what the servers say of themselves, and how long nobody does.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a server writes when it decides, and when it no longer does.
const DECIDES: &str = "this replica decides now";
const DECIDES_NOT: [&str; 4] = [
    "handed deciding over",
    "another replica decides now; this one stands by",
    "the lease could not be renewed in time; this replica stands by",
    "cannot decide; reading the states again until it works",
];

/// What made the decider stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// It died, or stood still, or was cut off.
    Fault,
    /// It was asked to stop.
    Planned,
}

/// How long it took until another one decided.
#[derive(Default, Clone, Debug)]
pub struct Times {
    /// After a fault.
    pub take_over: Vec<Duration>,
    /// After a planned stop.
    pub hand_over: Vec<Duration>,
    /// While the database could be reached by somebody.
    pub longest_without: Duration,
}

#[derive(Default)]
struct Inner {
    deciders: [bool; super::REPLICAS],
    /// Decided before it stood still or was cut off, and has not heard of another since.
    suspended: [bool; super::REPLICAS],
    lost: Option<(Loss, Instant)>,
    /// Since when nobody decides although somebody could.
    nobody_since: Option<Instant>,
    /// Nobody can: the database is away, or every server.
    excused: bool,
    times: Times,
}

/// Shared by the servers' readers and the run.
#[derive(Default)]
pub struct Standings(Mutex<Inner>);

impl Standings {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server wrote a line.
    pub fn said(&self, replica: usize, line: &str) {
        if line.contains(DECIDES) {
            let mut inner = self.lock();
            inner.deciders[replica] = true;
            inner.suspended = Default::default();
            if let Some((loss, since)) = inner.lost.take() {
                let took = since.elapsed();
                match loss {
                    Loss::Fault => inner.times.take_over.push(took),
                    Loss::Planned => inner.times.hand_over.push(took),
                }
            }
            inner.judge();
        } else if DECIDES_NOT.iter().any(|words| line.contains(words)) {
            self.is_gone(replica);
        }
    }

    /// It decides no more.
    pub fn is_gone(&self, replica: usize) {
        let mut inner = self.lock();
        inner.deciders[replica] = false;
        inner.suspended[replica] = false;
        inner.judge();
    }

    /// It stands still, or cannot reach the database.
    pub fn suspend(&self, replica: usize) {
        let mut inner = self.lock();
        inner.suspended[replica] = std::mem::take(&mut inner.deciders[replica]);
        inner.judge();
    }

    /// It goes on; where nobody has taken over, as the decider.
    pub fn resume(&self, replica: usize) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.suspended[replica]) {
            inner.deciders[replica] = true;
            inner.lost = None;
        }
        inner.judge();
    }

    pub fn decides(&self, replica: usize) -> bool {
        self.lock().deciders[replica]
    }

    /// The decider is about to be lost while others could decide: the time until one does is measured.
    pub fn measure(&self, loss: Loss) {
        self.lock().lost = Some((loss, Instant::now()));
    }

    /// Nobody can decide until `able`.
    pub fn unable(&self) {
        let mut inner = self.lock();
        inner.excused = true;
        inner.lost = None;
        inner.judge();
    }

    pub fn able(&self) {
        let mut inner = self.lock();
        inner.excused = false;
        inner.judge();
    }

    /// What was measured, and how long nobody decides now.
    pub fn times(&self) -> (Times, Option<Duration>) {
        let inner = self.lock();
        (
            inner.times.clone(),
            inner.nobody_since.map(|since| since.elapsed()),
        )
    }
}

impl Inner {
    fn judge(&mut self) {
        let somebody = self.deciders.contains(&true) || self.excused;
        match (somebody, self.nobody_since) {
            (false, None) => self.nobody_since = Some(Instant::now()),
            (true, Some(since)) => {
                if !self.excused {
                    self.times.longest_without = self.times.longest_without.max(since.elapsed());
                }
                self.nobody_since = None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides_is_what_the_servers_say() {
        let standings = Standings::default();
        standings.said(1, "INFO this replica decides now epoch=3");
        assert!(standings.decides(1));
        standings.measure(Loss::Planned);
        standings.said(1, "INFO handed deciding over");
        assert!(!standings.decides(1));
        assert!(standings.times().1.is_some());
        standings.said(2, "INFO this replica decides now epoch=4");
        let (times, nobody) = standings.times();
        assert_eq!((times.hand_over.len(), times.take_over.len()), (1, 0));
        assert!(nobody.is_none());
    }

    #[test]
    fn nobody_is_missed_while_nobody_can() {
        let standings = Standings::default();
        standings.said(0, "INFO this replica decides now epoch=1");
        standings.unable();
        standings.is_gone(0);
        assert!(standings.times().1.is_none());
        standings.able();
        assert!(standings.times().1.is_some());
    }
}
