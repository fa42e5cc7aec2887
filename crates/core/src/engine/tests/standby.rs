//! A standby beside a decider, and its take-over.

use super::*;

/// A second replica, which reads the same log and tables.
struct Standby {
    engine: Engine,
}

impl Standby {
    fn of(shell: &Shell) -> Standby {
        let mut standby = Standby {
            engine: shell.persisted.boot(),
        };
        standby.follow(shell);
        standby
    }

    fn follow(&mut self, shell: &Shell) {
        for row in &shell.log {
            self.engine.observe(row).unwrap();
        }
    }

    fn reload(&mut self, shell: &Shell, ids: &[MonitorId]) {
        let Persisted {
            checkpoint,
            cuts,
            monitors,
            ..
        } = &shell.persisted;
        let persisted = |id: &MonitorId| {
            let row = monitors.get(id);
            let base = row.and_then(|(cut, _)| cuts.get(cut));
            crate::engine::Persisted {
                id: *id,
                monitor: row.map(|(_, monitor)| monitor.clone()),
                base: Arc::new(base.unwrap_or(&checkpoint.1).clone()),
            }
        };
        self.engine
            .reload(ids.iter().map(persisted).collect(), &shell.log);
    }

    fn checkpoint(&mut self, shell: &Shell) {
        let unsettled = self
            .engine
            .checkpoint_moved(&shell.persisted.checkpoint.1)
            .unwrap();
        self.reload(shell, &unsettled);
    }

    fn unsettled(&self) -> Vec<MonitorId> {
        self.engine.unsettled().collect()
    }

    /// Decides in place of the former; says what happened.
    fn take_over(mut self, shell: &mut Shell, now: i64) -> Vec<String> {
        self.follow(shell);
        let unsettled = self.unsettled();
        self.reload(shell, &unsettled);
        let version = shell.persisted.cuts.keys().next_back().copied();
        let next = shell
            .persisted
            .events
            .iter()
            .map(|(_, event)| event.incident.number + 1)
            .max();
        self.engine
            .take_over(version.unwrap_or(0), next.unwrap_or(1));
        shell.engine = self.engine;
        shell.decide(now)
    }
}

#[test]
fn what_the_decider_has_written_is_taken_from_its_row() {
    let mut shell = Shell::with(1..3, &minutely());
    let mut standby = Standby::of(&shell);
    shell.tell(1, 1, Signal::Fail);
    standby.follow(&shell);
    assert_eq!(standby.unsettled(), [1], "a standby decides nothing");
    assert_eq!(shell.decide(1), ["1 triggered 1 reported_failure 1"]);
    standby.reload(&shell, &[1]);
    assert_eq!(standby.unsettled(), [0; 0]);
    assert_eq!(standby.engine.monitor(1), shell.engine.monitor(1));
    assert_eq!(standby.take_over(&mut shell, 2), none());
}

#[test]
fn a_row_that_is_ahead_of_the_reader_is_not_folded_twice() {
    let settings = Arc::new(Settings {
        fail_threshold: 9,
        ..(*minutely()).clone()
    });
    let mut shell = Shell::with(1..2, &settings);
    let mut standby = Standby::of(&shell);
    shell.tell(1, 1, Signal::Fail);
    shell.pass(10);
    standby.reload(&shell, &[1]);
    let failures = |standby: &Standby| standby.engine.monitor(1).unwrap().heartbeat.failures;
    assert_eq!(failures(&standby), 1);
    standby.follow(&shell);
    assert_eq!(failures(&standby), 1, "its own row is passed over");
    shell.tell(1, 2, Signal::Fail);
    standby.follow(&shell);
    assert_eq!(failures(&standby), 2);
}

#[test]
fn a_miss_below_the_threshold_is_unsettled_until_a_pass_has_written_it() {
    let settings = Arc::new(Settings {
        fail_threshold: 2,
        ..(*minutely()).clone()
    });
    let mut shell = Shell::with(1..2, &settings);
    shell.tell(1, 0, Signal::Success);
    let mut standby = Standby::of(&shell);
    assert_eq!(shell.decide(75), none(), "counted, and no news");
    shell.tell(1, 80, Signal::Start);
    shell.decide(80);
    standby.follow(&shell);
    assert_eq!(standby.unsettled(), [1], "the start judges the slot before");
    shell.pass(10);
    standby.follow(&shell);
    standby.checkpoint(&shell);
    assert_eq!(standby.unsettled(), [0; 0]);
    assert_eq!(standby.engine.monitor(1), shell.engine.monitor(1));
    assert_eq!(standby.engine.monitor(1).unwrap().heartbeat.failures, 1);
}

