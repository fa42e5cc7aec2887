//! Delivery policy: how long to wait, when to give up, whom to spare, what not to send any more.
//!
//! Pure rules; the deliverer does what they say. The rule in full:
//!
//! - **Waiting.** After attempt 1, 2, 3 … the next one waits 1 s, 5 s, 15 s, 30 s, 1 m, 2 m, 5 m, then 15 m each time, with
//!   full jitter but never less than a tenth of the step ([`retry_delay`]). A `Retry-After` is a floor, taken up to one
//!   hour.
//! - **Giving up.** A delivery is dead when 72 h have passed since it was decided, or its next attempt would fall after
//!   that; at once on 410 (the receiver asks us to stop) and when our own policy forbids the address; on any other
//!   refusal (redirects, other 4xx, an answer that cannot be one) after [`REFUSALS`] attempts, which wait from the
//!   fourth step on, so that a receiver in the middle of a rollout has about five minutes to come back ([`next_step`]).
//! - **Sparing.** After [`BREAKER_FAILURES`] failures in a row a destination gets one probe at a time at growing intervals.
//!   That delays messages and never drops one ([`Breaker`]).
//! - **Gathering.** After [`digest::DIGEST_AFTER`] messages within ten seconds a channel gets the rest as one ([`digest`]).
//! - **Reminding.** An incident that stays open and unacknowledged is said again ([`reminder`]).
//! - **Superseding.** A resolve takes back what has not left yet; if the receiver was never told that anything was wrong,
//!   the resolve is not sent either ([`plan_resolve`]).

use std::fmt;
use std::str::FromStr;

use crate::time::{Span, Time};

mod breaker;
pub mod digest;
pub mod reminder;
mod supersede;

pub use breaker::{BREAKER_FAILURES, Breaker, Health, MaySend};
pub use supersede::{Prior, ResolvePlan, ResolveReason, SUPERSEDED_BY_RESOLVE, plan_resolve};

/// How long a delivery is attempted, from the decision on.
pub const GIVE_UP_AFTER: Span = Span::from_seconds(72 * 3_600);

/// The longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MOST: Span = Span::from_seconds(3_600);

/// Attempts that may be refused before a refusal is believed.
pub const REFUSALS: u32 = 5;

/// A refusal waits from this step on: answers like 404 come and go with a receiver's rollout.
const REFUSAL_FIRST_STEP: u32 = 3;

/// Seconds to wait after the first attempt, the second, and so on; the last one repeats.
const STEPS: [i64; 8] = [1, 5, 15, 30, 60, 120, 300, 900];

/// Why an attempt failed: what is stored with it and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// No connection, or no answer, in time.
    Timeout,
    /// The connection was refused, reset or could not be made.
    Connect,
    /// The name did not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// A redirect, which is never followed.
    Redirect,
    /// A 4xx that no other class names.
    Http4xx,
    /// A 5xx.
    Http5xx,
    /// 429: too many requests.
    RateLimited,
    /// The receiver does not accept our credentials.
    Auth,
    /// The receiver is gone for good and asks us to stop.
    Gone,
    /// The address is one we never connect to, or one that no list of the administrator's names.
    BlockedByPolicy,
    /// What came back is not an answer.
    InvalidResponse,
    /// The receiver cannot read what we sent: our mistake.
    InvalidPayload,
    /// The configuration of the channel cannot be used.
    InvalidConfig,
    /// The claim on the delivery had grown too old to write the request safely; nothing was sent.
    ClaimTooOld,
}

impl ErrorClass {
    /// Every class, in the order of the type.
    pub const ALL: [ErrorClass; 15] = [
        ErrorClass::Timeout,
        ErrorClass::Connect,
        ErrorClass::Dns,
        ErrorClass::Tls,
        ErrorClass::Redirect,
        ErrorClass::Http4xx,
        ErrorClass::Http5xx,
        ErrorClass::RateLimited,
        ErrorClass::Auth,
        ErrorClass::Gone,
        ErrorClass::BlockedByPolicy,
        ErrorClass::InvalidResponse,
        ErrorClass::InvalidPayload,
        ErrorClass::InvalidConfig,
        ErrorClass::ClaimTooOld,
    ];

