//! What holds for every page, whatever is in it.

use super::render;
use super::samples;
use super::text::Untrusted;
use super::views::*;
use super::{assets, text};

const EVIL: &str = "<script>alert(1)</script>\"'&\u{202e}\0\u{7f}";

fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("overview", render::overview(&samples::overview())),
        (
            "overview, all well",
            render::overview(&samples::overview_well()),
        ),
        (
            "overview, empty",
            render::overview(&samples::overview_empty()),
        ),
        (
            "overview, nothing found",
            render::overview(&samples::overview_found_nothing()),
        ),
        ("monitor", render::monitor(&samples::monitor())),
        ("monitor, new", render::monitor(&samples::monitor_new())),
        (
            "monitor, edited",
            render::monitor_form(&samples::monitor_form()),
        ),
        (
            "monitor, made",
            render::monitor_form(&samples::monitor_form_new()),
        ),
        ("incident", render::incident(&samples::incident())),
        (
            "incident, resolved",
            render::incident(&samples::incident_resolved()),
        ),
        ("incidents", render::incidents(&samples::incidents())),
        ("channels", render::channels(&samples::channels())),
        (
            "channel, edited",
            render::channel_edit(&samples::channel_edit()),
        ),
        ("maintenance", render::maintenance(&samples::maintenance())),
        (
            "maintenance, empty",
            render::maintenance(&samples::maintenance_empty()),
        ),
        ("sign-in", render::sign_in(&samples::sign_in())),
        ("setup", render::setup(&samples::setup())),
        ("unsubscribe", render::unsubscribe(&samples::unsubscribe())),
        (
            "unsubscribed",
            render::unsubscribe(&samples::unsubscribed()),
        ),
        ("error", render::error(&samples::error())),
    ]
}

fn evil(fields: &mut [&mut Untrusted]) {
    for field in fields {
        **field = EVIL.into();
    }
}

fn evil_frame(frame: &mut Frame) {
    frame.notices.push(Notice {
        warning: true,
        links: vec![("/channels".to_owned(), EVIL.into())],
        standing: false,
        text: EVIL.into(),
    });
    if let Some(viewer) = &mut frame.viewer {
        viewer.name = EVIL.into();
    }
}

fn evil_incident_rows(rows: &mut [IncidentRow]) {
    for row in rows {
        evil(&mut [&mut row.monitor, &mut row.what]);
    }
}

fn evil_overview() -> OverviewView {
    let mut view = samples::overview();
    evil_frame(&mut view.frame);
    for open in &mut view.open {
        evil(&mut [
            &mut open.monitor,
            &mut open.what,
            &mut open.told,
            &mut open.labels[0],
        ]);
    }
    for row in &mut view.rows {
        row.name = EVIL.into();
        row.labels = vec![EVIL.into()];
    }
    view
}

fn evil_monitor() -> MonitorView {
    let mut view = samples::monitor();
    evil_frame(&mut view.frame);
    evil(&mut [
        &mut view.name,
        &mut view.description,
        &mut view.why,
        &mut view.schedule_words,
        &mut view.labels[0],
    ]);
    view.maintenance = Some((EVIL.into(), samples::NOW));
    view.warnings.push(EVIL.into());
    for checkin in &mut view.checkins {
        evil(&mut [&mut checkin.kind, &mut checkin.source, &mut checkin.message]);
        checkin.body = EVIL.as_bytes().to_vec();
    }
    view.settings
        .iter_mut()
        .for_each(|(_, value)| *value = EVIL.into());
    evil_incident_rows(&mut view.incidents);
    let ping = view.ping.as_mut().unwrap();
    evil(&mut [&mut ping.timezone]);
    view
}

fn evil_incident() -> IncidentView {
    let mut view = samples::incident();
    evil_frame(&mut view.frame);
    evil(&mut [
        &mut view.monitor,
        &mut view.severity,
        &mut view.what,
        &mut view.told,
        &mut view.runbook_url,
        &mut view.labels[0],
    ]);
    view.evidence
        .iter_mut()
        .for_each(|(_, value)| *value = EVIL.into());
    view.body = EVIL.as_bytes().to_vec();
    for entry in &mut view.timeline {
        evil(&mut [&mut entry.what, &mut entry.why]);
    }
    for delivery in &mut view.deliveries {
        evil(&mut [&mut delivery.channel, &mut delivery.event]);
        delivery
            .attempts
            .iter_mut()
            .for_each(|attempt| attempt.outcome = EVIL.into());
    }
    view
}

fn evil_channels() -> ChannelsView {
    let mut view = samples::channels();
    evil_frame(&mut view.frame);
    for row in &mut view.rows {
        evil(&mut [&mut row.name, &mut row.kind, &mut row.target]);
        row.set = Some(EVIL.into());
        row.last = Some((State::Dead, samples::NOW, EVIL.into()));
    }
    view.forms[0].fields[0].error = Some(EVIL.into());
    view
}

