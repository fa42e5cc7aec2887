//! Tests of the memory: a shell that persists into plain maps, then what a crash, a doubt, a hold and a sweep must keep.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::heartbeat::Cause;
use crate::schedule::Schedule;
use crate::time::Span;

const BEAT: i64 = 3;

fn s(seconds: i64) -> Time {
    Time::from_seconds(1_767_225_600 + seconds)
}

fn seconds(time: Time) -> i64 {
    time.as_seconds() - 1_767_225_600
}

/// A period of 60 s, 10 s of grace.
fn minutely() -> Arc<Settings> {
    every(60)
}

fn every(period: i64) -> Arc<Settings> {
    Arc::new(Settings::new(Schedule::every(Span::from_seconds(period)).unwrap(), Span::from_seconds(10)))
}

fn row(stream: u32, seq: u64, at: i64, records: Vec<Record>) -> Row {
    Row { stream, seq, at: s(at), put: s(at), records, end: false }
}

fn checkin(id: MonitorId, at: i64, signal: Signal) -> Record {
    Record::Checkin(id, Checkin { at: s(at), signal, run: None })
}

fn command(id: MonitorId, at: i64, action: Action) -> Record {
    Record::Command(Command { at: s(at), monitor: Some(id), by: "ann".to_owned(), action })
}

/// What a database would hold.
#[derive(Clone, Default)]
struct Persisted {
    checkpoint: (u64, Vector),
    cuts: BTreeMap<u64, Vector>,
    monitors: BTreeMap<MonitorId, (u64, Monitor)>,
    outages: Vec<Outage>,
    events: Vec<(MonitorId, Event)>,
}

impl Persisted {
    fn write_row(&mut self, id: MonitorId, cut: u64, monitor: &Monitor) {
        let known = self.monitors.get(&id).is_some_and(|(known, _)| *known >= cut);
        if !known {
            self.monitors.insert(id, (cut, monitor.clone()));
        }
    }

    fn write(&mut self, decision: &Decision) {
        for Decided { id, after, events } in &decision.changes {
            self.events.extend(events.iter().map(|event| (*id, event.clone())));
            match after {
                Some(monitor) => self.write_row(*id, decision.cut, monitor),
                None => {
                    self.monitors.remove(id);
                }
            }
        }
        self.cuts.entry(decision.cut).or_insert_with(|| decision.vector.clone());
        self.outages.extend(decision.outages.iter().map(|(outage, _)| *outage));
    }

    fn sweep(&mut self, sweep: &Sweep) {
        for (id, monitor) in &sweep.rows {
            self.write_row(*id, sweep.cut, monitor);
        }
        self.cuts.entry(sweep.cut).or_insert_with(|| sweep.vector.clone());
        self.outages.extend(sweep.outages.iter().map(|(outage, _)| *outage));
        if let Some(end) = &sweep.end {
            self.checkpoint = (end.cut, end.vector.clone());
            self.cuts.retain(|cut, _| *cut >= end.cut);
        }
    }

    fn boot(&self) -> Engine {
        let next = self.events.iter().map(|(_, event)| event.incident.number + 1).max().unwrap_or(1);
        let monitors = self.monitors.iter();
        Engine::boot(Boot {
            checkpoint: self.checkpoint.clone(),
            cuts: self.cuts.clone().into_iter().collect(),
            monitors: monitors.map(|(id, (cut, monitor))| BootedMonitor { id: *id, cut: *cut, monitor: monitor.clone() }).collect(),
            outages: self.outages.clone(),
            next_incident: next,
        })
    }
}

/// One process with its log.
struct Shell {
    engine: Engine,
    log: Vec<Row>,
    persisted: Persisted,
}

impl Shell {
    fn new() -> Shell {
        Shell { engine: Engine::boot(Boot::default()), log: Vec::new(), persisted: Persisted::default() }
    }

    /// With monitors `ids` of these settings, made at 0.
    fn with(ids: std::ops::Range<MonitorId>, settings: &Arc<Settings>) -> Shell {
        let mut shell = Shell::new();
        let records = ids.map(|id| command(id, 0, Action::Create(Arc::clone(settings)))).collect();
        shell.append(CONFIGURATION, 0, records);
        shell
    }

