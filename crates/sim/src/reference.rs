//! What a monitor must be, folded from its whole history at once: no checkpoints, no decisions, no recovery.

use std::sync::Arc;

use systole_core::engine::{Action, Command, Vector};
use systole_core::heartbeat::{Change, Checkin, Heartbeat, Settings, Signal};
use systole_core::outage::Outages;
use systole_core::reason::Reason;
use systole_core::time::{Span, Time};

use crate::truth::View;

/// One thing said about a monitor.
#[derive(Clone, Debug)]
pub enum Input {
    /// By itself.
    Checkin(Checkin),
    /// By a person.
    Command(Command),
}

impl Input {
    /// When.
    pub const fn at(&self) -> Time {
        match self {
            Input::Checkin(checkin) => checkin.at,
            Input::Command(command) => command.at,
        }
    }

    /// Whether it changes the settings.
    pub const fn edits(&self) -> bool {
        matches!(
            self,
            Input::Command(Command {
                action: Action::Edit(_),
                ..
            })
        )
    }
}

/// Where and when it was said.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its row's place in the order of commits.
    pub index: usize,
    /// Its row.
    pub stream: u32,
    /// Its row.
    pub seq: u64,
    /// Its row's stamp.
    pub row_at: Time,
    /// What.
    pub input: Input,
}

/// What follows from a history.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The state.
    pub heartbeat: Heartbeat,
    /// Whether an incident is open.
    pub open: bool,
    /// When it went down, each time.
    pub downs: Vec<Time>,
    by_silence: bool,
    deleted: bool,
}

impl Reference {
    fn new(settings: &Arc<Settings>, at: Time) -> Reference {
        Reference {
            settings: Arc::clone(settings),
            heartbeat: Heartbeat::new(at),
            open: false,
            downs: Vec::new(),
            by_silence: true,
            deleted: false,
        }
    }

    fn change(&mut self, change: Option<Change>) {
        match change {
            Some(Change::Down(cause)) => {
                self.open = true;
                self.by_silence =
                    !matches!(cause.reason, Reason::ReportedFailure | Reason::ExitStatus);
                self.downs.push(cause.at);
            }
            Some(Change::Recovered { .. }) => self.open = false,
            None => {}
        }
    }

    fn lapse(&mut self, until: Time, outages: &Outages) {
        let settings = Arc::clone(&self.settings);
        let change = self.heartbeat.lapse(&settings, outages, until);
        self.change(change);
    }

    fn command(&mut self, command: &Command, outages: &Outages) {
        match &command.action {
            Action::Edit(settings) => {
                self.lapse(command.at, outages);
                self.settings = Arc::clone(settings);
                let change = self
                    .heartbeat
                    .edit(settings, outages, command.at, self.by_silence);
                self.change(change);
            }
            Action::Pause => {
                self.heartbeat.pause(command.at);
                self.open = false;
            }
            Action::Resume => self.heartbeat.resume(command.at),
            // People resolve what they see; which number that is does not matter here.
            Action::Resolve { .. } => {
                self.lapse(command.at, outages);
                self.open = false;
            }
            _ => {}
        }
    }
}

/// A deadline that was judged by what was known then: an outage that is found later does not undo it.
#[derive(Clone)]
pub struct Lapsed {
    /// When it lapsed.
    pub deadline: Time,
    /// The outages known then.
    pub outages: Outages,
    /// How many rows had been committed then.
    pub moment: usize,
    /// How far the process had read besides.
    pub vector: Vector,
}

impl Lapsed {
    /// Judged by these outages and what `view` says.
    pub fn new(deadline: Time, outages: Outages, view: View<'_>) -> Lapsed {
        Lapsed {
            deadline,
            outages,
            moment: view.moment,
            vector: view.vector.cloned().unwrap_or_default(),
        }
    }

    fn knew(&self, told: &Told) -> bool {
        let read = self
            .vector
            .get(&told.stream)
            .is_some_and(|reached| reached.seq >= told.seq);
        told.index < self.moment || read
    }
}

