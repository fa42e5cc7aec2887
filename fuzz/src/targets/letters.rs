//! Messages as people read them: a line each for the name, what the job said (`\n` in it is a line), the title, a label, the
//! window and a digit that chooses the occasion; made into Slack's payload and into a letter.

use serde_json::{Value, json};
use systole_core::message::{
    Evidence, IncidentFacts, Item, Message, MessageKind, MonitorFacts, Occasion, Severity,
};
use systole_server::channels::{Config, Request, Sending};
use systole_wire::rules::is_printable;

use super::{NOW, texts};

const BASE: &str = "https://systole.example";
/// Heads of a letter about one incident to a list.
const HEADS: &[&str] = &[
    "Auto-Submitted",
    "Content-Type",
    "Date",
    "From",
    "In-Reply-To",
    "List-Id",
    "List-Unsubscribe",
    "MIME-Version",
    "Message-ID",
    "References",
    "Subject",
    "To",
    "X-Auto-Response-Suppress",
];

pub fn run(input: &[u8]) {
    // The boundaries that lettre draws are the same from run to run.
    fastrand::seed(1);
    let Some([name, said, title, label, word, choice]) = texts(input) else {
        return;
    };
    let choice = choice.bytes().next().unwrap_or_default();
    let occasion = match choice % 4 {
        0 => Occasion::Event,
        1 => Occasion::Reminder { number: 2 },
        2 => Occasion::MaintenanceOver {
            window: word.to_owned(),
        },
        _ => Occasion::DeliveryDead {
            channel: word.to_owned(),
            detail: said.to_owned(),
        },
    };
    let kind = MessageKind::ALL[usize::from(choice) % 5];
    let item = item(kind, name, said, title, label, occasion);
    let one = Message {
        kind,
        at: NOW,
        incident: Some(item.incident.clone()),
        monitor: Some(item.monitor.clone()),
        evidence: item.evidence.clone(),
        regions_failing: vec![label.to_owned()],
        regions_ok: vec![word.to_owned()],
        outage: (choice > 128).then_some((NOW, NOW)),
        occasion: item.occasion.clone(),
        grouped: Vec::new(),
    };
    let many = Message {
        grouped: vec![item; 3],
        ..one.clone()
    };
    for message in [&one, &many] {
        for attempt in [1, 3] {
            slack(message, attempt);
        }
        letter(message);
    }
}

fn item(
    kind: MessageKind,
    name: &str,
    said: &str,
    title: &str,
    label: &str,
    occasion: Occasion,
) -> Item {
    Item {
        kind,
        incident: IncidentFacts {
            id: "inc_1".to_owned(),
            number: 12,
            state: "triggered".to_owned(),
            severity: Severity::Critical,
            title: title.to_owned(),
            reason: "missed_deadline".to_owned(),
            reason_sentence: "No check-in arrived in time.".to_owned(),
            reopened: 0,
            started_at: NOW,
            detected_at: NOW,
            resolved_at: None,
            by: Some(label.to_owned()),
            note: Some(said.replace("\\n", "\n")),
            url: format!("{BASE}/incidents/12"),
        },
        monitor: MonitorFacts {
            id: "mon_1".to_owned(),
            kind: "heartbeat".to_owned(),
            name: name.to_owned(),
            url: None,
            labels: vec![(label.to_owned(), label.to_owned())],
            state: "down".to_owned(),
        },
        evidence: Evidence {
            last_checkin_at: Some(NOW),
            expected_at: None,
            exit_status: Some(3),
            message: Some(said.replace("\\n", "\n")),
        },
        occasion,
    }
}

fn request(kind: &str, config: &Value, message: &Message, attempt: u32) -> Request {
    let sending = Sending {
        delivery_id: "msg_1",
        attempt,
        now: NOW,
        base_url: BASE,
        channel: 3,
        unsubscribe_url: Some("https://systole.example/unsubscribe/3-x"),
    };
    let config = Config::parse(kind, config).unwrap();
    config
        .request(message, &sending)
        .expect("every message can be said")
}

