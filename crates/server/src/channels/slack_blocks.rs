//! The blocks of a Slack message, within Slack's limits and with everybody's text as text.
//!
//! Where Slack has plain text it is used. A list needs links, so its names stand in Slack's markup: there `&`, `<` and `>` are
//! escaped, and what would begin a format, a mention or an emoji is replaced by its look-alike.

use serde_json::{Value, json};

use super::words::{Entry, Line, Piece, Told, shortened};
use crate::web::text::absolute;

// Slack's documented limits. Lengths are counted in UTF-16 units, which is the more careful way to count characters.
const BLOCKS_MOST: usize = 50;
const HEADER_MOST: usize = 150;
const TEXT_MOST: usize = 3_000;
const FIELD_MOST: usize = 2_000;
const FIELDS_MOST: usize = 10;
const BUTTON_MOST: usize = 75;
const URL_MOST: usize = 3_000;

/// What a fallback text holds; apps that know no blocks show it alone.
const FALLBACK_MOST: usize = 3_000;
/// What a brief message holds in all: undocumented, and less than what Slack was seen to refuse.
const BRIEF_MOST: usize = 10_000;
/// The most of a job's words that is shown, and of one name.
const SAID_MOST: usize = 1_500;
const NAME_MOST: usize = 200;
/// Links longer than this are left out of lists.
const LINK_MOST: usize = 1_000;
/// Blocks of a message with a list that are no part of the list: header, sentences, what is omitted, button.
const AROUND_LIST: usize = 4;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// All that Slack's documented limits allow.
    Full,
    /// As much as is safe to send.
    Brief,
}

