//! Maintenance windows: times in which something is known to be worked on.
//!
//! A window overlays states: what it covers is judged as ever, its state and its incidents are kept, and nothing is
//! sent. What still stands when no window covers it any more is sent then. This module says what is covered and until
//! when ([`Windows::cover`]); who sends asks it.
//!
//! ```
//! use systole_core::maintenance::{LabelSelector, Recurrence, Selector, When, Window, Windows};
//! use systole_core::time::{Span, Time};
//!
//! let sundays = Recurrence::parse(
//!     "FREQ=WEEKLY;BYDAY=SU", "2026-11-29T02:00", Span::from_seconds(7_200), "Europe/Berlin").unwrap();
//! let labels = LabelSelector::parse("team=billing").unwrap();
//! let windows = Windows::new(vec![Window {
//!     name: "database upgrade".to_owned(),
//!     selector: Selector { labels, ..Selector::default() },
//!     when: When::Recurring(Box::new(sundays)),
//!     ended_at: None,
//! }]);
//! let billing = [("team".to_owned(), "billing".to_owned())];
//! let cover = windows.cover(&billing, 12, Time::parse("2026-12-06T01:30:00Z").unwrap()).unwrap();
//! assert_eq!((cover.name, cover.until.to_string()), ("database upgrade", "2026-12-06T03:00:00Z".to_owned()));
//! ```

mod expand;
mod local;
mod recurrence;
mod rule;
mod selector;

pub use local::instant;
pub use recurrence::{LONGEST, Occurrence, Recurrence, SHORTEST};
pub use selector::{LabelSelector, Selector};

use crate::engine::MonitorId;
use crate::time::{Span, Time};

/// How many windows in a row, each beginning before the last one's end, are followed at once.
const CHAIN_MAX: usize = 100;

/// A window: what it covers, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// Its name.
    pub name: String,
    /// Which monitors.
    pub selector: Selector,
    /// When.
    pub when: When,
    /// Somebody ended it then: what had begun before is over since.
    pub ended_at: Option<Time>,
}

/// When a window is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// Once.
    Once(Occurrence),
    /// Again and again.
    Recurring(Box<Recurrence>),
}

/// Where a window stands at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It is open.
    Active(Occurrence),
    /// It will be.
    Planned(Occurrence),
    /// It will not be any more.
    Over,
}

impl When {
    /// From `start` up to `end`, once.
    ///
    /// # Errors
    /// An end before its start, or one that is not worth the name.
    pub fn once(start: Time, end: Time) -> Result<When, String> {
        if end <= start {
            return Err(format!("{end} is not after the start, {start}"));
        }
        let length = end.since(start);
        if length < SHORTEST || length > Span::LONGEST {
            return Err(format!(
                "the window would last {length}; it lasts {SHORTEST} to {}",
                Span::LONGEST
            ));
        }
        Ok(When::Once(Occurrence { start, end }))
    }

    fn occurrence_at(&self, at: Time) -> Option<Occurrence> {
        match self {
            When::Once(once) => Some(*once).filter(|once| once.start <= at && at < once.end),
            When::Recurring(recurrence) => recurrence.occurrence_at(at),
        }
    }

    fn next_after(&self, after: Time) -> Option<Occurrence> {
        match self {
            When::Once(once) => Some(*once).filter(|once| once.start > after),
            When::Recurring(recurrence) => recurrence.next_after(after),
        }
    }
}

impl Window {
    /// The occurrence that is open at an instant.
    pub fn occurrence_at(&self, at: Time) -> Option<Occurrence> {
        let open = self.when.occurrence_at(at)?;
        match self.ended_at {
            Some(ended) if open.start < ended && ended <= at => None,
            Some(ended) if open.start < ended => Some(Occurrence {
                end: open.end.min(ended),
                ..open
            }),
            _ => Some(open),
        }
    }

    /// The first occurrence that begins after an instant.
    pub fn next_after(&self, after: Time) -> Option<Occurrence> {
        let next = self.when.next_after(after)?;
        match self.ended_at {
            Some(ended) if next.start < ended => self.when.next_after(ended),
            _ => Some(next),
        }
    }

    /// The occurrences that begin after an instant, in order, without end where the window has none.
    pub fn following(&self, after: Time) -> impl Iterator<Item = Occurrence> {
        std::iter::successors(self.next_after(after), |last| self.next_after(last.start))
    }

    /// Where it stands.
    pub fn phase(&self, at: Time) -> Phase {
        if let Some(open) = self.occurrence_at(at) {
            return Phase::Active(open);
        }
        self.next_after(at).map_or(Phase::Over, Phase::Planned)
    }
}

/// A monitor is covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cover<'w> {
    /// The name of the window; of several, of the one that ends last.
    pub name: &'w str,
    /// When no window covers it any more, as far as that is known now: ask again then.
    pub until: Time,
}

/// All windows of a project.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// Of these.
    pub const fn new(windows: Vec<Window>) -> Windows {
        Windows(windows)
    }

    /// Which window covers a monitor with these labels at an instant, and until when; windows that overlap, or begin
    /// when another ends, are one.
    pub fn cover(
        &self,
        labels: &[(String, String)],
        monitor: MonitorId,
        at: Time,
    ) -> Option<Cover<'_>> {
        let its: Vec<&Window> = self
            .0
            .iter()
            .filter(|window| window.selector.selects(labels, monitor))
            .collect();
        let latest = |at: Time| {
            let open = its
                .iter()
                .filter_map(|window| Some((window.occurrence_at(at)?.end, *window)));
            open.max_by_key(|(end, _)| *end)
        };
        let (mut until, window) = latest(at)?;
        for _ in 0..CHAIN_MAX {
            match latest(until) {
                Some((end, _)) => until = end,
                None => break,
            }
        }
        Some(Cover {
            name: &window.name,
            until,
        })
    }
}

#[cfg(test)]
mod tests;