/// Slack's documented limits are kept, and names neither mention nor link nor hide.
fn slack(message: &Message, attempt: u32) {
    let config = json!({"url": "https://hooks.slack.com/services/T/B/x"});
    let Request::Http(request) = request("slack", &config, message, attempt) else {
        panic!("Slack is told by HTTP")
    };
    let payload: Value = serde_json::from_slice(&request.body).unwrap();
    let fallback = payload["text"].as_str().unwrap();
    assert!((1..=4_000).contains(&units(fallback)));
    marked_up(fallback);
    let blocks = payload["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()));
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => text(&block["text"], 150),
            "section" => {
                let fields = block["fields"].as_array();
                assert_ne!(fields.is_some(), block["text"].is_object());
                assert!(fields.is_none_or(|fields| (1..=10).contains(&fields.len())));
                fields
                    .into_iter()
                    .flatten()
                    .for_each(|one| text(one, 2_000));
                if block["text"].is_object() {
                    text(&block["text"], 3_000);
                }
            }
            "actions" => {
                for button in block["elements"].as_array().unwrap() {
                    text(&button["text"], 75);
                    assert!(button["url"].as_str().unwrap().starts_with(BASE));
                }
            }
            other => panic!("a block of type {other}"),
        }
    }
}

fn units(said: &str) -> usize {
    said.encode_utf16().count()
}

fn text(object: &Value, most: usize) {
    let said = object["text"].as_str().unwrap();
    assert!((1..=most).contains(&units(said)), "{said:?} of {most}");
    is_harmless(said);
    if object["type"] == "mrkdwn" {
        marked_up(said);
    }
}

fn is_harmless(said: &str) {
    let harmful = said
        .chars()
        .find(|c| !matches!(c, '\n' | '\t') && !is_printable(*c));
    assert_eq!(harmful, None, "{said:?}");
}

/// Each `<` begins a link or a date of ours and is closed.
fn marked_up(said: &str) {
    is_harmless(said);
    for (at, _) in said.match_indices('<') {
        let inside = said[at + 1..].split('>').next().unwrap_or_default();
        let is_ours = inside.starts_with(BASE) || inside.starts_with("!date^");
        assert!(is_ours && !inside.contains('<'), "<{inside}> in {said:?}");
    }
    assert_eq!(said.matches('<').count(), said.matches('>').count());
}

/// The head has the lines that it should have, whatever the names are.
fn letter(message: &Message) {
    let config = json!({
        "host": "smtp.example.com", "from": "Systole <systole@example.com>", "to": ["a@example.com", "b@example.com"],
    });
    let Request::Mail(mail) = request("email", &config, message, 1) else {
        panic!("a letter goes by mail")
    };
    assert!(mail.letter.is_ascii());
    let whole = std::str::from_utf8(&mail.letter).unwrap();
    for line in whole.split("\r\n") {
        assert!(line.len() <= 998, "a line of {} bytes", line.len());
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
    }
    let (head, body) = whole.split_once("\r\n\r\n").unwrap();
    let mut names: Vec<&str> = Vec::new();
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            assert!(!names.is_empty() && !line.trim().is_empty(), "{line:?}");
            continue;
        }
        let (name, _) = line.split_once(": ").unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-'));
        names.push(name);
    }
    names.sort_unstable();
    let conversation = ["In-Reply-To", "References"];
    let is_alone = message.grouped.is_empty();
    let expected = HEADS
        .iter()
        .filter(|name| is_alone || !conversation.contains(name));
    assert!(names.iter().eq(expected), "{names:?}");
    // In its own line: a subject may hold the word too.
    let kind = head.split("\r\nContent-Type: ").nth(1).unwrap();
    let boundary = kind.split('"').nth(1).unwrap();
    let parts = body.matches(&format!("--{boundary}\r\n")).count();
    assert_eq!(parts, 2, "plain text and HTML");
}
