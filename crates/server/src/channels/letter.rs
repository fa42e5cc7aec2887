//! The letter of an email: its head, a part of plain text and a part of HTML that say the same.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Built, MessageBuilder, MultiPart};
use systole_core::message::{Message, MessageKind, Occasion};
use systole_core::time::Time;

use super::Sending;
use super::words::{Told, Tone, plain, shortened};

/// Entries of a list; of more it says how many.
const LISTED_MOST: usize = 1_000;
/// The most of a job's words, and of a subject.
const SAID_MOST: usize = 5_000;
const SUBJECT_MOST: usize = 250;

/// The whole letter, or `None` where the library refuses it.
pub(super) fn letter(
    from: &Mailbox,
    to: &[Address],
    told: &Told,
    message: &Message,
    sending: &Sending<'_>,
) -> Option<Vec<u8>> {
    let domain = from.email.domain();
    let mut builder = Built::builder()
        .from(from.clone())
        .date(system_time(sending.now))
        .subject(subject(told, message))
        .message_id(Some(format!("<{}@{domain}>", word(sending.delivery_id))));
    for address in to {
        builder = builder.to(Mailbox::new(None, address.clone()));
    }
    if let Some(root) = root(message, sending, domain) {
        builder = builder.in_reply_to(root.clone()).references(root);
    }
    builder = automatic(builder);
    // To several it is a list. The link names no recipient, so a program cannot do it with one click (RFC 8058); a person can.
    if let Some(url) = sending.unsubscribe_url
        && to.len() > 1
    {
        let id = format!(
            "<channel-{}.{}.{}>",
            sending.channel,
            installation(sending.base_url),
            word(domain)
        );
        builder = with(builder, "List-Id", id);
        builder = with(builder, "List-Unsubscribe", format!("<{url}>"));
    }
    let parts = MultiPart::alternative_plain_html(text(told), html(told));
    builder.multipart(parts).ok().map(|built| built.formatted())
}

/// The letter to one whom the unsubscribe link took off, or `None` where the library refuses it.
pub(super) fn farewell(
    from: &Mailbox,
    to: &Address,
    base_url: &str,
    id: &str,
    now: Time,
) -> Option<Vec<u8>> {
    let text = format!(
        "The address {to} was taken off a list of Systole at {base_url}, by the unsubscribe link of its letters.\n\
         {from} sends no more alerts of that list to it.\n\n\
         If it was not you, tell your administrator: they can put you back, on the page Channels.\n"
    );
    let builder = Built::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .date(system_time(now))
        .subject("You were taken off a list of alerts")
        .message_id(Some(format!("<{}@{}>", word(id), from.email.domain())));
    let built = automatic(builder)
        .header(ContentType::TEXT_PLAIN)
        .body(text);
    built.ok().map(|built| built.formatted())
}

/// No robot shall answer, and no holiday notice.
fn automatic(builder: MessageBuilder) -> MessageBuilder {
    let builder = with(builder, "Auto-Submitted", "auto-generated".to_owned());
    with(builder, "X-Auto-Response-Suppress", "All".to_owned())
}

fn with(builder: MessageBuilder, name: &'static str, value: String) -> MessageBuilder {
    let name = HeaderName::new_from_ascii_str(name);
    builder.raw_header(HeaderValue::new(name, value))
}

/// Tells installations apart that use one sender.
fn installation(base_url: &str) -> String {
    blake3::hash(base_url.as_bytes()).to_hex()[..12].to_owned()
}

/// The conversation of an incident on a channel: an id that no letter has and all of them refer to, so that it does not
/// matter which of them was sent. A message about several incidents belongs to none.
fn root(message: &Message, sending: &Sending<'_>, domain: &str) -> Option<String> {
    let incident = message.incident.as_ref()?;
    if !message.grouped.is_empty() {
        return None;
    }
    Some(format!(
        "<incident-{}.channel-{}.{}@{domain}>",
        incident.number,
        sending.channel,
        installation(sending.base_url)
    ))
}

/// `[Down] invoice-generator, incident #12`: programs that sort by subject leave out `Re:` and what stands in brackets, so
/// that every message of the incident has the same one.
fn subject(told: &Told, message: &Message) -> String {
    let mark = told.mark.word;
    let subject = match &message.incident {
        None => format!("[{mark}] Systole: {}", told.title),
        Some(_) if !message.grouped.is_empty() => format!("[Systole] {}", told.title),
        Some(incident) => {
            let is_first = message.kind == MessageKind::Triggered
                && incident.reopened == 0
                && message.occasion == Occasion::Event;
            let reply = if is_first { "" } else { "Re: " };
            let name = told.title.strip_prefix(mark).unwrap_or(&told.title);
            let name = shortened(name.trim_start_matches(": "), SUBJECT_MOST);
            format!("{reply}[{mark}] {name}, incident #{}", incident.number)
        }
    };
    // What looks like an encoded word would be decoded by whoever reads it.
    subject.replace("=?", "= ?")
}

