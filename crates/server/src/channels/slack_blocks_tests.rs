use systole_core::message::{Message, MessageKind, Occasion};

use super::super::payload::tests::triggered;
use super::super::words::tests::{BASE, at, many, resolved};
use super::super::words::told;
use super::*;

fn sent(message: &Message, length: Length) -> Value {
    let payload = payload(&told(message, BASE, message.at), length);
    let mut wrong = Vec::new();
    check(&payload, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:?}\n{payload:#}");
    payload
}

/// What Slack's reference asks of these blocks. <https://docs.slack.dev/reference/block-kit/blocks>
fn check(payload: &Value, wrong: &mut Vec<String>) {
    let text = payload["text"].as_str().unwrap_or_default();
    if text.is_empty() || text.chars().count() > 4_000 {
        wrong.push(format!("a fallback of {} characters", text.chars().count()));
    }
    if payload["unfurl_links"] != false || payload["unfurl_media"] != false {
        wrong.push("links are unfurled".into());
    }
    let blocks = payload["blocks"].as_array().unwrap();
    if blocks.is_empty() || blocks.len() > 50 {
        wrong.push(format!("{} blocks", blocks.len()));
    }
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "header" => {
                if block["text"]["type"] != "plain_text" {
                    wrong.push("a header that is no plain text".into());
                }
                check_text(&block["text"], 150, wrong);
            }
            "section" => {
                let fields = block["fields"].as_array();
                if !block["text"].is_null() {
                    check_text(&block["text"], 3_000, wrong);
                } else if fields.is_none_or(|fields| fields.is_empty() || fields.len() > 10) {
                    wrong.push("a section without text or with a wrong number of fields".into());
                }
                for field in fields.into_iter().flatten() {
                    check_text(field, 2_000, wrong);
                }
            }
            "actions" => {
                let elements = block["elements"].as_array().unwrap();
                if elements.is_empty() || elements.len() > 25 {
                    wrong.push(format!("{} elements", elements.len()));
                }
                for button in elements {
                    check_text(&button["text"], 75, wrong);
                    if button["url"].as_str().unwrap().chars().count() > 3_000
                        || button["action_id"].as_str().unwrap().chars().count() > 255
                    {
                        wrong.push("a button with a long URL or id".into());
                    }
                }
            }
            other => wrong.push(format!("a block of type {other}")),
        }
    }
}

fn check_text(text: &Value, most: usize, wrong: &mut Vec<String>) {
    let said = text["text"].as_str().unwrap_or_default();
    let length = said.chars().count().max(said.encode_utf16().count());
    if length == 0 || length > most {
        wrong.push(format!("{length} characters of at most {most}: {said:.40}"));
    }
    match text["type"].as_str() {
        Some("plain_text") if text["emoji"] == false => {}
        Some("mrkdwn") if text["verbatim"] == true && text.get("emoji").is_none() => {
            check_markup(said, wrong);
        }
        _ => wrong.push(format!("a text object that is none: {text}")),
    }
}

/// Every `<` begins a link or a date of ours and is closed; every `&` begins an escape.
fn check_markup(said: &str, wrong: &mut Vec<String>) {
    for (at, _) in said.match_indices('<') {
        let inside = said[at + 1..].split('>').next().unwrap_or_default();
        let is_ours =
            inside.starts_with("https://systole.example/") || inside.starts_with("!date^");
        if !is_ours || !said[at..].contains('>') || inside.contains('<') {
            wrong.push(format!("a tag that is not ours: <{inside:.60}"));
        }
    }
    for (at, _) in said.match_indices('&') {
        if !["&amp;", "&lt;", "&gt;"]
            .iter()
            .any(|escape| said[at..].starts_with(escape))
        {
            wrong.push(format!("a bare & before {:.20}", &said[at..]));
        }
    }
    if said.matches('<').count() != said.matches('>').count() {
        wrong.push("unbalanced < and >".into());
    }
}

fn all_text(payload: &Value) -> String {
    fn collect(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, out)),
            Value::Object(fields) => fields.values().for_each(|value| collect(value, out)),
            _ => {}
        }
    }
    let mut out = String::new();
    collect(&payload["blocks"], &mut out);
    out
}

#[test]
fn a_message_has_headline_reason_facts_words_and_a_way_on() {
    let mut message = triggered();
    message.evidence.message = Some("disk *full*\n<!channel>".into());
    let payload = sent(&message, Length::Full);
    let utc = "2026-11-21 08:05:00 UTC";
    assert_eq!(
        payload["text"],
        "🔴 Down: invoice-generator\ninvoice-generator is down. No check-in arrived in time.\n\
         <https://systole.example/incidents/12|Open incident #12>"
    );
    for (pointer, expected) in [
        (
            "/blocks/0/text/text",
            "🔴 Down: invoice-generator".to_owned(),
        ),
        (
            "/blocks/1/text/text",
            "invoice-generator is down. No check-in arrived in time.".to_owned(),
        ),
        (
            "/blocks/2/fields/0/text",
            format!(
                "*Since*\n{utc}\n<!date^1795248300^{{date_short_pretty}} {{time_secs}} local|{utc}>"
            ),
        ),
        ("/blocks/2/fields/3/text", "*Severity*\ncritical".to_owned()),
        (
            "/blocks/3/text/text",
            "What it said:\ndisk *full*\n<!channel>".to_owned(),
        ),
        ("/blocks/3/text/type", "plain_text".to_owned()),
        (
            "/blocks/4/elements/0/url",
            "https://systole.example/incidents/12".to_owned(),
        ),
        (
            "/blocks/4/elements/0/text/text",
            "Open incident #12".to_owned(),
        ),
    ] {
        assert_eq!(
            payload.pointer(pointer),
            Some(&json!(expected)),
            "{pointer}"
        );
    }
}

