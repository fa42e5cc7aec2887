//! When kube-controller-manager runs a job: `SpecSchedule.Next` of robfig/cron v3, with Go's rules for local times.
//!
//! The controller's answer is what matters, so its path is followed rather than a definition: fields are raised from
//! month to minute, from the top again whenever one wraps, and what a clock change does to that walk is kept. Where no
//! change is near, the walk's outcome is computed instead of walked.

use jiff::tz::TimeZone;

use super::calendar::{DAY, Date, days_in_month, weekday};
use super::fields::{Days, Fields};
use super::zone;

/// Five years of single days are less than this, and then the walk gives up anyway. In a zone that left out a whole day it would go
/// round for ever.
const MOST_STEPS: u32 = 5_000;
const YEARS_TO_LOOK: i64 = 5;

/// What came of raising one field.
enum Raised {
    Matches,
    Wrapped,
    OutOfSteps,
}

/// Where the clock goes back within an hour, a walk that begins in the second pass may end in the first, before it began.
/// The runs from there on are followed until they are past the beginning; the clock goes back by less than this many
/// minutes.
const MOST_RUNS_TO_FOLLOW: usize = 180;

/// The first run after the instant `after`, in seconds.
pub(super) fn next(fields: &Fields, zone: &TimeZone, after: i64) -> Option<i64> {
    let mut run = walk(fields, zone, after)?;
    for _ in 0..MOST_RUNS_TO_FOLLOW {
        if run > after {
            return Some(run);
        }
        run = walk(fields, zone, run)?;
    }
    None
}

/// `SpecSchedule.Next` itself.
fn walk(fields: &Fields, zone: &TimeZone, after: i64) -> Option<i64> {
    let mut walk = Walk {
        fields,
        now: Local::at(zone, after + 1),
        reset: false,
        steps: MOST_STEPS,
    };
    let last_year = walk.now.date.year + YEARS_TO_LOOK;
    let levels = [
        Walk::month,
        Walk::day,
        Walk::hour,
        Walk::minute,
        Walk::second,
    ];
    while walk.now.date.year <= last_year {
        let mut complete = true;
        for level in levels {
            match level(&mut walk) {
                Raised::Matches => {}
                Raised::Wrapped => {
                    complete = false;
                    break;
                }
                Raised::OutOfSteps => return None,
            }
        }
        if complete {
            return Some(walk.now.unix);
        }
    }
    None
}

/// An instant and its wall clock.
#[derive(Clone, Copy)]
struct Local<'z> {
    zone: &'z TimeZone,
    unix: i64,
    offset: i64,
    date: Date,
    /// Seconds since local midnight.
    second_of_day: i64,
}

impl<'z> Local<'z> {
    fn at(zone: &'z TimeZone, unix: i64) -> Local<'z> {
        let offset = zone::offset(zone, unix);
        let local = unix + offset;
        let date = Date::of_day(local.div_euclid(DAY));
        Local {
            zone,
            unix,
            offset,
            date,
            second_of_day: local.rem_euclid(DAY),
        }
    }

    /// Go's `time.Date`: the offset is looked up twice, and for a time that does not exist or comes twice the second
    /// answer is taken as it is. A day beyond its month counts on.
    fn of(zone: &'z TimeZone, date: Date, second_of_day: i64) -> Local<'z> {
        let local = date.number() * DAY + second_of_day;
        let guess = zone::offset(zone, local);
        Local::at(zone, local - zone::offset(zone, local - guess))
    }

    fn plus(self, seconds: i64) -> Local<'z> {
        Local::at(self.zone, self.unix + seconds)
    }

    fn hour(self) -> i64 {
        self.second_of_day / 3_600
    }

    fn minute(self) -> i64 {
        self.second_of_day / 60 % 60
    }

    fn second(self) -> i64 {
        self.second_of_day % 60
    }
}

struct Walk<'f, 'z> {
    fields: &'f Fields,
    now: Local<'z>,
    /// Whether the lower fields have been set to their beginning already.
    reset: bool,
    steps: u32,
}

impl<'z> Walk<'_, 'z> {
    fn out_of_steps(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps == 0
    }

    /// True once, when the first field is raised.
    fn resets(&mut self) -> bool {
        !std::mem::replace(&mut self.reset, true)
    }

