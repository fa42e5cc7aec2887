//! A message in words, for channels that people read.
//!
//! What is said, and in which order, is decided here once; a channel only gives it its form. Text of others comes out of
//! here with what is invisible made visible; escaping is the channel's, since only it knows what its markup is.

use systole_core::message::{
    Evidence, IncidentFacts, Message, MessageKind, MonitorFacts, Occasion, Severity,
};
use systole_core::reason::Reason;
use systole_core::time::{Span, Time};

use crate::visible::{visible, visible_lines};
use crate::web::text::{count, words};

/// A message that leaves this much later than it was decided says so.
const LATE: Span = Span::from_seconds(300);
/// Knowing of something this much later than it went wrong is a fact of its own.
const KNOWN_LATE: Span = Span::from_seconds(60);
/// Labels that are shown.
const LABELS_MOST: usize = 10;
/// All of them together.
const LABELS_LONGEST: usize = 300;
/// Of a person's name or address, and of what they wrote.
const PERSON_LONGEST: usize = 100;
const NOTE_LONGEST: usize = 500;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What kind of news it is.
    pub mark: Mark,
    /// `Down: invoice-generator`, in one line.
    pub title: String,
    /// What happened and why, the most important first.
    pub sentences: Vec<Line>,
    /// What is known, by name.
    pub facts: Vec<(&'static str, Line)>,
    /// The job's own words, several lines perhaps, under the name that they have.
    pub said: Option<(&'static str, String)>,
    /// Where to go on: the label and the URL.
    pub link: Option<(String, String)>,
    /// Everything that the message is about, where that is more than one thing.
    pub list: Vec<Entry>,
    /// Where all of it can be seen, if the list must be cut.
    pub list_url: String,
}

/// Words, with the times in them: a channel may show those in the reader's zone.
pub type Line = Vec<Piece>;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Words, whoever chose them.
    Words(String),
    /// A time.
    Time(Time),
}

/// A kind of news: a symbol with a shape of its own, and a word, so that colour is never all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// One symbol.
    pub symbol: &'static str,
    /// One or two words.
    pub word: &'static str,
    /// Whether it needs somebody.
    pub tone: Tone,
}

/// What a mark's colour says besides its symbol and word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Somebody must act.
    Bad,
    /// Somebody may have to act.
    Warning,
    /// It is over.
    Good,
    /// Nothing is to be done.
    Neutral,
}

/// One thing of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What kind of news it is.
    pub mark: Mark,
    /// The monitor.
    pub name: String,
    /// What else to say, after a comma.
    pub rest: Line,
    /// The incident's page.
    pub url: String,
}

/// A message in words. `now` is when it is sent, `base_url` how people reach this server.
pub fn told(message: &Message, base_url: &str, now: Time) -> Told {
    let mut told = match &message.incident {
        None => test(),
        Some(incident) if message.grouped.is_empty() => single(message, incident),
        Some(incident) => several(message, incident),
    };
    if now.since(message.at) > LATE {
        told.sentences.push(vec![
            text("Sent late: this was decided at "),
            Piece::Time(message.at),
            text("."),
        ]);
    }
    told.list_url = format!("{base_url}/incidents");
    told
}

/// Plain text of a line, with times as `2026-11-21 02:14:07 UTC`.
pub fn plain(line: &Line) -> String {
    line.iter()
        .map(|piece| match piece {
            Piece::Words(words) => words.clone(),
            Piece::Time(time) => crate::web::text::absolute(*time),
        })
        .collect()
}

/// At most `most` characters of a text, with an ellipsis for the rest.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn text(words: impl Into<String>) -> Piece {
    Piece::Words(words.into())
}

fn words_of(words: impl Into<String>) -> Line {
    vec![text(words)]
}

