//! Long lives at random: crashes and stalls at any instant.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::heartbeat::Cause;

/// What happens to a shell in the property below.
#[derive(Clone, Debug)]
enum Happens {
    Checkin(MonitorId, Signal, Option<u128>),
    Command(MonitorId, Action),
    Decide,
    BeginPass,
    Sweep(usize),
    /// The process dies; what it had decided but not committed is lost.
    Crash,
    /// It dies between a commit and its reply.
    CrashAfterCommit,
}

fn happens() -> impl Strategy<Value = (i64, u32, Happens)> {
    let id = 1..5_u32;
    let signal = select(vec![
        Signal::Success,
        Signal::Success,
        Signal::Start,
        Signal::Fail,
        Signal::Log,
        Signal::Exit(3),
    ]);
    let action = prop_oneof![
        Just(Action::Pause),
        Just(Action::Resume),
        (5..100_i64).prop_map(|period| Action::Edit(every(period))),
        (1..9_u64).prop_map(|incident| Action::Acknowledge {
            incident,
            note: None
        }),
        (1..9_u64).prop_map(|incident| Action::Resolve {
            incident,
            note: None
        }),
    ];
    let happens = prop_oneof![
        10 => (id.clone(), signal, proptest::option::of(0..2_u128)).prop_map(|(id, signal, run)| Happens::Checkin(id, signal, run)),
        2 => (id, action).prop_map(|(id, action)| Happens::Command(id, action)),
        4 => Just(Happens::Decide),
        2 => Just(Happens::BeginPass),
        5 => (1..4_usize).prop_map(Happens::Sweep),
        2 => Just(Happens::Crash),
        1 => Just(Happens::CrashAfterCommit),
    ];
    (prop_oneof![Just(0), 0..9_i64, 0..90_i64], 1..3_u32, happens)
}

fn settings_of(id: MonitorId) -> Arc<Settings> {
    let threshold = u16::try_from(id % 3 + 1).unwrap();
    let settings = Settings {
        fail_threshold: threshold,
        recovery_threshold: threshold,
        ..(*minutely()).clone()
    };
    Arc::new(Settings {
        start_grace: (id == 2).then_some(Span::from_seconds(4)),
        ..settings
    })
}