    fn append(&mut self, stream: u32, at: i64, records: Vec<Record>) {
        let row = row(stream, self.engine.reached(stream) + 1, at, records);
        self.engine.observe(&row).unwrap();
        self.log.push(row);
    }

    /// Beats of `stream` up to `until`.
    fn beat(&mut self, stream: u32, until: i64) {
        let mut last = self.log.iter().rev().find(|row| row.stream == stream).map_or(0, |row| seconds(row.at));
        while last + BEAT < until {
            last += BEAT;
            self.append(stream, last, Vec::new());
        }
    }

    /// A check-in read from stream 1, which has beaten all the time.
    fn tell(&mut self, id: MonitorId, at: i64, signal: Signal) {
        self.beat(1, at);
        self.append(1, at, vec![checkin(id, at, signal)]);
    }

    fn command(&mut self, id: MonitorId, at: i64, action: Action) {
        self.append(CONFIGURATION, at, vec![command(id, at, action)]);
    }

    /// Decides until nothing is left, persisting what is news; says what happened.
    fn decide(&mut self, now: i64) -> Vec<String> {
        self.beat(1, now + 1);
        self.decide_held(now)
    }

    /// As [`Shell::decide`], but nobody has beaten.
    fn decide_held(&mut self, now: i64) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(decision) = self.engine.decide(s(now)) {
            said.extend(decision.changes.iter().flat_map(|change| change.events.iter().map(|event| say(change.id, event))));
            if decision.is_news() {
                self.persisted.write(&decision);
            }
            self.engine.install(decision);
        }
        assert!(!self.engine.wants_decision(s(now)));
        said
    }

    /// Decides; what comes next comes too late to have met a deadline of now. (A count below the threshold is no news, so
    /// a crash between such a look and a photo finish may forget that look.)
    fn decide_before_any_finish(&mut self, now: i64) -> i64 {
        self.decide_held(now);
        now + 2
    }

    fn pass(&mut self, limit: usize) {
        self.engine.begin_pass();
        while let Some(sweep) = self.engine.sweep(limit) {
            self.persisted.sweep(&sweep);
            self.engine.swept(&sweep);
        }
    }

    /// A new process: what was persisted, and the log after it.
    fn boot(&mut self) {
        self.engine = self.persisted.boot();
        for row in &self.log {
            self.engine.observe(row).unwrap();
        }
    }

    fn states(&self) -> Vec<(MonitorId, Monitor)> {
        self.engine.monitors().map(|(id, monitor)| (id, monitor.clone())).collect()
    }
}

/// `MONITOR WHAT NUMBER[+REOPENED] REASON TIME`.
fn say(id: MonitorId, event: &Event) -> String {
    let Incident { number, reopened, .. } = event.incident;
    let reopened = if reopened == 0 { String::new() } else { format!("+{reopened}") };
    format!("{id} {} {number}{reopened} {} {}", event.what.word(), event.reason, seconds(event.at))
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn a_position_is_one_integer() {
    for (stream, seq) in [(0, 1), (1, 1), (16_777_215, (1 << 40) - 1), (7, 123_456_789_012)] {
        let position = Position::from_u64(Position::new(stream, seq).as_u64());
        assert_eq!((position.stream(), position.seq()), (stream, seq));
    }
    assert!(Position::new(1, u64::MAX >> 24) < Position::new(2, 0));
}

#[test]
fn rows_follow_each_other_and_are_read_once() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 10, Signal::Success);
    let (states, version, vector) = (shell.states(), shell.engine.version(), shell.engine.vector().clone());
    for row in shell.log.clone() {
        shell.engine.observe(&row).unwrap();
    }
    let missing = row(1, shell.engine.reached(1) + 2, 20, vec![checkin(1, 20, Signal::Fail)]);
    let expected = shell.engine.reached(1) + 1;
    assert_eq!(shell.engine.observe(&missing), Err(Gap { stream: 1, expected, found: expected + 1 }));
    let first = shell.engine.observe(&row(9, 2, 20, Vec::new()));
    assert_eq!(first, Err(Gap { stream: 9, expected: 1, found: 2 }), "a stream begins with 1");
    assert_eq!((shell.states(), shell.engine.version()), (states, version));
    assert_eq!(shell.engine.vector(), &vector);
}

