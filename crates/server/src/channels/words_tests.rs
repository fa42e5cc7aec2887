use systole_core::message::Item;

use super::super::payload::tests::triggered;
use super::*;

pub(in super::super) const BASE: &str = "https://systole.example";

pub(in super::super) fn at(text: &str) -> Time {
    Time::parse(text).unwrap()
}

/// The same incident, over after five minutes.
pub(in super::super) fn resolved() -> Message {
    let mut message = triggered();
    message.kind = MessageKind::Resolved;
    message.at = at("2026-11-21T08:10:00Z");
    let incident = message.incident.as_mut().unwrap();
    incident.state = "resolved".into();
    incident.title = "invoice-generator is up".into();
    incident.reason = "success".into();
    incident.reason_sentence = "The job reported a success.".into();
    incident.resolved_at = Some(at("2026-11-21T08:10:00Z"));
    message.monitor.as_mut().unwrap().state = "up".into();
    message
}

/// One message about this many monitors, whose names this makes.
pub(in super::super) fn many(count: u64, name: impl Fn(u64) -> String) -> Message {
    let mut message = triggered();
    let item = |number: u64| {
        let mut item = Item {
            kind: MessageKind::Triggered,
            incident: triggered().incident.unwrap(),
            monitor: triggered().monitor.unwrap(),
            evidence: Evidence::default(),
            occasion: Occasion::Event,
        };
        item.incident.number = number;
        item.incident.url = format!("{BASE}/incidents/{number}");
        item.monitor.name = name(number);
        item
    };
    let first = item(1);
    message.incident = Some(first.incident);
    message.monitor = Some(first.monitor);
    message.grouped = (2..=count).map(item).collect();
    message
}

fn said(message: &Message) -> Told {
    told(message, BASE, message.at)
}

fn sentences(told: &Told) -> Vec<String> {
    told.sentences.iter().map(plain).collect()
}

fn facts(told: &Told) -> Vec<(&'static str, String)> {
    told.facts
        .iter()
        .map(|(name, line)| (*name, plain(line)))
        .collect()
}

#[test]
fn a_message_says_what_since_when_why_and_on_what_it_rests() {
    let mut message = triggered();
    message.evidence.exit_status = Some(3);
    message.evidence.message = Some("disk full\r\nno space left\n".into());
    let told = said(&message);
    assert_eq!(told.title, "Down: invoice-generator");
    assert_eq!(
        sentences(&told),
        ["invoice-generator is down. No check-in arrived in time."]
    );
    assert_eq!(
        facts(&told),
        [
            ("Since", "2026-11-21 08:05:00 UTC".to_owned()),
            ("Last check-in", "2026-11-21 02:00:00 UTC".to_owned()),
            ("Expected at", "2026-11-21 08:00:00 UTC".to_owned()),
            ("Exit status", "3".to_owned()),
            ("Severity", "critical".to_owned()),
            ("Labels", "team=billing".to_owned()),
        ]
    );
    assert_eq!(
        told.said,
        Some(("What it said", "disk full\nno space left".to_owned()))
    );
    assert_eq!(
        told.link,
        Some((
            "Open incident #12".to_owned(),
            "https://systole.example/incidents/12".to_owned()
        ))
    );
}

#[test]
fn the_end_says_how_long_it_lasted() {
    let mut message = resolved();
    message.evidence.message = Some("disk full".into());
    let told = said(&message);
    assert_eq!(told.said.as_ref().unwrap().0, "What it had said");
    assert_eq!(
        (told.title.as_str(), told.mark.tone),
        ("Resolved: invoice-generator", Tone::Good)
    );
    assert_eq!(
        sentences(&told),
        [
            "invoice-generator is up. The job reported a success.",
            "It lasted 5 min."
        ]
    );
    assert_eq!(
        facts(&told)[..3],
        [
            ("Began", "2026-11-21 08:05:00 UTC".to_owned()),
            ("Ended", "2026-11-21 08:10:00 UTC".to_owned()),
            ("Lasted", "5 min".to_owned()),
        ]
    );
    let mut by_hand = resolved();
    by_hand.monitor.as_mut().unwrap().state = "down".into();
    assert_eq!(
        sentences(&said(&by_hand))[1],
        "The incident lasted 5 min.",
        "the job may well be down still"
    );
}