    fn month(&mut self) -> Raised {
        while self.fields.months >> self.now.date.month & 1 == 0 {
            if self.out_of_steps() {
                return Raised::OutOfSteps;
            }
            if self.resets() {
                self.now = Local::of(
                    self.now.zone,
                    Date {
                        day: 1,
                        ..self.now.date
                    },
                    0,
                );
            }
            let Date { year, month, day } = self.now.date;
            let following = if month == 12 {
                Date {
                    year: year + 1,
                    month: 1,
                    day,
                }
            } else {
                Date {
                    year,
                    month: month + 1,
                    day,
                }
            };
            self.now = Local::of(self.now.zone, following, self.now.second_of_day);
            if self.now.date.month == 1 {
                return Raised::Wrapped;
            }
        }
        Raised::Matches
    }

    fn day(&mut self) -> Raised {
        while !self.day_matches() {
            if self.out_of_steps() {
                return Raised::OutOfSteps;
            }
            if self.resets() {
                self.now = Local::of(self.now.zone, self.now.date, 0);
            }
            if let Some(target) = self.undisturbed_day() {
                self.now = target;
            } else {
                self.step_day();
            }
            if self.now.date.day == 1 {
                return Raised::Wrapped;
            }
        }
        Raised::Matches
    }

    fn day_matches(&self) -> bool {
        let by_date = self.fields.days >> self.now.date.day & 1 == 1;
        let by_weekday = self.fields.weekdays >> weekday(self.now.date.number()) & 1 == 1;
        match self.fields.combine {
            Days::Both => by_date && by_weekday,
            Days::Either => by_date || by_weekday,
        }
    }

    /// Where a step of days leads when it begins at midnight and the clock does not change on the way: to the next
    /// matching day, or to the first of the next month.
    fn undisturbed_day(&self) -> Option<Local<'z>> {
        let Local {
            zone,
            unix,
            date: Date { year, month, day },
            second_of_day,
            ..
        } = self.now;
        if second_of_day != 0 {
            return None;
        }
        let later = self
            .fields
            .days_of(year, month)
            .checked_shr(day + 1)
            .unwrap_or(0);
        let days = if later != 0 {
            1 + later.trailing_zeros()
        } else {
            days_in_month(year, month) - day + 1
        };
        let target = unix + i64::from(days) * DAY;
        // Looking up a local time reads the offset as much as a day to either side of it.
        let steady = zone::next_change(zone, unix - DAY).is_none_or(|change| change > target + DAY);
        steady.then(|| Local::at(zone, target))
    }

    /// One day on, and back to midnight if a clock change moved us off it.
    fn step_day(&mut self) {
        let tomorrow = Date {
            day: self.now.date.day + 1,
            ..self.now.date
        };
        self.now = Local::of(self.now.zone, tomorrow, self.now.second_of_day);
        match self.now.hour() {
            0 => {}
            hour @ 13.. => self.now = self.now.plus((24 - hour) * 3_600),
            hour => self.now = self.now.plus(-hour * 3_600),
        }
    }

    fn hour(&mut self) -> Raised {
        while self.fields.hours >> self.now.hour() & 1 == 0 {
            if self.out_of_steps() {
                return Raised::OutOfSteps;
            }
            if self.resets() {
                self.now = Local::of(self.now.zone, self.now.date, self.now.hour() * 3_600);
            }
            let later = u64::from(self.fields.hours) >> self.now.hour();
            let hours = if later == 0 {
                24 - self.now.hour()
            } else {
                i64::from(later.trailing_zeros())
            };
            self.advance(hours, 3_600);
            if self.now.hour() == 0 {
                return Raised::Wrapped;
            }
        }
        Raised::Matches
    }

    fn minute(&mut self) -> Raised {
        while self.fields.minutes >> self.now.minute() & 1 == 0 {
            if self.out_of_steps() {
                return Raised::OutOfSteps;
            }
            if self.resets() {
                // Go truncates the instant, not the wall clock.
                self.now = Local::at(self.now.zone, self.now.unix - self.now.unix.rem_euclid(60));
            }
            let later = self.fields.minutes >> self.now.minute();
            let minutes = if later == 0 {
                60 - self.now.minute()
            } else {
                i64::from(later.trailing_zeros())
            };
            self.advance(minutes, 60);
            if self.now.minute() == 0 {
                return Raised::Wrapped;
            }
        }
        Raised::Matches
    }

    fn second(&mut self) -> Raised {
        while self.now.second() != 0 {
            if self.out_of_steps() {
                return Raised::OutOfSteps;
            }
            self.reset = true;
            self.advance(60 - self.now.second(), 1);
            if self.now.second() == 0 {
                return Raised::Wrapped;
            }
        }
        Raised::Matches
    }

    /// `count` steps of `unit` seconds at once, or a single one where the clock changes on the way.
    fn advance(&mut self, count: i64, unit: i64) {
        let target = self.now.plus(count * unit);
        self.now = if target.offset == self.now.offset {
            target
        } else {
            self.now.plus(unit)
        };
    }
}
