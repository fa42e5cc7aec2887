//! From stored facts to a message: ids, URLs and sentences.

use systole_core::message::{Evidence, IncidentFacts, Item, Message, MonitorFacts};
use systole_core::reason::Reason;
use systole_core::time::Time;
use systole_store::deliveries::Outgoing;
use systole_store::incidents::{EvidenceDocument, IncidentRow};

use crate::app::App;

/// The id of an incident in the API.
pub fn incident_id(number: u64) -> String {
    format!("inc_{number}")
}

/// The id of a monitor in the API.
pub fn monitor_id(id: u32) -> String {
    format!("mon_{id}")
}

/// The number in an id such as `mon_12`; `None` for anything else.
pub fn parse_id<T: std::str::FromStr>(id: &str, prefix: &str) -> Option<T> {
    let digits = id.strip_prefix(prefix)?.strip_prefix('_')?;
    let plain = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

/// The sentence of a reason's word.
pub fn reason_sentence(word: &str) -> &'static str {
    Reason::ALL
        .iter()
        .find(|reason| reason.word() == word)
        .map_or("", |reason| reason.sentence())
}

/// One message from the deliveries that go together; the first leads. Of one incident only the latest news is said.
pub fn message(app: &App, together: &[Outgoing]) -> Option<Message> {
    let latest = |(place, one): &(usize, &Outgoing)| {
        let number = one.incident.number;
        !together[place + 1..]
            .iter()
            .any(|later| later.incident.number == number)
    };
    let news: Vec<&Outgoing> = together
        .iter()
        .enumerate()
        .filter(latest)
        .map(|(_, one)| one)
        .collect();
    let (first, others) = news.split_first()?;
    Some(Message {
        kind: first.kind,
        at: first.decided_at,
        incident: Some(incident(app, first)),
        monitor: Some(monitor(&first.incident, &first.reason)),
        evidence: evidence(&first.evidence),
        regions_failing: Vec::new(),
        regions_ok: Vec::new(),
        outage: first
            .evidence
            .outage
            .map(|(from, until)| (Time::from_micros(from), Time::from_micros(until))),
        occasion: first.occasion.clone(),
        grouped: others
            .iter()
            .map(|other| Item {
                kind: other.kind,
                incident: incident(app, other),
                monitor: monitor(&other.incident, &other.reason),
                evidence: evidence(&other.evidence),
                occasion: other.occasion.clone(),
            })
            .collect(),
    })
}

fn incident(app: &App, outgoing: &Outgoing) -> IncidentFacts {
    let row = &outgoing.incident;
    let state = monitor_state(row, &outgoing.reason);
    IncidentFacts {
        id: incident_id(row.number),
        number: row.number,
        state: row.state.clone(),
        severity: row.severity.parse().unwrap_or_default(),
        title: format!("{} is {state}", row.monitor_name),
        reason: outgoing.reason.clone(),
        reason_sentence: reason_sentence(&outgoing.reason).to_owned(),
        reopened: outgoing.reopened,
        started_at: row.started_at,
        detected_at: row.detected_at,
        resolved_at: row.resolved_at,
        by: outgoing.by.clone(),
        note: outgoing.note.clone(),
        url: app.incident_url(row.number),
    }
}

fn monitor(row: &IncidentRow, reason: &str) -> MonitorFacts {
    MonitorFacts {
        id: monitor_id(row.monitor),
        kind: row.monitor_kind.clone(),
        name: row.monitor_name.clone(),
        url: None,
        labels: row.labels.clone(),
        state: monitor_state(row, reason).to_owned(),
    }
}

/// The monitor's state by what happened to its incident. An incident that a person resolved, or whose monitor was
/// deleted, says nothing of the job.
fn monitor_state(row: &IncidentRow, reason: &str) -> &'static str {
    if row.state != "resolved" {
        return "down";
    }
    match Reason::ALL.iter().find(|known| known.word() == reason) {
        Some(Reason::Paused) => "paused",
        Some(Reason::ByHand | Reason::Deleted) => "down",
        _ => "up",
    }
}

fn evidence(document: &EvidenceDocument) -> Evidence {
    Evidence {
        last_checkin_at: document.last_checkin_at.map(Time::from_micros),
        expected_at: document.expected_at.map(Time::from_micros),
        exit_status: document.exit_status,
        message: document.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_kind() {
        for (id, number) in [
            ("mon_12", Some(12)),
            ("inc_12", None),
            ("mon_", None),
            ("mon_012", None),
            ("mon_-1", None),
            ("mon_99999999999", None),
            ("12", None),
        ] {
            assert_eq!(parse_id::<u32>(id, "mon"), number, "{id}");
        }
    }
}
