//! What a handler fills for each page. Every struct says which forms its page sends, and what is in them.
//!
//! Forms are plain `application/x-www-form-urlencoded` POSTs to the same origin; the server checks `Origin`, and answers 303
//! to the page where the result is seen (or the same page with [`FormError`]s and status 422).

use systole_core::time::{Span, Time};

use super::text::Untrusted;
pub use crate::channels::Input;

mod maintenance;

pub use maintenance::{MaintenanceView, Opening, WindowRow};

/// What a page shows of a monitor, an incident, a run or a delivery: a shape, a word and a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing seen yet.
    New,
    /// Well.
    Up,
    /// In its grace, or failures below the threshold.
    Late,
    /// Well, but slow.
    Degraded,
    /// Failing from a minority of regions.
    Partial,
    /// Failing.
    Down,
    /// Stopped by a person.
    Paused,
    /// We cannot tell.
    Unknown,
    /// In a planned maintenance.
    Maintenance,
    /// Of an incident: nobody has taken it.
    Open,
    /// Of an incident: somebody has.
    Acknowledged,
    /// Of an incident: over.
    Resolved,
    /// Of a delivery or an attempt: arrived.
    Delivered,
    /// Of a delivery: to be tried, or tried again.
    Pending,
    /// Of an attempt: it failed. Of a delivery: given up.
    Dead,
    /// Of a delivery: needless before it was sent.
    Superseded,
}

impl State {
    /// The word, as people read it.
    pub const fn word(self) -> &'static str {
        match self {
            State::New => "New",
            State::Up => "Up",
            State::Late => "Late",
            State::Degraded => "Degraded",
            State::Partial => "Partial",
            State::Down => "Down",
            State::Paused => "Paused",
            State::Unknown => "Unknown",
            State::Maintenance => "Maintenance",
            State::Open => "Open",
            State::Acknowledged => "Acknowledged",
            State::Resolved => "Resolved",
            State::Delivered => "Delivered",
            State::Pending => "Pending",
            State::Dead => "Failed",
            State::Superseded => "Not sent",
        }
    }

    /// The class that carries shape and colour in `systole.css`.
    pub const fn class(self) -> &'static str {
        match self {
            State::New | State::Unknown | State::Superseded => "s-ring",
            State::Up | State::Resolved | State::Delivered => "s-up",
            State::Late => "s-late",
            State::Degraded | State::Partial => "s-partial",
            State::Down | State::Open | State::Dead => "s-down",
            State::Paused => "s-paused",
            State::Maintenance => "s-care",
            State::Acknowledged | State::Pending => "s-taken",
        }
    }

    /// The value of `?state=` and of the API.
    pub const fn key(self) -> &'static str {
        match self {
            State::New => "new",
            State::Up => "up",
            State::Late => "late",
            State::Degraded => "degraded",
            State::Partial => "partial",
            State::Down => "down",
            State::Paused => "paused",
            State::Unknown => "unknown",
            State::Maintenance => "maintenance",
            State::Open => "open",
            State::Acknowledged => "acknowledged",
            State::Resolved => "resolved",
            State::Delivered => "delivered",
            State::Pending => "pending",
            State::Dead => "dead",
            State::Superseded => "superseded",
        }
    }
}

/// What every page has around it. `POST /sign-out` (no fields) is in the bar.
///
/// The script fetches the page again every few seconds with the header `x-refresh: 1`: such a request shows nobody at the
/// keyboard, and should not keep a session from growing idle.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The time of the request.
    pub now: Time,
    /// Who is signed in. Without one there is no navigation.
    pub viewer: Option<Viewer>,
    /// Said above the page: what was just done, and what is wrong with the set-up (plain HTTP, loopback ping URLs, no system
    /// channel).
    pub notices: Vec<Notice>,
    /// Incidents open now: in the bar, and before the title.
    pub open_incidents: usize,
}

/// Who is signed in.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// E-mail address, or the token's name.
    pub name: Untrusted,
    /// Roles editor and admin; others see no buttons.
    pub can_edit: bool,
}