#[test]
fn what_is_about_an_unknown_monitor_is_ignored() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(7, 1, Signal::Fail);
    shell.command(8, 1, Action::Pause);
    shell.command(9, 1, Action::Delete);
    let configure = Command { at: s(1), monitor: None, by: "ann".to_owned(), action: Action::Configure };
    shell.append(CONFIGURATION, 1, vec![Record::Command(configure)]);
    assert_eq!((shell.engine.len(), shell.engine.unsettled()), (1, 0));
    assert_eq!(shell.decide(900), none());
}

#[test]
fn news_waits_for_its_decision() {
    let mut shell = Shell::with(1..3, &minutely());
    shell.tell(1, 10, Signal::Success);
    shell.tell(1, 20, Signal::Fail);
    shell.tell(1, 25, Signal::Log);
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.state, State::Up, "memory stays before the decision");
    assert_eq!((shell.engine.unsettled(), shell.engine.wants_decision(s(25))), (1, true));
    let decision = shell.engine.decide(s(25)).unwrap();
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.state, State::Up);
    assert_eq!((decision.cut, decision.now), (shell.engine.version() + 1, s(25)));
    assert_eq!(decision.changes.len(), 1, "of those that have news");
    assert_eq!(Some(&decision), shell.engine.decide(s(25)).as_ref(), "deciding changes nothing");
    assert_eq!(shell.decide(25), ["1 triggered 1 reported_failure 20"]);
    let monitor = shell.engine.monitor(1).unwrap();
    assert_eq!((monitor.heartbeat.state, monitor.last_checkin), (State::Down, s(25)), "with what came after it");
    assert_eq!(shell.engine.unsettled(), 0);
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
    shell.beat(2, 64);
    shell.tell(1, 80, Signal::Log);
    assert_eq!(shell.engine.unsettled(), 1, "by what has been read the deadline at 70 was missed");
    shell.append(2, 65, vec![checkin(1, 65, Signal::Success)]);
    shell.beat(2, 82);
    assert_eq!(shell.decide(80), none(), "the success of another stream was in time");
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.awaited, s(125));
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
        let expected = ["1 triggered 1 reported_failure 20", "2 triggered 2 missed_deadline 71"];
        assert_eq!(again, if durable { none() } else { expected.map(str::to_owned).to_vec() });
        assert_eq!(shell.persisted.events.len(), 2);
        let states: Vec<State> = shell.states().iter().map(|(_, monitor)| monitor.heartbeat.state).collect();
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
    assert!(!shell.engine.wants_decision(s(75)), "held since {}", last - 4);
    assert_eq!(shell.decide_held(75), none());
    shell.append(1, 80, Vec::new());
    let outage = Outage { from: s(last - 4), until: s(84) };
    assert_eq!(shell.engine.outages().iter().collect::<Vec<_>>(), [outage]);
    assert_eq!(shell.decide(93), none(), "the whole grace after it");
    shell.beat(1, 100);
    let decision = shell.engine.decide(s(99)).unwrap();
    assert_eq!(decision.outages, [(outage, Position::new(1, outage_row(&shell)))]);
    let event = &decision.changes[0].events[0];
    assert_eq!((event.reason, event.at), (Reason::UnheardSinceOutage, s(94)));
    assert_eq!(event.outages, [outage], "an incident by silence says what we missed");
}

