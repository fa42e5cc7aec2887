//! What Slack's reference asks of a message: for the tests of the channel, and for those of the whole.
use serde_json::Value;

/// What Slack's reference asks of these blocks. <https://docs.slack.dev/reference/block-kit/blocks>
pub fn wrong(payload: &Value, base: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    check(payload, base, &mut wrong);
    wrong
}

fn check(payload: &Value, base: &str, wrong: &mut Vec<String>) {
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
                check_text(&block["text"], 150, base, wrong);
            }
            "section" => {
                let fields = block["fields"].as_array();
                if !block["text"].is_null() {
                    check_text(&block["text"], 3_000, base, wrong);
                } else if fields.is_none_or(|fields| fields.is_empty() || fields.len() > 10) {
                    wrong.push("a section without text or with a wrong number of fields".into());
                }
                for field in fields.into_iter().flatten() {
                    check_text(field, 2_000, base, wrong);
                }
            }
            "actions" => {
                let elements = block["elements"].as_array().unwrap();
                if elements.is_empty() || elements.len() > 25 {
                    wrong.push(format!("{} elements", elements.len()));
                }
                for button in elements {
                    check_text(&button["text"], 75, base, wrong);
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

fn check_text(text: &Value, most: usize, base: &str, wrong: &mut Vec<String>) {
    let said = text["text"].as_str().unwrap_or_default();
    let length = said.chars().count().max(said.encode_utf16().count());
    if length == 0 || length > most {
        wrong.push(format!("{length} characters of at most {most}: {said:.40}"));
    }
    match text["type"].as_str() {
        Some("plain_text") if text["emoji"] == false => {}
        Some("mrkdwn") if text["verbatim"] == true && text.get("emoji").is_none() => {
            check_markup(said, base, wrong);
        }
        _ => wrong.push(format!("a text object that is none: {text}")),
    }
}

/// Every `<` begins a link or a date of ours and is closed; every `&` begins an escape.
pub fn check_markup(said: &str, base: &str, wrong: &mut Vec<String>) {
    for (at, _) in said.match_indices('<') {
        let inside = said[at + 1..].split('>').next().unwrap_or_default();
        let is_ours = inside
            .strip_prefix(base)
            .is_some_and(|path| path.starts_with('/'))
            || inside.starts_with("!date^");
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

/// Every text in the blocks, one a line.
pub fn all_text(payload: &Value) -> String {
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