    /// The word that is stored and counted.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Timeout => "timeout",
            ErrorClass::Connect => "connect",
            ErrorClass::Dns => "dns",
            ErrorClass::Tls => "tls",
            ErrorClass::Redirect => "redirect",
            ErrorClass::Http4xx => "http_4xx",
            ErrorClass::Http5xx => "http_5xx",
            ErrorClass::RateLimited => "rate_limited",
            ErrorClass::Auth => "auth",
            ErrorClass::Gone => "gone",
            ErrorClass::BlockedByPolicy => "blocked_by_policy",
            ErrorClass::InvalidResponse => "invalid_response",
            ErrorClass::InvalidPayload => "invalid_payload",
            ErrorClass::InvalidConfig => "invalid_config",
            ErrorClass::ClaimTooOld => "claim_too_old",
        }
    }

    /// What happened, and what to do about it, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            ErrorClass::Timeout => "The destination did not answer in time.",
            ErrorClass::Connect => "No connection to the destination could be made or kept.",
            ErrorClass::Dns => "The destination's name could not be resolved.",
            ErrorClass::Tls => "The destination's TLS handshake or certificate failed.",
            ErrorClass::Redirect => {
                "The destination answered with a redirect, which is never followed; enter the final URL."
            }
            ErrorClass::Http4xx => "The destination refused the message.",
            ErrorClass::Http5xx => "The destination failed while handling the message.",
            ErrorClass::RateLimited => "The destination asked for fewer messages.",
            ErrorClass::Auth => {
                "The destination does not accept the channel's credentials; renew them."
            }
            ErrorClass::Gone => "The destination says it is gone for good.",
            ErrorClass::BlockedByPolicy => {
                "The destination's address is not allowed; an administrator can name it in --outbound-allow."
            }
            ErrorClass::InvalidResponse => "The destination's answer could not be read.",
            ErrorClass::InvalidPayload => "The destination could not read the message.",
            ErrorClass::InvalidConfig => {
                "The channel's configuration cannot be used; edit the channel."
            }
            ErrorClass::ClaimTooOld => {
                "The sender was held up for too long and sent nothing; another attempt follows."
            }
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ErrorClass {
    type Err = String;
    fn from_str(text: &str) -> Result<ErrorClass, String> {
        ErrorClass::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a class of delivery error"))
    }
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered {
        /// The status it answered with.
        status: u16,
    },
    /// It may work later.
    Retry {
        /// Why it failed.
        class: ErrorClass,
        /// How long the receiver asked us to wait.
        retry_after: Option<Span>,
    },
    /// The receiver, or our policy, said no.
    Reject {
        /// Why.
        class: ErrorClass,
    },
}

impl Outcome {
    /// Why it failed, if it did.
    pub const fn class(self) -> Option<ErrorClass> {
        match self {
            Outcome::Delivered { .. } => None,
            Outcome::Retry { class, .. } | Outcome::Reject { class } => Some(class),
        }
    }

    /// What the attempt says about its destination, for its [`Breaker`].
    pub const fn health(self) -> Health {
        match self.class() {
            None => Health::Success,
            // These say something about the message or about us, nothing about the destination.
            Some(
                ErrorClass::BlockedByPolicy
                | ErrorClass::InvalidPayload
                | ErrorClass::InvalidConfig
                | ErrorClass::ClaimTooOld,
            ) => Health::Unknown,
            Some(_) => Health::Failure,
        }
    }
}

/// Why a delivery is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Nothing worked for [`GIVE_UP_AFTER`]; the last failure was this.
    GaveUp(ErrorClass),
    /// The receiver said no, often enough to be believed, or in a way that needs no second asking.
    Rejected(ErrorClass),
}

impl DeadReason {
    /// The failure behind it.
    pub const fn class(self) -> ErrorClass {
        match self {
            DeadReason::GaveUp(class) | DeadReason::Rejected(class) => class,
        }
    }
}

/// For people: what was given up, and why.
impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadReason::GaveUp(class) => {
                write!(
                    f,
                    "Given up after 72 hours of attempts. {}",
                    class.sentence()
                )
            }
            DeadReason::Rejected(class) => {
                write!(f, "Not attempted any more. {}", class.sentence())
            }
        }
    }
}

/// What to do with a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it has arrived.
    Delivered,
    /// Attempt it again then.
    RetryAt(Time),
    /// Attempt it no more, and show it.
    Dead(DeadReason),
}