fn outage_row(shell: &Shell) -> u64 {
    shell.log.iter().find(|row| row.stream == 1 && seconds(row.at) == 80).unwrap().seq
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
    shell.append(2, 74, vec![checkin(1, 74, Signal::Success), checkin(2, 74, Signal::Fail)]);
    assert!(shell.engine.wants_decision(s(74)));
    assert_eq!(shell.decide_held(74), ["2 triggered 1 reported_failure 74"], "a failure says what it says");
    assert_eq!(shell.engine.unsettled(), 1);
    shell.append(1, 76, Vec::new());
    assert_eq!(shell.decide_held(76), none(), "it was our outage: the success was in time");
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.awaited, s(134));
}

#[test]
fn an_ended_stream_holds_nothing_and_its_silence_counts_until_the_next() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 30);
    let end = Row { end: true, ..row(1, shell.engine.reached(1) + 1, 30, Vec::new()) };
    shell.engine.observe(&end).unwrap();
    shell.log.push(end);
    assert_eq!(shell.engine.held_since(s(900)), None);
    shell.pass(10);
    assert!(shell.engine.vector().contains_key(&1), "the silence after it counts from its end");
    shell.append(2, 100, Vec::new());
    let outage = Outage { from: s(26), until: s(104) };
    assert_eq!(shell.engine.outages().iter().collect::<Vec<_>>(), [outage], "nobody was heard meanwhile");
    shell.pass(10);
    assert!(!shell.engine.vector().contains_key(&1) && !shell.persisted.checkpoint.1.contains_key(&1));
    shell.log.retain(|row| row.stream != 1);
    shell.boot();
    assert_eq!(shell.engine.outages().iter().collect::<Vec<_>>(), [outage]);
    shell.beat(2, 200);
    assert_eq!(shell.decide_held(200), ["1 triggered 1 unheard_since_outage 114"]);
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
    assert_eq!((shell.engine.len(), shell.engine.monitor(1), shell.engine.unsettled()), (0, None, 0));
    shell.tell(1, 8, Signal::Fail);
    assert_eq!(shell.decide(900), none());
    assert!(shell.persisted.monitors.is_empty());
    shell.pass(10);
    shell.boot();
    assert!(shell.engine.is_empty());
}

#[test]
fn people_change_only_the_incident_that_they_mean() {
    let take = |incident| Action::Acknowledge { incident, note: Some("mine".to_owned()) };
    let resolve = |incident| Action::Resolve { incident, note: None };
    let note = |incident| Action::Note { incident, note: "seen".to_owned() };
    for (sentence, actions, expected) in [
        ("taken once", vec![take(1), take(1)], vec!["acknowledged 1 by_hand 21"]),
        ("another number", vec![take(2), resolve(2), note(2), take(0), resolve(0)], vec![]),
        ("resolved once", vec![resolve(1), resolve(1), take(1)], vec!["resolved 1 by_hand 21"]),
        ("taken, then resolved", vec![take(1), resolve(1)], vec!["acknowledged 1 by_hand 21", "resolved 1 by_hand 22"]),
        ("a note after the end", vec![resolve(1), note(1)], vec!["resolved 1 by_hand 21", "noted 1 by_hand 22"]),
        ("paused", vec![Action::Pause, resolve(1)], vec!["resolved 1 paused 21"]),
        ("paused after it was taken", vec![take(1), Action::Pause], vec!["acknowledged 1 by_hand 21", "resolved 1 paused 22"]),
        ("made again", vec![Action::Create(every(5)), Action::Configure], vec![]),
    ] {
        let mut shell = Shell::with(1..2, &minutely());
        shell.tell(1, 20, Signal::Fail);
        assert_eq!(shell.decide(20), ["1 triggered 1 reported_failure 20"]);
        for (at, action) in (21..).zip(actions) {
            shell.command(1, at, action);
        }
        let expected: Vec<String> = expected.into_iter().map(|event| format!("1 {event}")).collect();
        assert_eq!(shell.decide(30), expected, "{sentence}");
        let by: Vec<_> = shell.persisted.events[1..].iter().map(|(_, event)| event.by.as_deref()).collect();
        assert!(by.iter().all(|by| *by == Some("ann")), "{sentence}: {by:?}");
    }
}

