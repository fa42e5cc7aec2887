//! What waits for a decision, and what becomes of a monitor by it.

use super::{Action, Command, Monitor, Position};
use crate::heartbeat::Checkin;
use crate::incident::Event;
use crate::outage::Outages;
use crate::time::Time;
use std::sync::Arc;

/// What waits for a decision, in the order in which it was received.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Input {
    Checkin(Checkin, Position),
    Command(Command),
}

impl Input {
    pub(super) const fn at(&self) -> Time {
        match self {
            Input::Checkin(checkin, _) => checkin.at,
            Input::Command(command) => command.at,
        }
    }

    /// Whether it makes a monitor.
    pub(super) const fn creates(&self) -> bool {
        matches!(
            self,
            Input::Command(Command {
                action: Action::Create(_),
                ..
            })
        )
    }

    /// Streams are merged by the stamp of receipt, and each keeps its own order, since the sort is stable. But whoever reports
    /// knows of the monitor: by a clock that is a little behind it may do so before the monitor was made.
    pub(super) const fn order(&self) -> (bool, Time) {
        (!self.creates(), self.at())
    }

    /// Applying it judges the deadlines up to here.
    pub(super) const fn lapses_until(&self) -> Time {
        match self {
            Input::Checkin(checkin, _) => checkin.lapses_until(),
            Input::Command(Command {
                at,
                action: Action::Edit(_),
                ..
            }) => *at,
            Input::Command(_) => Time::MIN,
        }
    }
}

/// Whether applying this counts a deadline as missed.
pub(super) fn judges(monitor: &Monitor, input: &Input, outages: &Outages) -> bool {
    let until = input.lapses_until();
    let (heartbeat, settings) = (&monitor.heartbeat, &monitor.settings);
    // Outages only move deadlines on: the first look spares nearly every check-in the second.
    heartbeat.earliest(settings) <= until && heartbeat.next_lapse(settings, outages) <= until
}

/// One input for one monitor; says what is news, and whether the monitor existed before.
pub(super) fn apply(
    monitor: &mut Option<Monitor>,
    input: &Input,
    outages: &Outages,
    next: &mut u64,
) -> (Vec<Event>, bool) {
    let Some(existing) = monitor else {
        if let Input::Command(Command {
            action: Action::Create(settings),
            at,
            ..
        }) = input
        {
            *monitor = Some(Monitor::new(Arc::clone(settings), *at));
        }
        return (Vec::new(), false);
    };
    let events = match input {
        Input::Checkin(checkin, position) => existing.checkin(*checkin, *position, outages, next),
        Input::Command(command) => existing.command(command, outages, next),
    };
    if matches!(
        input,
        Input::Command(Command {
            action: Action::Delete,
            ..
        })
    ) {
        *monitor = None;
    }
    (events, true)
}