/// One line above the page.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Whether it is a warning; else it confirms what was done.
    pub warning: bool,
    /// A sentence, or its beginning where links end it.
    pub text: Untrusted,
    /// Where to mend it: path of ours and label, after the text.
    pub links: Vec<(String, Untrusted)>,
    /// Whether it is about the set-up and stays until that is mended: it stands below what is wrong now.
    pub standing: bool,
}

/// What is wrong with one field, or with the whole form where `field` is empty.
#[derive(Clone, Debug)]
pub struct FormError {
    /// The field's name in the form.
    pub field: &'static str,
    /// A sentence: what is wrong and what to do.
    pub text: Untrusted,
}

/// `GET /sign-in`. Sends `POST /sign-in` with `email`, `password`, `next`, or with `token`, `next` (an administrator's token).
///
/// A page that needs a session answers 303 to `/sign-in?next=PATH`; the handler accepts a `next` only if it begins with one
/// `/` and not with `//` or `/\`.
#[derive(Clone, Debug)]
pub struct SignInView {
    /// Around it.
    pub frame: Frame,
    /// What was typed before.
    pub email: Untrusted,
    /// Where to go afterwards: a path of ours.
    pub next: Untrusted,
    /// Why the last try failed.
    pub errors: Vec<FormError>,
}

/// `GET /unsubscribe/{token}`, for whoever has the link. Sends `POST /unsubscribe/{token}` with `address`. It never shows
/// who the recipients are.
#[derive(Clone, Debug)]
pub struct UnsubscribeView {
    /// Around it.
    pub frame: Frame,
    /// Of the link.
    pub token: String,
    /// Who sends the letters.
    pub from: Untrusted,
    /// What was typed before.
    pub address: Untrusted,
    /// Why the last try failed.
    pub errors: Vec<FormError>,
    /// It was done, if there was something to do.
    pub done: bool,
}

/// `GET /setup`. Sends `POST /setup` with `code`, `email`, `password`. The code stands in the fragment, which browsers do not
/// send; the script copies it into the field, without the script a person pastes it.
#[derive(Clone, Debug)]
pub struct SetupView {
    /// Around it.
    pub frame: Frame,
    /// What was typed before, so that a short password does not cost the code.
    pub code: Untrusted,
    /// What was typed before.
    pub email: Untrusted,
    /// Why the last try failed.
    pub errors: Vec<FormError>,
}

/// `GET /?q=&state=&cursor=`. Sends `POST /incidents/{number}/acknowledge` with `back=/`.
#[derive(Clone, Debug)]
pub struct OverviewView {
    /// Around it.
    pub frame: Frame,
    /// Open incidents, worst first, at most twenty.
    pub open: Vec<OpenIncident>,
    /// When the engine last looked at every deadline; none: not yet.
    pub last_look: Option<Time>,
    /// Monitors per state, in the order shown, without the empty ones. They add up to all monitors.
    pub counts: Vec<(State, usize)>,
    /// What is searched for: `q`.
    pub query: Untrusted,
    /// What is filtered for: `state`.
    pub state: Option<State>,
    /// Monitors that match, newest change first: one page, at most forty.
    pub rows: Vec<MonitorRow>,
    /// How many match on all pages.
    pub matching: usize,
    /// The `cursor` of the next page.
    pub next: Option<Untrusted>,
    /// Whether this page is not the first.
    pub later_page: bool,
    /// What the ping and API URLs begin with, for the lines shown while there is no monitor.
    pub base_url: Untrusted,
    /// Where `local-token` is.
    pub token_file: Untrusted,
}

/// An open incident on the overview.
#[derive(Clone, Debug)]
pub struct OpenIncident {
    /// Its number.
    pub number: u64,
    /// Of the monitor: down, late …
    pub monitor_state: State,
    /// Whether somebody has it; then there is no button.
    pub acknowledged: bool,
    /// When it went wrong.
    pub since: Time,
    /// The monitor's name.
    pub monitor: Untrusted,
    /// The monitor's labels, `key=value`.
    pub labels: Vec<Untrusted>,
    /// One sentence: what is wrong.
    pub what: Untrusted,
    /// One sentence: who was told, who has it.
    pub told: Untrusted,
}