fn evil_maintenance() -> MaintenanceView {
    let mut view = samples::maintenance();
    evil_frame(&mut view.frame);
    let MaintenanceView {
        active,
        planned,
        over,
        ..
    } = &mut view;
    for row in active.iter_mut().chain(planned).chain(over) {
        evil(&mut [&mut row.name, &mut row.description]);
        row.covers = vec![EVIL.into()];
        row.rule = Some(EVIL.into());
        row.set = Some(EVIL.into());
        for next in &mut row.next {
            next.local = Some(EVIL.into());
        }
    }
    view.errors[0].text = EVIL.into();
    view
}

fn assert_escaped(name: &str, html: &str) {
    assert!(
        !html.contains("<script>alert"),
        "{name}: markup of others is markup"
    );
    assert!(
        html.contains("&#60;script&#62;"),
        "{name}: the sample was not shown at all"
    );
    assert!(
        !html.contains("script&#62;\""),
        "{name}: a quotation mark of others ends an attribute"
    );
}

#[test]
fn text_of_others_is_escaped_and_its_hidden_characters_are_shown() {
    let mut incidents = samples::incidents();
    evil_frame(&mut incidents.frame);
    evil_incident_rows(&mut incidents.rows);
    let mut error = samples::error();
    evil_frame(&mut error.frame);
    evil(&mut [&mut error.title, &mut error.detail, &mut error.request_id]);
    for (name, html) in [
        ("overview", render::overview(&evil_overview())),
        ("monitor", render::monitor(&evil_monitor())),
        ("incident", render::incident(&evil_incident())),
        ("incidents", render::incidents(&incidents)),
        ("channels", render::channels(&evil_channels())),
        ("maintenance", render::maintenance(&evil_maintenance())),
        ("error", render::error(&error)),
    ] {
        assert_escaped(name, &html);
        assert!(
            !html.contains(['\u{202e}', '\0', '\u{7f}']),
            "{name}: a hidden character stays hidden"
        );
        assert!(html.contains("‹U+202E›␀␡"), "{name}");
    }
}

#[test]
fn what_a_form_sends_back_is_escaped_and_otherwise_untouched() {
    let (mut sign_in, mut setup) = (samples::sign_in(), samples::setup());
    evil(&mut [&mut sign_in.email, &mut sign_in.next]);
    evil(&mut [&mut setup.email, &mut setup.code]);
    let mut unsubscribe = samples::unsubscribe();
    evil(&mut [&mut unsubscribe.address, &mut unsubscribe.from]);
    let (mut form, mut channels) = (samples::monitor_form(), samples::channels());
    evil(&mut [
        &mut form.name,
        &mut form.schedule,
        &mut form.timezone,
        &mut form.grace,
    ]);
    let of_channel = &mut channels.forms[0];
    evil(&mut [&mut of_channel.name]);
    for field in &mut of_channel.fields {
        evil(&mut [&mut field.value]);
    }
    evil(&mut [&mut of_channel.remind_every]);
    let mut maintenance = samples::maintenance();
    evil(&mut [
        &mut maintenance.name,
        &mut maintenance.selector,
        &mut maintenance.rule,
        &mut maintenance.start,
        &mut maintenance.duration,
        &mut maintenance.timezone,
    ]);
    let mut found = samples::overview_found_nothing();
    found.query = EVIL.into();
    for (name, html) in [
        ("sign-in", render::sign_in(&sign_in)),
        ("setup", render::setup(&setup)),
        ("unsubscribe", render::unsubscribe(&unsubscribe)),
        ("form", render::monitor_form(&form)),
        ("channels", render::channels(&channels)),
        ("maintenance", render::maintenance(&maintenance)),
        ("overview", render::overview(&found)),
    ] {
        assert_escaped(name, &html);
        assert!(
            html.contains("&#38;\u{202e}\0\u{7f}\""),
            "{name}: the field's value was changed"
        );
    }
}

#[test]
fn every_page_is_small_and_obeys_the_policy() {
    for (name, html) in pages() {
        assert!(html.len() < 50_000, "{name} has {} bytes", html.len());
        assert!(
            html.starts_with("<!doctype html>"),
            "{name}: {}",
            &html[..60]
        );
        for forbidden in [
            "style=",
            "<style",
            " onclick",
            " onload",
            " onsubmit",
            "javascript:",
            "<iframe",
            "<img",
        ] {
            assert!(!html.contains(forbidden), "{name} has {forbidden}");
        }
        for attribute in ["src=\"", "action=\"", "href=\""] {
            for (at, _) in html.match_indices(attribute) {
                let target = html[at + attribute.len()..].split('"').next().unwrap();
                let ours = (target.starts_with('/') && !target.starts_with("//"))
                    || target.starts_with('#');
                let runbook = target == samples::incident().runbook_url.raw();
                assert!(ours || runbook, "{name}: {attribute}{target}");
            }
        }
        assert!(
            !html.contains("/static/missing/"),
            "{name} names a file that is not in the table"
        );
        assert_eq!(html.matches("<script").count(), 1, "{name}");
    }
}

