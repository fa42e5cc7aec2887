//! Incidents: a period in which something was wrong.
//!
//! A monitor keeps its last incident in its state, so that "no monitor has two open" holds by construction and a flap
//! within the reopen window joins the incident that it belongs to.

use crate::heartbeat::Cause;
use crate::outage::Outage;
use crate::reason::Reason;
use crate::time::{Span, Time};

/// A monitor that goes down again within this time after its incident was resolved reopens that incident.
pub const REOPEN_WINDOW: Span = Span::from_seconds(300);

/// The last incident of a monitor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incident {
    /// Its number, counted per installation; never used again.
    pub number: u64,
    /// Where it stands.
    pub phase: Phase,
    /// How often it was reopened.
    pub reopened: u32,
    /// Opened because nothing was heard, not because something failed.
    pub by_silence: bool,
    /// When the thing went wrong (of the last opening).
    pub started_at: Time,
}

/// Where an incident stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Open, nobody has taken it.
    Triggered,
    /// Open, somebody has.
    Acknowledged,
    /// Over since then.
    Resolved(Time),
}

impl Incident {
    /// Whether it is open.
    pub const fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Resolved(_))
    }
}

/// What happened to an incident.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happened {
    /// Opened, or opened again (`reopened` > 0).
    Triggered(Cause),
    /// Somebody took it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// Somebody wrote something down.
    Noted,
}

impl Happened {
    /// The word on the wire and in the database.
    pub const fn word(&self) -> &'static str {
        match self {
            Happened::Triggered(_) => "triggered",
            Happened::Acknowledged => "acknowledged",
            Happened::Resolved => "resolved",
            Happened::Noted => "noted",
        }
    }
}

/// One entry of an incident's timeline, as the engine decides it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// The incident as it is after the event.
    pub incident: Incident,
    /// What happened.
    pub what: Happened,
    /// When it happened in the world: the deadline, the check-in, the click.
    pub at: Time,
    /// Why.
    pub reason: Reason,
    /// The last check-in before it; `Time::MIN` where there was none.
    pub last_checkin: Time,
    /// The person or token, for what people do.
    pub by: Option<String>,
    /// What they wrote.
    pub note: Option<String>,
    /// Outages of ours that ended since the last check-in: said with every incident by silence.
    pub outages: Vec<Outage>,
}

/// Opens an incident, or reopens `last` within the window; `next` is the next free number.
pub fn open(last: Option<Incident>, cause: &Cause, next: &mut u64) -> Incident {
    let by_silence = !matches!(cause.reason, Reason::ReportedFailure | Reason::ExitStatus);
    let fresh = |number| Incident {
        number,
        phase: Phase::Triggered,
        reopened: 0,
        by_silence,
        started_at: cause.at,
    };
    match last {
        Some(Incident {
            number,
            phase: Phase::Resolved(at),
            reopened,
            ..
        }) if cause.at.since(at) <= REOPEN_WINDOW => Incident {
            reopened: reopened + 1,
            ..fresh(number)
        },
        _ => {
            let number = *next;
            *next += 1;
            fresh(number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(at: i64) -> Cause {
        Cause {
            reason: Reason::MissedDeadline,
            at: Time::from_seconds(at),
            expected: None,
            exit_status: None,
            outage: None,
        }
    }

    #[test]
    fn a_flap_within_the_window_joins_its_incident() {
        let resolved = |at| Incident {
            number: 7,
            phase: Phase::Resolved(Time::from_seconds(at)),
            reopened: 0,
            by_silence: true,
            started_at: Time::from_seconds(0),
        };
        for (resolved_at, down_at, number, reopened) in
            [(100, 400, 7, 1), (100, 401, 8, 0), (100, 90, 7, 1)]
        {
            let mut next = 8;
            let incident = open(Some(resolved(resolved_at)), &cause(down_at), &mut next);
            assert_eq!(
                (incident.number, incident.reopened),
                (number, reopened),
                "down at {down_at}"
            );
        }
    }
}
