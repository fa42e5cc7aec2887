//! Windows as people write them: rules by example, clock changes, covers.

use super::*;

fn time(text: &str) -> Time {
    Time::parse(text).unwrap()
}

fn minutes(minutes: i64) -> Span {
    Span::from_seconds(minutes * 60)
}

fn recurrence(rrule: &str, start: &str, length: Span, zone: &str) -> Recurrence {
    Recurrence::parse(rrule, start, length, zone)
        .unwrap_or_else(|error| panic!("{rrule}: {}", error.message))
}

/// Local starts in UTC, at most `count`, as `MM-DD` with the year where it changes and the time where it is not 09:00.
fn starts(rrule: &str, start: &str, count: usize) -> String {
    let window = Window {
        name: "w".to_owned(),
        selector: Selector::default(),
        when: When::Recurring(Box::new(recurrence(rrule, start, minutes(30), "UTC"))),
        ended_at: None,
    };
    let mut year = start[..4].to_owned();
    let shown = window.following(Time::MIN).take(count).map(|occurrence| {
        let text = occurrence.start.to_string();
        let (date, clock) = (&text[..10], &text[11..16]);
        let mut shown = if date.starts_with(&year) {
            date[5..].to_owned()
        } else {
            date.to_owned()
        };
        year = date[..4].to_owned();
        if clock != "09:00" {
            shown = format!("{shown}T{clock}");
        }
        shown
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn rules_name_the_days_that_people_mean_by_them() {
    for (rule, start, expected) in [
        (
            "FREQ=DAILY;COUNT=3",
            "1997-09-02T09:00",
            "09-02 09-03 09-04",
        ),
        (
            "FREQ=DAILY;INTERVAL=10;COUNT=4",
            "1997-09-02T09:00",
            "09-02 09-12 09-22 10-02",
        ),
        (
            "FREQ=DAILY;UNTIL=19970904",
            "1997-09-02T09:00",
            "09-02 09-03 09-04",
        ),
        (
            "FREQ=DAILY;UNTIL=19970904T090000Z",
            "1997-09-02T09:00",
            "09-02 09-03 09-04",
        ),
        (
            "FREQ=DAILY;UNTIL=19970904T085959",
            "1997-09-02T09:00",
            "09-02 09-03",
        ),
        (
            "FREQ=DAILY;BYMONTH=1",
            "1997-12-30T09:00",
            "1998-01-01 01-02 01-03 01-04 01-05",
        ),
        (
            "FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,30;COUNT=5",
            "1997-09-02T09:00",
            "09-02 09-02T09:30 09-02T10:00 09-02T10:30 09-03",
        ),
        (
            "FREQ=WEEKLY;COUNT=3",
            "1997-09-02T09:00",
            "09-02 09-09 09-16",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,TH;COUNT=6",
            "1997-09-02T09:00",
            "09-02 09-04 09-16 09-18 09-30 10-02",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
            "1997-08-05T09:00",
            "08-05 08-10 08-19 08-24",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
            "1997-08-05T09:00",
            "08-05 08-17 08-19 08-31",
        ),
        (
            "FREQ=MONTHLY;COUNT=4;BYDAY=1FR",
            "1997-09-05T09:00",
            "09-05 10-03 11-07 12-05",
        ),
        (
            "FREQ=MONTHLY;INTERVAL=2;COUNT=4;BYDAY=1SU,-1SU",
            "1997-09-07T09:00",
            "09-07 09-28 11-02 11-30",
        ),
        (
            "FREQ=MONTHLY;COUNT=3;BYDAY=-2MO",
            "1997-09-22T09:00",
            "09-22 10-20 11-17",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=-3",
            "1997-09-28T09:00",
            "09-28 10-29 11-28 12-29 1998-01-29",
        ),
        (
            "FREQ=MONTHLY;COUNT=4;BYMONTHDAY=1,-1",
            "1997-09-30T09:00",
            "09-30 10-01 10-31 11-01",
        ),
        (
            "FREQ=MONTHLY",
            "1997-01-31T09:00",
            "01-31 03-31 05-31 07-31 08-31",
        ),
        (
            "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
            "1997-09-02T09:00",
            "1998-02-13 03-13 11-13 1999-08-13 2000-10-13",
        ),
        (
            "FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3",
            "1997-09-04T09:00",
            "09-04 10-07 11-06",
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
            "1997-09-29T09:00",
            "09-29 10-30 11-27 12-30 1998-01-29",
        ),
        (
            "FREQ=YEARLY;COUNT=4;BYMONTH=6,7",
            "1997-06-10T09:00",
            "06-10 07-10 1998-06-10 07-10",
        ),
        (
            "FREQ=YEARLY;BYDAY=20MO",
            "1997-05-19T09:00",
            "05-19 1998-05-18 1999-05-17 2000-05-15 2001-05-14",
        ),
        (
            "FREQ=YEARLY;BYMONTH=3;BYDAY=TH",
            "1997-03-13T09:00",
            "03-13 03-20 03-27 1998-03-05 03-12",
        ),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            "1996-11-05T09:00",
            "11-05 2000-11-07 2004-11-02 2008-11-04 2012-11-06",
        ),
        (
            "FREQ=YEARLY;BYDAY=-1SU",
            "1997-01-01T09:00",
            "12-28 1998-12-27 1999-12-26 2000-12-31 2001-12-30",
        ),
        (
            "FREQ=YEARLY",
            "1996-02-29T09:00",
            "02-29 2000-02-29 2004-02-29 2008-02-29 2012-02-29",
        ),
        (
            "FREQ=YEARLY;BYDAY=MO;BYSETPOS=1,-1",
            "1997-01-01T09:00",
            "01-06 12-29 1998-01-05 12-28 1999-01-04",
        ),
        (
            "FREQ=DAILY",
            "1997-09-02T09:15",
            "09-02T09:15 09-03T09:15 09-04T09:15 09-05T09:15 09-06T09:15",
        ),
    ] {
        assert_eq!(
            starts(rule, start, 5).split(' ').collect::<Vec<_>>(),
            expected.split(' ').take(5).collect::<Vec<_>>(),
            "{rule}"
        );
        if !rule.contains("COUNT=5") && (rule.contains("COUNT") || rule.contains("UNTIL")) {
            assert_eq!(starts(rule, start, 100), expected, "{rule} to its end");
        }
    }
}

#[test]
fn a_rule_that_never_comes_is_refused() {
    for (rule, start) in [
        ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "2026-01-01T00:00"),
        (
            "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29",
            "2027-01-01T00:00",
        ),
        (
            "FREQ=DAILY;INTERVAL=1000;BYMONTH=2;BYMONTHDAY=31",
            "2026-01-01T00:00",
        ),
        ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", "2026-01-01T00:00"),
        (
            "FREQ=DAILY;UNTIL=20260101T000000;BYHOUR=1",
            "2026-01-01T00:00",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=4;COUNT=3",
            "2026-01-01T00:00",
        ),
    ] {
        let error = Recurrence::parse(rule, start, minutes(5), "UTC").unwrap_err();
        assert!(
            error.message.contains("never comes"),
            "{rule}: {}",
            error.message
        );
    }
    for (rule, length, zone, field) in [
        ("FREQ=DAILY;UNTIL=20251231", minutes(5), "UTC", "rrule"),
        ("FREQ=DAILY", Span::from_seconds(59), "UTC", "duration"),
        (
            "FREQ=DAILY",
            Span::from_seconds(30 * 86_400 + 1),
            "UTC",
            "duration",
        ),
        ("FREQ=DAILY", Span::from_millis(60_500), "UTC", "duration"),
        ("FREQ=DAILY", minutes(5), "Mars/Base", "timezone"),
    ] {
        assert_eq!(
            Recurrence::parse(rule, "2026-01-01T00:00", length, zone)
                .unwrap_err()
                .field,
            field
        );
    }
}

/// Local start and length of one occurrence, and the instants that it means.
#[test]
fn clock_changes_lengthen_a_window_and_never_lose_it() {
    for (zone, start, length, expected) in [
        // Berlin's clock goes from 02:00 to 03:00 on 2026-03-29 at 01:00Z.
        (
            "Europe/Berlin",
            "2026-03-29T02:30",
            15,
            "2026-03-29T01:00:00Z 2026-03-29T01:15:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T02:00",
            60,
            "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T01:30",
            60,
            "2026-03-29T00:30:00Z 2026-03-29T01:00:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T01:00",
            180,
            "2026-03-29T00:00:00Z 2026-03-29T02:00:00Z",
        ),
        // And from 03:00 back to 02:00 on 2026-10-25 at 01:00Z.
        (
            "Europe/Berlin",
            "2026-10-25T02:30",
            60,
            "2026-10-25T00:30:00Z 2026-10-25T02:30:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-10-25T02:00",
            30,
            "2026-10-25T00:00:00Z 2026-10-25T01:30:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-10-25T01:30",
            60,
            "2026-10-24T23:30:00Z 2026-10-25T01:30:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-10-25T03:00",
            60,
            "2026-10-25T02:00:00Z 2026-10-25T03:00:00Z",
        ),
        // Lord Howe moves by half an hour: 02:00 to 02:30 on 2026-10-04 at 15:30Z the day before.
        (
            "Australia/Lord_Howe",
            "2026-10-04T02:15",
            30,
            "2026-10-03T15:30:00Z 2026-10-03T16:00:00Z",
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-05T01:45",
            30,
            "2026-04-04T14:45:00Z 2026-04-04T15:45:00Z",
        ),
        // Chicago, 02:00 to 03:00 on 2020-03-08.
        (
            "America/Chicago",
            "2020-03-08T02:30",
            60,
            "2020-03-08T08:00:00Z 2020-03-08T09:00:00Z",
        ),
        // Apia had no 2011-12-30 at all.
        (
            "Pacific/Apia",
            "2011-12-30T12:00",
            60,
            "2011-12-30T10:00:00Z 2011-12-30T11:00:00Z",
        ),
    ] {
        let window = recurrence("FREQ=DAILY", start, minutes(length), zone);
        let first = window.next_after(time("2000-01-01T00:00:00Z")).unwrap();
        assert_eq!(
            format!("{} {}", first.start, first.end),
            expected,
            "{zone} {start} {length}m"
        );
        for (at, open) in [
            (first.start - Span::from_seconds(1), false),
            (first.start, true),
            (first.end - Span::from_seconds(1), true),
            (first.end, false),
        ] {
            let found = window.occurrence_at(at);
            assert_eq!(found, open.then_some(first), "{zone} {start} at {at}");
        }
    }
}

fn window(name: &str, labels: &str, when: When) -> Window {
    let labels = LabelSelector::parse(labels).unwrap();
    Window {
        name: name.to_owned(),
        selector: Selector {
            labels,
            ..Selector::default()
        },
        when,
        ended_at: None,
    }
}

fn once(start: &str, end: &str) -> When {
    When::once(time(start), time(end)).unwrap()
}

#[test]
fn a_cover_ends_when_no_window_covers_any_more() {
    let nightly = recurrence("FREQ=DAILY", "2026-01-01T03:00", minutes(60), "UTC");
    let windows = Windows::new(vec![
        window(
            "short",
            "team=a",
            once("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ),
        window(
            "long",
            "team=a",
            once("2026-01-01T00:30:00Z", "2026-01-01T02:00:00Z"),
        ),
        window(
            "adjacent",
            "team=a",
            once("2026-01-01T02:00:00Z", "2026-01-01T02:45:00Z"),
        ),
        window(
            "other",
            "team=b",
            once("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ),
        window(
            "nightly",
            "team in (a,c)",
            When::Recurring(Box::new(nightly)),
        ),
    ]);
    for (team, at, expected) in [
        (
            "a",
            "2026-01-01T00:10:00Z",
            Some(("short", "2026-01-01T02:45:00Z")),
        ),
        (
            "a",
            "2026-01-01T00:45:00Z",
            Some(("long", "2026-01-01T02:45:00Z")),
        ),
        ("a", "2026-01-01T02:45:00Z", None),
        (
            "a",
            "2026-01-01T03:59:59Z",
            Some(("nightly", "2026-01-01T04:00:00Z")),
        ),
        (
            "b",
            "2026-01-01T02:45:00Z",
            Some(("other", "2026-01-02T00:00:00Z")),
        ),
        (
            "c",
            "2026-01-09T03:00:00Z",
            Some(("nightly", "2026-01-09T04:00:00Z")),
        ),
        ("d", "2026-01-01T00:10:00Z", None),
    ] {
        let labels = [("team".to_owned(), team.to_owned())];
        let cover = windows.cover(&labels, 1, time(at));
        assert_eq!(
            cover.map(|cover| (cover.name, cover.until)),
            expected.map(|(name, until)| (name, time(until))),
            "{team} {at}"
        );
    }
}

#[test]
fn windows_that_never_end_are_followed_for_a_while_and_asked_again() {
    let whole_days = recurrence("FREQ=DAILY", "2026-01-01T00:00", minutes(1_440), "UTC");
    let windows = Windows::new(vec![window(
        "always",
        "!never",
        When::Recurring(Box::new(whole_days)),
    )]);
    let at = time("2026-02-01T00:00:00Z");
    let cover = windows.cover(&[], 1, at).unwrap();
    assert_eq!(cover.until, at + minutes(1_440 * 101));
    assert!(windows.cover(&[], 1, cover.until).is_some());
}

#[test]
fn what_was_ended_early_is_over_and_comes_again_as_ever() {
    let nightly = recurrence("FREQ=DAILY", "2026-01-01T03:00", minutes(60), "UTC");
    let mut nightly = window("nightly", "a", When::Recurring(Box::new(nightly)));
    nightly.ended_at = Some(time("2026-01-02T03:20:00Z"));
    let mut single = window(
        "single",
        "a",
        once("2026-01-02T03:00:00Z", "2026-01-02T05:00:00Z"),
    );
    single.ended_at = nightly.ended_at;
    for (at, nightly_ends, single_ends) in [
        (
            "2026-01-02T03:10:00Z",
            Some("2026-01-02T03:20:00Z"),
            Some("2026-01-02T03:20:00Z"),
        ),
        ("2026-01-02T03:20:00Z", None, None),
        ("2026-01-03T03:10:00Z", Some("2026-01-03T04:00:00Z"), None),
    ] {
        let ends = |window: &Window| window.occurrence_at(time(at)).map(|open| open.end);
        assert_eq!(ends(&nightly), nightly_ends.map(time), "{at}");
        assert_eq!(ends(&single), single_ends.map(time), "{at}");
    }
    assert_eq!(single.phase(time("2026-01-02T03:30:00Z")), Phase::Over);
    let next = Occurrence {
        start: time("2026-01-03T03:00:00Z"),
        end: time("2026-01-03T04:00:00Z"),
    };
    assert_eq!(
        nightly.phase(time("2026-01-02T03:30:00Z")),
        Phase::Planned(next)
    );
}

#[test]
fn a_single_window_has_an_order_and_a_length() {
    for (start, end, part) in [
        (
            "2026-01-02T03:00:00Z",
            "2026-01-02T03:00:00Z",
            "not after the start",
        ),
        (
            "2026-01-02T03:00:00Z",
            "2026-01-02T03:00:30Z",
            "would last 30s",
        ),
        (
            "2026-01-02T03:00:00Z",
            "2028-01-02T03:00:30Z",
            "would last 730d30s",
        ),
    ] {
        let error = When::once(time(start), time(end)).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
