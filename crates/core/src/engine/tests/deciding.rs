//! What is decided when, and what becomes of it.

use std::collections::BTreeSet;

use super::*;

#[test]
fn a_position_is_one_integer() {
    for (stream, seq) in [
        (0, 1),
        (1, 1),
        (16_777_215, (1 << 40) - 1),
        (7, 123_456_789_012),
    ] {
        let position = Position::from_u64(Position::new(stream, seq).as_u64());
        assert_eq!((position.stream(), position.seq()), (stream, seq));
    }
    assert!(Position::new(1, u64::MAX >> 24) < Position::new(2, 0));
}

#[test]
fn rows_follow_each_other_and_are_read_once() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 10, Signal::Success);
    let (states, version, vector) = (
        shell.states(),
        shell.engine.version(),
        shell.engine.vector().clone(),
    );
    for row in shell.log.clone() {
        shell.engine.observe(&row).unwrap();
    }
    let missing = row(
        1,
        shell.engine.reached(1) + 2,
        20,
        vec![checkin(1, 20, Signal::Fail)],
    );
    let expected = shell.engine.reached(1) + 1;
    assert_eq!(
        shell.engine.observe(&missing),
        Err(Gap {
            stream: 1,
            expected,
            found: expected + 1
        })
    );
    let first = shell.engine.observe(&row(9, 2, 20, Vec::new()));
    assert_eq!(
        first,
        Err(Gap {
            stream: 9,
            expected: 1,
            found: 2
        }),
        "a stream begins with 1"
    );
    assert_eq!((shell.states(), shell.engine.version()), (states, version));
    assert_eq!(shell.engine.vector(), &vector);
}

#[test]
fn what_is_about_an_unknown_monitor_is_ignored() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(7, 1, Signal::Fail);
    shell.command(8, 1, Action::Pause);
    shell.command(9, 1, Action::Delete);
    let configure = Command {
        at: s(1),
        monitor: None,
        by: "ann".to_owned(),
        action: Action::Configure,
    };
    shell.append(CONFIGURATION, 1, vec![Record::Command(configure)]);
    assert_eq!(
        (
            shell.engine.len(),
            shell.engine.unsettled().collect::<Vec<_>>()
        ),
        (1, vec![7]),
        "its creation may have to be read yet"
    );
    assert_eq!(shell.decide(900), none());
    assert_eq!(
        (shell.engine.len(), shell.engine.unsettled().count()),
        (1, 0)
    );
}

#[test]
fn news_waits_for_its_decision() {
    let mut shell = Shell::with(1..3, &minutely());
    shell.tell(1, 10, Signal::Success);
    shell.tell(1, 20, Signal::Fail);
    shell.tell(1, 25, Signal::Log);
    assert_eq!(
        shell.engine.monitor(1).unwrap().heartbeat.state,
        State::Up,
        "memory stays before the decision"
    );
    assert_eq!(
        (
            shell.engine.unsettled().count(),
            shell.engine.wants_decision(s(25))
        ),
        (1, true)
    );
    let decision = shell.engine.decide(s(25)).unwrap();
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.state, State::Up);
    assert_eq!(
        (decision.cut, decision.now),
        (shell.engine.version() + 1, s(25))
    );
    assert_eq!(decision.changes.len(), 1, "of those that have news");
    assert_eq!(
        Some(&decision),
        shell.engine.decide(s(25)).as_ref(),
        "deciding changes nothing"
    );
    assert_eq!(shell.decide(25), ["1 triggered 1 reported_failure 20"]);
    let monitor = shell.engine.monitor(1).unwrap();
    assert_eq!(
        (monitor.heartbeat.state, monitor.last_checkin),
        (State::Down, s(25)),
        "with what came after it"
    );
    assert_eq!(shell.engine.unsettled().count(), 0);
    shell.tell(1, 30, Signal::Success);
    assert_eq!(shell.decide(30), ["1 resolved 1 success 30"]);
}

#[test]
fn a_deadline_is_decided_when_it_has_passed() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 200);
    assert_eq!(shell.engine.next_timer(), Some(s(70)));
    assert!(!shell.engine.wants_decision(s(69)));
    assert!(shell.engine.wants_decision(s(70)));
    assert_eq!(shell.decide(200), ["1 triggered 1 missed_deadline 70"]);
    assert_eq!(shell.decide(900), none(), "once");
}

