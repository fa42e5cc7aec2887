//! What a run says when it found something, and what it counted.

use std::fmt;

use systole_core::time::Time;

/// A promise that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Its number, as in the design's list of promises.
    pub promise: u8,
    /// What was seen.
    pub what: String,
    /// By the database's clock.
    pub at: Time,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "promise {}: {} (at {})",
            self.promise, self.what, self.at
        )
    }
}

macro_rules! stats {
    ($($field:ident, $title:literal;)*) => {
        /// What runs went through.
        #[derive(Clone, Default, PartialEq, Eq, Debug)]
        pub struct Stats { $(#[doc = $title] pub $field: u64,)* }

        impl Stats {
            /// Adds another run's.
            pub fn add(&mut self, other: &Stats) {
                $(self.$field += other.$field;)*
            }

            /// Titles and figures.
            pub fn lines(&self) -> Vec<(&'static str, u64)> {
                vec![$(($title, self.$field),)*]
            }
        }
    };
}

stats! {
    steps, "steps";
    seconds, "simulated seconds";
    crashes, "crashes";
    stops, "processes stopped and resumed";
    takeovers, "take-overs and boots";
    cuts, "cut connections";
    half_open, "half-open connections";
    hand_overs, "planned hand-overs";
    reloads, "monitors reloaded";
    database_outages, "total outages";
    full_disks, "full disks";
    wall_steps, "steps of a wall clock";
    database_steps, "steps of the database's clock";
    late_statements, "statements that arrived late";
    lost_replies, "lost replies";
    failed_commits, "failed commits";
    held_finishes, "finishes held up";
    failing_receivers, "failing receivers";
    checkins, "check-ins acknowledged";
    commands, "commands";
    incidents, "incidents opened";
    reopened, "incidents reopened";
    by_silence, "incidents by silence";
    recoveries, "cold recoveries compared";
    deliveries, "deliveries finished";
    sends, "sends";
    windows, "maintenance windows";
    said, "reminders and deaths told";
    digests, "digests";
    sweeps, "sweeps";
    decisions, "decisions";
    explained, "incidents by silence checked against the history";
    unclear, "of these left out, order across streams unclear";
    monitors, "monitors";
    unclear_monitors, "of these left out of what must follow, order or what was known when unclear";
}

impl Stats {
    /// Faults of all kinds.
    pub const fn faults(&self) -> u64 {
        self.crashes
            + self.stops
            + self.cuts
            + self.half_open
            + self.database_outages
            + self.full_disks
            + self.wall_steps
            + self.database_steps
            + self.late_statements
            + self.lost_replies
            + self.failed_commits
            + self.held_finishes
            + self.failing_receivers
    }
}

/// What one seed came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The first promise that did not hold.
    pub broken: Option<Broken>,
    /// What it went through.
    pub stats: Stats,
    /// A digest of every step: equal for equal runs.
    pub digest: u64,
}
