//! What must hold at the end: of incidents, by what was really reported; of messages, by what was decided.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::hooks::Told;
use super::senders::History;

/// A check-in may be up to so much later than its deadline.
const SLACK: SignedDuration = SignedDuration::from_millis(1_200);

/// An incident as the server tells it, with what happened to it.
#[derive(Clone, Debug)]
pub struct Incident {
    pub id: String,
    pub monitor: String,
    /// What happened, and when.
    pub events: Vec<(String, Timestamp)>,
}

/// A message as the server tells of it.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub key: String,
    pub kind: String,
    pub incident: String,
    pub state: String,
}

/// What was counted, and a sentence for each thing that must not be.
#[derive(Default, Debug)]
pub struct Tally {
    pub acknowledged: usize,
    pub found: usize,
    pub lost: usize,
    pub twice: usize,
    pub expected: usize,
    pub opened: usize,
    pub missed: usize,
    pub duplicated: usize,
    pub without_silence: usize,
    pub messages_expected: usize,
    pub delivered: usize,
    pub superseded: usize,
    pub undelivered: usize,
    pub messages_duplicated: usize,
    pub out_of_order: usize,
    pub repeated_attempts: usize,
    pub complaints: Vec<String>,
}

impl Tally {
    fn complain(&mut self, text: String) {
        if self.complaints.len() < 200 {
            self.complaints.push(text);
        }
    }

    /// What was acknowledged is in the log, once; nothing is there twice.
    pub fn log(&mut self, histories: &[History], found: &HashMap<Uuid, u32>) {
        for history in histories {
            for attempt in &history.attempts {
                let times = found.get(&attempt.run).copied().unwrap_or(0);
                if let Some(at) = attempt.acknowledged {
                    self.acknowledged += 1;
                    self.found += usize::from(times > 0);
                    if times == 0 {
                        self.lost += 1;
                        self.complain(format!(
                            "lost: {} of {}, sent {}, acknowledged {at}",
                            attempt.run, history.monitor, attempt.sent
                        ));
                    }
                }
                if times > 1 {
                    self.twice += 1;
                    self.complain(format!(
                        "{times} times in the log: {} of {}, sent {}",
                        attempt.run, history.monitor, attempt.sent
                    ));
                }
            }
        }
    }

    /// Each silence on purpose has one incident; every other incident has a silence that explains it.
    pub fn incidents(
        &mut self,
        histories: &[History],
        incidents: &[Incident],
        allowed: SignedDuration,
        now: Timestamp,
    ) {
        for history in histories {
            let mut openings: Vec<Timestamp> = incidents
                .iter()
                .filter(|incident| incident.monitor == history.monitor)
                .flat_map(|incident| &incident.events)
                .filter(|(kind, _)| kind == "triggered")
                .map(|(_, at)| *at)
                .collect();
            openings.sort_unstable();
            self.opened += openings.len();
            let mut gaps = gaps(history, now).into_iter().peekable();
            while let Some(gap) = gaps.next() {
                // An answer may take seconds. What lapsed by the schedule since that check-in was sent belongs to the silence after it.
                let next = gaps.peek().map(|next| next.from + allowed);
                let fits = |at: &Timestamp| {
                    gap.from <= *at && *at <= gap.to + SLACK && next.is_none_or(|next| *at < next)
                };
                let within = openings.iter().filter(|at| fits(at)).count();
                let is_long = gap.to.duration_since(gap.from) + SLACK >= allowed;
                let at_most = if is_long { 1 + gap.unanswered } else { 0 };
                openings.retain(|at| !fits(at));
                self.expected += usize::from(gap.must);
                if gap.must && within == 0 {
                    self.missed += 1;
                    self.complain(format!(
                        "missed: {} was silent from {} to {}",
                        history.monitor, gap.from, gap.to
                    ));
                }
                if within > at_most {
                    if is_long {
                        self.duplicated += within - at_most;
                    } else {
                        self.without_silence += within;
                    }
                    self.complain(format!(
                        "{within} incidents of {} for the silence from {} to {}, at most {at_most}",
                        history.monitor, gap.from, gap.to
                    ));
                }
            }
            self.without_silence += openings.len();
            for at in openings {
                self.complain(format!(
                    "{} was said to be late at {at}, when it was not",
                    history.monitor
                ));
            }
        }
    }

