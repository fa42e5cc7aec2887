//! One function per page: a view in, the whole document out.

use std::fmt;

use askama::Template;
use askama::filters::HtmlSafe;
use systole_core::time::{Span, Time};

use super::assets;
use super::days::{self, DayChart};
use super::draw::{self, RunChart};
use super::snippets::{self, Snippet};
use super::text::{Clock, Plain, TimeTag, Untrusted, count, took, visible_body, words};
use super::views::{
    ChannelEditView, ChannelField, ChannelsView, Due, ErrorView, FormError, IncidentView,
    IncidentsView, MaintenanceView, MonitorFormView, MonitorView, OverviewView, SetupView,
    SignInView, State, UnsubscribeView,
};
use crate::channels::Input;

/// Of check-in bodies on one page, so that it stays under 50 KB whatever was sent.
const BODIES_BUDGET: usize = 5_500;
/// Of one body.
const BODY_BUDGET: usize = 3_000;
/// Characters of a name in a list.
const NAME: usize = 60;
/// Characters of a sentence that may hold foreign text.
const SENTENCE: usize = 300;
/// Older than this, the last look is said to be old.
const STALE_LOOK: Span = Span::from_seconds(30);

/// Declares a page's struct, with what the base template asks for: `nav` is the entry of the navigation it belongs to,
/// `every` the seconds after which the script looks again (0: never). Then come fields of its own.
macro_rules! page {
    ($page:ident, $file:literal, $view:ty $(, $field:ident: $type:ty)*) => {
        #[derive(Template)]
        #[template(path = $file)]
        struct $page<'a> {
            view: &'a $view,
            clock: Clock,
            nav: &'static str,
            every: u8,
            can_edit: bool,
            $($field: $type,)*
        }
    };
}

/// Fills what [`page!`] declares and renders it. A template of ours fails only if writing to memory does.
macro_rules! rendered {
    ($page:ident, $view:expr, $nav:literal, $every:literal $(, $field:ident: $value:expr)*) => {
        $page {
            view: $view,
            clock: Clock($view.frame.now),
            nav: $nav,
            every: $every,
            can_edit: $view.frame.viewer.as_ref().is_some_and(|viewer| viewer.can_edit),
            $($field: $value,)*
        }
        .render()
        .unwrap_or_else(|error| format!("<!doctype html><title>Systole</title><p>This page could not be made: {error}."))
    };
}

page!(SignInPage, "sign_in.html", SignInView);
page!(SetupPage, "setup.html", SetupView);
page!(UnsubscribePage, "unsubscribe.html", UnsubscribeView);
page!(OverviewPage, "overview.html", OverviewView, total: usize, wellness: String, look_is_old: bool, state_key: &'static str);
page!(MonitorPage, "monitor.html", MonitorView, chart: Option<RunChart>, days: Option<DayChart>, lines: Vec<Snippet>, bodies: Vec<Body>);
page!(MonitorFormPage, "monitor_form.html", MonitorFormView);
page!(IncidentPage, "incident.html", IncidentView, rail: State);
page!(IncidentsPage, "incidents.html", IncidentsView, state_key: &'static str);
page!(ChannelEditPage, "channel_edit.html", ChannelEditView);
page!(ChannelsPage, "channels.html", ChannelsView);
page!(MaintenancePage, "maintenance.html", MaintenanceView);
page!(ErrorPage, "error.html", ErrorView);

/// The sign-in form.
pub fn sign_in(view: &SignInView) -> String {
    rendered!(SignInPage, view, "", 0)
}

/// The form that makes the administrator.
pub fn setup(view: &SetupView) -> String {
    rendered!(SetupPage, view, "", 0)
}

/// Where a recipient of letters takes themselves off the list.
pub fn unsubscribe(view: &UnsubscribeView) -> String {
    rendered!(UnsubscribePage, view, "", 0)
}

/// What is wrong now, then everything.
pub fn overview(view: &OverviewView) -> String {
    rendered!(OverviewPage, view, "overview", 5,
        total: view.counts.iter().map(|(_, n)| n).sum(),
        wellness: wellness(&view.counts),
        look_is_old: view.last_look.is_some_and(|look| view.frame.now.since(look) > STALE_LOOK),
        state_key: view.state.map_or("", State::key))
}

/// One monitor.
pub fn monitor(view: &MonitorView) -> String {
    let mut left = BODIES_BUDGET;
    let bodies = view
        .checkins
        .iter()
        .map(|checkin| {
            let (text, cut) = visible_body(&checkin.body, left.min(BODY_BUDGET));
            left = left.saturating_sub(text.len());
            Body { text, cut }
        })
        .collect();
    rendered!(MonitorPage, view, "overview", 5,
        chart: draw::run_chart(&view.runs, &view.slots, view.limit, view.frame.now),
        days: days::day_chart(&view.days),
        lines: view.ping.as_ref().map(snippets::lines).unwrap_or_default(),
        bodies: bodies)
}

/// A new or an edited heartbeat.
pub fn monitor_form(view: &MonitorFormView) -> String {
    rendered!(MonitorFormPage, view, "overview", 0)
}

/// One incident.
pub fn incident(view: &IncidentView) -> String {
    rendered!(IncidentPage, view, "incidents", 5,
        rail: if view.resolved_at.is_some() { State::Resolved } else { view.monitor_state })
}

/// All incidents.
pub fn incidents(view: &IncidentsView) -> String {
    rendered!(IncidentsPage, view, "incidents", 5, state_key: view.state.map_or("", State::key))
}

/// The channels.
pub fn channels(view: &ChannelsView) -> String {
    rendered!(ChannelsPage, view, "channels", 0)
}

/// One channel, to be edited.
pub fn channel_edit(view: &ChannelEditView) -> String {
    rendered!(ChannelEditPage, view, "channels", 0)
}

/// What is worked on, what will be.
pub fn maintenance(view: &MaintenanceView) -> String {
    rendered!(MaintenancePage, view, "maintenance", 5)
}

/// What went wrong.
pub fn error(view: &ErrorView) -> String {
    rendered!(ErrorPage, view, "", 0)
}

/// A body as the page shows it.
struct Body {
    text: String,
    cut: bool,
}

/// The `aria-describedby` and `aria-invalid` of a field are decided by whether it has an error.
fn error_of<'a>(errors: &'a [FormError], field: &str) -> Option<&'a Untrusted> {
    errors
        .iter()
        .find(|error| error.field == field)
        .map(|error| &error.text)
}