/// A monitor in the list.
#[derive(Clone, Debug)]
pub struct MonitorRow {
    /// For `/monitors/{id}`.
    pub id: String,
    /// Its name.
    pub name: Untrusted,
    /// `key=value`.
    pub labels: Vec<Untrusted>,
    /// `Heartbeat`.
    pub kind: &'static str,
    /// Its state.
    pub state: State,
    /// Whether a maintenance lies over it.
    pub maintenance: bool,
    /// Since when it is in it.
    pub since: Time,
    /// Of the last check-in.
    pub last: Option<Time>,
    /// How long the last run took, if it was measured.
    pub took: Option<Span>,
    /// What comes next.
    pub next: Option<Due>,
    /// The last runs, oldest first, at most twenty.
    pub recent: Vec<Outcome>,
}

/// What a monitor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The next beat.
    Beat(Time),
    /// The end of the grace of a beat that did not come.
    Grace(Time),
    /// A beat that was due then and is missing.
    Overdue(Time),
    /// The end of a run that has started, at the latest.
    Finish(Time),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// It said so.
    Failure,
    /// Its limit passed.
    Overran,
    /// It never came.
    Missed,
    /// It has not ended.
    Running,
}

/// `GET /monitors/{id}`. Sends, without fields, `POST /monitors/{id}/pause`, `/resume`, `/rotate-token`, `/delete`.
/// `GET /monitors/{id}/edit` is linked where `editable`.
#[derive(Clone, Debug)]
pub struct MonitorView {
    /// Around it.
    pub frame: Frame,
    /// For the routes.
    pub id: String,
    /// Its name.
    pub name: Untrusted,
    /// `Heartbeat`.
    pub kind: &'static str,
    /// Free text of its owner.
    pub description: Untrusted,
    /// `key=value`.
    pub labels: Vec<Untrusted>,
    /// Its state.
    pub state: State,
    /// The maintenance that lies over it: its name, and until when.
    pub maintenance: Option<(Untrusted, Time)>,
    /// Since when it is in it.
    pub since: Time,
    /// One sentence: why it is in it.
    pub why: Untrusted,
    /// Warnings of the API (`no_channel`), as sentences.
    pub warnings: Vec<Untrusted>,
    /// The number of its open incident.
    pub open_incident: Option<u64>,
    /// What it waits for.
    pub due: Option<Due>,
    /// The schedule in words: `every 6 h`, `at 02:00 every day, Europe/Berlin`.
    pub schedule_words: Untrusted,
    /// How late a beat may be.
    pub grace: Span,
    /// Where it pings, and with what; none for viewers.
    pub ping: Option<super::snippets::Ping>,
    /// Its last runs, oldest first, at most sixty.
    pub runs: Vec<Run>,
    /// When beats were and are expected, within the time the runs span.
    pub slots: Vec<Time>,
    /// How long a run may take.
    pub limit: Option<Span>,
    /// The last ninety days, today among them, the oldest first.
    pub days: Vec<Day>,
    /// Newest first, at most twenty.
    pub checkins: Vec<Checkin>,
    /// Newest first, at most ten.
    pub incidents: Vec<IncidentRow>,
    /// Name and value in the words of the API, in its order.
    pub settings: Vec<(&'static str, Untrusted)>,
    /// Whether the edit form is there.
    pub editable: bool,
}

/// A day, in UTC. What is neither up nor down of it is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// Its midnight.
    pub start: Time,
    /// How long it was known to be well.
    pub up: Span,
    /// How long it was down.
    pub down: Span,
}

impl Day {
    /// Whether anything is known of it.
    pub fn is_known(&self) -> bool {
        self.up > Span::ZERO || self.down > Span::ZERO
    }
}

/// One execution, from start to finish, or a slot that none came for.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its start; where none was sent, its end; of a missed one, the slot.
    pub at: Time,
    /// How long it took, or has taken so far.
    pub duration: Option<Span>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A check-in as it arrived.