#[test]
fn what_waits_is_merged_by_the_time_of_receipt() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.pass(10);
    shell.beat(2, 64);
    shell.tell(1, 80, Signal::Log);
    assert_eq!(
        shell.engine.unsettled().count(),
        1,
        "by what has been read the deadline at 70 was missed"
    );
    shell.append(2, 65, vec![checkin(1, 65, Signal::Success)]);
    shell.beat(2, 82);
    assert_eq!(
        shell.decide(80),
        none(),
        "the success of another stream was in time"
    );
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.awaited, s(125));
    let states = shell.states();
    shell.pass(10);
    shell.boot();
    assert_eq!(shell.states(), states, "without news it is swept");
}

#[test]
fn a_doubtful_decision_is_decided_again_or_found_done() {
    for durable in [false, true] {
        let mut shell = Shell::with(1..3, &minutely());
        shell.tell(1, 0, Signal::Success);
        shell.tell(2, 1, Signal::Success);
        shell.pass(1);
        shell.tell(1, 20, Signal::Fail);
        shell.beat(1, 75);
        let decision = shell.engine.decide(s(75)).unwrap();
        if durable {
            shell.persisted.write(&decision);
        }
        shell.boot();
        let again = shell.decide(75);
        let expected = [
            "1 triggered 1 reported_failure 20",
            "2 triggered 2 missed_deadline 71",
        ];
        assert_eq!(
            again,
            if durable {
                none()
            } else {
                expected.map(str::to_owned).to_vec()
            }
        );
        assert_eq!(shell.persisted.events.len(), 2);
        let states: Vec<State> = shell
            .states()
            .iter()
            .map(|(_, monitor)| monitor.heartbeat.state)
            .collect();
        assert_eq!(states, [State::Down, State::Down]);
    }
}

#[test]
fn nothing_is_judged_while_our_own_stream_is_silent() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.tell(1, 1, Signal::Log);
    shell.beat(1, 62);
    let last = seconds(shell.engine.vector()[&1].silence.at);
    assert_eq!(shell.engine.held_since(s(last + 4)), None);
    assert_eq!(shell.engine.held_since(s(last + 5)), Some(s(last - 4)));
    assert!(
        !shell.engine.wants_decision(s(75)),
        "held since {}",
        last - 4
    );
    assert_eq!(shell.decide_held(75), none());
    shell.append(1, 80, Vec::new());
    let outage = Outage {
        from: s(last - 4),
        until: s(84),
    };
    assert_eq!(shell.engine.outages().iter().collect::<Vec<_>>(), [outage]);
    assert_eq!(shell.decide(93), none(), "the whole grace after it");
    shell.beat(1, 100);
    let decision = shell.engine.decide(s(99)).unwrap();
    assert_eq!(
        decision.outages,
        [(outage, Position::new(1, outage_row(&shell)))]
    );
    let event = &decision.changes[0].events[0];
    assert_eq!(
        (event.reason, event.at),
        (Reason::UnheardSinceOutage, s(94))
    );
    assert_eq!(
        event.outages,
        [outage],
        "an incident by silence says what we missed"
    );
}

fn outage_row(shell: &Shell) -> u64 {
    shell
        .log
        .iter()
        .find(|row| row.stream == 1 && seconds(row.at) == 80)
        .unwrap()
        .seq
}

#[test]
fn a_deadline_before_the_hold_is_judged_in_it() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 80);
    assert_eq!(shell.decide_held(90), ["1 triggered 1 missed_deadline 70"]);
}

#[test]
fn a_late_checkin_of_another_stream_waits_for_the_end_of_a_hold() {
    let mut shell = Shell::with(1..3, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 63);
    shell.beat(2, 74);
    shell.append(
        2,
        74,
        vec![
            checkin(1, 74, Signal::Success),
            checkin(2, 74, Signal::Fail),
        ],
    );
    assert!(shell.engine.wants_decision(s(74)));
    assert_eq!(
        shell.decide_held(74),
        ["2 triggered 1 reported_failure 74"],
        "a failure says what it says"
    );
    assert_eq!(shell.engine.unsettled().count(), 1);
    shell.append(1, 76, Vec::new());
    assert_eq!(
        shell.decide_held(76),
        none(),
        "it was our outage: the success was in time"
    );
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.awaited, s(134));
}