/// Runs `story`; with `faults` it sweeps and crashes as told, without it only decides where the other did.
fn live(story: &[(i64, u32, Happens)], faults: bool) -> (Shell, i64) {
    let mut shell = Shell::new();
    shell.append(
        CONFIGURATION,
        0,
        (1..5)
            .map(|id| command(id, 0, Action::Create(settings_of(id))))
            .collect(),
    );
    let mut now = 0;
    for (gap, stream, happens) in story {
        now += gap;
        shell.beat(1, now + 1);
        shell.beat(2, now + 1);
        match happens {
            Happens::Checkin(id, signal, run) => {
                let record = Record::Checkin(
                    *id,
                    Checkin {
                        at: s(now),
                        signal: *signal,
                        run: *run,
                    },
                );
                shell.append(*stream, now, vec![record]);
            }
            Happens::Command(id, action) => shell.command(*id, now, action.clone()),
            Happens::Decide => now = shell.decide_before_any_finish(now),
            Happens::BeginPass if faults => shell.engine.begin_pass(),
            Happens::Sweep(limit) if faults => {
                if let Some(sweep) = shell.engine.sweep(*limit) {
                    shell.persisted.sweep(&sweep);
                    shell.engine.swept(&sweep);
                }
            }
            Happens::Crash if faults => shell.boot(),
            Happens::CrashAfterCommit => {
                if faults {
                    if let Some(decision) = shell.engine.decide(s(now))
                        && decision.is_news()
                    {
                        shell.persisted.write(&decision);
                    }
                    shell.boot();
                }
                now = shell.decide_before_any_finish(now);
            }
            Happens::BeginPass | Happens::Sweep(_) | Happens::Crash => {}
        }
    }
    shell.beat(1, now + 1);
    shell.beat(2, now + 1);
    shell.decide_held(now);
    (shell, now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// State = latest persisted row + the log after it, whatever was swept when.
    #[test]
    fn a_crash_at_any_instant_changes_nothing(story in vec(happens(), 0..60)) {
        let (steady, now) = live(&story, false);
        let (mut shaken, _) = live(&story, true);
        prop_assert_eq!(shaken.states(), steady.states());
        prop_assert_eq!(&shaken.persisted.events, &steady.persisted.events, "nothing is decided twice, nothing lost");
        shaken.boot();
        shaken.decide_held(now);
        prop_assert_eq!(shaken.states(), steady.states());
        prop_assert_eq!(&shaken.persisted.events, &steady.persisted.events);
    }

    /// "No monitor has two open incidents; nothing but a change into down opens one."
    #[test]
    fn incidents_open_and_close_in_turn(story in vec(happens(), 0..60)) {
        let (shell, _) = live(&story, true);
        for id in 1..5 {
            let mut open = None;
            for (_, event) in shell.persisted.events.iter().filter(|(of, _)| *of == id) {
                match event.what {
                    Happened::Triggered(_) => {
                        prop_assert_eq!(open, None);
                        open = Some(event.incident.number);
                    }
                    Happened::Resolved => {
                        prop_assert_eq!(open, Some(event.incident.number));
                        open = None;
                    }
                    Happened::Acknowledged | Happened::Noted => prop_assert_eq!(open, Some(event.incident.number)),
                }
            }
            let monitor = shell.engine.monitor(id).unwrap();
            prop_assert_eq!(monitor.open_incident().map(|incident| incident.number), open);
            prop_assert!(open.is_none() || monitor.heartbeat.state == State::Down);
        }
    }
}

/// One life of two streams of which now and then one stands still.
fn stalling(story: &[(i64, u32, Happens)], stalls: &[(usize, u32, i64)]) -> Shell {
    let mut shell = Shell::new();
    shell.append(
        CONFIGURATION,
        0,
        (1..5)
            .map(|id| command(id, 0, Action::Create(settings_of(id))))
            .collect(),
    );
    let mut now = 0;
    let mut stalled: Option<(u32, i64)> = None;
    for (index, (gap, stream, happens)) in story.iter().enumerate() {
        for second in 0..*gap {
            let at = now + second + 1;
            if stalled.is_some_and(|(_, until)| until <= at) {
                let (stream, _) = stalled.take().unwrap();
                shell.append(stream, at, Vec::new());
            }
            for stream in [1, 2] {
                if stalled.is_none_or(|(silent, _)| silent != stream) {
                    shell.beat(stream, at + 1);
                }
            }
            shell.decide_held(at);
        }
        now += gap;
        if stalled.is_none()
            && let Some((_, stream, length)) = stalls.iter().find(|(place, ..)| *place == index)
            // Not at once after another: two slow intervals may prove an outage that neither did alone.
            && shell.engine.vector().values().all(|reached| reached.silence.slow_since.is_none())
            && shell.engine.vector().len() == 3
        {
            stalled = Some((*stream, now + length));
        }
        match happens {
            Happens::Checkin(id, signal, run) => {
                let record = Record::Checkin(
                    *id,
                    Checkin {
                        at: s(now),
                        signal: *signal,
                        run: *run,
                    },
                );
                let stream = stalled.map_or(*stream, |(silent, _)| 3 - silent);
                shell.append(stream, now, vec![record]);
            }
            Happens::Command(id, action) => shell.command(*id, now, action.clone()),
            Happens::Crash => shell.boot(),
            Happens::BeginPass => shell.pass(3),
            Happens::Decide | Happens::Sweep(_) | Happens::CrashAfterCommit => {}
        }
    }
    shell
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A decider that looks every second judges no silence that turns out to have been ours, and every one that moved a
    /// deadline is named. Before 4 s have passed nobody can know that a stream stands still.
    #[test]
    fn our_outage_never_looks_like_theirs(
        story in vec(happens(), 0..60),
        stalls in vec((0..60_usize, 1..3_u32, 7..60_i64), 0..5),
    ) {
        let mut shell = stalling(&story, &stalls);
        shell.pass(100);
        let unknowable = Span::from_seconds(8);
        for (id, event) in &shell.persisted.events {
            if let Happened::Triggered(Cause { reason, expected: Some(due), at, outage, .. }) = event.what {
                let ours = shell.persisted.outages.iter().find(|o| due < o.until && at > o.from + unknowable);
                prop_assert_eq!(outage.is_some(), reason == Reason::UnheardSinceOutage);
                prop_assert!(ours.is_none() || outage.is_some(), "{} at {}: {:?}", say(*id, event), due, ours);
                prop_assert!(ours.is_none_or(|ours| at >= ours.until), "{} in {:?}", say(*id, event), ours);
            }
        }
    }
}