#[test]
fn the_largest_views_stay_small_too() {
    let mut monitor = evil_monitor();
    let run = monitor.runs[0];
    monitor.runs = vec![run; 60];
    monitor.slots = vec![run.at; 400];
    let mut checkin = monitor.checkins[0].clone();
    checkin.body = b"<&\x00\xff".repeat(2_500);
    checkin.message = "x".repeat(10_000).into();
    monitor.checkins = vec![checkin; 20];
    let html = render::monitor(&monitor);
    assert!(html.len() < 50_000, "{} bytes", html.len());

    let mut maintenance = evil_maintenance();
    let mut row = maintenance.planned[1].clone();
    row.name = "é".repeat(200).into();
    row.description = "é".repeat(4_000).into();
    row.covers = vec!["x".repeat(200).into(); 50];
    maintenance.planned = vec![row.clone(); 10];
    row.open = row.next.first().cloned();
    maintenance.active = vec![row.clone(); 10];
    maintenance.over = vec![row; 10];
    let html = render::maintenance(&maintenance);
    assert!(html.len() < 50_000, "{} bytes", html.len());

    let mut overview = samples::overview();
    for row in &mut overview.rows {
        row.name = "é".repeat(200).into();
    }
    let html = render::overview(&overview);
    assert!(html.len() < 50_000, "{} bytes", html.len());
}

#[test]
fn every_id_is_there_once_and_every_label_has_its_field() {
    for (name, html) in pages() {
        let ids = |attribute: &str| -> Vec<String> {
            html.match_indices(attribute)
                .map(|(at, _)| {
                    html[at + attribute.len()..]
                        .split('"')
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                })
                .collect()
        };
        let mut all = ids(" id=\"");
        all.sort();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before, "{name}: an id is there twice");
        for target in ids(" for=\"")
            .into_iter()
            .chain(ids("aria-labelledby=\""))
            .chain(ids("data-copy=\""))
        {
            assert!(all.contains(&target), "{name}: nothing has the id {target}");
        }
        for (at, _) in html.match_indices(" data-refresh") {
            let tag = &html[html[..at].rfind('<').unwrap()..at];
            assert!(
                tag.contains(" id=\""),
                "{name}: {tag} is refreshed and has no id"
            );
        }
    }
}

#[test]
fn those_who_may_only_look_see_no_buttons() {
    let mut frame = samples::frame(1);
    frame.viewer.as_mut().unwrap().can_edit = false;
    let mut overview = samples::overview();
    let mut monitor = samples::monitor();
    let mut incident = samples::incident();
    let mut channels = samples::channels();
    for own in [
        &mut overview.frame,
        &mut monitor.frame,
        &mut incident.frame,
        &mut channels.frame,
    ] {
        *own = frame.clone();
    }
    monitor.ping = None;
    monitor.editable = false;
    for html in [
        render::overview(&overview),
        render::monitor(&monitor),
        render::incident(&incident),
        render::channels(&channels),
    ] {
        let posts: Vec<&str> = html
            .match_indices("method=\"post\"")
            .map(|(at, _)| &html[at..at + 40])
            .collect();
        assert!(
            posts.iter().all(|post| post.contains("/sign-out")),
            "{posts:?}"
        );
        assert!(!html.contains("/ping/"));
    }
}

#[test]
fn a_runbook_is_a_link_only_where_a_browser_may_follow_it() {
    for (url, link) in [
        ("https://wiki.example.org/x", true),
        ("javascript:alert(1)", false),
        ("data:text/html,x", false),
    ] {
        let mut view = samples::incident();
        view.runbook_url = url.into();
        assert_eq!(
            render::incident(&view).contains(&format!("href=\"{url}\"")),
            link,
            "{url}"
        );
    }
}

#[test]
fn an_old_look_and_no_look_are_said() {
    let mut view = samples::overview_well();
    assert!(render::overview(&view).contains("Looked at"));
    view.last_look = Some(samples::NOW - systole_core::time::Span::from_seconds(31));
    assert!(render::overview(&view).contains("what is shown may be old"));
    view.last_look = None;
    assert!(render::overview(&view).contains("Has not looked at the deadlines yet"));
}

#[test]
fn filters_and_pages_keep_what_was_searched_for() {
    let mut view = samples::overview_found_nothing();
    view.next = Some("a+b".into());
    let html = render::overview(&view);
    assert!(
        html.contains("/?state=down&#38;q=nightly%20%22sync%22&#38;cursor=a%2Bb"),
        "{html}"
    );
    assert!(html.contains("/?state=late&#38;q=nightly%20%22sync%22"));
}

#[test]
fn the_script_and_the_server_name_the_same_relations() {
    let script = String::from_utf8_lossy(assets::all()[1].bytes);
    let clock = text::Clock(samples::NOW);
    for tag in [
        clock.ago(samples::NOW),
        clock.age(samples::NOW),
        clock.due(samples::NOW),
        clock.left(samples::NOW),
    ] {
        let tag = tag.to_string();
        let relation = tag
            .split("data-rel=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert!(
            script.contains(&format!("    {relation}: (past")),
            "{relation}"
        );
    }
}