#[test]
fn every_kind_and_occasion_keeps_the_limits() {
    let long = "<&>_*~`:fire: ".repeat(400);
    let occasions = [
        Occasion::Event,
        Occasion::Reminder { number: u32::MAX },
        Occasion::MaintenanceOver {
            window: long.clone(),
        },
        Occasion::DeliveryDead {
            channel: long.clone(),
            detail: long.clone(),
        },
    ];
    for kind in MessageKind::ALL {
        for occasion in &occasions {
            for mut message in [triggered(), resolved()] {
                message.kind = kind;
                message.occasion = occasion.clone();
                sent(&message, Length::Full);
                message.outage = Some((at("2026-11-21T07:00:00Z"), at("2026-11-21T07:30:00Z")));
                message.evidence.message = Some(long.clone());
                message.evidence.exit_status = Some(255);
                message.regions_failing = vec![long.clone(); 3];
                message.regions_ok = vec![long.clone(); 3];
                let monitor = message.monitor.as_mut().unwrap();
                monitor.name = long.chars().take(200).collect();
                monitor.labels = vec![(long.clone(), long.clone()); 20];
                let incident = message.incident.as_mut().unwrap();
                incident.title = format!("{long} is down");
                incident.detected_at = at("2026-11-22T08:05:00Z");
                incident.reopened = 3;
                sent(&message, Length::Full);
                sent(&message, Length::Brief);
                let mut group = many(3, |_| "<!here|x>".repeat(22));
                group.kind = kind;
                group.occasion = occasion.clone();
                group.grouped[0].occasion = occasion.clone();
                sent(&group, Length::Full);
            }
        }
    }
    sent(
        &Message::channel_test(at("2026-11-21T08:00:00Z")),
        Length::Full,
    );
}

#[test]
fn three_hundred_long_names_are_all_listed_with_their_links() {
    let name = |number: u64| format!("{number:03}-{}", "n".repeat(196));
    let payload = sent(&many(300, name), Length::Full);
    let text = all_text(&payload);
    for number in 1..=300 {
        let entry = format!(
            "🔴 Down: <{BASE}/incidents/{number}|{}>, since",
            name(number)
        );
        assert!(text.contains(&entry), "{number}");
    }
    assert!(!text.contains("more; see"), "nothing is left out");
}

#[test]
fn what_slack_cannot_hold_is_counted_and_linked() {
    let payload = sent(
        &many(3_000, |number| format!("{number:04}-{}", "n".repeat(195))),
        Length::Full,
    );
    let text = all_text(&payload);
    let listed = text.matches("🔴 Down: <").count();
    assert!(listed > 300, "{listed}");
    assert!(
        text.contains(&format!("And {} more; see all incidents.", 3_000 - listed)),
        "{listed}"
    );
    assert!(
        text.contains(&format!("{BASE}/incidents\n")),
        "the button leads to all of them"
    );
    assert!(payload["text"].as_str().unwrap().contains(" more."));
}

#[test]
fn a_brief_message_stays_far_below_what_slack_was_seen_to_refuse() {
    let payload = sent(
        &many(300, |number| format!("{number}-{}", "n".repeat(190))),
        Length::Brief,
    );
    let text = all_text(&payload);
    assert!(units(&text) < 12_000, "{}", units(&text));
    assert!(text.contains("more; see all incidents."), "{text}");
}

#[test]
fn names_cannot_format_mention_or_link() {
    for (name, shown) in [
        ("a & b <c>", "a &amp; b &lt;c&gt;"),
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U123> <#C1>", "&lt;@U123&gt; &lt;#C1&gt;"),
        ("<https://evil.example|x>", "&lt;https://evil.example|x&gt;"),
        ("*bold* ~gone~ `code`", "∗bold∗ ∼gone∼ ˋcodeˋ"),
        ("_it_ my_backup_job _", "＿it＿ my_backup_job ＿"),
        (":fire: 08:15:00 a:b", "∶fire: 08∶15:00 a:b"),
        ("db:5432", "db:5432"),
    ] {
        let payload = sent(&many(2, |_| name.to_owned()), Length::Full);
        let line = format!("🔴 Down: <{BASE}/incidents/1|{shown}>, since");
        assert!(
            all_text(&payload).contains(&line),
            "{name}: {}",
            all_text(&payload)
        );
    }
}

#[test]
fn a_cut_falls_between_links_and_escapes() {
    for most in 5..60 {
        let text = fitted(
            format!("ab&amp;cd <{BASE}/x|n&amp;m> tail that is long enough to be cut"),
            most,
        );
        let mut wrong = Vec::new();
        check_markup(&text, &mut wrong);
        assert!(
            wrong.is_empty() && units(&text) <= most,
            "{most}: {text} {wrong:?}"
        );
    }
    assert_eq!(cut("🔴🔴🔴", 6), "🔴🔴🔴");
    assert_eq!(cut("🔴🔴🔴", 5), "🔴🔴…");
}
