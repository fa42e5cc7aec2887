//! Runs, made of check-ins: a start and the end that belongs to it.

use systole_core::heartbeat::{RunId, Signal};
use systole_core::time::{Span, Time};
use systole_store::history::FoundCheckin;

/// A check-in as far as runs need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// When it was received.
    pub at: Time,
    /// What it says.
    pub signal: Signal,
    /// The run that it names.
    pub run: Option<RunId>,
    /// How long the run took that it ended.
    pub took: Option<Span>,
}

impl Beat {
    /// As far as runs need it.
    pub const fn of(found: &FoundCheckin) -> Beat {
        let checkin = found.record.checkin;
        Beat {
            at: checkin.at,
            signal: checkin.signal,
            run: checkin.run,
            took: found.duration,
        }
    }
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

/// Puts starts and ends together; `beats` are newest first, and so are the runs. Which start an end belongs to was found
/// when they were read in their order: the end says how long the run took. Its start may lie beyond what was read.
pub fn pair(beats: &[Beat]) -> Vec<Paired> {
    let mut runs: Vec<Paired> = Vec::new();
    // Ends that look for their starts: when those were, and whose.
    let mut ended: Vec<(Time, Option<RunId>, usize)> = Vec::new();
    for (i, beat) in beats.iter().enumerate() {
        match beat.signal {
            Signal::Log => {}
            Signal::Start => {
                let mine = |(at, run, _): &(Time, Option<RunId>, usize)| {
                    *at == beat.at && (run.is_none() || *run == beat.run)
                };
                // One of the same id before one that names none.
                let place = ended
                    .iter()
                    .position(|end| mine(end) && end.1 == beat.run)
                    .or_else(|| ended.iter().position(mine));
                let end = place.map(|place| ended.remove(place).2);
                runs.push(Paired {
                    start: Some(i),
                    end,
                });
            }
            Signal::Success | Signal::Fail | Signal::Exit(_) => match beat.took {
                Some(took) => ended.push((beat.at - took, beat.run, i)),
                None => runs.push(Paired {
                    start: None,
                    end: Some(i),
                }),
            },
        }
    }
    runs.extend(ended.into_iter().map(|(_, _, end)| Paired {
        start: None,
        end: Some(end),
    }));
    // Newest first by where they began.
    runs.sort_by_key(|run| std::cmp::Reverse(run.began(beats)));
    runs
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

    /// When it was started, where that is known.
    pub fn started(self, beats: &[Beat]) -> Option<Time> {
        let by_end = || {
            self.end
                .and_then(|end| Some(beats[end].at - beats[end].took?))
        };
        self.start.map(|start| beats[start].at).or_else(by_end)
    }

    /// Its start, or its end where no start is known.
    pub fn began(self, beats: &[Beat]) -> Time {
        let end = || self.end.map_or(Time::MIN, |end| beats[end].at);
        self.started(beats).unwrap_or_else(end)
    }

    /// How long it took, where both ends are known.
    pub fn duration(self, beats: &[Beat]) -> Option<Span> {
        self.end.and_then(|end| beats[end].took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use systole_core::heartbeat::Checkin;
    use systole_core::history::OpenRuns;

    /// `10s/a` is a start at 10 s of the run `a`; `+` succeeds, `!` fails, `~` only logs.
    fn beats(text: &str) -> Vec<Beat> {
        let mut open = OpenRuns::default();
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
                let at = Time::from_seconds(seconds.parse().unwrap());
                let started = open.checkin(Checkin { at, signal, run });
                Beat {
                    at,
                    signal,
                    run,
                    took: started.map(|started| at.since(started)),
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
    fn a_run_whose_start_was_not_read_is_whole_all_the_same() {
        let mut beats = beats("10s 25+");
        beats.truncate(1);
        let run = pair(&beats)[0];
        assert_eq!(run.started(&beats), Some(Time::from_seconds(10)));
        assert_eq!(run.duration(&beats), Some(Span::from_seconds(15)));
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
