//! Which monitors a list shows, and in what order: newest change first, picked from the engine's memory.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use systole_core::engine::{Engine, MonitorId};
use systole_core::heartbeat::Shown;
use systole_core::time::Time;

/// A place in the order: since when it is in its state, then its number.
pub type Place = (Time, MonitorId);

/// What is asked for.
#[derive(Default)]
pub(super) struct Wanted {
    /// Only in this state.
    pub(super) state: Option<Shown>,
    /// Only these.
    pub(super) among: Option<HashSet<MonitorId>>,
    /// Only after this place.
    pub(super) after: Option<Place>,
    /// At most so many.
    pub(super) limit: usize,
}

/// One page of a list, and how many there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picked {
    /// Newest change first.
    pub(super) places: Vec<Place>,
    /// Whether more follow.
    pub(super) has_more: bool,
    /// How many match on all pages.
    pub(super) matching: usize,
    /// Monitors per state: new, up, late, down, paused; all of them, whatever is asked for.
    pub(super) counts: [(Shown, usize); 5],
}

/// Looks at every monitor once and keeps the newest: memory of one page, whatever their number.
pub(super) fn pick(engine: &Engine, wanted: &Wanted, now: Time) -> Picked {
    let mut counts = [
        Shown::Down,
        Shown::Late,
        Shown::New,
        Shown::Paused,
        Shown::Up,
    ]
    .map(|shown| (shown, 0));
    let mut newest: BTreeSet<Reverse<Place>> = BTreeSet::new();
    let (mut matching, mut later) = (0, 0);
    for (id, monitor) in engine.monitors() {
        let shown = monitor.heartbeat.shown(now);
        if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == shown) {
            *count += 1;
        }
        let is_wanted = wanted.state.is_none_or(|state| state == shown)
            && wanted
                .among
                .as_ref()
                .is_none_or(|among| among.contains(&id));
        if !is_wanted {
            continue;
        }
        matching += 1;
        let place = (monitor.heartbeat.shown_since(now), id);
        if wanted.after.is_some_and(|after| place >= after) {
            continue;
        }
        later += 1;
        newest.insert(Reverse(place));
        if newest.len() > wanted.limit {
            newest.pop_last();
        }
    }
    let places: Vec<Place> = newest.into_iter().map(|Reverse(place)| place).collect();
    Picked {
        has_more: later > places.len(),
        places,
        matching,
        counts,
    }
}

/// A place as a cursor.
pub fn cursor((since, id): Place) -> String {
    format!("{}.{id}", since.as_micros())
}

/// The place of a cursor.
pub fn parse_cursor(text: &str) -> Option<Place> {
    let (since, id) = text.split_once('.')?;
    Some((Time::from_micros(since.parse().ok()?), id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use systole_core::engine::{Action, Boot, CONFIGURATION, Command, Record, Row};
    use systole_core::heartbeat::Settings;
    use systole_core::schedule::Schedule;
    use systole_core::time::Span;

    use super::*;

    /// Made at 1 s, 2 s, … each; the third is paused at 100 s.
    fn engine(count: u32) -> Engine {
        let settings = Arc::new(Settings::new(
            Schedule::Every(Span::from_seconds(60)),
            Span::from_seconds(10),
        ));
        let command = |at: i64, id, action| {
            Record::Command(Command {
                at: Time::from_seconds(at),
                monitor: Some(id),
                by: "a".to_owned(),
                action,
            })
        };
        let mut records: Vec<Record> = (1..=count)
            .map(|id| command(id.into(), id, Action::Create(Arc::clone(&settings))))
            .collect();
        records.push(command(100, 3, Action::Pause));
        let at = Time::from_seconds(100);
        let mut engine = Engine::boot(Boot::default());
        engine
            .observe(&Row {
                stream: CONFIGURATION,
                seq: 1,
                at,
                put: at,
                records,
                end: false,
            })
            .unwrap();
        engine
    }

    fn ids(picked: &Picked) -> Vec<MonitorId> {
        picked.places.iter().map(|(_, id)| *id).collect()
    }

    #[test]
    fn pages_follow_one_another_newest_change_first() {
        let engine = engine(7);
        let now = Time::from_seconds(200);
        let mut seen = Vec::new();
        let mut wanted = Wanted {
            limit: 3,
            ..Wanted::default()
        };
        loop {
            let picked = pick(&engine, &wanted, now);
            assert_eq!(picked.matching, 7);
            seen.extend(ids(&picked));
            wanted.after = picked.places.last().copied();
            if !picked.has_more {
                break;
            }
        }
        assert_eq!(seen, [3, 7, 6, 5, 4, 2, 1]);
    }

    #[test]
    fn a_list_is_of_a_state_or_of_some_monitors() {
        let engine = engine(5);
        let now = Time::from_seconds(200);
        let paused = pick(
            &engine,
            &Wanted {
                state: Some(Shown::Paused),
                limit: 9,
                ..Wanted::default()
            },
            now,
        );
        assert_eq!(
            (ids(&paused), paused.matching, paused.has_more),
            (vec![3], 1, false)
        );
        let among = Some(HashSet::from([1, 2, 99]));
        let some = pick(
            &engine,
            &Wanted {
                among,
                limit: 1,
                ..Wanted::default()
            },
            now,
        );
        assert_eq!(
            (ids(&some), some.matching, some.has_more),
            (vec![2], 2, true)
        );
        let counts: Vec<usize> = some.counts.iter().map(|(_, n)| *n).collect();
        assert_eq!(counts, [0, 0, 4, 1, 0], "of all");
    }

    #[test]
    fn a_cursor_reads_back() {
        let place = (Time::from_micros(1_795_227_607_000_001), 42);
        assert_eq!(parse_cursor(&cursor(place)), Some(place));
        for wrong in ["", "1", "x.1", "1.-1", "1.x"] {
            assert_eq!(parse_cursor(wrong), None, "{wrong}");
        }
    }
}
