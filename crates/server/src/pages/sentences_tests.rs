use super::*;

const NOW: Time = Time::from_seconds(1_795_227_607); // 2026-11-21 02:20:07

fn at(seconds_ago: i64) -> Time {
    NOW - Span::from_seconds(seconds_ago)
}

fn evidence() -> EvidenceDocument {
    EvidenceDocument {
        last_checkin_at: Some(at(4_807).as_micros()),
        expected_at: Some(at(1_207).as_micros()),
        ..EvidenceDocument::default()
    }
}

#[test]
fn each_cause_is_a_sentence_with_its_times() {
    let said = EvidenceDocument {
        exit_status: Some(3),
        message: Some("\n disk full\nmore".into()),
        ..evidence()
    };
    for (reason, evidence, sentence) in [
        (
            "missed_deadline",
            evidence(),
            "Nothing heard since 01:00:00. A beat was expected at 02:00:00, and its grace ended at 02:10:00.",
        ),
        (
            "overran",
            evidence(),
            "A run began at 02:00:00 and had not ended at 02:10:00, its limit.",
        ),
        (
            "exit_status",
            said.clone(),
            "The job ended with exit status 3: disk full.",
        ),
        (
            "reported_failure",
            said,
            "The job reported a failure: disk full.",
        ),
        (
            "reported_failure",
            EvidenceDocument::default(),
            "The job reported a failure.",
        ),
        (
            "missed_deadline",
            EvidenceDocument::default(),
            "Nothing was ever heard of it. The grace of the beat that was expected ended at 02:10:00.",
        ),
        (
            "not_known_here",
            EvidenceDocument::default(),
            "not known here",
        ),
    ] {
        assert_eq!(cause(reason, &evidence, at(607), NOW), sentence);
    }
}

#[test]
fn every_reason_makes_a_sentence() {
    for reason in Reason::ALL {
        let sentence = cause(reason.word(), &evidence(), at(607), NOW);
        assert!(
            sentence.ends_with('.') && sentence.len() > 10,
            "{reason}: {sentence}"
        );
    }
}

fn delivery(channel: &str, state: &'static str, attempts: i64, held: bool) -> DeliveryRow {
    DeliveryRow {
        id: 1,
        key: String::new(),
        channel: 1,
        channel_name: channel.to_owned(),
        incident: 1,
        seq: 1,
        kind: "incident.triggered".to_owned(),
        state,
        attempts,
        next_at: NOW + Span::from_seconds(600),
        decided_at: at(0),
        finished_at: None,
        detail: None,
        held,
        occasion: if held {
            Occasion::MaintenanceOver {
                window: "patch day".to_owned(),
            }
        } else {
            Occasion::Event
        },
    }
}

#[test]
fn who_was_told_who_will_be_and_who_cannot() {
    let sent = || delivery("ops", "delivered", 1, false);
    let held = |name| delivery(name, "pending", 0, true);
    for (rows, said) in [
        (vec![sent()], "Sent to ops."),
        (
            vec![held("ops")],
            "Not sent to ops yet: held back by the maintenance patch day until 02:30:07.",
        ),
        (
            vec![held("ops"), held("mail")],
            "Not sent to ops, mail yet: held back by the maintenance patch day until 02:30:07.",
        ),
        (
            vec![
                sent(),
                delivery("slow", "pending", 4, false),
                delivery("new", "pending", 1, false),
                delivery("gone", "dead", 5, false),
                delivery("over", "superseded", 0, true),
            ],
            "Sent to ops. Could not be told, will be tried again: slow. Could not be told: gone. On its way to new.",
        ),
    ] {
        let rows: Vec<&DeliveryRow> = rows.iter().collect();
        let told = match rows.as_slice() {
            [one] => one_delivery(one, NOW),
            many => many_deliveries(many, NOW),
        };
        assert_eq!(told, said);
    }
}

#[test]
fn an_entry_says_why_nobody_is_told_or_not_yet() {
    let window = "held back by the maintenance \"patch day\" until 2026-11-21 02:30:07 UTC";
    let held = [delivery("ops", "pending", 0, true)];
    let sent = [delivery("ops", "delivered", 1, false)];
    for (kind, note, silence, rows, said) in [
        (
            "triggered",
            None,
            Some(window),
            &held[..],
            "The job reported a failure. Not sent yet: held back by the maintenance patch day until 02:30:07.",
        ),
        (
            "triggered",
            None,
            Some(window),
            &sent[..],
            "The job reported a failure. At first held back by the maintenance \"patch day\".",
        ),
        (
            "triggered",
            None,
            Some("no channel is configured for this monitor"),
            &[],
            "The job reported a failure. Nobody is told: no channel is configured for this monitor.",
        ),
        (
            "resolved",
            None,
            Some("Not sent: the incident was resolved before."),
            &[],
            "The job reported a success. Not sent: the incident was resolved before.",
        ),
        ("reminded", None, None, &[], ""),
        ("reminded", None, None, &sent[..], "Sent to ops."),
        (
            "undelivered",
            Some("To ops: HTTP 404: no such hook"),
            Some("no other channel is marked as a system channel"),
            &[],
            "To ops: HTTP 404: no such hook. Nobody else is told of that: no other channel is marked as a system channel.",
        ),
    ] {
        let reason = match kind {
            "triggered" => "reported_failure",
            "resolved" => "success",
            "reminded" => "still_open",
            _ => "delivery_dead",
        };
        let event = EventRow {
            seq: 1,
            incident: 1,
            kind: kind.to_owned(),
            at: at(0),
            decided_at: at(0),
            reason: reason.to_owned(),
            reopened: 0,
            by: None,
            note: note.map(str::to_owned),
            evidence: EvidenceDocument::default(),
            silence: silence.map(str::to_owned),
        };
        assert_eq!(why_happened(&event, rows, NOW), said, "{kind}");
    }
}
