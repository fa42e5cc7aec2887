//! The page of maintenances.

use systole_core::time::Time;

use super::{FormError, Frame};
use crate::web::text::Untrusted;

/// Windows whose next times are shown.
const UPCOMING: usize = 10;

/// `GET /maintenance`. Sends `POST /maintenance` with `name`, `selector`, `all` (`on`), `start` (`2026-11-29T02:00` or empty),
/// `timezone`, `duration`, `repeats` (`once`, `daily`, `weekly`, `monthly`, `rule`), `rule`; `POST /maintenance/{id}/end` and
/// `/delete` without fields.
#[derive(Clone, Debug)]
pub struct MaintenanceView {
    /// Around it.
    pub frame: Frame,
    /// What is on, the one that ends first before the others.
    pub active: Vec<WindowRow>,
    /// What will be, the next one first.
    pub planned: Vec<WindowRow>,
    /// What is over, newest first.
    pub over: Vec<WindowRow>,
    /// How many more there are.
    pub hidden: usize,
    /// What was typed before.
    pub name: Untrusted,
    /// What was typed before.
    pub selector: Untrusted,
    /// What was ticked before.
    pub all: bool,
    /// What was chosen before.
    pub repeats: Untrusted,
    /// What was typed before.
    pub rule: Untrusted,
    /// What was typed before.
    pub start: Untrusted,
    /// What was typed before.
    pub duration: Untrusted,
    /// What was typed before.
    pub timezone: Untrusted,
    /// Why the last try failed.
    pub errors: Vec<FormError>,
}

impl MaintenanceView {
    /// What will be, and what is on and comes again, as far as there is room.
    pub fn upcoming(&self) -> impl Iterator<Item = &WindowRow> {
        let again = self.active.iter().filter(|row| !row.next.is_empty());
        self.planned.iter().chain(again).take(UPCOMING)
    }

    /// Whether something that is on comes again.
    pub fn comes_again(&self) -> bool {
        self.active.iter().any(|row| !row.next.is_empty())
    }
}

/// A maintenance in the list.
#[derive(Clone, Debug)]
pub struct WindowRow {
    /// For the routes.
    pub id: String,
    /// Its name.
    pub name: Untrusted,
    /// Free text.
    pub description: Untrusted,
    /// What it covers: a label selector, names, `every monitor`.
    pub covers: Vec<Untrusted>,
    /// How many monitors that are now.
    pub matches: usize,
    /// The set of documents that owns it.
    pub set: Option<Untrusted>,
    /// The rule by which it comes again.
    pub rule: Option<Untrusted>,
    /// The time that it is open now.
    pub open: Option<Opening>,
    /// The next times, at most five.
    pub next: Vec<Opening>,
    /// When it ended, for one that came once.
    pub ended: Option<Time>,
}

/// One time that a maintenance is open.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Its first instant.
    pub start: Time,
    /// When it is over.
    pub end: Time,
    /// Both by the clocks of its zone, where it has one.
    pub local: Option<Untrusted>,
}
