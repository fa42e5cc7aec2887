//! History as people read it: written behind the log, never on the hot path.
//!
//! The log is made for appending and replay: one row is one group commit of whoever came in at that moment, and nothing
//! finds the check-ins of one monitor in it. [`write`] goes through it once more, in batches, and puts each group of monitors' check-ins
//! into a block. Where it stands is a position per stream, committed together with what it wrote: a crash loses nothing and
//! doubles nothing. [`fold`] puts what the blocks say of a monitor behind its others, packed in chunks, for many at once.
//! [`read`] adds what is not there yet from blocks and log. [`rolled`] makes hours and days of it, [`forget`] drops what is old.

mod block;
mod chunk;
mod facts;
pub mod fold;
pub mod forget;
mod groups;
pub mod read;
pub mod rolled;
mod rollups;
pub mod write;

use systole_core::engine::Position;
use systole_core::time::{Span, Time};

use crate::record::CheckinRecord;

/// A check-in that is found, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundCheckin {
    /// Its row in the log.
    pub position: Position,
    /// Which of its monitor's check-ins in that row it is, from 0.
    pub index: u32,
    /// What it holds. Which check-in came before is not kept: history has its own order.
    pub record: CheckinRecord,
    /// How long the run took that it ended.
    pub duration: Option<Span>,
}

/// A check-in's place in its monitor's history: by time, where times are equal by the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// When it was received.
    pub at: Time,
    /// Its row.
    pub position: Position,
    /// Its index in that row.
    pub index: u32,
}

impl Place {
    /// Before every check-in that was received at `at`.
    pub const fn at(at: Time) -> Place {
        Place {
            at,
            position: Position::NONE,
            index: 0,
        }
    }
}

impl FoundCheckin {
    /// Where it stands.
    pub const fn place(&self) -> Place {
        Place {
            at: self.record.checkin.at,
            position: self.position,
            index: self.index,
        }
    }
}