#[test]
fn a_miss_that_only_counts_waits_for_the_end_of_a_hold_too() {
    let twice = Arc::new(Settings {
        fail_threshold: 2,
        ..(*minutely()).clone()
    });
    let mut shell = Shell::with(1..2, &twice);
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 63);
    // The edit is read while our stream stands still: whether the silence was ours is not known yet.
    let edit = Action::Edit(Arc::clone(&twice));
    shell.append(0, 72, vec![command(1, 72, edit)]);
    assert_eq!(shell.decide_held(72), none());
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.failures, 0);
    assert_eq!(shell.engine.unsettled().count(), 1);
    shell.append(1, 76, Vec::new());
    assert_eq!(shell.decide_held(76), none());
    assert_eq!(
        shell.engine.monitor(1).unwrap().heartbeat.failures,
        0,
        "it was our outage"
    );
    assert_eq!(shell.engine.unsettled().count(), 0);
}

#[test]
fn an_edit_stamped_after_a_step_of_the_clock_judges_nothing_until_the_streams_show_the_step() {
    let settings = minutely();
    let mut shell = Shell::with(1..2, &settings);
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 63);
    // The database's clock steps by 100 s. The decider's has not followed yet, and no hold is to be seen by it.
    shell.append(
        CONFIGURATION,
        164,
        vec![command(1, 164, Action::Edit(Arc::clone(&settings)))],
    );
    assert_eq!(shell.engine.held_since(s(64)), None);
    assert!(!shell.engine.wants_decision(s(64)));
    assert_eq!(shell.decide_held(64), none());
    shell.append(1, 166, Vec::new());
    assert_eq!(shell.decide_held(166), none(), "no 100 s had passed");
    assert_eq!(shell.engine.unsettled().count(), 0);
    assert_eq!(
        shell.decide(180),
        ["1 triggered 1 unheard_since_outage 180"]
    );
}

#[test]
fn while_no_stream_is_open_deadlines_wait_and_the_silence_counts_until_the_next() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 30);
    let end = Row {
        end: true,
        ..row(1, shell.engine.reached(1) + 1, 30, Vec::new())
    };
    shell.engine.observe(&end).unwrap();
    shell.log.push(end);
    assert_eq!(shell.engine.held_since(s(31)), None);
    assert_eq!(shell.engine.held_since(s(900)), Some(s(23)));
    shell.pass(10);
    assert!(
        shell.engine.vector().contains_key(&1),
        "the silence after it counts from its end"
    );
    shell.append(2, 100, Vec::new());
    let outage = Outage {
        from: s(23),
        until: s(104),
    };
    assert_eq!(
        shell.engine.outages().iter().collect::<Vec<_>>(),
        [outage],
        "nobody was heard meanwhile"
    );
    for _ in 0..30 {
        shell.pass(10);
    }
    assert!(
        !shell.engine.vector().contains_key(&1) && !shell.persisted.checkpoint.1.contains_key(&1)
    );
    shell.log.retain(|row| row.stream != 1);
    shell.boot();
    assert_eq!(shell.engine.outages().iter().collect::<Vec<_>>(), [outage]);
    shell.beat(2, 200);
    assert_eq!(
        shell.decide_held(200),
        ["1 triggered 1 unheard_since_outage 114"]
    );
}

/// Each start closes the stream before and dies before it can be heard: end markers prove nothing.
#[test]
fn a_process_that_starts_and_dies_again_and_again_is_one_outage() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 57);
    for (stream, at) in [(1, 65), (2, 73), (3, 81)] {
        let end = Row {
            end: true,
            ..row(stream, shell.engine.reached(stream) + 1, at, Vec::new())
        };
        shell.engine.observe(&end).unwrap();
        shell.log.push(end);
        assert_eq!(
            shell.engine.held_since(s(at)),
            Some(s(50)),
            "nobody is heard yet"
        );
    }
    shell.append(4, 89, Vec::new());
    let outage = Outage {
        from: s(50),
        until: s(93),
    };
    assert_eq!(shell.engine.outages().iter().collect::<Vec<_>>(), [outage]);
}