#[test]
fn what_a_decider_left_undecided_is_decided_once() {
    let mut shell = Shell::with(1..4, &minutely());
    for id in 1..4 {
        shell.tell(id, 0, Signal::Success);
    }
    let standby = Standby::of(&shell);
    shell.tell(2, 5, Signal::Fail);
    let decision = shell.engine.decide(s(6)).unwrap();
    shell.persisted.write(&decision);
    shell.tell(1, 7, Signal::Fail);
    let cut = shell.persisted.cuts.keys().next_back().copied().unwrap();
    // The former decider ends here, before it had installed what it wrote.
    assert_eq!(
        standby.take_over(&mut shell, 8),
        ["1 triggered 2 reported_failure 7"]
    );
    assert!(
        shell.engine.version() > cut,
        "cuts go on where the former decider's ended"
    );
    assert_eq!(
        shell.decide(75),
        ["3 triggered 3 missed_deadline 70"],
        "deadlines that nobody has judged yet"
    );
    let states = shell.states();
    shell.boot();
    assert_eq!(shell.states(), states);
}

#[test]
fn whoever_took_over_writes_all_that_it_has_folded() {
    let mut shell = Shell::with(1..3, &minutely());
    let standby = Standby::of(&shell);
    shell.tell(1, 1, Signal::Success);
    assert_eq!(standby.take_over(&mut shell, 2), none());
    shell.pass(10);
    let rows: Vec<_> = shell.persisted.monitors.keys().copied().collect();
    assert_eq!(rows, [1, 2], "as a standby it may have folded it alone");
    let states = shell.states();
    shell.boot();
    assert_eq!(shell.states(), states);
}

#[test]
fn a_pass_that_is_given_up_is_made_again() {
    let mut shell = Shell::with(1..4, &minutely());
    shell.engine.begin_pass();
    assert!(shell.engine.sweep(1).is_some(), "lost on the way");
    shell.engine.step_down();
    assert!(!shell.engine.is_in_pass());
    shell.pass(10);
    let rows: Vec<_> = shell.persisted.monitors.keys().copied().collect();
    assert_eq!(rows, [1, 2, 3]);
}

#[test]
fn a_reader_under_which_rows_were_dropped_must_boot_again() {
    let mut shell = Shell::with(1..2, &minutely());
    let mut standby = Standby::of(&shell);
    shell.tell(1, 1, Signal::Success);
    shell.pass(10);
    // Nothing of stream 1 is left to read, and so there is no row that would not follow.
    let gap = standby
        .engine
        .checkpoint_moved(&shell.persisted.checkpoint.1)
        .unwrap_err();
    assert_eq!((gap.stream, gap.expected, gap.found), (1, 1, 1));
}

#[test]
fn a_finished_stream_is_forgotten_when_the_checkpoint_has_forgotten_it() {
    let mut shell = Shell::with(1..2, &minutely());
    shell.tell(1, 1, Signal::Success);
    let mut end = row(1, 2, 2, Vec::new());
    end.end = true;
    shell.engine.observe(&end).unwrap();
    shell.log.push(end);
    shell.append(2, 3, Vec::new());
    let mut standby = Standby::of(&shell);
    for _ in 0..30 {
        shell.pass(10);
        standby.checkpoint(&shell);
    }
    let streams = |engine: &Engine| engine.vector().keys().copied().collect::<Vec<_>>();
    assert_eq!(streams(&shell.engine), [0, 2]);
    assert_eq!(streams(&standby.engine), [0, 2]);
}

#[test]
fn a_checkin_that_is_read_before_its_monitor_was_made_counts() {
    let mut shell = Shell::new();
    shell.append(1, 4, vec![checkin(1, 4, Signal::Fail)]);
    assert_eq!(shell.engine.unsettled().collect::<Vec<_>>(), [1]);
    shell.command(1, 5, Action::Create(minutely()));
    assert_eq!(shell.decide(5), ["1 triggered 1 reported_failure 4"]);
}
