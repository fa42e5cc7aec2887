//! Runs, made of check-ins: a start and the end that belongs to it.

use systole_core::heartbeat::{RunId, Signal};
use systole_core::time::{Span, Time};

/// A check-in as far as runs need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it was received.
    pub at: Time,
    /// What it says.
    pub signal: Signal,
    /// The run that it names.
    pub run: Option<RunId>,
}

/// One execution. Indexes are those of the check-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paired {
    /// The check-in that began it.
    pub start: Option<usize>,
    /// The check-in that ended it.
    pub end: Option<usize>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Started, and may take longer yet.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Failed,
    /// Started, not ended, and over its time.
    Overran,
}

/// Pairs starts and ends; `beats` are newest first, and so are the runs.
///
/// By the run's id where there is one, else in sequence: an end without an id takes the latest start without one, else
/// the latest start of all, as the engine does. A start that is begun anew under its id never ended.
pub fn pair(beats: &[Beat]) -> Vec<Paired> {
    let mut runs: Vec<Paired> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for (i, beat) in beats.iter().enumerate().rev() {
        match beat.signal {
            Signal::Log => {}
            Signal::Start => {
                open.retain(|run| beat.run.is_none() || id(beats, runs[*run]) != beat.run);
                open.push(runs.len());
                runs.push(Paired {
                    start: Some(i),
                    end: None,
                });
            }
            Signal::Success | Signal::Fail | Signal::Exit(_) => {
                let place = open
                    .iter()
                    .rposition(|run| id(beats, runs[*run]) == beat.run);
                let place = place.or_else(|| {
                    beat.run
                        .is_none()
                        .then(|| open.len().checked_sub(1))
                        .flatten()
                });
                match place {
                    Some(place) => runs[open.remove(place)].end = Some(i),
                    None => runs.push(Paired {
                        start: None,
                        end: Some(i),
                    }),
                }
            }
        }
    }
    // Newest first by where they began; indexes of check-ins grow with age.
    runs.sort_by_key(|run| run.start.or(run.end));
    runs
}

fn id(beats: &[Beat], run: Paired) -> Option<RunId> {
    run.start.and_then(|start| beats[start].run)
}

impl Paired {
    /// How it stands at `now`, for runs that may take `most`.
    pub fn standing(self, beats: &[Beat], now: Time, most: Span) -> Standing {
        match (self.end.map(|end| beats[end].signal), self.start) {
            (Some(Signal::Success | Signal::Exit(0)), _) => Standing::Success,
            (Some(_), _) => Standing::Failed,
            (None, Some(start)) if now.since(beats[start].at) > most => Standing::Overran,
            (None, _) => Standing::Running,
        }
    }

    /// How long it took, where both ends are known.
    pub fn duration(self, beats: &[Beat]) -> Option<Span> {
        Some(beats[self.end?].at.since(beats[self.start?].at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `10s/a` is a start at 10 s of the run `a`; `+` succeeds, `!` fails, `~` only logs.
    fn beats(text: &str) -> Vec<Beat> {
        let mut beats: Vec<Beat> = text
            .split_whitespace()
            .map(|word| {
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
                let run = run.map(|run| u128::from(run.as_bytes()[0]));
                Beat {
                    at: Time::from_seconds(seconds.parse().unwrap()),
                    signal,
                    run,
                }
            })
            .collect();
        beats.reverse();
        beats
    }

    fn shown(text: &str, now: i64) -> String {
        let beats = beats(text);
        let second = |index: Option<usize>| {
            index.map_or("-".to_owned(), |i| beats[i].at.as_seconds().to_string())
        };
        let show = |run: Paired| {
            let standing = run.standing(&beats, Time::from_seconds(now), Span::from_seconds(60));
            format!("{}..{} {standing:?}", second(run.start), second(run.end))
        };
        pair(&beats)
            .into_iter()
            .map(show)
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn starts_and_ends_are_paired_by_id_or_in_sequence() {
        for (given, expected, why) in [
            ("", "", "nothing"),
            ("10+", "-..10 Success", "a bare success"),
            ("10s 20+", "10..20 Success", "in sequence"),
            ("10s 20!", "10..20 Failed", "a failure ends it too"),
            (
                "10s 15~ 20+ 30+",
                "-..30 Success, 10..20 Success",
                "notes are no part of it",
            ),
            (
                "10s/a 20s/b 30+/a 40!/b",
                "20..40 Failed, 10..30 Success",
                "by id, overlapping",
            ),
            (
                "10s/a 20+/b",
                "-..20 Success, 10..- Overran",
                "another id's end",
            ),
            (
                "10s/a 20+",
                "10..20 Success",
                "a bare end takes the latest of all",
            ),
            (
                "10s/a 20s 30+",
                "20..30 Success, 10..- Overran",
                "but rather one without an id",
            ),
            (
                "10s/a 15+/a 20s/a",
                "20..- Overran, 10..15 Success",
                "an id used again",
            ),
            (
                "10s/a 20s/a 30+/a",
                "20..30 Success, 10..- Overran",
                "begun anew",
            ),
            (
                "10s 20s 30+",
                "20..30 Success, 10..- Overran",
                "the latest bare start",
            ),
            ("50s", "50..- Running", "may take a minute"),
            ("39s", "39..- Overran", "took longer"),
        ] {
            assert_eq!(shown(given, 100), expected, "{why}: {given}");
        }
    }

    #[test]
    fn a_duration_needs_both_ends() {
        for (given, seconds) in [("10s 25+", Some(15)), ("25+", None), ("10s", None)] {
            let beats = beats(given);
            assert_eq!(
                pair(&beats)[0].duration(&beats).map(Span::as_seconds),
                seconds,
                "{given}"
            );
        }
    }
}
