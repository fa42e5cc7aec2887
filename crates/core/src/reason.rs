//! Why something was decided. Stored with every event, shown to people, sent on the wire as a word.

use std::fmt;

macro_rules! reasons {
    ($($variant:ident, $code:literal, $word:literal, $sentence:literal;)*) => {
        /// Why an incident was opened, resolved or said again.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason { $(#[doc = $sentence] $variant,)* }

        impl Reason {
            /// Every reason, in the order of their codes.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The word on the wire.
            pub const fn word(self) -> &'static str {
                match self { $(Reason::$variant => $word,)* }
            }

            /// One sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$variant => $sentence,)* }
            }

            /// The stable number under which it is stored.
            pub const fn code(self) -> u8 {
                match self { $(Reason::$variant => $code,)* }
            }

            /// The reason stored under `code`.
            pub const fn from_code(code: u8) -> Option<Reason> {
                match code { $($code => Some(Reason::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    MissedDeadline, 1, "missed_deadline", "No success arrived by the expected time plus grace.";
    MissedStart, 2, "missed_start", "No run was started by the expected time plus start grace.";
    Overran, 3, "overran", "A run was started and did not finish within its maximum run time.";
    ReportedFailure, 4, "reported_failure", "The job reported a failure.";
    ExitStatus, 5, "exit_status", "The job ended with a non-zero exit status.";
    UnheardSinceOutage, 6, "unheard_since_outage", "Nothing was heard since an outage of ours ended, and the grace has passed since.";
    RecordedLate, 7, "recorded_late", "The check-in arrived in time but was recorded after the decision.";
    Success, 8, "success", "The job reported a success.";
    Paused, 9, "paused", "The monitor was paused.";
    Deleted, 10, "deleted", "The monitor was deleted.";
    Edited, 11, "edited", "By the edited settings nothing is overdue.";
    ByHand, 12, "by_hand", "A person did this.";
    StillOpen, 13, "still_open", "The incident is still open and nobody has acknowledged it.";
    DeliveryDead, 14, "delivery_dead", "A message about the incident could not be delivered; nobody may have read it.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_code_and_is_found_by_it() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }
}
