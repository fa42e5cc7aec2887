//! Sample views: every page in the conditions that matter, for its tests and for looking at.

use systole_core::time::{Span, Time};

use super::snippets::Ping;
use super::text::Untrusted;
use super::views::*;

/// Sat 21 Nov 2026, 02:20:07 UTC.
pub const NOW: Time = Time::from_seconds(1_795_227_607);

fn s(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn ago(seconds: i64) -> Time {
    NOW - s(seconds)
}

fn texts(texts: &[&str]) -> Vec<Untrusted> {
    texts.iter().map(|text| Untrusted::from(*text)).collect()
}

pub fn frame(open_incidents: usize) -> Frame {
    let viewer = Viewer {
        name: "admin@example.org".into(),
        can_edit: true,
    };
    Frame {
        now: NOW,
        viewer: Some(viewer),
        notices: Vec::new(),
        open_incidents,
    }
}

fn signed_out() -> Frame {
    Frame {
        viewer: None,
        ..frame(0)
    }
}

fn recent(pattern: &str) -> Vec<Outcome> {
    pattern
        .chars()
        .map(|c| match c {
            'f' => Outcome::Failure,
            'o' => Outcome::Overran,
            'm' => Outcome::Missed,
            'r' => Outcome::Running,
            _ => Outcome::Success,
        })
        .collect()
}

pub fn overview() -> OverviewView {
    let row = |id: &str,
               name: &str,
               labels: &[&str],
               state,
               since,
               last: Option<i64>,
               took: Option<i64>,
               next,
               beats: &str| {
        MonitorRow {
            id: id.to_owned(),
            name: name.into(),
            labels: texts(labels),
            kind: "Heartbeat",
            state,
            maintenance: id == "m7",
            since: ago(since),
            last: last.map(ago),
            took: took.map(Span::from_millis),
            next,
            recent: recent(beats),
        }
    };
    let all_well = "....................";
    let mut rows = vec![
        row(
            "m1",
            "invoice-generator",
            &["env=prod-us", "team=billing"],
            State::Down,
            607,
            Some(4807),
            Some(41_000),
            Some(Due::Overdue(ago(1207))),
            "...................m",
        ),
        row(
            "m2",
            "ledger-export",
            &["env=prod-eu"],
            State::Late,
            840,
            Some(12_007),
            Some(184_300),
            Some(Due::Grace(NOW + s(367))),
            "...........f........",
        ),
        row(
            "m3",
            "thumbnail-sweep",
            &[],
            State::Up,
            5_400,
            Some(1_800),
            Some(912),
            Some(Due::Finish(NOW + s(1_500))),
            "......o............r",
        ),
        row(
            "m4",
            "new-customer-mail",
            &["env=staging"],
            State::New,
            7_200,
            None,
            None,
            None,
            "",
        ),
        row(
            "m5",
            "db-backup",
            &["env=prod-us"],
            State::Down,
            9_060,
            Some(9_060),
            Some(725_000),
            Some(Due::Beat(NOW + s(77_400))),
            "...f..............ff",
        ),
        row(
            "m6",
            "legacy-sync",
            &["site=office"],
            State::Paused,
            3_456_000,
            Some(3_456_000),
            None,
            None,
            "..........mm",
        ),
        row(
            "m7",
            "search-reindex",
            &["env=prod-eu"],
            State::Up,
            90_000,
            Some(80_407),
            Some(3_600_000),
            Some(Due::Beat(NOW + s(5_993))),
            all_well,
        ),
    ];
    for n in 8..40 {
        rows.push(row(
            &format!("0198f2c4-7b1e-7c3a-9d2f-{n:012}"),
            [
                "certificate-renewal",
                "rotate-logs",
                "report-weekly",
                "queue-drain",
                "cache-warm",
            ][n % 5],
            &["env=prod-eu"],
            State::Up,
            100_000 + 40_000 * i64::try_from(n).unwrap_or(0),
            Some(300 + 37 * i64::try_from(n).unwrap_or(0)),
            Some(1_400 * i64::try_from(n).unwrap_or(0)),
            Some(Due::Beat(NOW + s(61 * i64::try_from(n).unwrap_or(0)))),
            if n % 7 == 0 {
                ".....f.............."
            } else {
                all_well
            },
        ));
    }
    OverviewView {
        frame: frame(2),
        open: vec![
            OpenIncident {
                number: 412,
                monitor_state: State::Down,
                acknowledged: false,
                since: ago(607),
                monitor: "invoice-generator".into(),
                labels: texts(&["env=prod-us", "team=billing"]),
                what:
                    "No beat since 01:00. It was expected at 02:00, and its grace ended at 02:10."
                        .into(),
                told: "Sent to ops-webhook at 02:10:01, delivered. Nobody has acknowledged it."
                    .into(),
            },
            OpenIncident {
                number: 411,
                monitor_state: State::Down,
                acknowledged: true,
                since: ago(9_060),
                monitor: "db-backup".into(),
                labels: texts(&["env=prod-us"]),
                what: "The job reported exit status 3.".into(),
                told: "admin@example.org acknowledged it at 23:52.".into(),
            },
        ],
        last_look: Some(ago(1)),
        counts: vec![
            (State::Down, 2),
            (State::Late, 1),
            (State::New, 1),
            (State::Paused, 1),
            (State::Up, 209),
        ],
        query: "".into(),
        state: None,
        rows,
        matching: 214,
        next: Some("b3BhcXVl".into()),
        later_page: false,
        base_url: "https://systole.example.org".into(),
        token_file: "./systole-data/local-token".into(),
    }
}

pub fn overview_well() -> OverviewView {
    let mut view = overview();
    view.frame = frame(0);
    view.open.clear();
    view.rows.retain(|row| row.state == State::Up);
    view.rows.truncate(12);
    view.counts = vec![(State::Up, 12)];
    view.matching = 12;
    view.next = None;
    view
}

pub fn overview_empty() -> OverviewView {
    let warning = "Ping URLs name 127.0.0.1, so other machines cannot use them. Start the server with --base-url.";
    let mut view = overview_well();
    view.frame.notices.push(Notice {
        warning: true,
        text: warning.into(),
        links: Vec::new(),
        standing: true,
    });
    view.rows.clear();
    view.counts.clear();
    view.matching = 0;
    view.base_url = "http://127.0.0.1:8080".into();
    view
}

pub fn overview_found_nothing() -> OverviewView {
    let mut view = overview();
    view.query = "nightly \"sync\"".into();
    view.state = Some(State::Down);
    view.rows.clear();
    view.matching = 0;
    view.last_look = Some(ago(245));
    view.next = None;
    view
}

fn checkin(
    seconds: i64,
    kind: &str,
    state: State,
    millis: Option<i64>,
    message: &str,
    body: &[u8],
) -> Checkin {
    Checkin {
        at: ago(seconds),
        kind: kind.into(),
        state,
        duration: millis.map(Span::from_millis),
        source: "POST from 192.0.2.17, curl/8.14.1".into(),
        message: message.into(),
        body: body.to_vec(),
        truncated: false,
    }
}

fn incident_rows() -> Vec<IncidentRow> {
    let row =
        |number, state, monitor: &str, what: &str, started, lasted: Option<i64>| IncidentRow {
            number,
            state,
            monitor: monitor.into(),
            what: what.into(),
            started_at: ago(started),
            resolved_at: lasted.map(|lasted| ago(started - lasted)),
        };
    vec![
        row(
            412,
            State::Open,
            "invoice-generator",
            "No beat since 01:00; its grace ended at 02:10.",
            607,
            None,
        ),
        row(
            411,
            State::Acknowledged,
            "db-backup",
            "The job reported exit status 3.",
            9_060,
            None,
        ),
        row(
            409,
            State::Resolved,
            "db-backup",
            "The job reported exit status 3.",
            90_000,
            Some(1_260),
        ),
        row(
            402,
            State::Resolved,
            "thumbnail-sweep",
            "A run took longer than its limit of 30 min.",
            432_000,
            Some(14_000),
        ),
        row(
            377,
            State::Resolved,
            "db-backup",
            "No beat since 12 Nov 02:12.",
            40_000_000,
            Some(86_000),
        ),
    ]
}

/// Known for seventy days, with three bad ones and a pause.
fn days() -> Vec<Day> {
    let today = NOW.as_seconds().div_euclid(86_400) * 86_400;
    (0..90)
        .rev()
        .map(|back: i64| {
            let down = match back {
                0 => 727,
                16 => 43_200,
                41 => 300,
                _ => 0,
            };
            let known = if back > 70 || back == 30 {
                0
            } else {
                86_400 - down
            };
            Day {
                start: Time::from_seconds(today - back * 86_400),
                up: s(known),
                down: s(down),
            }
        })
        .collect()
}

pub fn monitor() -> MonitorView {
    let day = 86_400;
    let mut runs: Vec<Run> = (0..30)
        .rev()
        .map(|n: i64| Run {
            at: ago(n * day + 1_207),
            duration: Some(s(600 + (n * 137) % 400)),
            outcome: Outcome::Success,
        })
        .collect();
    runs[6] = Run {
        duration: None,
        outcome: Outcome::Missed,
        ..runs[6]
    };
    runs[13] = Run {
        duration: Some(s(1_800)),
        outcome: Outcome::Overran,
        ..runs[13]
    };
    runs[21] = Run {
        duration: Some(s(240)),
        outcome: Outcome::Failure,
        ..runs[21]
    };
    runs[29] = Run {
        duration: Some(s(480)),
        outcome: Outcome::Failure,
        ..runs[29]
    };
    let log = b"pg_dump: dumping contents of table \"public.invoices\"\npg_dump: error: could not write to output file: No space left on device\nexit status 3\n";
    MonitorView {
        frame: frame(2),
        id: "m5".to_owned(),
        name: "db-backup".into(),
        kind: "Heartbeat",
        description: "Dumps the main database to the vault.".into(),
        labels: texts(&["env=prod-us"]),
        state: State::Down,
        maintenance: Some(("storage move".into(), NOW + s(2_700))),
        since: ago(727),
        why: "The job reported exit status 3 at 02:08:00.".into(),
        warnings: Vec::new(),
        open_incident: Some(411),
        due: Some(Due::Beat(NOW + s(day - 1_207))),
        schedule_words: "at 02:00 every day, UTC".into(),
        grace: s(900),
        ping: Some(Ping {
            url: "https://systole.example.org/ping/5f0c2d4e-8a1b-4c3d-9e7f-2b6a1d0c9e8f".to_owned(),
            slug: "db-backup".to_owned(),
            cron: Some("0 2 * * *".into()),
            timezone: "UTC".into(),
        }),
        slots: (0..30).map(|n| ago(n * day + 1_207)).collect(),
        runs,
        limit: Some(s(1_500)),
        days: days(),
        checkins: vec![
            checkin(727, "exit status 3", State::Down, Some(480_000), "", log),
            checkin(1_207, "start", State::Pending, None, "", b""),
            checkin(
                day + 480,
                "success",
                State::Up,
                Some(737_000),
                "dumped 41.3 GiB",
                b"",
            ),
            checkin(day + 1_207, "start", State::Pending, None, "", b""),
            checkin(
                2 * day,
                "success",
                State::Up,
                Some(874_000),
                "",
                b"raw \xff\xfe bytes, \x1b[31mcolour\x1b[0m, a\r\nline",
            ),
        ],
        incidents: incident_rows()
            .into_iter()
            .filter(|row| row.monitor.raw() == "db-backup")
            .collect(),
        settings: vec![
            (
                "schedule",
                "{\"cron\": \"0 2 * * *\", \"timezone\": \"UTC\", \"dialect\": \"classic\"}".into(),
            ),
            ("grace", "15m".into()),
            ("max_runtime", "25m".into()),
            ("fail_threshold", "1".into()),
            ("severity", "critical".into()),
            ("channels", "the default ones: ops-webhook".into()),
            ("slug", "db-backup".into()),
            ("set", "billing".into()),
        ],
        editable: true,
    }
}

pub fn monitor_new() -> MonitorView {
    let mut view = monitor();
    view.frame = frame(0);
    view.frame.notices.push(Notice {
        warning: false,
        text: "The heartbeat is made.".into(),
        links: Vec::new(),
        standing: true,
    });
    view.name = "new-customer-mail".into();
    view.state = State::New;
    view.since = ago(12);
    view.why = "No beat has come yet; nobody is told before the first.".into();
    view.warnings = texts(&[
        "No channel applies to it: when it goes down, nobody is told. Make a default channel.",
    ]);
    view.open_incident = None;
    view.maintenance = None;
    view.due = None;
    (view.runs, view.slots, view.checkins, view.incidents) = Default::default();
    view
}

pub fn incident() -> IncidentView {
    let entry = |seconds, what: &str, why: &str| TimelineEntry {
        at: ago(seconds),
        what: what.into(),
        why: why.into(),
    };
    let attempt = |seconds, millis, state, outcome: &str| Attempt {
        at: ago(seconds),
        took: Span::from_millis(millis),
        state,
        outcome: outcome.into(),
    };
    IncidentView {
        frame: frame(2),
        number: 412,
        can_note: true,
        monitor_id: Some("m1".to_owned()),
        monitor: "invoice-generator".into(),
        labels: texts(&["env=prod-us", "team=billing"]),
        state: State::Open,
        monitor_state: State::Down,
        severity: "critical".into(),
        started_at: ago(607),
        detected_at: ago(606),
        resolved_at: None,
        what: "No beat since 01:00:41. One was expected at 02:00, and its grace of 10 min ended at 02:10.".into(),
        told: "Nobody has acknowledged it.".into(),
        evidence: vec![
            ("Reason", "missed_deadline".into()),
            ("Last beat", "2026-11-21 01:00:41 UTC, success, took 41 s".into()),
            ("Expected", "2026-11-21 02:00:00 UTC, by 0 * * * * in UTC".into()),
            ("Grace", "10m".into()),
            ("Our own outages", "none in the last 24 h".into()),
        ],
        maintenance: Some(("patch day".into(), NOW + s(5_400))),
        runbook_url: "https://wiki.example.org/runbooks/invoices".into(),
        body: b"wrote 1 204 invoices\nnext run at 02:00\n".to_vec(),
        timeline: vec![
            entry(301, "Sending to pager-bridge failed, and will be tried again", "the other side answered 503; the third of its tries comes in 8 min"),
            entry(605, "Sent to ops-webhook", "it is a default channel, and the monitor names none; delivered in 240 ms"),
            entry(606, "Opened: no beat by the end of the grace", "missed_deadline; the log was read to its end before"),
            entry(1_207, "A beat was expected", "slot of 0 * * * *"),
        ],
        deliveries: vec![
            DeliveryRow {
                channel: "night-shift".into(),
                event: "reminder 2".into(),
                state: State::Pending,
                at: ago(12),
                next_try: None,
                held_until: Some(NOW + s(5_400)),
                why: "By the maintenance patch day.".into(),
                attempts: vec![],
            },
            DeliveryRow {
                channel: "pager-bridge".into(),
                event: "opened".into(),
                state: State::Pending,
                at: ago(606),
                next_try: Some(NOW + s(179)),
                held_until: None,
                why: "503 Service Unavailable.".into(),
                attempts: vec![
                    attempt(606, 10_000, State::Dead, "no answer within 10 s"),
                    attempt(302, 412, State::Dead, "503 Service Unavailable"),
                ],
            },
            DeliveryRow {
                channel: "ops-webhook".into(),
                event: "opened".into(),
                state: State::Delivered,
                at: ago(606),
                next_try: None,
                held_until: None,
                why: "".into(),
                attempts: vec![attempt(606, 240, State::Delivered, "204 No Content")],
            },
        ],
    }
}

pub fn incident_resolved() -> IncidentView {
    let mut view = incident();
    view.frame = frame(0);
    view.state = State::Resolved;
    view.monitor_state = State::Up;
    view.resolved_at = Some(ago(40));
    view.told = "A beat came at 02:19:27. Its resolution was sent to ops-webhook.".into();
    view
}

pub fn incidents() -> IncidentsView {
    IncidentsView {
        frame: frame(2),
        state: None,
        rows: incident_rows(),
        next: Some("b3BhcXVl".into()),
    }
}

pub fn channels() -> ChannelsView {
    let row =
        |id: &str, name: &str, default, system, last: Option<(State, i64, &str)>| ChannelRow {
            id: id.to_owned(),
            name: name.into(),
            kind: "webhook".into(),
            target: format!("https://hooks.example.org/{name}/…").into(),
            default,
            system,
            set: default.then(|| "billing".into()),
            last: last.map(|(state, seconds, text)| (state, ago(seconds), text.into())),
            unsubscribed: Vec::new(),
        };
    let mut mail = row("c4", "mail", false, false, None);
    mail.kind = "email".into();
    mail.target = "on-call@example.org by smtp.example.org:587".into();
    mail.unsubscribed = vec![("lead@example.org".into(), ago(7_200))];
    ChannelsView {
        frame: frame(2),
        rows: vec![
            row(
                "c1",
                "ops-webhook",
                true,
                true,
                Some((State::Delivered, 606, "204 No Content")),
            ),
            row(
                "c2",
                "pager-bridge",
                true,
                false,
                Some((State::Pending, 302, "503 Service Unavailable")),
            ),
            row("c3", "unused", false, false, None),
            mail,
        ],
        forms: vec![webhook_form()],
    }
}

pub fn maintenance() -> MaintenanceView {
    let opening = |start: i64, end: i64, local: Option<&str>| Opening {
        start: NOW + s(start),
        end: NOW + s(end),
        local: local.map(Into::into),
    };
    let row = |id: &str, name: &str, covers: &[&str], matches: usize| WindowRow {
        id: id.to_owned(),
        name: name.into(),
        description: Untrusted::default(),
        covers: texts(covers),
        matches,
        set: (matches > 1).then(|| "billing".into()),
        rule: None,
        open: None,
        next: Vec::new(),
        ended: None,
    };
    let sundays = (0..5).map(|n| {
        let start = 86_400 * (7 * n + 1);
        opening(
            start,
            start + 7_200,
            Some("Sun 22 Nov 02:00 to 04:00, Europe/Berlin"),
        )
    });
    MaintenanceView {
        frame: frame(2),
        active: vec![WindowRow {
            description: "The volumes move to the new array.".into(),
            open: Some(Opening {
                start: ago(900),
                ..opening(0, 2_700, None)
            }),
            ..row("mnt_4", "storage move", &["env=prod-us", "db-backup"], 7)
        }],
        planned: vec![
            WindowRow {
                next: vec![opening(43_200, 46_800, None)],
                ..row("mnt_3", "certificate change", &["every monitor"], 14)
            },
            WindowRow {
                rule: Some("FREQ=WEEKLY;BYDAY=SU".into()),
                next: sundays.collect(),
                ..row(
                    "mnt_2",
                    "database vacuum",
                    &["team=billing,env in (prod,staging),!legacy"],
                    1,
                )
            },
        ],
        over: vec![WindowRow {
            ended: Some(ago(90_000)),
            ..row("mnt_1", "router swap", &["site=office"], 0)
        }],
        hidden: 3,
        name: "kernel update".into(),
        selector: "team=".into(),
        all: false,
        repeats: "rule".into(),
        rule: "FREQ=HOURLY".into(),
        start: "2026-11-29T02:00".into(),
        duration: "1h".into(),
        timezone: "Europe/Berlin".into(),
        errors: vec![FormError {
            field: "rule",
            text: "HOURLY is not read here: write FREQ=DAILY with BYHOUR.".into(),
        }],
    }
}

pub fn maintenance_empty() -> MaintenanceView {
    let empty = Untrusted::default;
    MaintenanceView {
        frame: frame(0),
        active: Vec::new(),
        planned: Vec::new(),
        over: Vec::new(),
        hidden: 0,
        name: empty(),
        selector: empty(),
        repeats: empty(),
        rule: empty(),
        start: empty(),
        timezone: empty(),
        errors: Vec::new(),
        ..maintenance()
    }
}

fn webhook_form() -> ChannelForm {
    let field = |name, label, input, required| ChannelField {
        name,
        label,
        help: "Where the messages are posted.".to_owned(),
        input,
        required,
        value: "".into(),
        kept: false,
        can_forget: false,
        error: None,
    };
    let mut form = ChannelForm {
        id: None,
        rev: String::new(),
        kind: "webhook",
        title: "Webhook",
        about: "Posts JSON for every incident.",
        open: true,
        name: "chat".into(),
        default: true,
        system: false,
        digest: false,
        remind_every: "4h".into(),
        fields: vec![
            field("url", "URL", Input::Url, true),
            field("secret", "Signing secret", Input::Secret, false),
            field(
                "format",
                "Format",
                Input::Choice(&["standard", "vigilmon"]),
                false,
            ),
            field("to", "To", Input::List, false),
        ],
        errors: Vec::new(),
    };
    form.fields[0].value = "http://169.254.169.254/".into();
    form.fields[0].error =
        Some("169.254.169.254 is link-local: such addresses are never sent to.".into());
    form
}

pub fn channel_edit() -> ChannelEditView {
    let mut form = webhook_form();
    form.id = Some("ch_2".to_owned());
    form.rev = "3".to_owned();
    form.fields[1].kept = true;
    form.fields[1].can_forget = true;
    form.remind_every = "often".into();
    form.errors = vec![FormError {
        field: "remind_every",
        text: "\"often\" is not a duration.".into(),
    }];
    ChannelEditView {
        frame: frame(2),
        form,
    }
}

pub fn monitor_form() -> MonitorFormView {
    MonitorFormView {
        frame: frame(2),
        id: Some("m5".to_owned()),
        rev: "7".to_owned(),
        name: "db-backup".into(),
        schedule: "0 2 * *".into(),
        timezone: "UTC".into(),
        grace: "15m".into(),
        errors: vec![FormError {
            field: "schedule",
            text: "\"0 2 * *\" has four fields; a cron expression has five.".into(),
        }],
    }
}

pub fn monitor_form_new() -> MonitorFormView {
    let empty = Untrusted::default;
    MonitorFormView {
        id: None,
        rev: String::new(),
        name: empty(),
        schedule: empty(),
        timezone: empty(),
        grace: empty(),
        errors: Vec::new(),
        ..monitor_form()
    }
}

pub fn sign_in() -> SignInView {
    SignInView {
        frame: signed_out(),
        email: "admin@example.org".into(),
        next: "/incidents/412".into(),
        errors: vec![FormError {
            field: "",
            text: "That e-mail and password do not belong together. Try again.".into(),
        }],
    }
}

pub fn unsubscribe() -> UnsubscribeView {
    UnsubscribeView {
        frame: signed_out(),
        token: "3-c3lzdG9sZQ".to_owned(),
        from: "systole@example.org".into(),
        address: "lead".into(),
        errors: vec![FormError {
            field: "address",
            text: "This is not an e-mail address; it looks like name@example.org.".into(),
        }],
        done: false,
    }
}

pub fn unsubscribed() -> UnsubscribeView {
    UnsubscribeView {
        address: "lead@example.org".into(),
        errors: Vec::new(),
        done: true,
        ..unsubscribe()
    }
}

pub fn setup() -> SetupView {
    SetupView {
        frame: signed_out(),
        code: "".into(),
        email: "admin@example.org".into(),
        errors: vec![FormError {
            field: "password",
            text: "The password has 8 characters; it needs 12 or more.".into(),
        }],
    }
}

pub fn error() -> ErrorView {
    ErrorView {
        frame: frame(2),
        status: 404,
        title: "There is no such page".into(),
        detail: "The monitor may have been deleted, or the address is not whole.".into(),
        request_id: "0198f2c4-7b1e".into(),
    }
}
