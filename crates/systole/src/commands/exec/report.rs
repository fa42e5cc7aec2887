//! What is said to the server, in what order, and how often it is tried.
//!
//! A start that arrives after its own end would open the run again. So the result is sent once the start's outcome is
//! known or it has been given up, and a start that waits for its next try when the command ends is left out.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use systole_core::time::Span;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::client::checkin::{Answer, Target};
use crate::client::http::Http;
use crate::times;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Less time than this is none.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// What became of the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// There was none.
    Nothing,
    /// It was taken, at the first try or later.
    Reported {
        /// Whether the server's time of it is the true one.
        at_once: bool,
        /// How much of a body the server keeps.
        body_limit: Option<usize>,
    },
    /// It was not taken, as far as we know.
    Unreported,
}

impl Started {
    /// How much of a body the server keeps, where it has said.
    pub fn body_limit(self) -> Option<usize> {
        match self {
            Started::Reported { body_limit, .. } => body_limit,
            Started::Nothing | Started::Unreported => None,
        }
    }

    /// How long the run lasted, where the server cannot know.
    pub fn note(self, lasted: Span) -> Option<String> {
        let lasted = times::length(lasted);
        match self {
            Started::Nothing | Started::Reported { at_once: true, .. } => None,
            Started::Reported { at_once: false, .. } => Some(format!(
                "the command ran for {lasted}; its start was reported late"
            )),
            Started::Unreported => Some(format!(
                "the command ran for {lasted}; its start was not reported"
            )),
        }
    }
}

/// Reports one run.
pub struct Reporter {
    http: Http,
    target: Target,
    /// How long after the command's end there may be reports.
    allowed: Duration,
    waits: Waits,
    last: Mutex<Option<String>>,
}

impl Reporter {
    /// Of the run with this id.
    pub fn new(target: Target, run: u128, allowed: Duration) -> Reporter {
        Reporter {
            http: Http::new(),
            target,
            allowed,
            waits: Waits { run },
            last: Mutex::new(None),
        }
    }

    /// Where it reports to.
    pub fn origin(&self) -> String {
        self.target.origin()
    }

    /// Reports the start, and tries again while the command runs.
    pub async fn start(&self, mut has_ended: watch::Receiver<bool>) -> Started {
        let mut tries = 0;
        loop {
            let mut given_up = has_ended.clone();
            let answer = tokio::select! {
                answer = self.target.send(&self.http, "POST", "/start", Vec::new()) => answer,
                // Half of the time is the result's.
                () = async {
                    let _ = given_up.wait_for(|ended| *ended).await;
                    sleep(self.allowed / 2).await;
                } => return Started::Unreported,
            };
            let wait = match answer {
                Answer::Taken { body_limit } => {
                    let at_once = tries == 0;
                    return Started::Reported {
                        at_once,
                        body_limit,
                    };
                }
                // The result's answer will say it.
                Answer::Refused(_) => return Started::Unreported,
                Answer::Again { wait, .. } => self.waits.after(tries).max(wait.unwrap_or_default()),
            };
            tokio::select! {
                () = sleep(wait) => {}
                _ = has_ended.wait_for(|ended| *ended) => return Started::Unreported,
            }
            tries += 1;
        }
    }

    /// Reports the result, and tries again for as long as it is let; until then it may be.
    ///
    /// # Errors
    /// Why more tries are of no use.
    pub async fn result(&self, status: u8, body: Vec<u8>, until: Instant) -> Result<(), String> {
        let suffix = format!("/{status}");
        let mut tries = 0;
        loop {
            let sent = self.target.send(&self.http, "POST", &suffix, body.clone());
            let (why, asked) = match sent.await {
                Answer::Taken { .. } => return Ok(()),
                Answer::Refused(why) => return Err(why),
                Answer::Again { why, wait } => (why, wait.unwrap_or_default()),
            };
            let left = until.saturating_duration_since(Instant::now());
            if asked > left {
                let asked = asked.as_secs();
                return Err(format!(
                    "{why}; the server asks to wait for {asked} s, longer than --report-timeout allows"
                ));
            }
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            let wait = self.waits.after(tries).min(left / 2).max(SHORTEST_WAIT);
            sleep(wait.max(asked)).await;
            tries += 1;
        }
    }

    /// Why there was no success in all the time that there was.
    pub fn why_not_yet(&self, hurried: bool) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.as_deref().unwrap_or("no answer has come");
        if hurried {
            format!("told to stop, after: {last}")
        } else {
            let allowed = self.allowed.as_secs_f64();
            format!("tried for {allowed} s (--report-timeout); at last: {last}")
        }
    }
}

/// How long to wait between tries. Twice as long each time; and since many jobs end at the same minute and find the
/// same server away, each run waits for its own part of that.
struct Waits {
    run: u128,
}

impl Waits {
    fn after(&self, tries: u32) -> Duration {
        let whole = FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(tries))
            .min(LONGEST_WAIT);
        let part = u32::try_from(self.run % 1000).unwrap_or(0);
        whole / 2 + whole / 2 * part / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_differ_between_runs() {
        for (run, tries, millis) in [
            (0, 0, 250),
            (999, 0, 499),
            (1000, 1, 500),
            (500, 2, 1500),
            (0, 5, 5000),
            (0, 40, 5000),
        ] {
            let wait = Waits { run }.after(tries);
            assert_eq!(wait.as_millis(), millis, "{run} {tries}");
        }
    }

    #[test]
    fn a_duration_is_said_where_the_server_cannot_know_it() {
        let lasted = Span::from_seconds(90);
        let reported = |at_once| Started::Reported {
            at_once,
            body_limit: None,
        };
        for (started, note) in [
            (Started::Nothing, None),
            (reported(true), None),
            (
                reported(false),
                Some("the command ran for 1 min 30 s; its start was reported late"),
            ),
            (
                Started::Unreported,
                Some("the command ran for 1 min 30 s; its start was not reported"),
            ),
        ] {
            assert_eq!(started.note(lasted).as_deref(), note);
        }
    }
}