/// Of a key, what may stand in a message id.
fn word(key: &str) -> String {
    key.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect()
}

fn system_time(time: Time) -> SystemTime {
    let seconds = u64::try_from(time.as_seconds()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn text(told: &Told) -> String {
    let mut out = format!("{}\n\n", told.title);
    for line in &told.sentences {
        _ = writeln!(out, "{}", plain(line));
    }
    if !told.facts.is_empty() {
        out.push('\n');
        let width = told.facts.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or_default() + 1;
        for (name, line) in &told.facts {
            _ = writeln!(out, "{:width$} {}", format!("{name}:"), plain(line));
        }
    }
    if let Some((name, said)) = &told.said {
        _ = writeln!(out, "\n{name}:");
        for line in shortened(said, SAID_MOST).lines() {
            _ = writeln!(out, "> {line}");
        }
    }
    if !told.list.is_empty() {
        out.push('\n');
    }
    for entry in told.list.iter().take(LISTED_MOST) {
        let rest = plain(&entry.rest);
        _ = writeln!(
            out,
            "{}: {}, {rest}\n  {}",
            entry.mark.word, entry.name, entry.url
        );
    }
    if let Some(more) = omitted(told) {
        _ = writeln!(out, "{more}");
    }
    if let Some((label, url)) = link(told) {
        _ = writeln!(out, "\n{label}: {url}");
    }
    out
}

fn omitted(told: &Told) -> Option<String> {
    let omitted = told.list.len().saturating_sub(LISTED_MOST);
    (omitted > 0).then(|| format!("And {omitted} more; see all incidents."))
}

fn link(told: &Told) -> Option<(&str, &str)> {
    if told.list.is_empty() {
        let (label, url) = told.link.as_ref()?;
        return Some((label, url));
    }
    Some(("All incidents", &told.list_url))
}

/// Few rules, inline, and no colours of ground or letters: those are the reader's, light or dark.
fn html(told: &Told) -> String {
    let accent = match told.mark.tone {
        Tone::Bad => "#d93025",
        Tone::Warning => "#c77700",
        Tone::Good => "#1e8e3e",
        Tone::Neutral => "#7a7f87",
    };
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"supported-color-schemes\" content=\"light dark\">\n<title>{title}</title>\n</head>\n\
         <body style=\"margin:0;padding:16px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif\">\n\
         <div style=\"max-width:600px;border-left:4px solid {accent};padding-left:14px;overflow-wrap:anywhere\">\n\
         <h1 style=\"font-size:20px;line-height:1.3;margin:0 0 12px\">{symbol} {title}</h1>\n",
        title = escaped(&told.title),
        symbol = told.mark.symbol,
    );
    for line in &told.sentences {
        _ = writeln!(
            out,
            "<p style=\"margin:0 0 8px\">{}</p>",
            escaped(&plain(line))
        );
    }
    if !told.facts.is_empty() {
        out.push_str("<dl style=\"margin:16px 0\">\n");
        for (name, line) in &told.facts {
            _ = writeln!(
                out,
                "<dt style=\"font-size:14px;opacity:.75\">{name}</dt>\n<dd style=\"margin:0 0 8px\">{}</dd>",
                escaped(&plain(line))
            );
        }
        out.push_str("</dl>\n");
    }
    if let Some((name, said)) = &told.said {
        _ = writeln!(
            out,
            "<p style=\"margin:16px 0 4px;font-size:14px;opacity:.75\">{name}</p>\n\
             <pre style=\"margin:0 0 16px;padding:10px;border:1px solid {accent};border-radius:6px;white-space:pre-wrap;\
             overflow-wrap:anywhere;font:14px/1.4 ui-monospace,Consolas,monospace\">{}</pre>",
            escaped(&shortened(said, SAID_MOST))
        );
    }
    if !told.list.is_empty() {
        out.push_str("<ul style=\"margin:16px 0;padding-left:20px\">\n");
        for entry in told.list.iter().take(LISTED_MOST) {
            _ = writeln!(
                out,
                "<li style=\"margin:0 0 6px\">{} {}: <a href=\"{}\">{}</a>, {}</li>",
                entry.mark.symbol,
                entry.mark.word,
                escaped(&entry.url),
                escaped(&entry.name),
                escaped(&plain(&entry.rest))
            );
        }
        out.push_str("</ul>\n");
    }
    if let Some(more) = omitted(told) {
        _ = writeln!(out, "<p style=\"margin:0 0 8px\">{more}</p>");
    }
    if let Some((label, url)) = link(told) {
        _ = writeln!(
            out,
            "<p style=\"margin:20px 0 8px\"><a href=\"{}\" style=\"display:inline-block;padding:10px 16px;border:1px solid \
             {accent};border-radius:6px;color:inherit;text-decoration:none;font-weight:600\">{}</a></p>",
            escaped(url),
            escaped(label)
        );
    }
    out.push_str("</div>\n</body>\n</html>\n");
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