/// The whole body.
pub(super) fn payload(told: &Told, length: Length) -> Value {
    let mut blocks =
        vec![json!({"type": "header", "text": plain_text(&headline(told), HEADER_MOST)})];
    if !told.sentences.is_empty() {
        blocks.push(section(&fitted(sentences(told), TEXT_MOST)));
    }
    if !told.facts.is_empty() {
        let fields: Vec<Value> = told
            .facts
            .iter()
            .take(FIELDS_MOST)
            .map(|(name, line)| {
                let text = format!("*{name}*\n{}", line_of(line, true));
                markup(&fitted(text, FIELD_MOST))
            })
            .collect();
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if let Some((name, said)) = &told.said {
        let text = format!("{name}:\n{}", shortened(said, SAID_MOST));
        blocks.push(json!({"type": "section", "text": plain_text(&text, TEXT_MOST)}));
    }
    blocks.extend(list(told, length));
    if let Some((label, url)) = button_of(told).filter(|(_, url)| units(url) <= URL_MOST) {
        blocks.push(json!({"type": "actions", "elements": [
            {"type": "button", "text": plain_text(&label, BUTTON_MOST), "url": url, "action_id": "open"},
        ]}));
    }
    json!({
        "text": fallback(told),
        "blocks": blocks,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

fn headline(told: &Told) -> String {
    format!("{} {}", told.mark.symbol, told.title)
}

fn button_of(told: &Told) -> Option<(String, String)> {
    if told.list.is_empty() {
        return told.link.clone();
    }
    Some(("Open all incidents".to_owned(), told.list_url.clone()))
}

fn sentences(told: &Told) -> String {
    let lines: Vec<String> = told
        .sentences
        .iter()
        .map(|line| line_of(line, false))
        .collect();
    lines.join("\n")
}

/// Sections with a line for every entry, and what had to be left out.
fn list(told: &Told, length: Length) -> Vec<Value> {
    let mut room = match length {
        Length::Full => usize::MAX,
        Length::Brief => BRIEF_MOST - FALLBACK_MOST,
    };
    let mut texts: Vec<String> = Vec::new();
    let mut written = 0;
    for entry in &told.list {
        let line = entry_of(entry);
        let size = units(&line) + 1;
        let fits = texts
            .last()
            .is_some_and(|text| units(text) + size <= TEXT_MOST);
        let is_full = !fits && texts.len() == BLOCKS_MOST - AROUND_LIST;
        if is_full || size > room {
            break;
        }
        room -= size;
        written += 1;
        match texts.last_mut().filter(|_| fits) {
            Some(text) => {
                text.push('\n');
                text.push_str(&line);
            }
            None => texts.push(line),
        }
    }
    let mut blocks: Vec<Value> = texts.iter().map(|text| section(text)).collect();
    let omitted = told.list.len() - written;
    if omitted > 0 {
        blocks.push(section(&format!("And {omitted} more; see all incidents.")));
    }
    blocks
}

/// `🔴 Down: <link|name>, since …`, always much shorter than a section.
fn entry_of(entry: &Entry) -> String {
    let name = escaped(&shortened(&entry.name, NAME_MOST));
    let name = if units(&entry.url) <= LINK_MOST && is_link(&entry.url) {
        format!("<{}|{name}>", link_target(&entry.url))
    } else {
        name
    };
    let rest = line_of(&entry.rest, false);
    let mark = entry.mark;
    fitted(
        format!("{} {}: {name}, {rest}", mark.symbol, mark.word),
        TEXT_MOST - 1,
    )
}

/// Our own URLs, of a base that an administrator gave: nothing in them may end the link.
fn is_link(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && !url.contains(['<', '>', '|', ' '])
}

fn link_target(url: &str) -> String {
    url.replace('&', "&amp;")
}

/// What is shown where there are no blocks: in notifications, and by receivers that know none.
fn fallback(told: &Told) -> String {
    let mut text = escaped(&headline(told));
    let sentences = sentences(told);
    if !sentences.is_empty() {
        text = format!("{text}\n{sentences}");
    }
    let link = button_of(told).filter(|(_, url)| units(url) <= LINK_MOST && is_link(url));
    let link = link.map_or_else(String::new, |(label, url)| {
        format!("\n<{}|{label}>", link_target(&url))
    });
    let mut text = fitted(text, FALLBACK_MOST / 2);
    let room = FALLBACK_MOST - units(&link) - "\nAnd 1000000 more.".len();
    let mut left = told.list.len();
    for line in told.list.iter().map(entry_of) {
        if units(&text) + units(&line) + 1 > room {
            break;
        }
        text.push('\n');
        text.push_str(&line);
        left -= 1;
    }
    if left > 0 {
        text.push_str(&format!("\nAnd {left} more."));
    }
    text.push_str(&link);
    text
}

/// A line in Slack's markup. `both` says a time in UTC and in the reader's zone.
fn line_of(line: &Line, both: bool) -> String {
    line.iter()
        .map(|piece| match piece {
            Piece::Words(words) => escaped(words),
            Piece::Time(time) => {
                let (utc, seconds) = (absolute(*time), time.as_seconds());
                if both {
                    let local = "{date_short_pretty} {time_secs}";
                    format!("{utc}\n<!date^{seconds}^{local} local|{utc}>")
                } else {
                    format!("{utc} (<!date^{seconds}^{{time}} local|{utc}>)")
                }
            }
        })
        .collect()
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": markup(text)})
}

/// `verbatim`: Slack looks for no links, names or mentions of its own in it.
fn markup(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

/// `emoji: false`: `:name:` stays what it is.
fn plain_text(text: &str, most: usize) -> Value {
    json!({"type": "plain_text", "text": cut(text, most), "emoji": false})
}

/// Text in Slack's markup, all of it as text.
fn escaped(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    for (at, c) in chars.iter().enumerate() {
        let is_inside_a_word = at > 0
            && chars[at - 1].is_ascii_alphanumeric()
            && chars.get(at + 1).is_some_and(char::is_ascii_alphanumeric);
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '*' => out.push('∗'),
            '~' => out.push('∼'),
            '`' => out.push('ˋ'),
            '_' if !is_inside_a_word => out.push('＿'),
            ':' if begins_an_emoji(&chars[at..]) => out.push('∶'),
            c => out.push(*c),
        }
    }
    out
}

/// `:name:`
fn begins_an_emoji(text: &[char]) -> bool {
    let name = text[1..]
        .iter()
        .take_while(|c| c.is_ascii_alphanumeric() || "_+-'".contains(**c))
        .count();
    name > 0 && text.get(name + 1) == Some(&':')
}

/// At most `most` units of markup, never ending within an escape, a link or a date.
fn fitted(text: String, most: usize) -> String {
    if units(&text) <= most {
        return text;
    }
    let (mut end, mut spent) = (0, 1);
    let (mut in_link, mut in_escape) = (false, false);
    for (at, c) in text.char_indices() {
        spent += c.len_utf16();
        if spent > most {
            break;
        }
        match c {
            '<' => in_link = true,
            '>' => in_link = false,
            '&' => in_escape = true,
            ';' => in_escape = false,
            _ => {}
        }
        if !in_link && !in_escape {
            end = at + c.len_utf8();
        }
    }
    format!("{}…", &text[..end])
}

/// At most `most` units of plain text.
fn cut(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let mut spent = 1;
    let kept = text.chars().take_while(|c| {
        spent += c.len_utf16();
        spent <= most
    });
    format!("{}…", kept.collect::<String>())
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
#[path = "slack_blocks_tests.rs"]
mod tests;