#[test]
fn resolved_by_hand_it_stays_down_and_says_no_more_until_it_has_been_up() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Fail);
    shell.decide(0);
    shell.command(1, 5, Action::Resolve { incident: 1, note: None });
    assert_eq!(shell.decide(5), ["1 resolved 1 by_hand 5"]);
    shell.tell(1, 400, Signal::Fail);
    shell.tell(1, 800, Signal::Log);
    shell.command(1, 801, Action::Edit(every(3600)));
    assert_eq!(shell.decide(801), none());
    assert_eq!(shell.engine.monitor(1).unwrap().heartbeat.state, State::Down, "it failed: an edit does not bring it up");
    shell.tell(1, 810, Signal::Success);
    shell.tell(1, 820, Signal::Fail);
    assert_eq!(shell.decide(820), ["1 triggered 2 reported_failure 820"]);
}

#[test]
fn a_flap_within_the_window_reopens_its_incident() {
    for (again, expected) in [(320, "1 triggered 1+1 reported_failure 320"), (321, "1 triggered 2 reported_failure 321")] {
        let mut shell = Shell::with(1..2, &every(3600));
        shell.tell(1, 10, Signal::Fail);
        shell.decide(10);
        shell.command(1, 11, Action::Acknowledge { incident: 1, note: None });
        shell.tell(1, 20, Signal::Success);
        shell.decide(20);
        shell.tell(1, 30, Signal::Log);
        shell.pass(1);
        shell.boot();
        shell.tell(1, again, Signal::Fail);
        assert_eq!(shell.decide(again), [expected]);
        assert_eq!(shell.engine.monitor(1).unwrap().open_incident().unwrap().phase, Phase::Triggered, "nobody has taken it");
    }
}

