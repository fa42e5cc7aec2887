//! The rules of the protocol that can be left out, one at a time, to see that the promises notice.

use std::fmt;

macro_rules! rules {
    ($($variant:ident, $name:literal, $without:literal;)*) => {
        /// A rule of the protocol.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Rule { $(#[doc = $without] $variant,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)* }
            }

            /// What happens without it.
            pub const fn without(self) -> &'static str {
                match self { $(Rule::$variant => $without,)* }
            }
        }
    };
}

rules! {
    Fence, "fence", "transactions check no epoch and take no lock";
    FenceLock, "fence-lock", "transactions read the epoch without locking it";
    SweepFence, "sweep-fence", "a chunk of a pass checks no epoch and takes no lock";
    Positions, "positions", "state rows have no position but the checkpoint";
    SweepGuard, "sweep-guard", "an older sweep may write over a newer row";
    HeadRead, "head-read", "a decision does not read the log again";
    KeyedAppend, "keyed-append", "one identity column numbers the rows of all writers";
    SettledSweep, "settled-sweep", "a sweep writes states whose decision is not committed";
    StateWithDecision, "state-with-decision", "a decision is written without the monitor's state row";
    ReloadAtTakeover, "reload-at-takeover", "a process that takes over keeps the memory that it had";
    ReloadAfterDrop, "reload-after-drop", "a reader under which rows were dropped goes on with those that are left";
    SettleStandby, "settle-standby", "what is unsettled at a standby waits for a transition, however often the checkpoint moves";
    IdleTimeout, "idle-timeout", "a transaction whose process stands still keeps its lock";
    SamePosition, "same-position", "a batch in doubt is sent again at a new position";
    EndMarker, "end-marker", "an append heeds neither the end marker nor the stream's end";
    Holes, "holes", "our own outages are ignored";
    DatabaseClock, "database-clock", "a process goes by its local wall clock";
    OldSettings, "old-settings", "a state row is read with the newest settings";
    PassStart, "pass-start", "the checkpoint moves to where the log stood at the end of the pass";
    OneAppend, "one-append", "several appends of a stream are outstanding";
    Hold, "hold", "deadlines in an open hole are judged";
    DoubtfulMemory, "doubtful-memory", "memory is kept after the reply of a commit was lost";
    AckAfterCommit, "ack-after-commit", "check-ins are acknowledged before they are durable";
    DirtyAfterBoot, "dirty-after-boot", "what was folded while booting is taken as clean";
    DeliveryOrder, "delivery-order", "deliveries of an incident are claimed in any order";
    ClaimAge, "claim-age", "a message is sent however old its claim is";
    ClaimNumber, "claim-number", "a finish is not fenced by the number of its claim";
    Digest, "digest", "messages of a storm go one by one";
    Reminders, "reminders", "what nobody acknowledges is not said again";
    Deaths, "deaths", "a message that could not be delivered is told nobody";
    Maintenance, "maintenance", "a maintenance window holds nothing back";
    Release, "release", "what a maintenance window held back is never let go";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which rules hold in a run: all, or all but one.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rules {
    off: Option<Rule>,
}

impl Rules {
    /// All but this one.
    pub const fn without(rule: Rule) -> Rules {
        Rules { off: Some(rule) }
    }

    /// The rule that is left out.
    pub const fn off(self) -> Option<Rule> {
        self.off
    }

    /// Whether it holds.
    pub fn hold(self, rule: Rule) -> bool {
        self.off != Some(rule)
    }
}