#[test]
fn a_deleted_monitor_leaves_nothing_but_its_incidents_end() {
    let mut shell = Shell::with(1..3, &minutely());
    shell.tell(1, 0, Signal::Fail);
    shell.tell(2, 1, Signal::Success);
    assert_eq!(shell.decide(1), ["1 triggered 1 reported_failure 0"]);
    shell.command(1, 5, Action::Delete);
    shell.command(2, 6, Action::Delete);
    shell.tell(1, 7, Signal::Fail);
    assert_eq!(shell.engine.len(), 2, "until it is decided");
    assert_eq!(shell.decide(7), ["1 resolved 1 deleted 5"]);
    assert_eq!(
        (
            shell.engine.len(),
            shell.engine.monitor(1),
            shell.engine.unsettled().count()
        ),
        (0, None, 0)
    );
    shell.tell(1, 8, Signal::Fail);
    assert_eq!(shell.decide(900), none());
    assert!(shell.persisted.monitors.is_empty());
    shell.pass(10);
    shell.boot();
    assert!(shell.engine.is_empty());
}

#[test]
fn people_change_only_the_incident_that_they_mean() {
    let take = |incident| Action::Acknowledge {
        incident,
        note: Some("mine".to_owned()),
    };
    let resolve = |incident| Action::Resolve {
        incident,
        note: None,
    };
    let note = |incident| Action::Note {
        incident,
        note: "seen".to_owned(),
    };
    for (sentence, actions, expected) in [
        (
            "taken once",
            vec![take(1), take(1)],
            vec!["acknowledged 1 by_hand 21"],
        ),
        (
            "another number",
            vec![take(2), resolve(2), note(2), take(0), resolve(0)],
            vec![],
        ),
        (
            "resolved once",
            vec![resolve(1), resolve(1), take(1)],
            vec!["resolved 1 by_hand 21"],
        ),
        (
            "taken, then resolved",
            vec![take(1), resolve(1)],
            vec!["acknowledged 1 by_hand 21", "resolved 1 by_hand 22"],
        ),
        (
            "a note after the end",
            vec![resolve(1), note(1)],
            vec!["resolved 1 by_hand 21", "noted 1 by_hand 22"],
        ),
        (
            "paused",
            vec![Action::Pause, resolve(1)],
            vec!["resolved 1 paused 21"],
        ),
        (
            "paused after it was taken",
            vec![take(1), Action::Pause],
            vec!["acknowledged 1 by_hand 21", "resolved 1 paused 22"],
        ),
        (
            "made again",
            vec![Action::Create(every(5)), Action::Configure],
            vec![],
        ),
    ] {
        let mut shell = Shell::with(1..2, &minutely());
        shell.tell(1, 20, Signal::Fail);
        assert_eq!(shell.decide(20), ["1 triggered 1 reported_failure 20"]);
        for (at, action) in (21..).zip(actions) {
            shell.command(1, at, action);
        }
        let expected: Vec<String> = expected
            .into_iter()
            .map(|event| format!("1 {event}"))
            .collect();
        assert_eq!(shell.decide(30), expected, "{sentence}");
        let by: Vec<_> = shell.persisted.events[1..]
            .iter()
            .map(|(_, event)| event.by.as_deref())
            .collect();
        assert!(by.iter().all(|by| *by == Some("ann")), "{sentence}: {by:?}");
    }
}

#[test]
fn resolved_by_hand_it_stays_down_and_says_no_more_until_it_has_been_up() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Fail);
    shell.decide(0);
    shell.command(
        1,
        5,
        Action::Resolve {
            incident: 1,
            note: None,
        },
    );
    assert_eq!(shell.decide(5), ["1 resolved 1 by_hand 5"]);
    shell.tell(1, 400, Signal::Fail);
    shell.tell(1, 800, Signal::Log);
    shell.command(1, 801, Action::Edit(every(3600)));
    assert_eq!(shell.decide(801), none());
    assert_eq!(
        shell.engine.monitor(1).unwrap().heartbeat.state,
        State::Down,
        "it failed: an edit does not bring it up"
    );
    shell.tell(1, 810, Signal::Success);
    shell.tell(1, 820, Signal::Fail);
    assert_eq!(shell.decide(820), ["1 triggered 2 reported_failure 820"]);
}

