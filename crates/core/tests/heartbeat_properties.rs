//! What holds for every heartbeat, whatever its settings and whatever it is told.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use systole_core::heartbeat::{
    Change, Checkin, Heartbeat, OPEN_RUNS_MAX, SLACK, Settings, Signal, State,
};
use systole_core::outage::{Outage, Outages};
use systole_core::schedule::{Dialect, Schedule};
use systole_core::time::{Span, Time};

const MADE: Time = Time::from_seconds(1_767_225_600);

#[derive(Clone, Debug)]
enum Step {
    Checkin(Signal, Option<u128>),
    Look,
    Pause,
    Resume,
    Edit(Settings),
}

fn span(most: i64) -> impl Strategy<Value = Span> {
    prop_oneof![
        (0..=most / 60).prop_map(|minutes| Span::from_seconds(minutes * 60)),
        (0..=most * 1_000_000).prop_map(Span::from_micros),
    ]
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let cron = |text: &str| Schedule::cron(text, "Europe/Berlin", Dialect::Classic).unwrap();
    prop_oneof![
        span(7_200).prop_map(|period| Schedule::every(period.max(Span::from_seconds(1))).unwrap()),
        select(vec![
            "* * * * *",
            "*/10 * * * *",
            "0 * * * *",
            "7,9 */2 * * *"
        ])
        .prop_map(cron),
    ]
}

/// The thresholds are given, so that an edit does not change them.
fn settings(thresholds: (u16, u16)) -> impl Strategy<Value = Settings> {
    (
        schedule(),
        span(7_200),
        option::of(span(3_600)),
        option::of(span(10_800)),
        option::of(span(1_200)),
    )
        .prop_map(
            move |(schedule, grace, start_grace, max_runtime, early_window)| Settings {
                start_grace,
                max_runtime,
                early_window,
                fail_threshold: thresholds.0,
                recovery_threshold: thresholds.1,
                ..Settings::new(schedule, grace)
            },
        )
}

fn step(thresholds: (u16, u16)) -> impl Strategy<Value = (Span, Step)> {
    let signal = prop_oneof![
        4 => Just(Signal::Success),
        4 => Just(Signal::Start),
        2 => Just(Signal::Fail),
        1 => Just(Signal::Log),
        1 => any::<u8>().prop_map(Signal::Exit),
    ];
    let step = prop_oneof![
        12 => (signal, option::of(0..3_u128)).prop_map(|(signal, run)| Step::Checkin(signal, run)),
        3 => Just(Step::Look),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => settings(thresholds).prop_map(Step::Edit),
    ];
    let pause = prop_oneof![Just(Span::ZERO), span(60), span(3_600), span(20_000)];
    (pause, step)
}

#[derive(Clone, Debug)]
struct History {
    settings: Settings,
    outages: Outages,
    steps: Vec<(Time, Step)>,
}

fn history() -> impl Strategy<Value = History> {
    (1..4_u16, 1..4_u16).prop_flat_map(|thresholds| {
        let outages = vec((span(100_000), span(7_200)), 0..4);
        (settings(thresholds), outages, vec(step(thresholds), 0..40)).prop_map(
            |(settings, holes, gaps)| {
                let mut outages = Outages::default();
                for (from, length) in holes {
                    outages.add(Outage {
                        from: MADE + from,
                        until: MADE + from + length + Span::from_seconds(1),
                    });
                }
                let mut at = MADE;
                let steps = gaps
                    .into_iter()
                    .map(|(gap, step)| {
                        at = at + gap;
                        (at, step)
                    })
                    .collect();
                History {
                    settings,
                    outages,
                    steps,
                }
            },
        )
    })
}

/// A heartbeat with the settings that hold at the moment, and all that changed.
struct Told {
    heartbeat: Heartbeat,
    settings: Settings,
    outages: Outages,
    changes: Vec<Change>,
}

impl Told {
    fn new(history: &History) -> Told {
        let (settings, outages) = (history.settings.clone(), history.outages.clone());
        Told {
            heartbeat: Heartbeat::new(MADE),
            settings,
            outages,
            changes: Vec::new(),
        }
    }

    fn look(&mut self, until: Time) {
        self.changes
            .extend(self.heartbeat.lapse(&self.settings, &self.outages, until));
    }

    fn checkin(&mut self, at: Time, signal: Signal, run: Option<u128>) -> [Option<Change>; 2] {
        let changes =
            self.heartbeat
                .checkin(&self.settings, &self.outages, Checkin { at, signal, run });
        self.changes.extend(changes.into_iter().flatten());
        changes
    }

