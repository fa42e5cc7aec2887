//! Rollups, whatever happened: the parts make the whole.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use systole_core::heartbeat::Signal;
use systole_core::history::{DAY, Facts, HOUR, Heard, Reach, Rollup, rollup};
use systole_core::time::{Span, Time};

fn time() -> impl Strategy<Value = Time> {
    (-3_600_000_000..90_000_000_000_i64).prop_map(Time::from_micros)
}

fn reach() -> impl Strategy<Value = Reach> {
    (time(), time()).prop_map(|(a, b)| Reach {
        from: a.min(b),
        until: a.max(b),
    })
}

fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![
        Just(Signal::Start),
        Just(Signal::Success),
        Just(Signal::Fail),
        Just(Signal::Log),
        any::<u8>().prop_map(Signal::Exit),
    ]
}

fn heard() -> impl Strategy<Value = Heard> {
    let took = option::of((0..10_000_000_000_i64).prop_map(Span::from_micros));
    (time(), signal(), took).prop_map(|(at, signal, took)| Heard { at, signal, took })
}

fn facts() -> impl Strategy<Value = Facts> {
    (
        vec(heard(), 0..60),
        vec(time(), 0..9),
        vec(time(), 0..9),
        vec(reach(), 0..9),
        vec(reach(), 0..9),
    )
        .prop_map(|(heard, missed, overran, down, unknown)| Facts {
            heard,
            missed,
            overran,
            down,
            unknown,
        })
}

fn hours() -> impl Iterator<Item = Reach> {
    (0..24).map(|hour| {
        let from = Time::from_seconds(hour * 3_600);
        Reach {
            from,
            until: from + HOUR,
        }
    })
}

proptest! {
    #[test]
    fn a_days_hours_make_the_day(facts in facts()) {
        let day = Reach { from: Time::from_seconds(0), until: Time::from_seconds(0) + DAY };
        let joined = hours().map(|hour| rollup(hour, &facts)).reduce(Rollup::joined).unwrap();
        prop_assert_eq!(joined, rollup(day, &facts));
        prop_assert_eq!(joined.length(), DAY);
    }

    #[test]
    fn order_and_what_lies_outside_do_not_matter(mut facts in facts(), hour in 0..24_usize) {
        let hour = hours().nth(hour).unwrap();
        let found = rollup(hour, &facts);
        facts.heard.reverse();
        facts.down.reverse();
        facts.unknown.reverse();
        facts.heard.retain(|heard| (hour.from..hour.until).contains(&heard.at));
        facts.down.retain(|reach| reach.from < hour.until && reach.until > hour.from);
        prop_assert_eq!(rollup(hour, &facts), found);
    }

    #[test]
    fn more_that_is_wrong_never_makes_more_time_up(facts in facts(), more in reach(), hour in 0..24_usize) {
        let hour = hours().nth(hour).unwrap();
        let up = rollup(hour, &facts).up;
        let mut worse = facts.clone();
        worse.down.push(more);
        prop_assert!(rollup(hour, &worse).up <= up);
        let mut dimmer = facts;
        dimmer.unknown.push(more);
        prop_assert!(rollup(hour, &dimmer).up <= up);
    }
}