#[test]
fn each_occasion_is_told() {
    let reopened = |message: &mut Message| {
        message.incident.as_mut().unwrap().reopened = 2;
    };
    let reminder = |message: &mut Message| {
        message.kind = MessageKind::Updated;
        message.at = at("2026-11-21T12:05:00Z");
        message.occasion = Occasion::Reminder { number: 1 };
    };
    let maintenance = |message: &mut Message| {
        message.occasion = Occasion::MaintenanceOver {
            window: "patch day".into(),
        };
    };
    let dead = |message: &mut Message| {
        message.occasion = Occasion::DeliveryDead {
            channel: "ops".into(),
            detail: "HTTP 410: gone.".into(),
        };
    };
    let acknowledged = |message: &mut Message| {
        message.kind = MessageKind::Acknowledged;
        let incident = message.incident.as_mut().unwrap();
        incident.reason = "by_hand".into();
        incident.reason_sentence = Reason::ByHand.sentence().into();
        incident.by = Some("ann@example.org".into());
    };
    let taken_by_nobody_known = |message: &mut Message| {
        acknowledged(message);
        message.incident.as_mut().unwrap().by = None;
    };
    let resolved_by_hand = |message: &mut Message| {
        acknowledged(message);
        message.kind = MessageKind::Resolved;
    };
    let warning = |message: &mut Message| {
        message.incident.as_mut().unwrap().severity = Severity::Warning;
    };
    let outage = |message: &mut Message| {
        message.outage = Some((at("2026-11-21T07:00:00Z"), at("2026-11-21T07:30:00Z")));
    };
    type Change<'a> = &'a dyn Fn(&mut Message);
    for (change, title, symbol, sentence) in [
        (
            &reopened as Change<'_>,
            "Down again: invoice-generator",
            "🔴",
            "It had been resolved 2 times shortly before.",
        ),
        (
            &reminder,
            "Still down: invoice-generator",
            "⏰",
            "Nobody has acknowledged it for 4 h; this is reminder 1.",
        ),
        (
            &maintenance,
            "Down: invoice-generator",
            "🔴",
            "This was held back by the maintenance window patch day, which has ended.",
        ),
        (
            &dead,
            "Not delivered: invoice-generator",
            "⚠️",
            "Channel ops could not be reached: HTTP 410: gone. Nobody may have been told of this incident.",
        ),
        (
            &acknowledged,
            "Acknowledged: invoice-generator",
            "👤",
            "ann@example.org acknowledged it.",
        ),
        (
            &acknowledged,
            "Acknowledged: invoice-generator",
            "👤",
            "invoice-generator is down.",
        ),
        (
            &taken_by_nobody_known,
            "Acknowledged: invoice-generator",
            "👤",
            "Somebody acknowledged it.",
        ),
        (
            &resolved_by_hand,
            "Resolved: invoice-generator",
            "✅",
            "ann@example.org resolved it.",
        ),
        (
            &warning,
            "Down: invoice-generator",
            "🟠",
            "invoice-generator is down. No check-in arrived in time.",
        ),
        (
            &outage,
            "Down: invoice-generator",
            "🔴",
            "Systole itself was out from 2026-11-21 07:00:00 UTC to 2026-11-21 07:30:00 UTC; silence in that time does not count.",
        ),
    ] {
        let mut message = triggered();
        change(&mut message);
        let told = said(&message);
        assert_eq!((told.title.as_str(), told.mark.symbol), (title, symbol));
        let sentences = sentences(&told);
        assert!(
            sentences.iter().any(|said| said == sentence),
            "{sentences:?}"
        );
    }
}

#[test]
fn what_a_person_wrote_and_who_paused_it_are_facts() {
    let mut message = triggered();
    message.kind = MessageKind::Acknowledged;
    let incident = message.incident.as_mut().unwrap();
    incident.by = Some("ann@example.org".into());
    incident.note = Some(" rolling back\u{202e} ".into());
    assert_eq!(
        facts(&said(&message))[0],
        ("Note", "rolling back‹U+202E›".to_owned())
    );
    let mut paused = resolved();
    let incident = paused.incident.as_mut().unwrap();
    incident.reason = "paused".into();
    incident.by = Some("ann@example.org".into());
    let by = ("By", "ann@example.org".to_owned());
    assert!(facts(&said(&paused)).contains(&by));
}