#[test]
fn an_edit_resolves_a_silence_but_not_a_failure() {
    let mut shell = Shell::with(1..3, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.tell(2, 0, Signal::Success);
    assert_eq!(shell.decide(75), ["1 triggered 1 missed_deadline 70", "2 triggered 2 missed_deadline 70"]);
    shell.tell(2, 76, Signal::Fail);
    shell.command(1, 80, Action::Edit(every(600)));
    shell.command(2, 80, Action::Edit(every(600)));
    assert_eq!(shell.decide(80), ["1 resolved 1 edited 80"], "the other has failed since");
}

#[test]
fn a_deadline_that_an_edit_moves_earlier_fires_earlier() {
    let mut shell = Shell::with(1..2, &every(600));
    shell.tell(1, 0, Signal::Success);
    assert_eq!(shell.engine.next_timer(), Some(s(610)));
    shell.command(1, 5, Action::Edit(every(30)));
    assert_eq!(shell.engine.next_timer(), Some(s(40)));
    shell.command(1, 6, Action::Edit(every(50)));
    assert_eq!(shell.engine.next_timer(), Some(s(40)), "a timer that surfaces too early is put back");
    assert_eq!(shell.decide(45), none());
    assert_eq!(shell.engine.next_timer(), Some(s(60)));
    assert_eq!(shell.decide(60), ["1 triggered 1 missed_deadline 60"]);
}

#[test]
fn ten_thousand_at_once_are_decided_a_thousand_at_a_time() {
    let mut shell = Shell::with(0..10_000, &minutely());
    shell.append(1, 0, (0..10_000).map(|id| checkin(id, 0, Signal::Success)).collect());
    shell.append(1, 1, vec![checkin(5_000, 1, Signal::Fail)]);
    shell.beat(1, 72);
    let mut seen = BTreeSet::new();
    let mut sizes = Vec::new();
    while let Some(decision) = shell.engine.decide(s(71)) {
        assert!(decision.changes.is_sorted_by_key(|change| change.id), "in the order of numbers");
        assert!(decision.changes.iter().all(|change| change.events.len() == 1 && seen.insert(change.id)));
        sizes.push(decision.changes.len());
        shell.engine.install(decision);
    }
    assert_eq!((sizes, seen.len()), (vec![DECISION_MAX; 10], 10_000));
    let numbers: BTreeSet<u64> = shell.engine.monitors().map(|(_, monitor)| monitor.open_incident().unwrap().number).collect();
    assert_eq!(numbers, (1..=10_000).collect(), "each has its own incident");
}

#[test]
fn a_pass_moves_the_checkpoint_to_where_it_began_and_leaves_out_the_unsettled() {
    let mut shell = Shell::with(1..5, &minutely());
    for id in 1..5 {
        shell.tell(id, 1, Signal::Success);
    }
    shell.tell(3, 2, Signal::Fail);
    let began = shell.engine.vector().clone();
    shell.engine.begin_pass();
    let first = shell.engine.sweep(2).unwrap();
    assert_eq!(first.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    shell.persisted.sweep(&first);
    shell.engine.swept(&first);
    shell.tell(1, 3, Signal::Start);
    let second = shell.engine.sweep(2).unwrap();
    assert_eq!((second.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), &second.end), (vec![4], &None));
    assert_eq!(second.vector, *shell.engine.vector(), "a chunk's rows stand where the log stood then");
    shell.persisted.sweep(&second);
    shell.engine.swept(&second);
    assert_eq!(shell.engine.sweep(2), None, "it waits for a decision");
    shell.decide(3);
    let last = shell.engine.sweep(2).unwrap();
    assert_eq!(last.rows, [], "the decision has written the rest");
    assert_eq!(last.end.as_ref().unwrap().vector, began);
    shell.persisted.sweep(&last);
    shell.engine.swept(&last);
    assert!(!shell.engine.is_in_pass());
    let states = shell.states();
    shell.boot();
    assert_eq!(shell.states(), states, "what was folded meanwhile is in the log after the checkpoint");
    shell.pass(10);
    assert_eq!(shell.persisted.monitors[&1].1.heartbeat.runs().len(), 1);
}

#[test]
fn a_row_is_not_overwritten_by_an_older_sweep() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 0, Signal::Success);
    shell.beat(1, 75);
    let decision = shell.engine.decide(s(75)).unwrap();
    shell.engine.begin_pass();
    let sweep = shell.engine.sweep(10).unwrap();
    shell.persisted.write(&decision);
    shell.engine.install(decision);
    shell.persisted.sweep(&sweep);
    shell.engine.swept(&sweep);
    assert_eq!(shell.persisted.monitors[&1].1.heartbeat.state, State::Down);
    shell.boot();
    assert_eq!(shell.decide(90), none());
}

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
    let signal = select(vec![Signal::Success, Signal::Success, Signal::Start, Signal::Fail, Signal::Log, Signal::Exit(3)]);
    let action = prop_oneof![
        Just(Action::Pause),
        Just(Action::Resume),
        (5..100_i64).prop_map(|period| Action::Edit(every(period))),
        (1..9_u64).prop_map(|incident| Action::Acknowledge { incident, note: None }),
        (1..9_u64).prop_map(|incident| Action::Resolve { incident, note: None }),
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
    let settings = Settings { fail_threshold: threshold, recovery_threshold: threshold, ..(*minutely()).clone() };
    Arc::new(Settings { start_grace: (id == 2).then_some(Span::from_seconds(4)), ..settings })
}

/// Runs `story`; with `faults` it sweeps and crashes as told, without it only decides where the other did.
fn live(story: &[(i64, u32, Happens)], faults: bool) -> (Shell, i64) {
    let mut shell = Shell::new();
    shell.append(CONFIGURATION, 0, (1..5).map(|id| command(id, 0, Action::Create(settings_of(id)))).collect());
    let mut now = 0;
    for (gap, stream, happens) in story {
        now += gap;
        shell.beat(1, now + 1);
        shell.beat(2, now + 1);
        match happens {
            Happens::Checkin(id, signal, run) => {
                let record = Record::Checkin(*id, Checkin { at: s(now), signal: *signal, run: *run });
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
    shell.append(CONFIGURATION, 0, (1..5).map(|id| command(id, 0, Action::Create(settings_of(id)))).collect());
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
                let record = Record::Checkin(*id, Checkin { at: s(now), signal: *signal, run: *run });
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