#[derive(Clone, Debug)]
pub struct Checkin {
    /// When.
    pub at: Time,
    /// `start`, `success`, `fail`, `exit status 3`, `log`.
    pub kind: Untrusted,
    /// Its colour.
    pub state: State,
    /// How long the run took that it ended.
    pub duration: Option<Span>,
    /// From where and with what: `GET from 10.1.2.3, curl/8.14`.
    pub source: Untrusted,
    /// Its short message.
    pub message: Untrusted,
    /// Its body, any bytes.
    pub body: Vec<u8>,
    /// Whether more was sent than kept.
    pub truncated: bool,
}

/// `GET /incidents/{number}`. Sends `POST /incidents/{number}/acknowledge` and `/resolve` without fields, and `/note` with
/// `text`.
#[derive(Clone, Debug)]
pub struct IncidentView {
    /// Around it.
    pub frame: Frame,
    /// Its number.
    pub number: u64,
    /// For `/monitors/{id}`; none once the monitor is deleted.
    pub monitor_id: Option<String>,
    /// Whether its timeline takes notes yet.
    pub can_note: bool,
    /// The monitor's name.
    pub monitor: Untrusted,
    /// `key=value`.
    pub labels: Vec<Untrusted>,
    /// Open, acknowledged or resolved.
    pub state: State,
    /// The monitor's state now.
    pub monitor_state: State,
    /// `critical`, `error`, `warning`, `info`.
    pub severity: Untrusted,
    /// When it went wrong.
    pub started_at: Time,
    /// When we knew.
    pub detected_at: Time,
    /// When it was over.
    pub resolved_at: Option<Time>,
    /// The maintenance that lies over its monitor: its name, and until when.
    pub maintenance: Option<(Untrusted, Time)>,
    /// One sentence: what is wrong.
    pub what: Untrusted,
    /// One sentence: who has it, or who was told.
    pub told: Untrusted,
    /// What is known, by name.
    pub evidence: Vec<(&'static str, Untrusted)>,
    /// Where to read what to do: shown as a link only if it is `http` or `https`.
    pub runbook_url: Untrusted,
    /// The body of the check-in that told, any bytes.
    pub body: Vec<u8>,
    /// Newest first, at most a hundred.
    pub timeline: Vec<TimelineEntry>,
    /// What has not arrived first, then the newest.
    pub deliveries: Vec<DeliveryRow>,
}

/// Something that happened in an incident.
#[derive(Clone, Debug)]
pub struct TimelineEntry {
    /// When.
    pub at: Time,
    /// What.
    pub what: Untrusted,
    /// Why: the reason's sentence.
    pub why: Untrusted,
}

/// One message to one destination.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// The channel's name.
    pub channel: Untrusted,
    /// What it tells: `opened`, `resolved`, `reminder 2`.
    pub event: Untrusted,
    /// Delivered, pending or dead.
    pub state: State,
    /// When it was decided.
    pub at: Time,
    /// When it will be tried again.
    pub next_try: Option<Time>,
    /// Until when a maintenance holds it back.
    pub held_until: Option<Time>,
    /// Why it is not delivered, where that is known.
    pub why: Untrusted,
    /// Its tries, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One try.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub at: Time,
    /// How long it took.
    pub took: Span,
    /// Delivered or dead.
    pub state: State,
    /// What the other side said: `204 No Content`, `connect refused`.
    pub outcome: Untrusted,
}

/// `GET /incidents?state=&cursor=`; open ones first.
#[derive(Clone, Debug)]
pub struct IncidentsView {
    /// Around it.
    pub frame: Frame,
    /// Open, resolved, or all: `state`.
    pub state: Option<State>,
    /// One page, at most fifty.
    pub rows: Vec<IncidentRow>,
    /// The `cursor` of the next page.
    pub next: Option<Untrusted>,
}

/// An incident in a list.
#[derive(Clone, Debug)]
pub struct IncidentRow {
    /// Its number.
    pub number: u64,
    /// Open, acknowledged or resolved.
    pub state: State,
    /// The monitor's name.
    pub monitor: Untrusted,
    /// One sentence.
    pub what: Untrusted,
    /// When it went wrong.
    pub started_at: Time,
    /// When it was over.
    pub resolved_at: Option<Time>,
}