    /// Each opening and each end is one message, which arrives, under one key, and in order.
    pub fn messages(&mut self, incidents: &[Incident], deliveries: &[Delivery], told: &[Told]) {
        let seen: HashSet<&str> = told.iter().map(|told| &*told.key).collect();
        let known: HashSet<&str> = deliveries.iter().map(|it| &*it.key).collect();
        let is_there = |id: &str| incidents.iter().any(|incident| incident.id == id);
        // Of an incident that is there, such a key is one too many below.
        let strange = |it: &&Told| !known.contains(&*it.key) && !is_there(&it.incident);
        for told in told.iter().filter(strange) {
            self.messages_duplicated += 1;
            self.complain(format!(
                "a message that the database does not know: {told:?}"
            ));
        }
        let news: HashSet<(&str, &str)> = told.iter().map(|it| (&*it.key, &*it.incident)).collect();
        self.repeated_attempts = told.len() - news.len();
        for incident in incidents {
            let grouped = told
                .iter()
                .any(|it| it.grouped && it.incident == incident.id);
            let mut untold = 0;
            for kind in ["triggered", "resolved"] {
                let events = incident.events.iter().filter(|it| it.0 == kind).count();
                let word = format!("incident.{kind}");
                let rows: Vec<&Delivery> = deliveries
                    .iter()
                    .filter(|it| it.incident == incident.id && it.kind == word)
                    .collect();
                let keys: HashSet<&str> = told
                    .iter()
                    .filter(|it| it.incident == incident.id && it.kind == word)
                    .map(|it| &*it.key)
                    .collect();
                // In a message with others it has no key of its own, and older news of the same incident is left out.
                let arrived =
                    |it: &&&Delivery| seen.contains(&*it.key) || grouped && it.state == "delivered";
                let delivered = rows.iter().filter(arrived).count();
                let superseded = rows
                    .iter()
                    .filter(|it| it.state == "superseded" && !seen.contains(&*it.key))
                    .count();
                untold += superseded;
                self.messages_expected += events;
                self.delivered += delivered;
                self.superseded += superseded;
                // The end of what nobody was told of is not told either.
                let excused = if kind == "resolved" {
                    untold
                } else {
                    superseded
                };
                let missing = events.saturating_sub(delivered + excused);
                let more = rows.len().max(keys.len()).saturating_sub(events);
                self.undelivered += missing;
                self.messages_duplicated += more;
                if missing + more > 0 {
                    self.complain(format!(
                        "{} of {}: {events} times {kind}, {} keys arrived: {rows:?}",
                        incident.id,
                        incident.monitor,
                        keys.len()
                    ));
                }
            }
            self.order(incident, told);
        }
    }

    /// Whoever was told that it is over is not told the opening before it again.
    fn order(&mut self, incident: &Incident, told: &[Told]) {
        let mut first: Vec<&Told> = Vec::new();
        for told in told.iter().filter(|told| told.incident == incident.id) {
            match first.iter().position(|known| known.key == told.key) {
                None => {
                    let alone = |last: &&&Told| !last.grouped && !told.grouped;
                    if first
                        .last()
                        .filter(alone)
                        .is_some_and(|last| last.kind == told.kind)
                    {
                        self.out_of_order += 1;
                        self.complain(format!(
                            "{} of {}: {} twice in a row, with different keys",
                            incident.id, incident.monitor, told.kind
                        ));
                    }
                    first.push(told);
                }
                Some(place) if place + 1 < first.len() => {
                    self.out_of_order += 1;
                    self.complain(format!(
                        "{} of {}: {} again after what came later",
                        incident.id, incident.monitor, told.kind
                    ));
                }
                Some(_) => {}
            }
        }
    }
}

/// From one acknowledged check-in to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Gap {
    from: Timestamp,
    to: Timestamp,
    /// Attempts between that may have been recorded: each may have ended one incident, so that there is another.
    unanswered: usize,
    /// On purpose, and so long that there must be an incident.
    must: bool,
}

fn gaps(history: &History, now: Timestamp) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut open: Option<Gap> = None;
    for (number, attempt) in history.attempts.iter().enumerate() {
        match (attempt.acknowledged, &mut open) {
            (Some(at), open) => {
                gaps.extend(open.take().map(|gap| Gap { to: at, ..gap }));
                *open = Some(Gap {
                    from: attempt.sent,
                    to: now,
                    unanswered: 0,
                    must: history.silences.contains(&number),
                });
            }
            (None, Some(gap)) => gap.unanswered += 1,
            (None, None) => {}
        }
    }
    gaps.extend(open);
    gaps
}

#[cfg(test)]
mod tests {
    use super::super::senders::Attempt;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Check-ins at these seconds, acknowledged or not; silences after the ones of these numbers.
    fn history(attempts: &[(i64, bool)], silences: &[usize]) -> History {
        let attempts = attempts
            .iter()
            .enumerate()
            .map(|(number, (second, acknowledged))| Attempt {
                run: Uuid::from_u128(number as u128 + 1),
                sent: at(*second),
                acknowledged: acknowledged.then(|| at(*second)),
            });
        History {
            monitor: "m".to_owned(),
            attempts: attempts.collect(),
            silences: silences.to_vec(),
        }
    }