    fn step(&mut self, at: Time, step: &Step) {
        match step {
            Step::Checkin(signal, run) => {
                self.checkin(at, *signal, *run);
            }
            Step::Look => self.look(at),
            Step::Pause => self.heartbeat.pause(at),
            Step::Resume => self.heartbeat.resume(at),
            Step::Edit(settings) => {
                self.look(at);
                self.settings = settings.clone();
                self.changes
                    .extend(self.heartbeat.edit(&self.settings, &self.outages, at, true));
            }
        }
    }

    fn next_lapse(&self) -> Time {
        self.heartbeat.next_lapse(&self.settings, &self.outages)
    }
}

const fn when(change: &Change) -> Time {
    match change {
        Change::Down(cause) => cause.at,
        Change::Recovered { at, .. } => *at,
    }
}

/// Up to where deadlines are judged before `step` whatever is done in between.
fn judged_before(at: Time, step: &Step) -> Time {
    if matches!(step, Step::Look | Step::Edit(_)) {
        at
    } else {
        at - SLACK - Span::from_micros(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn counts_stay_in_bounds_and_timers_are_never_late(history in history()) {
        let mut told = Told::new(&history);
        for (at, step) in &history.steps {
            told.step(*at, step);
            let heartbeat = &told.heartbeat;
            if heartbeat.state != State::Down {
                prop_assert!(heartbeat.failures < told.settings.fail_threshold);
            }
            prop_assert!(heartbeat.successes < told.settings.recovery_threshold);
            prop_assert!(heartbeat.runs().len() <= OPEN_RUNS_MAX);
            prop_assert!(heartbeat.earliest(&told.settings) <= told.next_lapse());
            if heartbeat.state == State::Down {
                prop_assert_eq!(told.next_lapse(), Time::NEVER);
            }
        }
    }

    #[test]
    fn down_and_up_take_turns_in_the_order_of_time(history in history()) {
        let mut told = Told::new(&history);
        for (at, step) in &history.steps {
            let before = told.changes.len();
            let was_down = told.heartbeat.state == State::Down;
            told.step(*at, step);
            let mut down = was_down;
            for change in &told.changes[before..] {
                prop_assert_eq!(matches!(change, Change::Down(_)), !down, "{:?}", change);
                down = !down;
                prop_assert!(when(change) <= *at, "{:?} is told at {}", change, at);
            }
            if !matches!(step, Step::Pause | Step::Resume) {
                prop_assert_eq!(told.heartbeat.state == State::Down, down);
            }
        }
        prop_assert!(told.changes.is_sorted_by_key(when), "{:?}", told.changes);
    }

    #[test]
    fn after_a_look_nothing_is_overdue(history in history()) {
        let mut told = Told::new(&history);
        for (at, step) in &history.steps {
            told.step(*at, step);
            told.look(*at);
            prop_assert!(told.next_lapse() > *at);
            let again = told.heartbeat.clone();
            told.look(*at);
            prop_assert_eq!(&told.heartbeat, &again);
        }
    }

    /// When a decider looks, and how often, makes no difference to what it finds.
    #[test]
    fn looking_in_between_changes_nothing(history in history(), looks in vec((0..40_usize, 0..=1_000_i64), 0..20)) {
        let mut once = Told::new(&history);
        let mut often = Told::new(&history);
        let mut previous = MADE;
        for (index, (at, step)) in history.steps.iter().enumerate() {
            let until = judged_before(*at, step);
            if !matches!(step, Step::Pause | Step::Resume) {
                for (_, part) in looks.iter().filter(|(place, _)| *place == index) {
                    let part = Span::from_micros(until.since(previous).as_micros() / 1_000 * part);
                    often.look((previous + part).min(until));
                }
            }
            once.step(*at, step);
            often.step(*at, step);
            prop_assert_eq!(&once.heartbeat, &often.heartbeat);
            prop_assert_eq!(&once.changes, &often.changes);
            previous = *at;
        }
    }

    #[test]
    fn a_success_in_time_meets_its_deadline(history in history(), late in 0..=1_000_000_i64) {
        let mut told = Told::new(&history);
        for (at, step) in &history.steps {
            told.step(*at, step);
            told.look(*at);
            let deadline = told.next_lapse();
            if deadline == Time::NEVER || !told.heartbeat.runs().is_empty() {
                continue;
            }
            let mut met = Told { heartbeat: told.heartbeat.clone(), settings: told.settings.clone(), outages: told.outages.clone(), changes: Vec::new() };
            let stamp = deadline + Span::from_micros(late);
            prop_assert_eq!(met.checkin(stamp, Signal::Success, None), [None, None]);
            prop_assert_eq!(met.heartbeat.failures, 0);
            met.look(stamp);
            prop_assert_eq!(met.heartbeat.failures, 0);
        }
    }

    /// A request whose answer was lost, and which is sent again at once, tells nothing new.
    #[test]
    fn what_is_sent_again_with_its_run_id_changes_nothing(history in history(), again in vec(0..40_usize, 1..4)) {
        let mut once = Told::new(&history);
        let mut twice = Told::new(&history);
        for (index, (at, step)) in history.steps.iter().enumerate() {
            // Each run has an id of its own, as it should.
            let step = match step {
                Step::Checkin(signal, Some(_)) => Step::Checkin(*signal, Some(index as u128)),
                step => step.clone(),
            };
            once.step(*at, &step);
            twice.step(*at, &step);
            if matches!(step, Step::Checkin(_, Some(_))) && again.contains(&index) {
                twice.step(*at, &step);
            }
            prop_assert_eq!(&once.heartbeat, &twice.heartbeat);
            prop_assert_eq!(&once.changes, &twice.changes);
        }
    }

    /// A start that a stalled server records after the end leaves no run behind.
    #[test]
    fn a_start_right_after_its_end_opens_nothing(history in history(), failed in any::<bool>(), late in 0..=500_000_i64) {
        let mut told = Told::new(&history);
        for (at, step) in &history.steps {
            told.step(*at, step);
            let mut ended = Told { heartbeat: told.heartbeat.clone(), settings: told.settings.clone(), outages: told.outages.clone(), changes: Vec::new() };
            let signal = if failed { Signal::Fail } else { Signal::Success };
            ended.checkin(*at, signal, Some(77));
            let late = *at + Span::from_micros(late);
            // In the moment before a slot it is a run of that slot.
            if late.since(*at) <= ended.heartbeat.awaited.since(*at).divided_by(2) {
                ended.checkin(late, Signal::Start, Some(77));
                prop_assert!(ended.heartbeat.runs().iter().all(|run| run.id != Some(77)));
            }
        }
    }

    #[test]
    fn silence_alone_is_never_news_of_a_new_or_paused_one(history in history(), paused in any::<bool>()) {
        let mut heartbeat = Heartbeat::new(MADE);
        if paused {
            heartbeat.pause(MADE);
        }
        prop_assert_eq!(heartbeat.next_lapse(&history.settings, &history.outages), Time::NEVER);
        prop_assert_eq!(heartbeat.edit(&history.settings, &history.outages, MADE, true), None);
        prop_assert_eq!(heartbeat.next_lapse(&history.settings, &history.outages), Time::NEVER);
    }

    /// Told by a start, an edit or an outage: nothing that a person or we do makes it down at once.
    #[test]
    fn an_edit_never_opens(history in history(), edited in (1..4_u16).prop_flat_map(|n| settings((n, n)))) {
        let mut told = Told::new(&history);
        for (at, step) in &history.steps {
            told.step(*at, step);
            told.look(*at);
            let mut heartbeat = told.heartbeat.clone();
            let change = heartbeat.edit(&edited, &told.outages, *at, true);
            prop_assert!(!matches!(change, Some(Change::Down(_))));
            let next = heartbeat.next_lapse(&edited, &told.outages);
            let shortest = [Some(edited.grace), edited.start_grace, edited.max_runtime].into_iter().flatten().min().unwrap();
            prop_assert!(next > *at || shortest == Span::ZERO, "{} is not after {}", next, at);
        }
    }

    /// Stamps in any order must not break it either: streams are merged after the fact.
    #[test]
    fn stamps_in_disorder_are_survived(history in history(), order in vec(any::<prop::sample::Index>(), 0..60)) {
        let mut told = Told::new(&history);
        for index in order {
            if !history.steps.is_empty() {
                let (at, step) = index.get(&history.steps);
                told.step(*at, step);
                prop_assert!(told.heartbeat.runs().len() <= OPEN_RUNS_MAX);
                prop_assert!(told.heartbeat.earliest(&told.settings) <= told.next_lapse());
            }
        }
    }
}
