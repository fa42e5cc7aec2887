//! Which start an end belongs to.

use crate::heartbeat::{Checkin, OPEN_RUNS_MAX, RunId, Signal};
use crate::time::Time;

/// A run that was started and has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenRun {
    /// The run's id, where it has one.
    pub id: Option<RunId>,
    /// When it was started.
    pub started: Time,
}

/// Runs of one heartbeat that are open, the oldest first.
///
/// An end belongs to the open run of its id; one without an id to the latest start without one, else to the latest
/// start of all, as the state machine has it. A start that is begun anew under its id never ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenRuns(Vec<OpenRun>);

impl OpenRuns {
    /// As they were when they were stored.
    pub fn new(runs: Vec<OpenRun>) -> OpenRuns {
        OpenRuns(runs)
    }

    /// In the order of their starts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = OpenRun> + DoubleEndedIterator + '_ {
        self.0.iter().copied()
    }

    /// Takes the next check-in; answers when the run was started that it ends.
    pub fn checkin(&mut self, checkin: Checkin) -> Option<Time> {
        match checkin.signal {
            Signal::Log => None,
            Signal::Start => {
                self.0
                    .retain(|open| checkin.run.is_none() || open.id != checkin.run);
                if self.0.len() >= OPEN_RUNS_MAX {
                    self.0.remove(0);
                }
                self.0.push(OpenRun {
                    id: checkin.run,
                    started: checkin.at,
                });
                None
            }
            Signal::Success | Signal::Fail | Signal::Exit(_) => {
                let same = self.0.iter().rposition(|open| open.id == checkin.run);
                let latest = || self.0.len().checked_sub(1);
                let place = match checkin.run {
                    Some(_) => same,
                    None => same.or_else(latest),
                };
                place.map(|place| self.0.remove(place).started)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `10s/a` is a start at 10 s of the run `a`; `+` succeeds, `!` fails, `~` only logs.
    fn folded(text: &str) -> String {
        let mut open = OpenRuns::default();
        let mut said = Vec::new();
        for word in text.split_whitespace() {
            let (head, run) = word
                .split_once('/')
                .map_or((word, None), |(head, run)| (head, Some(run)));
            let (seconds, signal) = head.split_at(head.len() - 1);
            let signal = match signal {
                "s" => Signal::Start,
                "+" => Signal::Success,
                "!" => Signal::Exit(3),
                "~" => Signal::Log,
                other => panic!("{other}"),
            };
            let at = Time::from_seconds(seconds.parse().unwrap());
            let run = run.map(|run| u128::from(run.as_bytes()[0]));
            if let Some(started) = open.checkin(Checkin { at, signal, run }) {
                said.push(format!("{}..{}", started.as_seconds(), at.as_seconds()));
            }
        }
        let left = open
            .iter()
            .map(|run| format!("{}..", run.started.as_seconds()));
        said.extend(left);
        said.join(", ")
    }

    #[test]
    fn an_end_takes_the_start_of_its_id_or_the_latest_one() {
        for (given, expected, why) in [
            ("", "", "nothing"),
            ("10+", "", "a bare success is no run"),
            ("10s 20+", "10..20", "in sequence"),
            ("10s 20!", "10..20", "a failure ends it too"),
            ("10s 15~ 20+ 30+", "10..20", "notes are no part of it"),
            (
                "10s/a 20s/b 30+/a 40!/b",
                "10..30, 20..40",
                "by id, overlapping",
            ),
            ("10s/a 20+/b", "10..", "another id's end"),
            ("10s/a 20+", "10..20", "a bare end takes the latest of all"),
            (
                "10s/a 20s 30+",
                "20..30, 10..",
                "but rather one without an id",
            ),
            ("10s/a 15+/a 20s/a", "10..15, 20..", "an id used again"),
            ("10s/a 20s/a 30+/a", "20..30", "begun anew"),
            ("10s 20s 30+", "20..30, 10..", "the latest bare start"),
        ] {
            assert_eq!(folded(given), expected, "{why}: {given}");
        }
    }

    #[test]
    fn of_too_many_open_runs_the_oldest_are_forgotten() {
        let mut open = OpenRuns::default();
        for second in 0..1_000 {
            open.checkin(Checkin {
                at: Time::from_seconds(second),
                signal: Signal::Start,
                run: None,
            });
        }
        assert_eq!(open.iter().len(), OPEN_RUNS_MAX);
        assert_eq!(
            open.iter().next_back().map(|run| run.started),
            Some(Time::from_seconds(999))
        );
    }
}