/// `GET /channels`. Sends `POST /channels` with `kind`, `name`, `default` (`on`), `system` (`on`) and the fields of the kind;
/// `POST /channels/{id}/test` and `/delete` without fields.
#[derive(Clone, Debug)]
pub struct ChannelsView {
    /// Around it.
    pub frame: Frame,
    /// By name.
    pub rows: Vec<ChannelRow>,
    /// One for each kind, for those who may edit.
    pub forms: Vec<ChannelForm>,
}

/// `GET /channels/{id}/edit`. Sends `POST /channels/{id}/edit` with the fields of `POST /channels`, `remind_every`, `digest`
/// (`on`), `rev`, and `forget-NAME` (`on`) for a secret that is to go.
#[derive(Clone, Debug)]
pub struct ChannelEditView {
    /// Around it.
    pub frame: Frame,
    /// The form, filled.
    pub form: ChannelForm,
}

/// The form of a channel of one kind.
#[derive(Clone, Debug)]
pub struct ChannelForm {
    /// Of the channel that is edited; none: a new one.
    pub id: Option<String>,
    /// Of the object that the form shows, so that two people do not overwrite each other.
    pub rev: String,
    /// `webhook`.
    pub kind: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Whether it is unfolded.
    pub open: bool,
    /// What was typed before.
    pub name: Untrusted,
    /// Whether these are ticked.
    pub default: bool,
    /// Whether these are ticked.
    pub system: bool,
    /// Whether these are ticked.
    pub digest: bool,
    /// After how long an open incident is said again.
    pub remind_every: Untrusted,
    /// What the kind asks for.
    pub fields: Vec<ChannelField>,
    /// Why the last try failed: of `name`, and of no field.
    pub errors: Vec<FormError>,
}

/// A field of such a form.
#[derive(Clone, Debug)]
pub struct ChannelField {
    /// Its name; its id is made of it and of the kind.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// What to enter.
    pub help: String,
    /// How it is asked for.
    pub input: Input,
    /// Whether it must be given.
    pub required: bool,
    /// What was typed before; of secrets nothing.
    pub value: Untrusted,
    /// Whether there is a secret, which stays when nothing is typed.
    pub kept: bool,
    /// Whether that secret can be taken away.
    pub can_forget: bool,
    /// What is wrong with that.
    pub error: Option<Untrusted>,
}

/// A channel in the list.
#[derive(Clone, Debug)]
pub struct ChannelRow {
    /// For the routes.
    pub id: String,
    /// Its name.
    pub name: Untrusted,
    /// `webhook`.
    pub kind: Untrusted,
    /// Where it goes, secrets left out.
    pub target: Untrusted,
    /// Used by monitors that name no channels.
    pub default: bool,
    /// Receives system incidents and dead deliveries.
    pub system: bool,
    /// The set of documents that owns it.
    pub set: Option<Untrusted>,
    /// What became of the last delivery.
    pub last: Option<(State, Time, Untrusted)>,
    /// Who was taken off by the link in its letters, and when. Sends `POST /channels/{id}/put-back` with `address`.
    pub unsubscribed: Vec<(Untrusted, Time)>,
}

/// `GET /monitors/new` and `GET /monitors/{id}/edit`. Sends `POST /monitors` or `POST /monitors/{id}/edit` with `name`,
/// `schedule` (a duration such as `1d`, or five cron fields), `timezone`, `grace`, and `rev` when editing.
#[derive(Clone, Debug)]
pub struct MonitorFormView {
    /// Around it.
    pub frame: Frame,
    /// Of the monitor that is edited; none: a new one.
    pub id: Option<String>,
    /// Of the object that the form shows, so that two people do not overwrite each other.
    pub rev: String,
    /// Field.
    pub name: Untrusted,
    /// Field.
    pub schedule: Untrusted,
    /// Field.
    pub timezone: Untrusted,
    /// Field.
    pub grace: Untrusted,
    /// Why the last try failed.
    pub errors: Vec<FormError>,
}

/// A page that says what went wrong: 403, 404, 500, 503 …
#[derive(Clone, Debug)]
pub struct ErrorView {
    /// Around it.
    pub frame: Frame,
    /// The status.
    pub status: u16,
    /// `There is no such page.`
    pub title: Untrusted,
    /// What to do.
    pub detail: Untrusted,
    /// For the log.
    pub request_id: Untrusted,
}
