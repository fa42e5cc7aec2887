use systole_core::message::{Message, MessageKind, Occasion};

use super::super::payload::tests::triggered;
use super::super::words::tests::{BASE, at, many, resolved};
use super::super::words::told;
use super::*;
use limits::all_text;

#[path = "slack_limits.rs"]
mod limits;

fn sent(message: &Message, length: Length) -> Value {
    let payload = payload(&told(message, BASE, message.at), length);
    let wrong = limits::wrong(&payload, BASE);
    assert!(wrong.is_empty(), "{wrong:?}\n{payload:#}");
    payload
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
        limits::check_markup(&text, BASE, &mut wrong);
        assert!(
            wrong.is_empty() && units(&text) <= most,
            "{most}: {text} {wrong:?}"
        );
    }
    assert_eq!(cut("🔴🔴🔴", 6), "🔴🔴🔴");
    assert_eq!(cut("🔴🔴🔴", 5), "🔴🔴…");
}