fn test() -> Told {
    let mark = Mark {
        symbol: "🔔",
        word: "Test",
        tone: Tone::Neutral,
    };
    Told {
        mark,
        title: "Test of this channel".to_owned(),
        sentences: vec![words_of(
            "Messages of Systole arrive here. Nothing is wrong; somebody asked for this test.",
        )],
        facts: Vec::new(),
        said: None,
        link: None,
        list: Vec::new(),
        list_url: String::new(),
    }
}

fn single(message: &Message, incident: &IncidentFacts) -> Told {
    let monitor = message.monitor.as_ref();
    let mark = mark(message.kind, &message.occasion, incident, monitor);
    let mut facts = facts(message, incident);
    if let Some(monitor) = monitor {
        facts.extend(labels(monitor));
    }
    let said = message.evidence.message.as_deref().map(visible_lines);
    let said = said.filter(|said| !said.trim().is_empty());
    // The evidence is that of the beginning.
    let when = if incident.resolved_at.is_some() {
        "What it had said"
    } else {
        "What it said"
    };
    Told {
        mark,
        title: format!("{}: {}", mark.word, name(incident, monitor)),
        sentences: sentences(message, incident, now_well(incident, monitor)),
        facts,
        said: said.map(|said| (when, said.trim_end().to_owned())),
        link: Some((
            format!("Open incident #{}", incident.number),
            incident.url.clone(),
        )),
        list: Vec::new(),
        list_url: String::new(),
    }
}

fn several(message: &Message, incident: &IncidentFacts) -> Told {
    let first = entry(
        message.kind,
        &message.occasion,
        incident,
        message.monitor.as_ref(),
    );
    let others = message.grouped.iter().map(|item| {
        entry(
            item.kind,
            &item.occasion,
            &item.incident,
            Some(&item.monitor),
        )
    });
    let list: Vec<Entry> = std::iter::once(first).chain(others).collect();
    let monitors = count(list.len(), "message");
    let title = match message.outage {
        Some(_) => format!(
            "{} unheard since an outage of Systole",
            count(list.len(), "monitor")
        ),
        None => format!("{monitors} at once: {}", tally(&list)),
    };
    let mark = worst(&list);
    let mut sentences: Vec<Line> = message.outage.map(outage).into_iter().collect();
    if message.outage.is_none() {
        sentences.push(words_of(
            "So much happened within seconds that it comes as one message.",
        ));
    }
    Told {
        mark,
        title,
        sentences,
        facts: Vec::new(),
        said: None,
        link: None,
        list,
        list_url: String::new(),
    }
}

fn entry(
    kind: MessageKind,
    occasion: &Occasion,
    incident: &IncidentFacts,
    monitor: Option<&MonitorFacts>,
) -> Entry {
    let by = incident.by.as_deref();
    let by = by.map_or_else(String::new, |by| format!("by {}, ", person(by)));
    let rest = match (occasion, incident.resolved_at) {
        (Occasion::DeliveryDead { channel, detail }, _) => words_of(format!(
            "channel {} was not told: {}",
            visible(channel),
            shortened(&visible(detail), 200)
        )),
        (_, Some(ended)) => words_of(format!(
            "{by}lasted {}",
            words(ended.since(incident.started_at))
        )),
        (Occasion::Reminder { .. }, None) => vec![
            text("not acknowledged, since "),
            Piece::Time(incident.started_at),
        ],
        _ => vec![
            text(format!("{by}since ")),
            Piece::Time(incident.started_at),
        ],
    };
    Entry {
        mark: mark(kind, occasion, incident, monitor),
        name: name(incident, monitor),
        rest,
        url: incident.url.clone(),
    }
}

fn name(incident: &IncidentFacts, monitor: Option<&MonitorFacts>) -> String {
    let name = monitor.map_or(&incident.title, |monitor| &monitor.name);
    visible(name).into_owned()
}

fn now_well(incident: &IncidentFacts, monitor: Option<&MonitorFacts>) -> bool {
    incident.resolved_at.is_some() && monitor.is_some_and(|monitor| monitor.state == "up")
}

