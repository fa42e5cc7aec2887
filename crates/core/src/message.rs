//! The facts of one message, as plain data.
//!
//! A message says what happened once; each channel words it its own way. Nothing here knows a wire format, and nothing
//! a channel needs is missing here: building a request asks no database.

use std::fmt;
use std::str::FromStr;

use crate::time::Time;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MessageKind {
    /// An incident opened, or reopened ([`IncidentFacts::reopened`] above zero).
    Triggered,
    /// A person took the incident.
    Acknowledged,
    /// The incident went to the next step of its escalation.
    Escalated,
    /// Something about an open incident changed, or it is said again.
    Updated,
    /// The incident ended.
    Resolved,
    /// A person asked whether the channel works.
    ChannelTest,
}

impl MessageKind {
    /// Every kind, in the order of the type.
    pub const ALL: [MessageKind; 6] = [
        MessageKind::Triggered,
        MessageKind::Acknowledged,
        MessageKind::Escalated,
        MessageKind::Updated,
        MessageKind::Resolved,
        MessageKind::ChannelTest,
    ];

    /// The word that is stored and sent, for example `incident.triggered`.
    pub const fn as_str(self) -> &'static str {
        match self {
            MessageKind::Triggered => "incident.triggered",
            MessageKind::Acknowledged => "incident.acknowledged",
            MessageKind::Escalated => "incident.escalated",
            MessageKind::Updated => "incident.updated",
            MessageKind::Resolved => "incident.resolved",
            MessageKind::ChannelTest => "channel.test",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for MessageKind {
    type Err = String;
    fn from_str(text: &str) -> Result<MessageKind, String> {
        let found = MessageKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text);
        found.ok_or_else(|| {
            let words = MessageKind::ALL.map(MessageKind::as_str).join(", ");
            format!("{text:?} is not a kind of message; one of {words}")
        })
    }
}

/// How bad it is when a monitor is down, as its owner says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look in working hours.
    Warning,
    /// Broken.
    Error,
    /// Broken, and somebody must get up: what a monitor has unless told otherwise.
    #[default]
    Critical,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: [Severity; 4] = [
        Severity::Info,
        Severity::Warning,
        Severity::Error,
        Severity::Critical,
    ];

    /// The word that is stored and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Severity, String> {
        Severity::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| {
                format!("{text:?} is not a severity; one of critical, error, warning, info")
            })
    }
}

/// One message: everything any channel may say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub kind: MessageKind,
    /// When it was decided. It stays the same over attempts.
    pub at: Time,
    /// The incident; absent only for [`MessageKind::ChannelTest`].
    pub incident: Option<IncidentFacts>,
    /// The monitor whose incident it is; absent for a test and for a system incident without one.
    pub monitor: Option<MonitorFacts>,
    /// What the decision rests on.
    pub evidence: Evidence,
    /// Regions that see the endpoint down.
    pub regions_failing: Vec<String>,
    /// Regions that see it up.
    pub regions_ok: Vec<String>,
    /// Our own outage that preceded the silence, first and last instant.
    pub outage: Option<(Time, Time)>,
    /// Why it is sent now, where the kind alone does not say.
    pub occasion: Occasion,
    /// Other news that goes out in this one message: what the same outage explains, or what a digest gathered.
    pub grouped: Vec<Item>,
}

/// One more piece of news within a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is about.
    pub kind: MessageKind,
    /// The incident.
    pub incident: IncidentFacts,
    /// Its monitor.
    pub monitor: MonitorFacts,
    /// What the decision rests on.
    pub evidence: Evidence,
    /// Why it is said now.
    pub occasion: Occasion,
}

/// Why a message is sent now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Occasion {
    /// Because it has just been decided.
    #[default]
    Event,
    /// The incident is still open and nobody has acknowledged it; the first reminder is 1.
    Reminder {
        /// How often it has been said again.
        number: u32,
    },
    /// It was held back by a maintenance window of this name, which has ended.
    MaintenanceOver {
        /// The window.
        window: String,
    },
    /// A message to another channel could not be delivered; nobody may have been told.
    DeliveryDead {
        /// The channel that was not reached.
        channel: String,
        /// What its last attempt came to; free of secrets.
        detail: String,
    },
}

impl Message {
    /// A message that only proves that a channel works.
    pub fn channel_test(at: Time) -> Message {
        Message {
            kind: MessageKind::ChannelTest,
            at,
            incident: None,
            monitor: None,
            evidence: Evidence::default(),
            regions_failing: Vec::new(),
            regions_ok: Vec::new(),
            outage: None,
            occasion: Occasion::Event,
            grouped: Vec::new(),
        }
    }
}

/// An incident as a message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentFacts {
    /// Its identifier in the API.
    pub id: String,
    /// Its number in the project, for people.
    pub number: u64,
    /// Its state's wire word: `triggered`, `acknowledged`, `resolved`.
    pub state: String,
    /// How bad.
    pub severity: Severity,
    /// For people: "invoice-generator is down".
    pub title: String,
    /// The reason's wire word, for example `missed_deadline`.
    pub reason: String,
    /// The reason as a sentence for people.
    pub reason_sentence: String,
    /// How often it was reopened.
    pub reopened: u32,
    /// When the thing went wrong.
    pub started_at: Time,
    /// When we knew.
    pub detected_at: Time,
    /// When it ended.
    pub resolved_at: Option<Time>,
    /// The person or token that did what is told, where one did.
    pub by: Option<String>,
    /// What they wrote with it.
    pub note: Option<String>,
    /// Its page.
    pub url: String,
}

/// A monitor as a message names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorFacts {
    /// Its identifier in the API.
    pub id: String,
    /// Its kind's wire word, for example `heartbeat`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it watches, where that has a URL.
    pub url: Option<String>,
    /// Its labels, in their stored order.
    pub labels: Vec<(String, String)>,
    /// Its state's wire word, for example `down`.
    pub state: String,
}

/// What was seen, or not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The last check-in of a heartbeat.
    pub last_checkin_at: Option<Time>,
    /// When the next was expected.
    pub expected_at: Option<Time>,
    /// The exit status the job reported.
    pub exit_status: Option<u8>,
    /// What the job, or the probe, said.
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for kind in MessageKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().parse(), Ok(severity));
        }
    }

    #[test]
    fn a_wrong_word_names_the_right_ones() {
        assert!(
            "fatal"
                .parse::<Severity>()
                .unwrap_err()
                .contains("critical, error")
        );
        assert!(
            "incident.opened"
                .parse::<MessageKind>()
                .unwrap_err()
                .contains("incident.triggered")
        );
    }

    #[test]
    fn severities_order_from_info_to_critical() {
        assert!(Severity::ALL.is_sorted());
        assert_eq!(Severity::default(), Severity::Critical);
    }
}
