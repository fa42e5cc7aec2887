//! Tests of the state machine: tables of small scripts.
//!
//! A line of a script is `TIME VERB [ARGUMENTS] [-> CHANGES] [= STATE]`. Times are `h:mm[:ss[.fraction]]` after the
//! monitor was made. Verbs are the signals (`success`, `start a`, `exit 3`), `now` (a decider looks), `pause`, `resume`,
//! `edit SETTINGS`; `outage FROM UNTIL` is told beforehand. Without `->` nothing may change; after `=` stands what has to
//! be true: `late awaited 2:00 failures 1 runs 2 since 1:00`.

use super::*;
use crate::schedule::Dialect;

const MADE: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

fn time(text: &str) -> Time {
    let mut parts = text.split(':');
    let mut whole = || parts.next().map_or(0, |part| part.parse::<i64>().unwrap());
    let (hours, minutes) = (whole(), whole());
    let seconds: f64 = parts.next().map_or(0.0, |part| part.parse().unwrap());
    let micros = (seconds * 1e6).round() as i64;
    Time::from_micros((MADE + hours * 3600 + minutes * 60) * 1_000_000 + micros)
}

fn clock(time: Time) -> String {
    if time == Time::NEVER {
        return "never".to_owned();
    }
    let micros = time.as_micros() - MADE * 1_000_000;
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let mut text = format!(
        "{}:{:02}",
        seconds.div_euclid(3600),
        seconds.rem_euclid(3600) / 60
    );
    if seconds % 60 != 0 || fraction != 0 {
        text += &format!(":{:02}", seconds.rem_euclid(60));
    }
    if fraction != 0 {
        text += format!(".{fraction:06}").trim_end_matches('0');
    }
    text
}

fn settings(text: &str) -> Settings {
    let mut settings = Settings::new(
        Schedule::every(Span::from_seconds(3600)).unwrap(),
        Span::from_seconds(300),
    );
    for (key, value) in text.split("; ").map(|pair| pair.split_once('=').unwrap()) {
        let span = || Span::parse(value).unwrap();
        match key {
            "every" => settings.schedule = Schedule::every(span()).unwrap(),
            "cron" => settings.schedule = Schedule::cron(value, "UTC", Dialect::Classic).unwrap(),
            "grace" => settings.grace = span(),
            "start_grace" => settings.start_grace = Some(span()),
            "max_runtime" => settings.max_runtime = Some(span()),
            "early" => settings.early_window = Some(span()),
            "fail" => settings.fail_threshold = value.parse().unwrap(),
            "recovery" => settings.recovery_threshold = value.parse().unwrap(),
            other => panic!("no setting {other}"),
        }
    }
    settings
}

struct Machine {
    heartbeat: Heartbeat,
    settings: Settings,
    outages: Outages,
    by_silence: bool,
}

impl Machine {
    fn signal(&mut self, at: Time, words: &[&str]) -> Vec<Change> {
        let (signal, run) = match words {
            ["success", run @ ..] => (Signal::Success, run.first()),
            ["start", run @ ..] => (Signal::Start, run.first()),
            ["fail", run @ ..] => (Signal::Fail, run.first()),
            ["log", run @ ..] => (Signal::Log, run.first()),
            ["exit", status, run @ ..] => (Signal::Exit(status.parse().unwrap()), run.first()),
            other => panic!("no step {other:?}"),
        };
        let run = run.map(|name| RunId::from(name.as_bytes()[0]));
        let changes =
            self.heartbeat
                .checkin(&self.settings, &self.outages, Checkin { at, signal, run });
        changes.into_iter().flatten().collect()
    }

    fn lapse(&mut self, until: Time) -> Option<Change> {
        self.heartbeat.lapse(&self.settings, &self.outages, until)
    }

    fn step(&mut self, at: Time, step: &str) -> Vec<Change> {
        let words: Vec<&str> = step.split_whitespace().collect();
        let changes: Vec<Change> = match words[0] {
            "now" => self.lapse(at).into_iter().collect(),
            "pause" => {
                self.heartbeat.pause(at);
                Vec::new()
            }
            "resume" => {
                self.heartbeat.resume(at);
                Vec::new()
            }
            "edit" => {
                let lapsed = self.lapse(at);
                self.note(lapsed.as_ref());
                self.settings = settings(step.trim_start_matches("edit "));
                let edited =
                    self.heartbeat
                        .edit(&self.settings, &self.outages, at, self.by_silence);
                lapsed.into_iter().chain(edited).collect()
            }
            _ => self.signal(at, &words),
        };
        changes.iter().for_each(|change| self.note(Some(change)));
        changes
    }

