//! Writing states back.

use super::*;

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
    assert_eq!(
        first.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [1, 2]
    );
    shell.persisted.sweep(&first);
    shell.engine.swept(&first);
    shell.tell(1, 3, Signal::Start);
    let second = shell.engine.sweep(2).unwrap();
    assert_eq!(
        (
            second.rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            &second.end
        ),
        (vec![4], &None)
    );
    assert_eq!(
        second.vector,
        *shell.engine.vector(),
        "a chunk's rows stand where the log stood then"
    );
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
    assert_eq!(
        shell.states(),
        states,
        "what was folded meanwhile is in the log after the checkpoint"
    );
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
