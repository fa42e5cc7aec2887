//! Sentences: what is wrong, who knows, why a monitor is in its state. Pure: facts and the time in, words out.

use systole_core::engine::Monitor;
use systole_core::heartbeat::{Settings, Shown};
use systole_core::message::Occasion;
use systole_core::reason::Reason;
use systole_core::time::{Span, Time};
use systole_store::deliveries::DeliveryRow;
use systole_store::incidents::{EventRow, EvidenceDocument, IncidentRow};

use crate::web::text::{count, short, words};
use crate::web::views::{Due, State};

/// The reason of a word.
pub(super) fn reason(word: &str) -> Option<Reason> {
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.word() == word)
}

/// The page's word for the engine's state.
pub(super) const fn state(shown: Shown) -> State {
    match shown {
        Shown::New => State::New,
        Shown::Up => State::Up,
        Shown::Late => State::Late,
        Shown::Down => State::Down,
        Shown::Paused => State::Paused,
    }
}

/// Open, acknowledged or resolved.
pub(super) fn incident_state(row: &IncidentRow) -> State {
    if row.resolved_at.is_some() {
        State::Resolved
    } else if row.acknowledged_at.is_some() {
        State::Acknowledged
    } else {
        State::Open
    }
}

/// What went wrong, in one sentence or two, without the grace or limit that is not stored with it.
pub(super) fn what(row: &IncidentRow, now: Time) -> String {
    let sentence = cause(&row.reason, &row.evidence, row.started_at, now);
    match row.reopened {
        0 => sentence,
        1 => format!("{sentence} It had been resolved shortly before."),
        n => format!("{sentence} It had been resolved {n} times shortly before."),
    }
}

fn cause(word: &str, evidence: &EvidenceDocument, at: Time, now: Time) -> String {
    let at_text = short(at, now);
    let expected = evidence
        .expected_at
        .map(|expected| short(Time::from_micros(expected), now));
    let expected = expected.as_deref();
    let since = evidence.last_checkin_at.map_or_else(
        || "Nothing was ever heard of it".to_owned(),
        |last| {
            format!(
                "Nothing heard since {}",
                short(Time::from_micros(last), now)
            )
        },
    );
    let said = evidence
        .message
        .as_deref()
        .map(first_line)
        .filter(|line| !line.is_empty());
    let said = said.map_or_else(String::new, |line| format!(": {line}"));
    match reason(word) {
        Some(Reason::MissedDeadline) => match expected {
            Some(expected) => format!(
                "{since}. A beat was expected at {expected}, and its grace ended at {at_text}."
            ),
            None => format!("{since}. The grace of the beat that was expected ended at {at_text}."),
        },
        Some(Reason::MissedStart) => match expected {
            Some(expected) => {
                format!("No run began: one was expected at {expected}, at the latest at {at_text}.")
            }
            None => format!("No run began; one was expected at the latest at {at_text}."),
        },
        Some(Reason::Overran) => match expected {
            Some(began) => {
                format!("A run began at {began} and had not ended at {at_text}, its limit.")
            }
            None => format!("A run had not ended at {at_text}, its limit."),
        },
        Some(Reason::ReportedFailure) => format!("The job reported a failure{}", ended(&said)),
        Some(Reason::ExitStatus) => match evidence.exit_status {
            Some(status) => format!("The job ended with exit status {status}{}", ended(&said)),
            None => format!("The job ended with a non-zero exit status{}", ended(&said)),
        },
        Some(Reason::UnheardSinceOutage) => {
            let outage = evidence.outage.map_or_else(String::new, |(from, until)| {
                format!(
                    " (from {} to {})",
                    short(Time::from_micros(from), now),
                    short(Time::from_micros(until), now)
                )
            });
            format!(
                "{since}. An outage of our own{outage} moved its deadline, and the grace after it ended at {at_text}."
            )
        }
        Some(other) => other.sentence().to_owned(),
        None => word.replace('_', " "),
    }
}

/// The first line that says something.
pub(super) fn first_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

fn ended(said: &str) -> String {
    if said.ends_with(['.', '!', '?', '…']) {
        said.to_owned()
    } else {
        format!("{said}.")
    }
}

/// The entry of an incident's opening, or of its last one.
pub(super) fn opening(events: &[EventRow]) -> Option<&EventRow> {
    events.iter().rev().find(|event| event.kind == "triggered")
}