/// Folds a history in the order of stamps, with what was judged meanwhile, then lets deadlines lapse until `until`.
pub fn fold<'a>(
    told: impl Iterator<Item = &'a Told>,
    lapsed: &[Lapsed],
    outages: &Outages,
    until: Time,
) -> Option<Reference> {
    // What was durable only after a judgement comes after it, whatever its stamp.
    let order = |told: &Told| {
        // Whoever reports knows of the monitor, whatever the clocks say.
        if let Input::Command(command) = &told.input
            && matches!(command.action, Action::Create(_))
        {
            return Time::MIN;
        }
        let late = lapsed
            .iter()
            .filter(|lapsed| !lapsed.knew(told))
            .map(|lapsed| lapsed.deadline)
            .max();
        late.map_or(told.input.at(), |deadline| {
            told.input.at().max(deadline + Span::from_micros(1))
        })
    };
    let mut told: Vec<(Time, &Told)> = told.map(|told| (order(told), told)).collect();
    told.sort_by_key(|(at, _)| *at);
    let mut judged = lapsed.iter().peekable();
    let mut reference: Option<Reference> = None;
    for (at, Told { input, .. }) in told {
        while let Some(next) = judged.next_if(|next| next.deadline < at) {
            if let Some(reference) = &mut reference {
                reference.lapse(next.deadline, &next.outages);
            }
        }
        match (input, &mut reference) {
            (
                Input::Command(Command {
                    action: Action::Create(settings),
                    at,
                    ..
                }),
                None,
            ) => {
                reference = Some(Reference::new(settings, *at));
            }
            (
                Input::Command(Command {
                    action: Action::Delete,
                    ..
                }),
                Some(reference),
            ) => reference.deleted = true,
            (Input::Command(command), Some(reference)) => reference.command(command, outages),
            (Input::Checkin(checkin), Some(reference)) => {
                let settings = Arc::clone(&reference.settings);
                for change in reference.heartbeat.checkin(&settings, outages, *checkin) {
                    reference.change(change);
                }
            }
            (_, None) => {}
        }
        if reference
            .as_ref()
            .is_some_and(|reference| reference.deleted)
        {
            return reference;
        }
    }
    if let Some(reference) = &mut reference {
        for next in judged.filter(|next| next.deadline <= until) {
            reference.lapse(next.deadline, &next.outages);
        }
        reference.lapse(until, outages);
    }
    reference
}

/// A counter's true state: nothing ever lapses, so each check-in, in the order of rows, decides everything.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Failures since the last recovery or success.
    pub failures: u16,
    /// It is down.
    pub down: bool,
    /// When it went down (`true`) and recovered.
    pub events: Vec<(bool, Time)>,
}

/// Counts check-ins by a second, simpler reading of the rule.
pub fn count<'a>(checkins: impl Iterator<Item = &'a Checkin>, settings: &Settings) -> Counted {
    let mut counted = Counted::default();
    let (mut successes, mut last_end) = (0, Time::MIN);
    for checkin in checkins {
        let good = match checkin.signal {
            Signal::Success | Signal::Exit(0) => true,
            Signal::Fail | Signal::Exit(_) => false,
            Signal::Start | Signal::Log => continue,
        };
        if checkin.at + Span::from_seconds(1) < last_end {
            continue;
        }
        last_end = last_end.max(checkin.at);
        if good {
            successes += 1;
            if counted.down && successes < settings.recovery_threshold {
                continue;
            }
            if counted.down {
                counted.events.push((false, checkin.at));
            }
            counted = Counted {
                failures: 0,
                down: false,
                events: counted.events,
            };
            successes = 0;
        } else {
            counted.failures += 1;
            successes = 0;
            if !counted.down && counted.failures >= settings.fail_threshold {
                counted.down = true;
                counted.events.push((true, checkin.at));
            }
        }
    }
    counted
}