    fn incident(events: &[(&str, i64)]) -> Incident {
        Incident {
            id: "i".to_owned(),
            monitor: "m".to_owned(),
            events: events
                .iter()
                .map(|(kind, second)| ((*kind).to_owned(), at(*second)))
                .collect(),
        }
    }

    #[test]
    fn what_is_acknowledged_is_in_the_log_once() {
        let history = history(&[(0, true), (1, true), (2, false), (3, false)], &[]);
        let found = [(1, 1), (3, 2)].map(|(run, times)| (Uuid::from_u128(run), times));
        let mut tally = Tally::default();
        tally.log(&[history], &HashMap::from(found));
        assert_eq!((tally.acknowledged, tally.found), (2, 1));
        assert_eq!((tally.lost, tally.twice), (1, 1));
    }

    #[test]
    fn incidents_are_judged_by_the_silences() {
        let attempts = [(0, true), (10, true), (11, true), (12, false), (30, true)];
        // openings -> missed, duplicated, without silence
        for (openings, judged) in [
            (&[6_i64][..], (0, 0, 0)),
            (&[], (1, 0, 0)),
            (&[6, 8], (0, 1, 0)),
            // An unanswered check-in may have ended the first.
            (&[6, 17, 20], (0, 0, 0)),
            (&[6, 17, 20, 25], (0, 1, 0)),
            (&[6, 33], (0, 0, 1)),
        ] {
            let events: Vec<_> = openings.iter().map(|at| ("triggered", *at)).collect();
            let mut tally = Tally::default();
            let history = history(&attempts, &[0]);
            let allowed = SignedDuration::from_secs(6);
            tally.incidents(&[history], &[incident(&events)], allowed, at(34));
            assert_eq!(
                (tally.missed, tally.duplicated, tally.without_silence),
                judged,
                "{openings:?}"
            );
        }
    }

    #[test]
    fn what_lapses_right_after_a_late_answer_belongs_to_the_silence_that_began_with_the_check_in() {
        let mut history = history(&[(0, true), (10, true), (30, true)], &[0, 1]);
        history.attempts[1].acknowledged = Some(at(15));
        // openings -> missed, duplicated, without silence
        for (openings, judged) in [
            (&[6_i64, 16][..], (0, 0, 0)),
            (&[6], (1, 0, 0)),
            (&[16], (1, 0, 0)),
            (&[6, 15], (1, 1, 0)),
        ] {
            let events: Vec<_> = openings.iter().map(|at| ("triggered", *at)).collect();
            let mut tally = Tally::default();
            let allowed = SignedDuration::from_secs(6);
            tally.incidents(&[history.clone()], &[incident(&events)], allowed, at(31));
            assert_eq!(
                (tally.missed, tally.duplicated, tally.without_silence),
                judged,
                "{openings:?}"
            );
        }
    }

    #[test]
    fn messages_are_judged_by_what_was_decided() {
        let delivery = |key: &str, kind: &str, state: &str| Delivery {
            key: key.to_owned(),
            kind: format!("incident.{kind}"),
            incident: "i".to_owned(),
            state: state.to_owned(),
        };
        let deliveries = [
            delivery("a", "triggered", "delivered"),
            delivery("b", "resolved", "delivered"),
        ];
        let told = |keys: &str| -> Vec<Told> {
            let told = keys.chars().map(|key| Told {
                key: key.to_string(),
                kind: format!(
                    "incident.{}",
                    if "ac".contains(key) {
                        "triggered"
                    } else {
                        "resolved"
                    }
                ),
                incident: "i".to_owned(),
                monitor: "m".to_owned(),
                started_at: at(0),
                grouped: false,
            });
            told.collect()
        };
        // arrivals -> undelivered, duplicated, out of order, repeated
        for (arrivals, judged) in [
            ("ab", (0, 0, 0, 0)),
            ("aabb", (0, 0, 0, 2)),
            ("a", (1, 0, 0, 0)),
            ("aba", (0, 0, 1, 1)),
            ("acb", (0, 1, 1, 0)),
        ] {
            let mut tally = Tally::default();
            let incident = incident(&[("triggered", 0), ("resolved", 5)]);
            tally.messages(&[incident], &deliveries, &told(arrivals));
            let found = (
                tally.undelivered,
                tally.messages_duplicated,
                tally.out_of_order,
                tally.repeated_attempts,
            );
            assert_eq!(found, judged, "{arrivals}");
        }
    }
}