/// Who was told of an incident, and who has it; `of_opening` is what was sent when it opened.
pub(super) fn told(
    row: &IncidentRow,
    events: &[EventRow],
    of_opening: &[DeliveryRow],
    now: Time,
) -> String {
    let last = |kind: &str| events.iter().rev().find(|event| event.kind == kind);
    if let Some(resolved_at) = row.resolved_at {
        let event = last("resolved");
        let by = event.and_then(|event| event.by.as_deref());
        let why = event
            .and_then(|event| reason(&event.reason))
            .map_or("", Reason::sentence);
        return match by {
            Some(by) => format!(
                "Resolved by {by} at {}. {}",
                short(resolved_at, now),
                if why == Reason::ByHand.sentence() {
                    ""
                } else {
                    why
                }
            )
            .trim_end()
            .to_owned(),
            None => format!("{why} ({}).", short(resolved_at, now)).replace(". (", " ("),
        };
    }
    if row.acknowledged_at.is_some() {
        let event = last("acknowledged");
        let by = event
            .and_then(|event| event.by.as_deref())
            .unwrap_or("Somebody");
        let at = row
            .acknowledged_at
            .map_or_else(String::new, |at| format!(" at {}", short(at, now)));
        return format!("{by} acknowledged it{at}.");
    }
    let of_opening: Vec<&DeliveryRow> = of_opening.iter().collect();
    let sent = match of_opening.as_slice() {
        [] => opening(events)
            .and_then(|event| event.silence.as_deref())
            .map_or_else(
                || "Nobody was told.".to_owned(),
                |why| format!("Nobody was told: {why}."),
            ),
        [one] => one_delivery(one, now),
        many if many.iter().all(|row| row.state == "dead") => {
            let names: Vec<&str> = many.iter().map(|row| channel_name(row)).collect();
            format!(
                "Nobody was told: {} could not be reached.",
                names.join(", ")
            )
        }
        many => many_deliveries(many, now),
    };
    format!("{sent} Nobody has acknowledged it.")
}

/// The name of where it goes.
pub(super) fn channel_name(row: &DeliveryRow) -> &str {
    if row.channel_name.is_empty() {
        "a deleted channel"
    } else {
        &row.channel_name
    }
}

fn one_delivery(row: &DeliveryRow, now: Time) -> String {
    let name = channel_name(row);
    match (row.state, row.finished_at) {
        ("delivered", Some(at)) => format!("Sent to {name} at {}.", short(at, now)),
        ("delivered", None) => format!("Sent to {name}."),
        ("dead", _) => format!("Nobody was told: {name} could not be reached."),
        ("superseded", _) => format!("{name} was not told: it was over before."),
        ("pending", _) if is_held(row) => format!("Not sent to {name} yet: {}.", held(row, now)),
        _ if row.attempts > 1 => format!("{name} is not told yet after {} attempts.", row.attempts),
        _ => format!("On its way to {name}."),
    }
}

fn many_deliveries(rows: &[&DeliveryRow], now: Time) -> String {
    let names = |belongs: &dyn Fn(&DeliveryRow) -> bool| -> String {
        let names = rows.iter().filter(|row| belongs(row));
        names
            .map(|row| channel_name(row))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let is = |row: &DeliveryRow, state: &str| row.state == state && !is_held(row);
    let parts = [
        ("Sent to", names(&|row| is(row, "delivered"))),
        (
            "Could not be told, will be tried again:",
            names(&|row| is(row, "pending") && row.attempts > 1),
        ),
        ("Could not be told:", names(&|row| is(row, "dead"))),
        (
            "On its way to",
            names(&|row| is(row, "pending") && row.attempts <= 1),
        ),
    ];
    let said = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(words, names)| format!("{words} {names}."));
    let waiting = rows.iter().find(|row| is_held(row)).map(|row| {
        let names = names(&is_held);
        format!("Not sent to {names} yet: {}.", held(row, now))
    });
    said.chain(waiting).collect::<Vec<_>>().join(" ")
}

/// Whether a maintenance window holds it back now.
pub(super) fn is_held(row: &DeliveryRow) -> bool {
    row.held && row.state == "pending"
}

/// `held back by the maintenance patch day until 04:00:00`.
fn held(row: &DeliveryRow, now: Time) -> String {
    let until = short(row.next_at, now);
    match &row.occasion {
        Occasion::MaintenanceOver { window } => {
            format!("held back by the maintenance {window} until {until}")
        }
        _ => format!("held back until {until}"),
    }
}

/// Why a monitor is in its state; `open` is its open incident.
pub(super) fn why(monitor: &Monitor, open: Option<&IncidentRow>, now: Time) -> String {
    let (heartbeat, settings) = (&monitor.heartbeat, &monitor.settings);
    match heartbeat.shown(now) {
        Shown::New => {
            "Nothing has been heard of it yet; it is watched from its first check-in on.".to_owned()
        }
        Shown::Paused => {
            "A person paused it: nothing is expected until it is resumed, or reports.".to_owned()
        }
        Shown::Up => "All that was expected has come.".to_owned(),
        Shown::Late if heartbeat.failures > 0 => {
            let failures = count(usize::from(heartbeat.failures), "failure");
            let threshold = settings.fail_threshold;
            format!("{failures} in a row; at {threshold} it is down.")
        }
        Shown::Late => {
            let end = short(heartbeat.awaited + settings.grace, now);
            format!(
                "The beat expected at {} has not come. Its grace ends at {end}.",
                short(heartbeat.awaited, now)
            )
        }
        Shown::Down => match open {
            Some(row) => cause(&row.reason, &row.evidence, row.started_at, now),
            None => format!(
                "It went down at {}; a person resolved the incident.",
                short(heartbeat.since, now)
            ),
        },
    }
}