fn mark(
    kind: MessageKind,
    occasion: &Occasion,
    incident: &IncidentFacts,
    monitor: Option<&MonitorFacts>,
) -> Mark {
    let made = |symbol, word, tone| Mark { symbol, word, tone };
    let (symbol, tone) = match incident.severity {
        Severity::Critical | Severity::Error => ("🔴", Tone::Bad),
        Severity::Warning => ("🟠", Tone::Warning),
        Severity::Info => ("🔵", Tone::Neutral),
    };
    let is_down = monitor.is_none_or(|monitor| monitor.state == "down");
    match (occasion, kind) {
        (Occasion::DeliveryDead { .. }, _) => made("⚠️", "Not delivered", Tone::Bad),
        (_, MessageKind::Resolved) => made("✅", "Resolved", Tone::Good),
        (Occasion::Reminder { .. }, _) if is_down => made("⏰", "Still down", tone),
        (Occasion::Reminder { .. }, _) => made("⏰", "Still open", tone),
        (_, MessageKind::Triggered) if !is_down => made(symbol, "Trouble", tone),
        (_, MessageKind::Triggered) if incident.reopened > 0 => made(symbol, "Down again", tone),
        (_, MessageKind::Triggered) => made(symbol, "Down", tone),
        (_, MessageKind::Acknowledged) => made("👤", "Acknowledged", Tone::Neutral),
        (_, MessageKind::Escalated) => made("🔺", "Escalated", tone),
        (_, MessageKind::Updated) => made("📝", "Update", Tone::Neutral),
        (_, MessageKind::ChannelTest) => test().mark,
    }
}

/// The mark of a list: its worst, the first of those.
fn worst(list: &[Entry]) -> Mark {
    let rank = |entry: &&Entry| match entry.mark.tone {
        Tone::Bad => 0,
        Tone::Warning => 1,
        Tone::Neutral => 2,
        Tone::Good => 3,
    };
    list.iter()
        .min_by_key(rank)
        .map_or_else(|| test().mark, |entry| entry.mark)
}

/// `2 down, 1 resolved`, in the order in which they come.
fn tally(list: &[Entry]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for entry in list {
        match counts.iter_mut().find(|(word, _)| *word == entry.mark.word) {
            Some((_, n)) => *n += 1,
            None => counts.push((entry.mark.word, 1)),
        }
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(word, n)| format!("{n} {}", word.to_lowercase()))
        .collect();
    parts.join(", ")
}

