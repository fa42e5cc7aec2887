//! Monitors as they are shown.

use systole_core::heartbeat::Shown;
use systole_core::schedule::Schedule;
use systole_core::time::Time;
use systole_store::monitors::{MonitorFields, MonitorRow};
use systole_wire::{HeartbeatStatus, Monitor, MonitorDetail, Warning};

use super::fields::{Channels, Written};
use crate::app::App;
use crate::compose::{incident_id, monitor_id};
use crate::principals::{Principal, Role};
use crate::provision::shown_token;

/// A monitor's row with what the engine knows of it. Its token is for those who may edit it.
pub(super) fn reply(app: &App, by: &Principal, row: &MonitorRow, channels: &Channels) -> Monitor {
    let now = app.now();
    let Written { common, spec } = Written::of(&row.fields, channels);
    let known = app.engine.read().monitor(row.id).cloned();
    let heartbeat = known.as_ref().map(|monitor| &monitor.heartbeat);
    let token = (by.role >= Role::Editor)
        .then(|| shown_token(app, &row.token_cipher).ok())
        .flatten();
    let time = |at: Time| (at != Time::NEVER && at != Time::MIN).then(|| at.to_string());
    let status = HeartbeatStatus {
        ping_url: token.as_deref().map(|token| app.ping_url(token)),
        token,
        last_checkin_at: known
            .as_ref()
            .and_then(|monitor| time(monitor.last_checkin)),
        next_expected_at: heartbeat.and_then(|heartbeat| time(heartbeat.awaited)),
        open_runs: heartbeat.map_or(0, |heartbeat| {
            u32::try_from(heartbeat.runs().len()).unwrap_or(u32::MAX)
        }),
        failures: heartbeat.map_or(0, |heartbeat| heartbeat.failures.into()),
        recoveries: heartbeat.map_or(0, |heartbeat| heartbeat.successes.into()),
    };
    let open = known
        .as_ref()
        .and_then(systole_core::engine::Monitor::open_incident);
    Monitor {
        id: monitor_id(row.id),
        rev: row.rev,
        common,
        state: heartbeat
            .map_or(Shown::New, |heartbeat| heartbeat.shown(now))
            .word()
            .to_owned(),
        since: time(heartbeat.map_or(row.created_at, |heartbeat| heartbeat.shown_since(now))),
        maintenance: app
            .maintenance
            .of(row.project)
            .cover(&row.fields.labels, row.id, now)
            .is_some(),
        open_incident: open.map(|incident| incident_id(incident.number)),
        warnings: warnings(app, &row.fields, channels, now),
        created_at: row.created_at.to_string(),
        detail: MonitorDetail::Heartbeat { spec, status },
    }
}

fn warnings(app: &App, fields: &MonitorFields, channels: &Channels, now: Time) -> Vec<Warning> {
    let warning = |code: &str, message: String| Warning {
        code: code.to_owned(),
        message,
    };
    let mut warnings = Vec::new();
    if !channels.reach(fields.channels.as_deref()) {
        let message = "nobody is told when it goes down: it resolves to no channel; make one, or name one here";
        warnings.push(warning("no_channel", message.to_owned()));
    }
    if names_loopback(app) {
        let message = format!(
            "its ping URL begins with {}, which only this machine can reach; set --base-url",
            app.base_url
        );
        warnings.push(warning("loopback_base_url", message));
    }
    warnings.extend(schedule_warnings(&fields.settings.schedule, now));
    warnings
}

/// What may surprise in a schedule, as warnings.
pub(super) fn schedule_warnings(schedule: &Schedule, now: Time) -> impl Iterator<Item = Warning> {
    schedule
        .warnings_after(now)
        .into_iter()
        .map(|message| Warning {
            code: "schedule".to_owned(),
            message,
        })
}

/// Whether ping URLs name this machine because nobody said how it is reached.
pub fn names_loopback(app: &App) -> bool {
    app.config.base_url.is_none() && app.is_base_url_loopback()
}