/// What a monitor waits for; `expected` is what an open incident says was missed.
pub(super) fn due(monitor: &Monitor, expected: Option<Time>, now: Time) -> Option<Due> {
    let heartbeat = &monitor.heartbeat;
    let awaited = Some(heartbeat.awaited).filter(|awaited| *awaited != Time::NEVER);
    match heartbeat.shown(now) {
        Shown::Paused => None,
        Shown::Late if awaited.is_some_and(|awaited| awaited <= now) => {
            awaited.map(|awaited| Due::Grace(awaited + monitor.settings.grace))
        }
        Shown::New | Shown::Up | Shown::Late => {
            let first = heartbeat
                .runs()
                .iter()
                .map(|run| run.started + limit(&monitor.settings))
                .min();
            first.map(Due::Finish).or(awaited.map(Due::Beat))
        }
        Shown::Down => {
            let silent = monitor
                .open_incident()
                .filter(|incident| incident.by_silence);
            let missed = silent.map(|incident| {
                expected.unwrap_or_else(|| incident.started_at - monitor.settings.grace)
            });
            let next = awaited.map(|awaited| {
                if awaited > now {
                    Due::Beat(awaited)
                } else {
                    Due::Overdue(awaited)
                }
            });
            missed.map(Due::Overdue).or(next)
        }
    }
}

/// How long a run may take.
pub(super) fn limit(settings: &Settings) -> Span {
    settings.max_runtime.unwrap_or(settings.grace)
}

/// What happened, of a timeline's entry.
pub(super) fn happened(event: &EventRow) -> String {
    let by = event
        .by
        .as_deref()
        .map_or_else(String::new, |by| format!(" by {by}"));
    match event.kind.as_str() {
        "triggered" if event.reopened > 0 => "Opened again".to_owned(),
        "triggered" => "Opened".to_owned(),
        "acknowledged" => format!("Acknowledged{by}"),
        "resolved" => format!("Resolved{by}"),
        "noted" => format!("Note{by}"),
        "reminded" => "Reminder: still open, and nobody has acknowledged it".to_owned(),
        "undelivered" => "A message could not be delivered, and is given up".to_owned(),
        other => format!("{other}{by}"),
    }
}

/// Why it happened, what was written, and why nobody was told where nobody was.
pub(super) fn why_happened(event: &EventRow, deliveries: &[DeliveryRow], now: Time) -> String {
    let mut parts = Vec::new();
    // What these say is said by the entry's own words.
    let is_said = |reason: &Reason| {
        matches!(
            reason,
            Reason::ByHand | Reason::StillOpen | Reason::DeliveryDead
        )
    };
    if let Some(reason) = reason(&event.reason).filter(|reason| !is_said(reason)) {
        parts.push(match event.kind.as_str() {
            "triggered" => cause(reason.word(), &event.evidence, event.at, now),
            _ => reason.sentence().to_owned(),
        });
    }
    match event.kind.as_str() {
        "undelivered" => parts.extend(event.note.as_deref().map(ended)),
        "reminded" => {
            let said: Vec<&DeliveryRow> = deliveries
                .iter()
                .filter(|row| row.seq == event.seq)
                .collect();
            if !said.is_empty() {
                parts.push(many_deliveries(&said, now));
            }
        }
        _ => parts.extend(event.note.clone()),
    }
    let silence = event.silence.as_deref();
    parts.extend(silence.map(|why| silent(event, why, deliveries, now)));
    let late = event.decided_at.since(event.at);
    if late > Span::from_seconds(60) && event.kind != "noted" {
        parts.push(format!("Known {} later.", words(late)));
    }
    parts.join(" ")
}

/// Why nobody is told, or not yet; what a maintenance held back when it happened may have been sent since.
fn silent(event: &EventRow, why: &str, deliveries: &[DeliveryRow], now: Time) -> String {
    let still = deliveries
        .iter()
        .find(|row| row.seq == event.seq && is_held(row));
    if let Some(row) = still {
        return format!("Not sent yet: {}.", held(row, now));
    }
    if why.starts_with("held back by ") {
        // When it was let go stands with what was sent then; the end that was foreseen is past or was moved.
        let by = why.rsplit_once(" until ").map_or(why, |(by, _)| by);
        return format!("At first {by}.");
    }
    if why.starts_with("Not sent") {
        return why.to_owned();
    }
    match event.kind.as_str() {
        "undelivered" => format!("Nobody else is told of that: {}", ended(why)),
        _ => format!("Nobody is told: {}", ended(why)),
    }
}

/// What a delivery tells.
pub(super) fn told_event(kind: &str, occasion: &Occasion) -> String {
    match (occasion, kind) {
        (Occasion::Reminder { number }, _) => format!("reminder {number}"),
        (Occasion::DeliveryDead { channel, .. }, _) => format!("{channel} could not be told"),
        (_, "incident.triggered") => "opened".to_owned(),
        (_, "incident.acknowledged") => "acknowledged".to_owned(),
        (_, "incident.escalated") => "escalated".to_owned(),
        (_, "incident.updated") => "still open".to_owned(),
        (_, "incident.resolved") => "resolved".to_owned(),
        _ => "test".to_owned(),
    }
}

#[cfg(test)]
#[path = "sentences_tests.rs"]
mod tests;