fn sentences(message: &Message, incident: &IncidentFacts, is_well: bool) -> Vec<Line> {
    let mut said = Vec::new();
    if let Occasion::DeliveryDead { channel, detail } = &message.occasion {
        said.push(words_of(format!(
            "Channel {} could not be reached: {}. Nobody may have been told of this incident.",
            visible(channel),
            visible(detail.trim_end_matches('.'))
        )));
    }
    let by = by_hand(message.kind, incident);
    let mut what = format!("{}.", visible(&incident.title));
    if by.is_none() && !incident.reason_sentence.is_empty() {
        what = format!("{what} {}", incident.reason_sentence);
    }
    said.extend(by.map(words_of));
    said.push(words_of(what));
    if let Some(ended) = incident.resolved_at {
        let lasted = words(ended.since(incident.started_at));
        let how = if is_well {
            "It lasted"
        } else {
            "The incident lasted"
        };
        said.push(words_of(format!("{how} {lasted}.")));
    }
    match &message.occasion {
        Occasion::Reminder { number } => {
            let open_for = words(message.at.since(incident.started_at));
            said.push(words_of(format!(
                "Nobody has acknowledged it for {open_for}; this is reminder {number}."
            )));
        }
        Occasion::MaintenanceOver { window } => said.push(words_of(format!(
            "This was held back by the maintenance window {}, which has ended.",
            visible(window)
        ))),
        Occasion::Event | Occasion::DeliveryDead { .. } => {}
    }
    if incident.reopened > 0 && message.kind == MessageKind::Triggered {
        let times = match incident.reopened {
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        said.push(words_of(format!(
            "It had been resolved {times} shortly before."
        )));
    }
    said.extend(message.outage.map(outage));
    said
}

/// Who acknowledged or resolved it, where a person did: then that is the news, and the reason has nothing to add.
fn by_hand(kind: MessageKind, incident: &IncidentFacts) -> Option<String> {
    let did = match kind {
        MessageKind::Acknowledged => "acknowledged",
        MessageKind::Resolved if incident.reason == Reason::ByHand.word() => "resolved",
        _ => return None,
    };
    let by = incident.by.as_deref().map(person);
    Some(format!("{} {did} it.", by.as_deref().unwrap_or("Somebody")))
}

fn person(by: &str) -> String {
    shortened(&visible(by), PERSON_LONGEST)
}

fn outage((from, until): (Time, Time)) -> Line {
    vec![
        text("Systole itself was out from "),
        Piece::Time(from),
        text(" to "),
        Piece::Time(until),
        text("; silence in that time does not count."),
    ]
}

fn facts(message: &Message, incident: &IncidentFacts) -> Vec<(&'static str, Line)> {
    let at = |time: Time| vec![Piece::Time(time)];
    let mut facts = Vec::new();
    if let Some(note) = &incident.note {
        let note = shortened(&visible(note.trim()), NOTE_LONGEST);
        facts.push(("Note", words_of(note)));
    }
    match incident.resolved_at {
        None => facts.push(("Since", at(incident.started_at))),
        Some(ended) => {
            facts.push(("Began", at(incident.started_at)));
            facts.push(("Ended", at(ended)));
            facts.push(("Lasted", words_of(words(ended.since(incident.started_at)))));
        }
    }
    let known_after = incident.detected_at.since(incident.started_at);
    if known_after > KNOWN_LATE {
        let line = vec![
            Piece::Time(incident.detected_at),
            text(format!(", {} later", words(known_after))),
        ];
        facts.push(("Known", line));
    }
    // Where a sentence does not say it already.
    if by_hand(message.kind, incident).is_none() {
        let by = incident.by.as_deref();
        facts.extend(by.map(|by| ("By", words_of(person(by)))));
    }
    facts.extend(evidence(&message.evidence, incident));
    for (name, regions) in [
        ("Down from", &message.regions_failing),
        ("Up from", &message.regions_ok),
    ] {
        if !regions.is_empty() {
            facts.push((name, words_of(visible(&regions.join(", ")).into_owned())));
        }
    }
    facts.push(("Severity", words_of(incident.severity.as_str())));
    facts
}

fn evidence(evidence: &Evidence, incident: &IncidentFacts) -> Vec<(&'static str, Line)> {
    let mut facts = Vec::new();
    match evidence.last_checkin_at {
        Some(at) => facts.push(("Last check-in", vec![Piece::Time(at)])),
        None if incident.resolved_at.is_none() && evidence.expected_at.is_some() => {
            facts.push(("Last check-in", words_of("never")));
        }
        None => {}
    }
    if let Some(at) = evidence.expected_at {
        facts.push(("Expected at", vec![Piece::Time(at)]));
    }
    if let Some(status) = evidence.exit_status {
        facts.push(("Exit status", words_of(status.to_string())));
    }
    facts
}

fn labels(monitor: &MonitorFacts) -> Option<(&'static str, Line)> {
    let labels: Vec<String> = monitor
        .labels
        .iter()
        .take(LABELS_MOST)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let shown = shortened(&visible(&labels.join(", ")), LABELS_LONGEST);
    (!labels.is_empty()).then(|| ("Labels", words_of(shown)))
}

#[cfg(test)]
#[path = "words_tests.rs"]
pub(super) mod tests;