#[test]
fn a_test_says_that_nothing_is_wrong() {
    let told = said(&Message::channel_test(at("2026-11-21T08:00:00Z")));
    assert_eq!(
        (told.title.as_str(), told.mark.word),
        ("Test of this channel", "Test")
    );
    assert!(sentences(&told)[0].contains("Nothing is wrong"));
}

#[test]
fn what_leaves_late_says_when_it_was_decided() {
    let message = triggered();
    for (minutes, is_said) in [(1, false), (30, true)] {
        let told = told(
            &message,
            BASE,
            message.at + Span::from_seconds(minutes * 60),
        );
        let sentence = "Sent late: this was decided at 2026-11-21 08:05:00 UTC.".to_owned();
        assert_eq!(sentences(&told).contains(&sentence), is_said, "{minutes}");
    }
}

#[test]
fn several_are_counted_and_each_is_listed() {
    let mut message = many(3, |number| format!("job-{number}"));
    let over = resolved();
    message.grouped[1].kind = MessageKind::Resolved;
    message.grouped[1].incident = over.incident.unwrap();
    message.grouped[1].incident.by = Some("ann@example.org".into());
    let told = said(&message);
    assert_eq!(told.title, "3 messages at once: 2 down, 1 resolved");
    assert_eq!(told.mark.tone, Tone::Bad, "the worst of them leads");
    let listed: Vec<(String, String, String)> = told
        .list
        .iter()
        .map(|entry| {
            (
                format!("{} {}", entry.mark.word, entry.name),
                plain(&entry.rest),
                entry.url.clone(),
            )
        })
        .collect();
    let since = "since 2026-11-21 08:05:00 UTC".to_owned();
    assert_eq!(
        listed,
        [
            (
                "Down job-1".to_owned(),
                since.clone(),
                format!("{BASE}/incidents/1")
            ),
            (
                "Down job-2".to_owned(),
                since,
                format!("{BASE}/incidents/2")
            ),
            (
                "Resolved job-3".to_owned(),
                "by ann@example.org, lasted 5 min".to_owned(),
                format!("{BASE}/incidents/12")
            ),
        ]
    );
    message.outage = Some((at("2026-11-21T07:00:00Z"), at("2026-11-21T07:30:00Z")));
    assert_eq!(
        said(&message).title,
        "3 monitors unheard since an outage of Systole"
    );
}

#[test]
fn nothing_invisible_of_others_is_passed_on() {
    let evil = "a\u{202e}b\x1b[2J\u{200b}\r\nBcc: x";
    let mut message = many(2, |_| evil.to_owned());
    message.monitor.as_mut().unwrap().labels = vec![("team".into(), evil.into())];
    message.evidence.message = Some(evil.into());
    let incident = message.incident.as_mut().unwrap();
    incident.title = format!("{evil} is down");
    message.regions_failing = vec![evil.into()];
    let mut alone = message.clone();
    alone.grouped.clear();
    let dead = Occasion::DeliveryDead {
        channel: evil.into(),
        detail: evil.into(),
    };
    for message in [
        message.clone(),
        alone.clone(),
        Message {
            occasion: dead,
            ..alone.clone()
        },
        Message {
            occasion: Occasion::MaintenanceOver {
                window: evil.into(),
            },
            ..alone
        },
    ] {
        let told = said(&message);
        let mut all = format!("{}\n", told.title);
        for line in told
            .sentences
            .iter()
            .chain(told.facts.iter().map(|(_, line)| line))
        {
            all.push_str(&plain(line));
        }
        for entry in &told.list {
            all.push_str(&entry.name);
            all.push_str(&plain(&entry.rest));
        }
        all.push_str(told.said.as_ref().map_or("", |(_, said)| said));
        assert!(
            !all.contains(['\x1b', '\u{202e}', '\u{200b}', '\r']),
            "{all:?}"
        );
        assert!(all.contains("a‹U+202E›b␛[2J‹U+200B›"), "{all:?}");
    }
}