#[test]
fn a_flap_within_the_window_reopens_its_incident() {
    for (again, expected) in [
        (320, "1 triggered 1+1 reported_failure 320"),
        (321, "1 triggered 2 reported_failure 321"),
    ] {
        let mut shell = Shell::with(1..2, &every(3600));
        shell.tell(1, 10, Signal::Fail);
        shell.decide(10);
        shell.command(
            1,
            11,
            Action::Acknowledge {
                incident: 1,
                note: None,
            },
        );
        shell.tell(1, 20, Signal::Success);
        shell.decide(20);
        shell.tell(1, 30, Signal::Log);
        shell.pass(1);
        shell.boot();
        shell.tell(1, again, Signal::Fail);
        assert_eq!(shell.decide(again), [expected]);
        assert_eq!(
            shell
                .engine
                .monitor(1)
                .unwrap()
                .open_incident()
                .unwrap()
                .phase,
            Phase::Triggered,
            "nobody has taken it"
        );
    }
}

#[test]
fn an_edit_resolves_a_silence_but_not_a_failure() {
    let mut shell = Shell::with(1..3, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.tell(2, 0, Signal::Success);
    assert_eq!(
        shell.decide(75),
        [
            "1 triggered 1 missed_deadline 70",
            "2 triggered 2 missed_deadline 70"
        ]
    );
    shell.tell(2, 76, Signal::Fail);
    shell.command(1, 80, Action::Edit(every(600)));
    shell.command(2, 80, Action::Edit(every(600)));
    assert_eq!(
        shell.decide(80),
        ["1 resolved 1 edited 80"],
        "the other has failed since"
    );
}

#[test]
fn a_deadline_that_an_edit_moves_earlier_fires_earlier() {
    let mut shell = Shell::with(1..2, &every(600));
    shell.tell(1, 0, Signal::Success);
    assert_eq!(shell.engine.next_timer(), Some(s(610)));
    shell.command(1, 5, Action::Edit(every(30)));
    assert_eq!(shell.engine.next_timer(), Some(s(40)));
    shell.command(1, 6, Action::Edit(every(50)));
    assert_eq!(
        shell.engine.next_timer(),
        Some(s(40)),
        "a timer that surfaces too early is put back"
    );
    assert_eq!(shell.decide(45), none());
    assert_eq!(shell.engine.next_timer(), Some(s(60)));
    assert_eq!(shell.decide(60), ["1 triggered 1 missed_deadline 60"]);
}

#[test]
fn ten_thousand_at_once_are_decided_a_thousand_at_a_time() {
    let mut shell = Shell::with(0..10_000, &minutely());
    shell.append(
        1,
        0,
        (0..10_000)
            .map(|id| checkin(id, 0, Signal::Success))
            .collect(),
    );
    shell.append(1, 1, vec![checkin(5_000, 1, Signal::Fail)]);
    shell.beat(1, 72);
    let mut seen = BTreeSet::new();
    let mut sizes = Vec::new();
    while let Some(decision) = shell.engine.decide(s(71)) {
        assert!(
            decision.changes.is_sorted_by_key(|change| change.id),
            "in the order of numbers"
        );
        assert!(
            decision
                .changes
                .iter()
                .all(|change| change.events.len() == 1 && seen.insert(change.id))
        );
        sizes.push(decision.changes.len());
        shell.engine.install(decision);
    }
    assert_eq!((sizes, seen.len()), (vec![DECISION_MAX; 10], 10_000));
    let numbers: BTreeSet<u64> = shell
        .engine
        .monitors()
        .map(|(_, monitor)| monitor.open_incident().unwrap().number)
        .collect();
    assert_eq!(numbers, (1..=10_000).collect(), "each has its own incident");
}