/// Whether a form says that a field may be left out; of several words one is chosen anyway.
fn may_be_left_out(field: &ChannelField) -> bool {
    !field.required && !field.kept && !matches!(field.input, Input::Choice(_))
}

/// The `type` of an input.
fn input_type(input: &Input) -> &'static str {
    match input {
        Input::Url => "url",
        Input::Secret => "password",
        Input::Number => "number",
        Input::Text | Input::Choice(_) | Input::List | Input::Lines | Input::Absent => "text",
    }
}

/// Bytes of a body for a page that shows one.
fn one_body(body: &[u8]) -> String {
    let (text, cut) = visible_body(body, BODIES_BUDGET);
    if cut { format!("{text}\n…") } else { text }
}

/// A query string of ours: what is not unreserved becomes percent signs.
fn query(parameters: &[(&str, &str)]) -> String {
    let mut out = String::from("?");
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        if out.len() > 1 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

/// How long it was from one time to another.
fn between(start: impl Plain<Time>, end: impl Plain<Time>) -> Span {
    end.plain().since(start.plain())
}

/// Whether a filter is the one chosen.
fn same(chosen: &Option<State>, state: impl Plain<State>) -> bool {
    *chosen == Some(state.plain())
}

/// The choices of how a maintenance repeats: value and words.
fn repeats() -> [(&'static str, &'static str); 5] {
    [
        ("once", "once"),
        ("daily", "every day"),
        ("weekly", "every week"),
        ("monthly", "every month"),
        ("rule", "by a rule"),
    ]
}

/// Whether a link of a user may be followed: no scheme but the web's.
fn is_web_link(url: &Untrusted) -> bool {
    url.raw().starts_with("https://") || url.raw().starts_with("http://")
}

/// `11 of 14 monitors are up; 2 late, 1 new.`
fn wellness(counts: &[(State, usize)]) -> String {
    let total: usize = counts.iter().map(|(_, n)| n).sum();
    let up: usize = counts
        .iter()
        .filter(|(state, _)| *state == State::Up)
        .map(|(_, n)| n)
        .sum();
    if up == total {
        return if total == 1 {
            "The monitor is up.".to_owned()
        } else {
            format!("All {total} monitors are up.")
        };
    }
    let others: Vec<String> = counts
        .iter()
        .filter(|(state, n)| *state != State::Up && *n > 0)
        .map(|(state, n)| format!("{n} {}", state.word().to_lowercase()))
        .collect();
    format!(
        "{up} of {} up; {}.",
        if total == 1 {
            "1 monitor is".to_owned()
        } else {
            format!("{total} monitors are")
        },
        others.join(", ")
    )
}

/// What a monitor waits for, in a list's cell.
struct DueTag(&'static str, TimeTag);

impl HtmlSafe for DueTag {}

impl fmt::Display for DueTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

fn due_tag(due: impl Plain<Due>, clock: &Clock) -> DueTag {
    match due.plain() {
        Due::Beat(time) | Due::Overdue(time) => DueTag("", clock.due(time)),
        Due::Grace(time) => DueTag("grace, ", clock.left(time)),
        Due::Finish(time) => DueTag("running, ", clock.left(time)),
    }
}

/// The three lines that make a heartbeat and beat it.
fn first_lines(base_url: &Untrusted, token_file: &Untrusted) -> String {
    format!(
        "TOKEN=$(cat {token_file})\n\
         PING=$(curl -fsS {base_url}/api/v1/monitors -H \"Authorization: Bearer $TOKEN\" --json \
         '{{\"kind\":\"heartbeat\",\"name\":\"first-beat\",\"schedule\":{{\"every\":\"1d\"}},\"grace\":\"1h\"}}' \
         | grep -o '\"ping_url\": *\"[^\"]*' | cut -d'\"' -f4)\n\
         curl -fsS --retry 3 \"$PING\"",
        token_file = shell_word(token_file.raw()),
        base_url = base_url.raw(),
    )
}

fn shell_word(text: &str) -> String {
    if !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._/~".contains(&b))
    {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