/// How long to wait after attempt number `attempt` (the first is 1).
///
/// Full jitter: `jitter`, from 0 up to 1, chooses within the step, but never less than a tenth of it, so that an unlucky draw
/// does not hammer. `retry_after` is a floor, taken up to [`RETRY_AFTER_MOST`].
pub fn retry_delay(attempt: u32, jitter: f64, retry_after: Option<Span>) -> Span {
    let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let step = Span::from_seconds(STEPS[index.min(STEPS.len() - 1)]);
    let jittered = scaled(step, jitter.clamp(0.0, 1.0)).max(step.divided_by(10));
    jittered.max(retry_after.unwrap_or(Span::ZERO).min(RETRY_AFTER_MOST))
}

/// `span` times a number between 0 and 1. A NaN comes out as zero, which the caller's floor catches.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "at most 15 minutes in microseconds, times at most 1: exact enough and in range"
)]
fn scaled(span: Span, part: f64) -> Span {
    Span::from_micros((span.as_micros() as f64 * part) as i64)
}

/// What to do after attempt number `attempts` (the first is 1) came to `outcome`.
///
/// The rule is in the words of this module's page.
pub fn next_step(
    outcome: Outcome,
    attempts: u32,
    first_decided_at: Time,
    now: Time,
    jitter: f64,
) -> Step {
    let (class, delay) = match outcome {
        Outcome::Delivered { .. } => return Step::Delivered,
        Outcome::Retry { class, retry_after } => {
            (class, retry_delay(attempts, jitter, retry_after))
        }
        Outcome::Reject { class } => {
            let final_at_once = matches!(
                class,
                ErrorClass::Gone | ErrorClass::BlockedByPolicy | ErrorClass::InvalidConfig
            );
            if final_at_once || attempts >= REFUSALS {
                return Step::Dead(DeadReason::Rejected(class));
            }
            (
                class,
                retry_delay(attempts.saturating_add(REFUSAL_FIRST_STEP), jitter, None),
            )
        }
    };
    let next = now + delay;
    if next > first_decided_at + GIVE_UP_AFTER {
        Step::Dead(DeadReason::GaveUp(class))
    } else {
        Step::RetryAt(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: Time = Time::from_seconds(1_800_000_000);

    fn seconds(n: i64) -> Span {
        Span::from_seconds(n)
    }

    #[test]
    fn the_wait_grows_by_the_table_and_then_stays() {
        for (attempt, step) in [
            (0, 1),
            (1, 1),
            (2, 5),
            (3, 15),
            (4, 30),
            (5, 60),
            (6, 120),
            (7, 300),
            (8, 900),
            (9, 900),
            (u32::MAX, 900),
        ] {
            assert_eq!(
                retry_delay(attempt, 1.0, None),
                seconds(step),
                "attempt {attempt}"
            );
            let least = Span::from_millis(step * 100);
            assert_eq!(
                retry_delay(attempt, 0.0, None),
                least,
                "attempt {attempt}, no luck"
            );
        }
    }

    #[test]
    fn a_retry_after_is_a_floor_up_to_an_hour() {
        for (asked, waits) in [(0, 1), (1, 1), (30, 30), (3_600, 3_600), (86_400, 3_600)] {
            assert_eq!(
                retry_delay(1, 1.0, Some(seconds(asked))),
                seconds(waits),
                "{asked}"
            );
        }
        assert_eq!(
            retry_delay(8, 1.0, Some(seconds(30))),
            seconds(900),
            "it never shortens"
        );
    }

    #[test]
    fn an_outcome_leads_to_its_step() {
        use ErrorClass::*;
        let retry = |class| Outcome::Retry {
            class,
            retry_after: None,
        };
        let reject = |class| Outcome::Reject { class };
        let rejected = |class| Step::Dead(DeadReason::Rejected(class));
        for (name, outcome, attempts, expected) in [
            (
                "delivered",
                Outcome::Delivered { status: 204 },
                1,
                Step::Delivered,
            ),
            (
                "a timeout is retried",
                retry(Timeout),
                1,
                Step::RetryAt(T0 + seconds(1)),
            ),
            (
                "and again",
                retry(Timeout),
                40,
                Step::RetryAt(T0 + seconds(900)),
            ),
            ("410 is final", reject(Gone), 1, rejected(Gone)),
            (
                "policy is final",
                reject(BlockedByPolicy),
                1,
                rejected(BlockedByPolicy),
            ),
            (
                "404 is asked again",
                reject(Http4xx),
                1,
                Step::RetryAt(T0 + seconds(30)),
            ),
            (
                "404 a fourth time",
                reject(Http4xx),
                4,
                Step::RetryAt(T0 + seconds(300)),
            ),
            (
                "404 a fifth time is believed",
                reject(Http4xx),
                5,
                rejected(Http4xx),
            ),
            ("401 likewise", reject(Auth), 5, rejected(Auth)),
            (
                "a redirect likewise",
                reject(Redirect),
                7,
                rejected(Redirect),
            ),
        ] {
            assert_eq!(
                next_step(outcome, attempts, T0, T0, 1.0),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn after_three_days_nothing_is_attempted() {
        let outcome = Outcome::Retry {
            class: ErrorClass::Connect,
            retry_after: None,
        };
        let end = T0 + GIVE_UP_AFTER;
        let dead = Step::Dead(DeadReason::GaveUp(ErrorClass::Connect));
        for (name, now, expected) in [
            ("the last that fits", end - seconds(900), Step::RetryAt(end)),
            ("one that no longer fits", end - seconds(899), dead),
            ("past the end", end + seconds(1), dead),
        ] {
            assert_eq!(next_step(outcome, 300, T0, now, 1.0), expected, "{name}");
        }
    }

    #[test]
    fn every_class_is_read_back_and_has_a_sentence() {
        for class in ErrorClass::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
            assert!(class.sentence().ends_with('.'), "{class}");
        }
    }

    #[test]
    fn our_own_mistakes_say_nothing_about_a_destination() {
        for class in ErrorClass::ALL {
            let ours = matches!(
                class,
                ErrorClass::BlockedByPolicy
                    | ErrorClass::InvalidPayload
                    | ErrorClass::InvalidConfig
                    | ErrorClass::ClaimTooOld
            );
            let expected = if ours {
                Health::Unknown
            } else {
                Health::Failure
            };
            assert_eq!(Outcome::Reject { class }.health(), expected, "{class}");
        }
        assert_eq!(Outcome::Delivered { status: 200 }.health(), Health::Success);
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let class = proptest::sample::select(ErrorClass::ALL.to_vec());
        let asked = proptest::option::of((0..200_000_i64).prop_map(Span::from_seconds));
        prop_oneof![
            (200_u16..300).prop_map(|status| Outcome::Delivered { status }),
            (class.clone(), asked)
                .prop_map(|(class, retry_after)| Outcome::Retry { class, retry_after }),
            class.prop_map(|class| Outcome::Reject { class }),
        ]
    }

    proptest! {
        #[test]
        fn a_wait_is_between_a_tenth_of_its_step_and_an_hour(
            attempt in any::<u32>(), jitter in 0.0..1.0_f64, asked in proptest::option::of(0..1_000_000_i64)
        ) {
            let delay = retry_delay(attempt, jitter, asked.map(Span::from_seconds));
            let most = retry_delay(attempt, 1.0, None).max(RETRY_AFTER_MOST);
            prop_assert!(delay >= Span::from_millis(100) && delay <= most);
            if let Some(asked) = asked {
                prop_assert!(delay >= Span::from_seconds(asked).min(RETRY_AFTER_MOST));
            }
        }

        #[test]
        fn a_retry_lies_ahead_and_within_the_three_days(
            outcome in outcomes(), attempts in 1..400_u32, age in 0..400_000_i64, jitter in 0.0..1.0_f64
        ) {
            let now = T0 + seconds(age);
            match next_step(outcome, attempts, T0, now, jitter) {
                Step::RetryAt(at) => {
                    prop_assert!(at > now && at <= T0 + GIVE_UP_AFTER);
                    let asked_after_refusal = matches!(outcome, Outcome::Reject { .. }) && attempts >= REFUSALS;
                    prop_assert!(!asked_after_refusal);
                }
                Step::Delivered => {
                    let delivered = matches!(outcome, Outcome::Delivered { .. });
                    prop_assert!(delivered);
                }
                Step::Dead(reason) => prop_assert_eq!(Some(reason.class()), outcome.class()),
            }
        }

        #[test]
        fn a_delivery_that_always_fails_ends(outcome in outcomes(), jitter in 0.0..1.0_f64) {
            let (mut now, mut attempts) = (T0, 1);
            while let Step::RetryAt(at) = next_step(outcome, attempts, T0, now, jitter) {
                now = at;
                attempts += 1;
                prop_assert!(attempts < 10_000);
            }
        }
    }
}
