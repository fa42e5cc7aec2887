//! What a resolve takes back.

use crate::message::MessageKind;

/// Why an older message is not sent, for people.
pub const SUPERSEDED_BY_RESOLVE: &str =
    "Not sent: the incident was resolved before this message left.";

/// One earlier delivery of the same incident to the same destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prior {
    /// Its place in the incident.
    pub seq: i64,
    /// What it says.
    pub kind: MessageKind,
    /// A sender has taken it at least once: it may have left.
    pub claimed: bool,
    /// The receiver has it.
    pub delivered: bool,
}

impl Prior {
    /// Whether the receiver may have seen it.
    const fn may_have_left(self) -> bool {
        self.claimed || self.delivered
    }
}

/// Why a resolve is sent to a destination, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResolveReason {
    /// The receiver was, or may have been, told of the incident.
    Told,
    /// Nothing about the incident ever left for this destination.
    NeverTold,
    /// The last that left already said that it was resolved; what reopened it since has not left.
    LastSaidResolved,
}

impl ResolveReason {
    /// The word that is stored with the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            ResolveReason::Told => "told",
            ResolveReason::NeverTold => "never_told",
            ResolveReason::LastSaidResolved => "last_said_resolved",
        }
    }

    /// For people.
    pub const fn sentence(self) -> &'static str {
        match self {
            ResolveReason::Told => "Sent: the destination was told of the incident.",
            ResolveReason::NeverTold => {
                "Not sent: the incident was resolved before anything about it left for this destination."
            }
            ResolveReason::LastSaidResolved => {
                "Not sent: the destination was last told that the incident is resolved, and its reopening never left."
            }
        }
    }
}

/// What to do at one destination when an incident resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvePlan {
    /// The deliveries to take back, by `seq`, oldest first; their reason is [`SUPERSEDED_BY_RESOLVE`].
    pub superseded: Vec<i64>,
    /// Whether the resolve itself is sent.
    pub send: bool,
    /// Why.
    pub reason: ResolveReason,
}

/// Plans a resolve: unclaimed older messages are taken back, and the resolve goes only to a destination that was told.
///
/// `prior` may be in any order. A delivery that was attempted and is dead counts as told: it may have arrived.
pub fn plan_resolve(prior: &[Prior]) -> ResolvePlan {
    let mut superseded: Vec<i64> = prior
        .iter()
        .filter(|p| !p.may_have_left())
        .map(|p| p.seq)
        .collect();
    superseded.sort_unstable();
    let last_left = prior
        .iter()
        .filter(|p| p.may_have_left())
        .max_by_key(|p| p.seq);
    let reason = match last_left.map(|p| p.kind) {
        None => ResolveReason::NeverTold,
        Some(MessageKind::Resolved) => ResolveReason::LastSaidResolved,
        Some(_) => ResolveReason::Told,
    };
    ResolvePlan {
        superseded,
        send: reason == ResolveReason::Told,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use MessageKind::{Acknowledged, Resolved, Triggered, Updated};

    const fn prior(seq: i64, kind: MessageKind, claimed: bool, delivered: bool) -> Prior {
        Prior {
            seq,
            kind,
            claimed,
            delivered,
        }
    }

    #[test]
    fn a_resolve_takes_back_what_has_not_left() {
        use ResolveReason::{LastSaidResolved, NeverTold, Told};
        for (name, given, superseded, send, reason) in [
            (
                "nothing was decided for it",
                vec![],
                vec![],
                false,
                NeverTold,
            ),
            (
                "the down never left",
                vec![prior(1, Triggered, false, false)],
                vec![1],
                false,
                NeverTold,
            ),
            (
                "the down may have left",
                vec![prior(1, Triggered, true, false)],
                vec![],
                true,
                Told,
            ),
            (
                "the down arrived",
                vec![prior(1, Triggered, true, true)],
                vec![],
                true,
                Told,
            ),
            (
                "the down arrived, the rest waits",
                vec![
                    prior(3, Updated, false, false),
                    prior(1, Triggered, true, true),
                    prior(2, Acknowledged, false, false),
                ],
                vec![2, 3],
                true,
                Told,
            ),
            (
                "reopened, and the reopening never left",
                vec![
                    prior(1, Triggered, true, true),
                    prior(2, Resolved, true, true),
                    prior(3, Triggered, false, false),
                ],
                vec![3],
                false,
                LastSaidResolved,
            ),
            (
                "reopened before the first resolve left",
                vec![
                    prior(1, Triggered, true, true),
                    prior(2, Resolved, false, false),
                    prior(3, Triggered, false, false),
                ],
                vec![2, 3],
                true,
                Told,
            ),
            (
                "reopened, and the reopening left",
                vec![
                    prior(1, Triggered, true, true),
                    prior(2, Resolved, true, true),
                    prior(3, Triggered, true, false),
                ],
                vec![],
                true,
                Told,
            ),
        ] {
            assert_eq!(
                plan_resolve(&given),
                ResolvePlan {
                    superseded,
                    send,
                    reason
                },
                "{name}"
            );
        }
    }

    fn priors() -> impl Strategy<Value = Vec<Prior>> {
        let one = (
            proptest::sample::select(MessageKind::ALL.to_vec()),
            any::<bool>(),
            any::<bool>(),
        );
        proptest::collection::vec(one, 0..12).prop_map(|all| {
            (1..)
                .zip(all)
                .map(|(seq, (kind, claimed, delivered))| prior(seq, kind, claimed, delivered))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_receiver_never_keeps_the_last_word_down(given in priors()) {
            let plan = plan_resolve(&given);
            let left: Vec<_> = given.iter().filter(|p| !plan.superseded.contains(&p.seq)).collect();
            prop_assert!(left.iter().all(|p| p.claimed || p.delivered));
            let last = if plan.send { Some(Resolved) } else { left.last().map(|p| p.kind) };
            prop_assert!(last.is_none() || last == Some(Resolved));
        }

        #[test]
        fn the_order_of_the_rows_does_not_matter(given in priors()) {
            let mut reversed = given.clone();
            reversed.reverse();
            prop_assert_eq!(plan_resolve(&given), plan_resolve(&reversed));
        }
    }
}