    fn note(&mut self, change: Option<&Change>) {
        if let Some(Change::Down(cause)) = change {
            self.by_silence = !matches!(cause.reason, Reason::ReportedFailure | Reason::ExitStatus);
        }
    }

    fn value(&self, name: &str) -> String {
        match name {
            "awaited" => clock(self.heartbeat.awaited),
            "since" => clock(self.heartbeat.since),
            "failures" => self.heartbeat.failures.to_string(),
            "runs" => self.heartbeat.runs().len().to_string(),
            other => panic!("nothing is called {other}"),
        }
    }
}

fn say(change: &Change) -> String {
    match change {
        Change::Down(Cause {
            reason,
            at,
            exit_status: Some(status),
            ..
        }) => format!("down {reason} {status} {}", clock(*at)),
        Change::Down(cause) => format!("down {} {}", cause.reason, clock(cause.at)),
        Change::Recovered { at, reason } => format!("up {reason} {}", clock(*at)),
    }
}

/// Rows of: what it shows, the settings, the script.
fn run(table: &[(&str, &str, &[&str])]) {
    for (sentence, setup, script) in table {
        let (heartbeat, outages) = (Heartbeat::new(time("0:00")), Outages::default());
        let mut machine = Machine {
            heartbeat,
            settings: settings(setup),
            outages,
            by_silence: true,
        };
        for line in *script {
            if let Some((from, until)) = line
                .strip_prefix("outage ")
                .and_then(|rest| rest.split_once(' '))
            {
                machine.outages.add(Outage {
                    from: time(from),
                    until: time(until),
                });
                continue;
            }
            let (rest, state) = line.split_once(" = ").unwrap_or((line, ""));
            let (rest, changes) = rest.split_once(" -> ").unwrap_or((rest, ""));
            let (at, step) = rest.split_once(' ').unwrap();
            let at = time(at);
            let said: Vec<String> = machine.step(at, step).iter().map(say).collect();
            assert_eq!(
                said.join(", "),
                changes,
                "{sentence}: {line}\n{:?}",
                machine.heartbeat
            );
            let mut words = state.split_whitespace();
            while let Some(word) = words.next() {
                if ["new", "up", "late", "down", "paused"].contains(&word) {
                    let shown = machine.heartbeat.shown(at).word();
                    assert_eq!(shown, word, "{sentence}: {line}\n{:?}", machine.heartbeat);
                } else {
                    let expected = words.next().unwrap();
                    assert_eq!(
                        machine.value(word),
                        expected,
                        "{sentence}: {word} in {line}\n{:?}",
                        machine.heartbeat
                    );
                }
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn a_period_counts_from_the_last_success() {
    run(&[
        ("any success restarts it", "every=1h", &[
            "0:00 success = up awaited 1:00", "0:30 success = up awaited 1:30", "1:04 success = up awaited 2:04",
        ]),
        ("it is late from the slot on and down at the end of the grace, said once", "every=1h; grace=5m", &[
            "0:00 success", "0:59:59 now = up", "1:00 now = late", "1:04:59.999999 now = late",
            "1:05 now -> down missed_deadline 1:05 = down since 1:05", "20:00 now = down",
        ]),
        ("the time of the deadline is told, not that of the look", "every=1h", &[
            "0:00 success", "9:00 now -> down missed_deadline 1:05", "9:01 success -> up success 9:01 = up awaited 10:01 since 9:01",
        ]),
        ("a log changes nothing", "every=1h", &["0:00 log = new", "0:01 success", "0:30 log = awaited 1:01"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_slot_of_cron_is_taken_once() {
    run(&[
        ("the next slot after a success is awaited", "cron=0 * * * *", &[
            "0:10 success = up awaited 1:00", "1:03 success = up awaited 2:00", "1:04 success = up awaited 2:00",
        ]),
        ("each missed slot counts", "cron=0 * * * *; fail=2", &[
            "0:10 success", "1:05 now = late failures 1 awaited 2:00", "2:05 now -> down missed_deadline 2:05",
        ]),
        ("a run that began long before a slot is not of that slot", "cron=0 * * * *; max_runtime=2h", &[
            "0:10 success", "0:30 start a = up awaited 1:00", "1:05 now -> down missed_deadline 1:05",
        ]),
        ("a run of the slot replaces its deadline by its own", "cron=0 * * * *; max_runtime=40m", &[
            "0:10 success", "1:02 start a = up awaited 2:00", "1:41 now = up", "1:42 now -> down overran 1:42",
        ]),
        ("an unfinished run does not take the slots after it", "cron=0 * * * *; max_runtime=3h", &[
            "0:10 success", "1:00 start a", "2:05 now -> down missed_deadline 2:05",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_run_may_begin_a_little_early() {
    run(&[
        ("by five minutes of an hour", "cron=0 * * * *", &["0:55 success = up awaited 2:00"]),
        ("not by more", "cron=0 * * * *", &["0:54:59 success = up awaited 1:00"]),
        ("by a tenth of a short period", "cron=*/10 * * * *", &["0:09 success = up awaited 0:20"]),
        ("not by more of a short period", "cron=*/10 * * * *", &["0:08:59 success = up awaited 0:10"]),
        ("by what is set", "cron=0 * * * *; early=20m", &["0:40 success = up awaited 2:00"]),
        ("not by more than is set", "cron=0 * * * *; early=20m", &["0:39:59 success = up awaited 1:00"]),
        ("not at all", "cron=0 * * * *; early=0s", &["0:59:59 success = up awaited 1:00", "1:00 success = up awaited 2:00"]),
        ("an early run and its success after the slot are one", "cron=0 * * * *", &[
            "0:10 success", "0:56 start a = awaited 2:00", "1:00 success a = awaited 2:00", "1:30 now = up",
        ]),
        ("two successes around one slot take one slot", "cron=0 * * * *", &[
            "0:56 success = awaited 2:00", "1:01 success = awaited 2:00",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_start_may_be_due_before_its_success() {
    const SETTINGS: &str = "every=1h; grace=30m; start_grace=5m";
    run(&[
        ("no start in time", SETTINGS, &["0:00 success", "1:05 now -> down missed_start 1:05"]),
        ("a start in time, a run too long", SETTINGS, &[
            "0:00 success", "1:04 start = up runs 1 awaited never", "1:33:59 now = up", "1:34 now -> down overran 1:34",
        ]),
        ("a success without a start is as good", SETTINGS, &["0:00 success", "1:03 success = up awaited 2:03"]),
        ("a start within the slack is in time", SETTINGS, &["0:00 success", "1:05:01 start = up runs 1"]),
        ("a start after the slack is not", SETTINGS, &["0:00 success", "1:05:01.5 start -> down missed_start 1:05"]),
        ("the slot counts once, as a missed start", "every=1h; grace=30m; start_grace=5m; fail=2", &[
            "0:00 success", "1:05 now = late failures 1", "1:30 now = late failures 1", "2:05 now -> down missed_start 2:05",
        ]),
        ("a success after a missed start makes it well", "every=1h; grace=30m; start_grace=5m; fail=2", &[
            "0:00 success", "1:05 now = late failures 1", "1:06 success = up failures 0 awaited 2:06",
        ]),
        ("both missed at one instant is a missed success", "every=1h; grace=5m; start_grace=5m", &[
            "0:00 success", "1:05 now -> down missed_deadline 1:05",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_started_run_has_a_deadline_of_its_own() {
    run(&[
        ("it is the grace where nothing is set", "every=1h; grace=5m", &[
            "0:00 success", "0:50 start = up awaited never", "0:54:59 now = up", "0:55 now -> down overran 0:55",
        ]),
        ("no slot is awaited meanwhile", "every=1h; max_runtime=3h", &["0:00 success", "0:50 start", "3:00 now = up awaited never"]),
        ("an overlapping hung run is noticed", "every=1h; grace=5m", &[
            "0:00 success", "0:50 start a", "0:51 start b = runs 2", "0:52 success b = up runs 1 awaited 1:52",
            "0:55 now -> down overran 0:55",
        ]),
        ("of several hung runs each counts", "every=1h; grace=5m; fail=2", &[
            "0:00 success", "0:50 start a", "0:51 start b", "0:55 now = late failures 1", "0:56 now -> down overran 0:56",
        ]),
        ("a start said again restarts the clock", "every=1h; grace=5m", &[
            "0:00 success", "0:50 start a", "0:53 start a = runs 1", "0:57:59 now = up", "0:58 now -> down overran 0:58",
        ]),
        ("without an id too, within a slot", "every=1h; grace=5m", &[
            "0:00 success", "0:50 start", "0:53 start = runs 1", "0:57:59 now = up", "0:58 now -> down overran 0:58",
        ]),
        ("an end without an id ends a run with one", "every=1h", &["0:00 success", "0:50 start a", "0:51 success = up runs 0 awaited 1:51"]),
        ("of several it ends the latest", "every=1h", &[
            "0:00 success", "0:50 start a", "0:51 start b", "0:52 success = runs 1", "0:53 success b = runs 1", "0:54 success a = runs 0",
        ]),
        ("an end with another id ends none", "every=1h", &["0:00 success", "0:50 start a", "0:51 success b = up runs 1"]),
        ("a failed run has ended", "every=1h", &["0:00 success", "0:50 start a", "0:51 fail a -> down reported_failure 0:51 = runs 0"]),
        ("an overrun run counts once, and no slot that passed meanwhile", "every=1h; grace=5m; max_runtime=3h; fail=2", &[
            "0:00 success", "0:30 start", "3:30 now = late failures 1 awaited 3:30 runs 0", "3:35 now -> down missed_deadline 3:35",
        ]),
        ("the end of an overrun run is a success", "every=1h; grace=5m", &[
            "0:00 success", "0:50 start a", "0:55 now -> down overran 0:55", "0:57 success a -> up success 0:57 = runs 0",
        ]),
        ("a success in the slack is in time", "every=1h; grace=5m", &["0:00 success", "0:50 start a", "0:55:01 success a = up"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_start_that_is_recorded_after_its_own_end_opens_nothing() {
    run(&[
        ("stamped after the end", "every=1h", &["0:00 success", "0:50 success a", "0:50:10 start a = runs 0 awaited 1:50"]),
        ("after a failure", "every=1h; fail=2", &["0:00 success", "0:50 fail a", "0:50:08 start a = runs 0 failures 1"]),
        ("while down", "every=1h", &["0:50 fail a -> down reported_failure 0:50", "0:50:01 start a = runs 0"]),
        ("later it is another run of a sender with one id for all", "every=1h; grace=5m", &[
            "0:00 success", "0:50 success a", "0:50:10.1 start a = runs 1", "0:55:10.1 now -> down overran 0:55:10.1",
        ]),
        ("so it is after half of a short period", "every=10s; grace=5s", &[
            "0:00 success a", "0:00:05 start a = runs 0", "0:00:05.1 start a = runs 1", "0:00:09 success a = up runs 0 awaited 0:00:19",
        ]),
        ("with cron the next slot counts", "cron=* * * * *; grace=1m", &[
            "0:00:50 success a", "0:00:56 start a = runs 1 awaited 0:02",
        ]),
        ("another id is another run", "every=1h", &["0:00 success", "0:50 success a", "0:50:01 start b = runs 1"]),
        ("none is another run", "every=1h", &["0:00 success", "0:50 success", "0:50:01 start = runs 1"]),
        ("none, but stamped before the end", "every=1h", &["0:00 success", "0:50 success", "0:50 start = runs 0"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn an_end_that_is_sent_again_counts_once() {
    run(&[
        ("a failure", "every=1h; fail=2", &[
            "0:00 success", "0:50 fail a", "0:50:30 fail a = late failures 1 awaited 1:50:30", "1:00 exit 1 a = late failures 1",
        ]),
        ("of another run it counts", "every=1h; fail=2", &["0:00 success", "0:50 fail a", "0:50:30 fail b -> down reported_failure 0:50:30"]),
        ("without an id it counts", "every=1h; fail=2", &["0:00 success", "0:50 fail", "0:50:30 fail -> down reported_failure 0:50:30"]),
        ("after ten minutes it is another run", "every=1h; fail=2", &[
            "0:00 success", "0:50 fail a", "0:59 fail a", "1:00:01 fail a -> down reported_failure 1:00:01",
        ]),
        ("after half of a short period, too", "every=1m; grace=1m; fail=2", &[
            "0:00 success", "0:01 fail a", "0:01:30 fail a = failures 1", "0:01:31 fail a -> down reported_failure 0:01:31",
        ]),
        ("after a start of that id, too", "every=1h; fail=2", &[
            "0:00 success", "0:50 fail a", "0:51 start a = runs 1", "0:52 fail a -> down reported_failure 0:52",
        ]),
        ("another outcome is heard", "every=1h; fail=2", &["0:00 success", "0:50 fail a", "0:51 success a = up failures 0"]),
        ("the other way round, too", "every=1h", &["0:00 success", "0:50 success a", "0:51 fail a -> down reported_failure 0:51"]),
        ("a recovery takes as many runs as were asked for", "every=1h; recovery=2", &[
            "0:50 fail a -> down reported_failure 0:50", "0:55 success b", "0:55:10 success b = down", "0:56 success c -> up success 0:56",
        ]),
        ("a success that is said again moves the slot as before", "every=1h", &["0:00 success a", "0:01 success a = up awaited 1:01"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_job_that_dies_silently_after_each_start_is_noticed() {
    run(&[
        ("with a period", "every=1h; grace=2h", &[
            "0:00 success", "1:00 start", "2:00 start = runs 2", "3:00 now -> down overran 3:00",
        ]),
        ("with cron", "cron=0 * * * *; grace=2h", &[
            "0:10 success", "1:00 start", "2:00 start = runs 2", "3:00 now -> down overran 3:00",
        ]),
        ("though it starts more often than it should", "every=1h; grace=3h", &[
            "0:00 success", "0:50 start", "1:40 start = runs 1", "2:30 start = runs 2", "3:20 start", "4:40 now -> down overran 4:40",
        ]),
        ("though it never succeeded", "every=1h; grace=5h", &[
            "0:00 start", "1:00 start", "2:00 start", "3:00 start", "4:00 start", "5:00 start", "6:00 now -> down overran 6:00",
        ]),
        ("a bare success ends them all", "every=1h; grace=2h", &[
            "0:00 success", "1:00 start", "2:00 start = runs 2", "2:10 success = up runs 0 awaited 3:10", "5:09 now = late",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn new_says_nothing_by_itself() {
    run(&[
        ("however long nothing comes", "every=1h", &["900:00 now = new awaited never"]),
        ("a first success is no news", "every=1h", &["0:10 success = up awaited 1:10 since 0:10"]),
        ("a first failure is", "every=1h", &["0:10 fail -> down reported_failure 0:10"]),
        ("a run started and not finished is", "every=1h; grace=5m", &["0:10 start = new runs 1", "0:15 now -> down overran 0:15"]),
        ("below the threshold a failure is not", "every=1h; fail=2", &["0:10 fail = late failures 1 awaited 1:10", "1:15 now -> down missed_deadline 1:15"]),
        ("slots that passed in the first run were not awaited", "cron=0 * * * *; max_runtime=4h", &[
            "0:30 start a = new", "3:10 success a = up awaited 4:00", "3:59 now = up",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn an_exit_status_is_a_success_or_a_failure() {
    run(&[
        ("0", "every=1h", &["0:10 exit 0 = up awaited 1:10"]),
        ("1", "every=1h", &["0:10 exit 1 -> down exit_status 1 0:10"]),
        ("255", "every=1h", &["0:10 success", "0:20 exit 255 -> down exit_status 255 0:20", "0:30 exit 0 -> up success 0:30"]),
        ("with a run", "every=1h", &["0:10 start a", "0:11 exit 0 a = up runs 0"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn failures_in_a_row_count() {
    run(&[
        ("reported ones", "every=1h; fail=3", &[
            "0:00 success", "0:10 fail = late failures 1", "0:20 exit 2 = late failures 2", "0:30 fail -> down reported_failure 0:30",
        ]),
        ("of every kind", "every=1h; grace=5m; fail=3", &[
            "0:00 success", "1:05 now = late failures 1", "1:10 fail = late failures 2", "1:20 start", "1:25 now -> down overran 1:25",
        ]),
        ("a success begins anew", "every=1h; fail=2", &["0:00 success", "0:10 fail = late", "0:20 success = up failures 0", "0:30 fail = late"]),
        ("at their times, however late one looks", "every=1h; grace=5m; fail=3", &["0:00 success", "9:00 now -> down missed_deadline 3:05"]),
        ("a threshold of none is one", "every=1h; fail=0; recovery=0", &["0:10 fail -> down reported_failure 0:10", "0:20 success -> up success 0:20"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn successes_in_a_row_bring_it_up() {
    run(&[
        ("two of two", "every=1h; recovery=2", &[
            "0:00 fail -> down reported_failure 0:00", "0:20 success = down", "0:30 success -> up success 0:30",
        ]),
        ("a missed slot between them breaks the row", "every=1h; grace=5m; recovery=2", &[
            "0:00 fail -> down reported_failure 0:00", "0:20 success = down", "1:26 success = down", "1:40 success -> up success 1:40",
        ]),
        ("a failure between them breaks the row", "every=1h; recovery=2", &[
            "0:00 fail -> down reported_failure 0:00", "0:20 success", "0:30 fail", "0:40 success = down", "0:50 success -> up success 0:50",
        ]),
        ("it says nothing of new", "every=1h; recovery=2", &["0:00 success = up"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn down_is_said_once() {
    run(&[
        ("a failure while down is no news", "every=1h", &[
            "0:00 fail -> down reported_failure 0:00", "0:10 fail = down since 0:00", "0:20 exit 9 = down", "9:00 now = down",
        ]),
        ("a start while down arms nothing", "every=1h", &[
            "0:00 fail -> down reported_failure 0:00", "0:20 start", "9:00 now = down", "9:01 success -> up success 9:01 = runs 0",
        ]),
        ("what overran while down is no news afterwards", "every=1h; grace=5m", &[
            "0:00 fail -> down reported_failure 0:00", "0:20 start a", "8:58 start b", "9:01 success -> up success 9:01 = runs 0", "10:01 now = late",
        ]),
        ("a run that is in time when it comes up is watched", "every=1h; grace=5m", &[
            "0:00 fail -> down reported_failure 0:00", "0:20 start a", "0:22 success b -> up success 0:22 = runs 1", "0:25 now -> down overran 0:25",
        ]),
        ("nor are slots that passed while down", "cron=0 * * * *; grace=5m; max_runtime=4h", &[
            "0:10 success", "1:00 start a", "2:05 now -> down missed_deadline 2:05", "3:10 success a -> up success 3:10 = up awaited 4:00",
            "3:59 now = up",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn paused_is_not_watched() {
    run(&[
        ("until it reports", "every=1h", &[
            "0:00 success", "0:10 pause = paused since 0:10", "9:00 now = paused", "9:01 success = up awaited 10:01",
        ]),
        ("a start is watched", "every=1h; grace=5m", &["0:00 success", "0:10 pause", "0:20 start = paused", "0:25 now -> down overran 0:25"]),
        ("a failure is told", "every=1h", &["0:00 success", "0:10 pause", "0:20 fail -> down reported_failure 0:20"]),
        ("open runs are forgotten", "every=1h", &["0:00 start a", "0:01 pause = runs 0", "9:00 now = paused"]),
        ("resumed it is as new", "every=1h", &["0:00 success", "0:10 pause", "0:20 resume = new awaited never", "9:00 now = new"]),
        ("what is not paused cannot be resumed", "every=1h", &["0:00 success", "0:10 resume = up awaited 1:00"]),
        ("pausing again changes nothing", "every=1h", &["0:10 pause", "0:20 pause = paused since 0:10"]),
        ("down is left without news of its own", "every=1h", &["0:00 fail -> down reported_failure 0:00", "0:10 pause = paused", "0:20 success = up"]),
        ("what was received before does not end it", "every=1h", &[
            "0:00 success", "0:10 pause", "0:09:59 success = paused", "0:09 fail = paused", "0:09 start = paused runs 0",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn an_edit_judges_anew_from_the_last_checkin() {
    run(&[
        ("a shorter period", "every=1h", &[
            "0:00 success", "0:10 edit every=30m; grace=5m = up awaited 0:30", "0:35 now -> down missed_deadline 0:35",
        ]),
        ("another kind of schedule", "every=1h", &["0:10 success", "0:20 edit cron=*/30 * * * * = up awaited 0:30"]),
        ("a deadline that it puts into the past counts from the edit", "every=1h", &[
            "0:00 success", "0:50 edit every=10m; grace=5m = late", "0:54:59 now = late", "0:55 now -> down missed_deadline 0:55",
        ]),
        ("a deadline still ahead stays where it is", "every=1h; grace=30m", &[
            "0:00 success", "1:20 edit every=1h; grace=25m", "1:25 now -> down missed_deadline 1:25",
        ]),
        ("slots of the past count as one", "every=1h; fail=2", &[
            "0:00 success", "0:50 edit every=10m; grace=5m; fail=2", "0:55 now = late failures 1 awaited 1:00", "1:04:59 now = late",
            "1:05 now -> down missed_deadline 1:05",
        ]),
        ("what lapsed before lapsed by the old settings", "every=1h; grace=5m", &[
            "0:00 success", "1:10 edit every=2h; grace=5m -> down missed_deadline 1:05, up edited 1:10 = up awaited 2:00",
        ]),
        ("an open run keeps its start", "every=1h; max_runtime=20m", &[
            "0:00 success", "0:30 start a", "0:40 edit every=1h; max_runtime=30m = awaited never", "0:59 now = up", "1:00 now -> down overran 1:00",
        ]),
        ("an open run has taken its slot", "cron=0 * * * *; max_runtime=30m", &[
            "0:10 success", "1:00 start a", "1:03 edit cron=0 * * * *; max_runtime=40m = up awaited 2:00", "1:39 now = up",
            "1:40 now -> down overran 1:40",
        ]),
        ("a run of a new monitor counts from the edit too", "every=1h; max_runtime=1h", &[
            "0:00 start", "0:30 edit every=1h; max_runtime=10m = new", "0:39:59 now = new", "0:40 now -> down overran 0:40",
        ]),
        ("new stays new, paused stays paused", "every=1h", &[
            "0:10 edit every=2h = new awaited never", "0:20 pause", "0:30 edit every=1h = paused awaited never", "9:00 now = paused",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn an_edit_ends_a_silence_that_is_none_by_the_new_settings() {
    run(&[
        ("no longer overdue", "every=1h; grace=5m", &[
            "0:00 success", "1:05 now -> down missed_deadline 1:05", "1:10 edit every=2h; grace=5m -> up edited 1:10 = up awaited 2:00 failures 0",
        ]),
        ("still overdue", "every=1h; grace=5m", &[
            "0:00 success", "1:05 now -> down missed_deadline 1:05", "1:10 edit every=61m; grace=5m = down since 1:05",
        ]),
        ("one that failed stays down", "every=1h", &["0:00 success", "0:10 fail -> down reported_failure 0:10", "0:20 edit every=2h = down"]),
        ("a start still missed", "every=1h; grace=30m; start_grace=5m", &[
            "0:00 success", "1:05 now -> down missed_start 1:05", "1:06 edit every=1h; grace=31m; start_grace=5m = down",
            "1:07 edit every=1h; grace=31m -> up edited 1:07 = late", "1:31 now -> down missed_deadline 1:31",
        ]),
        ("a run still too long", "every=1h; grace=5m; max_runtime=10m", &[
            "0:00 success", "0:30 start a", "0:40 now -> down overran 0:40", "0:45 edit every=1h; grace=6m; max_runtime=10m = down",
            "0:46 edit every=1h; grace=6m; max_runtime=1h -> up edited 0:46 = runs 1", "1:30 now -> down overran 1:30",
        ]),
        ("a first run that was too long", "every=1h; max_runtime=10m", &[
            "0:30 start a", "0:40 now -> down overran 0:40", "0:45 edit every=1h; max_runtime=1h -> up edited 0:45 = up awaited never",
            "0:50 success a = up awaited 1:50",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn our_outages_move_deadlines() {
    run(&[
        ("the clock of the grace stands still", "every=1h; grace=5m", &[
            "outage 1:02 1:20", "0:00 success", "1:22:59 now = late", "1:23 now -> down unheard_since_outage 1:23",
        ]),
        ("due inside: the whole grace after it", "every=1h; grace=5m", &[
            "outage 0:50 1:20", "0:00 success", "1:24:59 now = late", "1:25 now -> down unheard_since_outage 1:25",
        ]),
        ("over before: as if there had been none", "every=1h; grace=5m", &[
            "outage 0:20 0:50", "0:00 success", "1:05 now -> down missed_deadline 1:05",
        ]),
        ("a success before the moved deadline", "every=1h; grace=5m", &["outage 1:02 1:20", "0:00 success", "1:22 success = up awaited 2:22"]),
        ("two of them", "every=1h; grace=5m", &[
            "outage 1:02 1:20", "outage 1:22 1:30", "0:00 success", "1:30:59 now = late", "1:31 now -> down unheard_since_outage 1:31",
        ]),
        ("the deadline of a run too", "every=1h; grace=5m", &[
            "outage 0:52 1:00", "0:00 success", "0:50 start a", "1:02:59 now = up", "1:03 now -> down unheard_since_outage 1:03",
        ]),
        ("a report of failure needs no patience", "every=1h", &["outage 0:52 1:00", "0:00 success", "1:01 fail -> down reported_failure 1:01"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn a_late_decider_tells_true_times() {
    run(&[
        ("opened and resolved", "every=1h; grace=5m", &[
            "0:00 success", "1:20 success -> down missed_deadline 1:05, up success 1:20 = up awaited 2:20",
        ]),
        ("a failure after a silence is of that silence", "every=1h; grace=5m", &[
            "0:00 success", "1:20 fail -> down missed_deadline 1:05 = down since 1:05",
        ]),
        ("a start after the deadline", "every=1h; grace=5m", &["0:00 success", "1:20 start -> down missed_deadline 1:05"]),
        ("a log after the deadline", "every=1h; grace=5m", &["0:00 success", "1:20 log -> down missed_deadline 1:05"]),
        ("an overrun run that came to its end", "every=1h; grace=5m", &[
            "0:00 success", "0:50 start a", "0:57 success a -> down overran 0:55, up success 0:57 = runs 0",
        ]),
    ]);
}

#[test]
#[rustfmt::skip]
fn in_time_but_recorded_late() {
    const DOWN: [&str; 2] = ["0:00 success", "1:05 now -> down missed_deadline 1:05"];
    for (last, sentence) in [
        ("1:04 success -> up recorded_late 1:04 = up awaited 2:04", "before the deadline"),
        ("1:05 success -> up recorded_late 1:05", "at the deadline"),
        ("1:05:00.5 success -> up success 1:05:00.5", "after it"),
        ("1:04 fail = down", "a failure"),
    ] {
        run(&[(sentence, "every=1h; grace=5m", &[DOWN[0], DOWN[1], last])]);
    }
}

#[test]
#[rustfmt::skip]
fn a_second_after_the_deadline_is_in_time() {
    run(&[
        ("to the microsecond", "every=1h; grace=5m", &["0:00 success", "1:05:01 success = up awaited 2:05:01"]),
        ("not a microsecond more", "every=1h; grace=5m", &[
            "0:00 success", "1:05:01.000001 success -> down missed_deadline 1:05, up success 1:05:01.000001",
        ]),
        ("nothing waits for it", "every=1h; grace=5m", &["0:00 success", "1:05 now -> down missed_deadline 1:05"]),
    ]);
}

#[test]
#[rustfmt::skip]
fn what_is_older_than_the_last_end_is_history() {
    run(&[
        ("a success", "every=1h", &["0:30 success", "0:20 success = up awaited 1:30"]),
        ("a failure", "every=1h", &["0:30 success", "0:25 fail = up awaited 1:30"]),
        ("not when a clock may be wrong by a second", "every=1h", &["0:30 success", "0:29:59.5 fail -> down reported_failure 0:29:59.5"]),
        ("the newer of two counts", "every=1h", &["0:30 success", "0:29:59.5 success = awaited 1:30"]),
        ("it ends its run all the same", "every=1h; max_runtime=1h", &["0:20 start a", "0:30 success b = runs 1", "0:25 success a = runs 0"]),
        ("a bare end read late ends no run that began after it", "every=1h; grace=10m", &[
            "0:40 success", "0:50 start", "0:45 success = runs 1", "1:00 now -> down overran 1:00",
        ]),
        ("a start read after its own end opens nothing", "every=1h", &["0:30 success a", "0:29 start a = runs 0", "1:29 now = up"]),
        ("without an id neither", "every=1h", &["0:30 success", "0:29 start = runs 0"]),
        ("another run may have started then", "every=1h", &["0:30 success a", "0:29 start b = runs 1"]),
    ]);
}

#[test]
fn open_runs_are_bounded() {
    let settings = settings("every=1h; grace=1h");
    let mut heartbeat = Heartbeat::new(time("0:00"));
    for run in 0..150 {
        let checkin = Checkin {
            at: time("0:00") + Span::from_seconds(run),
            signal: Signal::Start,
            run: Some(run as u128),
        };
        assert_eq!(
            heartbeat.checkin(&settings, &Outages::default(), checkin),
            [None, None]
        );
    }
    assert_eq!(heartbeat.runs().len(), OPEN_RUNS_MAX);
    assert_eq!(heartbeat.runs()[0].id, Some(50), "the oldest are forgotten");
}

#[test]
fn a_cause_says_what_was_expected_and_which_outage_moved_it() {
    let settings = settings("every=1h; grace=5m");
    let mut outages = Outages::default();
    let outage = Outage {
        from: time("1:02"),
        until: time("1:20"),
    };
    outages.add(outage);
    let mut heartbeat = Heartbeat::new(time("0:00"));
    heartbeat.checkin(
        &settings,
        &outages,
        Checkin {
            at: time("0:00"),
            signal: Signal::Success,
            run: None,
        },
    );
    let expected = Cause {
        reason: Reason::UnheardSinceOutage,
        at: time("1:23"),
        expected: Some(time("1:00")),
        exit_status: None,
        outage: Some(outage),
    };
    assert_eq!(
        heartbeat.lapse(&settings, &outages, time("2:00")),
        Some(Change::Down(expected))
    );
}

/// The overrun was said; a success of another run that was recorded late resolves it and does not bring it back.
#[test]
fn an_overrun_is_said_once_though_a_success_before_it_is_recorded_late() {
    let mut settings = settings("every=1h; grace=5m");
    settings.max_runtime = Some(Span::from_seconds(600));
    let outages = Outages::default();
    let mut heartbeat = Heartbeat::new(time("0:00"));
    let tell = |heartbeat: &mut Heartbeat, at, signal, run| {
        heartbeat.checkin(
            &settings,
            &outages,
            Checkin {
                at: time(at),
                signal,
                run: Some(run),
            },
        )
    };
    tell(&mut heartbeat, "0:00", Signal::Success, 1);
    tell(&mut heartbeat, "0:30", Signal::Start, 2);
    tell(&mut heartbeat, "0:35", Signal::Start, 3);
    assert!(
        heartbeat.lapse(&settings, &outages, time("0:41")).is_some(),
        "run 2 overran at 0:40"
    );
    let recovered = Change::Recovered {
        at: time("0:39"),
        reason: Reason::RecordedLate,
    };
    assert_eq!(
        tell(&mut heartbeat, "0:39", Signal::Success, 3),
        [None, Some(recovered)]
    );
    assert_eq!(
        heartbeat.lapse(&settings, &outages, time("0:59")),
        None,
        "run 2 is over"
    );
}
