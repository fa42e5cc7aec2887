//! When Debian's cron runs a job.
//!
//! A job whose minute and hour are both written without a leading star is fixed: it runs once for each wall-clock time
//! that it names. A time that the clock jumps over is made up for right after the jump; of a time that comes twice the
//! first counts. Any other job is a wildcard job: it runs in every real minute whose wall clock matches, which in a
//! repeated hour is twice and in a skipped hour never.

use jiff::tz::TimeZone;

use super::fields::Fields;
use super::zone::{self, Meaning};

/// A skipped time sends the search on behind the gap. Even a job that only names skipped times meets at most a few gaps
/// a year within the horizon of the fields.
const MOST_ATTEMPTS: usize = 2_000;

/// The first run after the instant `after`, in seconds.
pub(super) fn next(fields: &Fields, zone: &TimeZone, after: i64) -> Option<i64> {
    let local = after + zone::offset(zone, after);
    let from = local.div_euclid(60) + 1;
    if fields.wildcard {
        wildcard(fields, zone, after, from)
    } else {
        fixed(fields, zone, after, from)
    }
}

fn fixed(fields: &Fields, zone: &TimeZone, after: i64, mut from: i64) -> Option<i64> {
    for _ in 0..MOST_ATTEMPTS {
        let minute = fields.first_match(from)?;
        let at = match zone::meaning(zone, minute * 60) {
            Meaning::Once(at) | Meaning::Twice(at, _) => at,
            Meaning::Skipped(change) => end_of_gap(zone, change).1,
        };
        if at > after {
            return Some(at);
        }
        // In the second pass through a repeated hour: its times have had their run.
        from = minute + 1;
    }
    None
}

fn wildcard(fields: &Fields, zone: &TimeZone, after: i64, mut from: i64) -> Option<i64> {
    let second_pass = repeat(fields, zone, after);
    for _ in 0..MOST_ATTEMPTS {
        let Some(minute) = fields.first_match(from) else {
            break;
        };
        let at = match zone::meaning(zone, minute * 60) {
            Meaning::Once(at) => at,
            Meaning::Twice(first, second) => {
                if first > after {
                    first
                } else {
                    second
                }
            }
            Meaning::Skipped(change) => {
                from = end_of_gap(zone, change).0;
                continue;
            }
        };
        if at > after {
            return Some(second_pass.map_or(at, |earlier| earlier.min(at)));
        }
        from = minute + 1;
    }
    second_pass
}

/// Where `after` lies in the first pass through a repeated hour: the first run of the second pass.
fn repeat(fields: &Fields, zone: &TimeZone, after: i64) -> Option<i64> {
    let offset = zone::offset(zone, after);
    let Meaning::Twice(first, _) = zone::meaning(zone, after + offset) else {
        return None;
    };
    if first != after {
        return None;
    }
    let change = zone::next_change(zone, after)?;
    let offset_then = zone::offset(zone, change);
    let minute = fields.first_match((change + offset_then + 59).div_euclid(60))?;
    let run = minute * 60 - offset_then;
    (minute * 60 < change + offset).then_some(run)
}

/// The first whole local minute that exists after a jump of the clock, and its instant.
fn end_of_gap(zone: &TimeZone, change: i64) -> (i64, i64) {
    let offset = zone::offset(zone, change);
    let minute = (change + offset + 59).div_euclid(60);
    (minute, minute * 60 - offset)
}
