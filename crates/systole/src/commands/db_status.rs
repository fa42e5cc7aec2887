//! `systole db status`: which database it is, what it holds, which servers use it, who decides.

use serde_json::{Map, Value, json};
use systole_core::time::Time;
use systole_server::database::{self, Decider, Holdings, Standby, Status, View};
use systole_server::doctor::size;

use super::db::of;
use crate::cli::{StatusArgs, TextOrJson};
use crate::failure::Failure;
use crate::table::Table;
use crate::{out, times};

/// Looks, and shows it.
///
/// # Errors
/// Why it cannot be looked at.
pub async fn run(args: StatusArgs) -> Result<(), Failure> {
    let place = of(args.place)?;
    let view = database::view(&place).await.map_err(Failure::failed)?;
    let status = view.status().await.map_err(Failure::failed)?;
    // Ages are by the clock that wrote the times.
    let ours = times::now();
    let now = status.server.as_ref().map_or(ours, |server| server.now);
    Ok(out::print(&match args.output {
        TextOrJson::Text => text(&view, &status, now),
        TextOrJson::Json => out::json(&json(&view, &status)) + "\n",
    })?)
}

fn text(view: &View, status: &Status, now: Time) -> String {
    let mut text = String::new();
    let mut say = |name: &str, what: &str| {
        text += &format!("{name:<12} {}\n", out::shown(what));
    };
    say("database", view.place());
    match &status.server {
        Some(server) => say("kind", &format!("PostgreSQL {}", server.version)),
        None => say("kind", "SQLite, embedded"),
    }
    if let Some(server) = &status.server {
        say("standby", standby(server.standby).1);
        if server.is_standby {
            say("", "it is a standby itself and takes no writes");
        }
        if !server.is_durable {
            say("", "it acknowledges what is not on its disk yet");
        }
    }
    let version = status.identity.version;
    match &status.holdings {
        Some(_) => say(
            "schema",
            &format!("version {version}; the newest known is {}", status.known),
        ),
        None => say("schema", "none: no server has used it yet"),
    }
    say("size", &size(status.identity.bytes));
    let Some(holdings) = &status.holdings else {
        return text;
    };
    let counts = &holdings.counts;
    say("monitors", &counts.monitors.to_string());
    say("channels", &counts.channels.to_string());
    say("incidents", &counts.incidents.to_string());
    say("check-ins", &format!("{} in the log", counts.checkins));
    say("decides", &decides(&holdings.decider, now));
    say("checkpoint", &checkpoint(holdings, now));
    say("outbox", &outbox(holdings, now));
    text.push('\n');
    text += &streams(holdings, now);
    text
}

fn decides(decider: &Decider, now: Time) -> String {
    if decider.epoch == 0 {
        return "nobody has yet".to_owned();
    }
    let name = decider.replica.as_deref().unwrap_or("unknown");
    let who = format!("{name}, epoch {}", decider.epoch);
    match decider.until {
        None => who,
        Some(until) if until < now => {
            format!("nobody: the lease of {who}, has run out")
        }
        Some(until) => format!("{who}; the lease runs out {}", times::relative(until, now)),
    }
}

/// The newest row that it has read, as of when.
fn read_until(holdings: &Holdings) -> Option<Time> {
    let (_, vector) = holdings.checkpoint.as_ref()?;
    vector.values().map(|reached| reached.put).max()
}

fn checkpoint(holdings: &Holdings, now: Time) -> String {
    let Some((cut, vector)) = &holdings.checkpoint else {
        return "none yet".to_owned();
    };
    let mut said = format!("cut {cut}");
    if let Some(at) = read_until(holdings) {
        said += &format!(", {}", times::relative(at, now));
    }
    let newest = vector.iter().max_by_key(|(_, reached)| reached.put);
    if let Some((stream, reached)) = newest {
        said += &format!(", read to row {} of stream {stream}", reached.seq);
    }
    said
}

fn outbox(holdings: &Holdings, now: Time) -> String {
    let outbox = &holdings.outbox;
    let mut said = format!("{} waiting, {} given up", outbox.pending, outbox.dead);
    if let Some(oldest) = outbox.oldest {
        said += &format!("; the oldest was decided {}", times::relative(oldest, now));
    }
    said
}

fn streams(holdings: &Holdings, now: Time) -> String {
    if holdings.streams.is_empty() {
        return "no stream of the log is open\n".to_owned();
    }
    let mut table = Table::new(&["STREAM", "REPLICA", "ROWS", "OPENED", "LAST SIGN OF LIFE"]);
    for stream in &holdings.streams {
        let last = stream.last.map(|last| times::relative(last, now));
        table.row(vec![
            stream.number.to_string(),
            stream.replica.clone(),
            stream.seq.to_string(),
            times::relative(stream.opened, now),
            last.unwrap_or_default(),
        ]);
    }
    table.render()
}

/// For programs, and for people.
const fn standby(standby: Standby) -> (&'static str, &'static str) {
    match standby {
        Standby::None => ("none", "none is synchronous"),
        Standby::NotAwaited => (
            "not_awaited",
            "one is named, synchronous_commit does not wait for it",
        ),
        Standby::Missing => ("missing", "commits wait for one that is not there"),
        Standby::Unseen => (
            "unseen",
            "commits wait for one; this user may not see whether it is there",
        ),
        Standby::Present => ("present", "commits wait for one, which is there"),
    }
}

fn json(view: &View, status: &Status) -> Value {
    let at = |time: Time| time.to_string();
    let mut shown = json!({
        "database": view.place(),
        "kind": if status.server.is_some() { "postgresql" } else { "sqlite" },
        "schema_version": status.identity.version,
        "schema_known": status.known,
        "bytes": status.identity.bytes,
    });
    if let Some(server) = &status.server {
        shown["server"] = json!({
            "version": server.version,
            "now": at(server.now),
            "is_standby": server.is_standby,
            "is_durable": server.is_durable,
            "synchronous_standby": standby(server.standby).0,
        });
    }
    let Some(holdings) = &status.holdings else {
        return shown;
    };
    let counts = &holdings.counts;
    shown["monitors"] = counts.monitors.into();
    shown["channels"] = counts.channels.into();
    shown["incidents"] = counts.incidents.into();
    shown["checkins"] = counts.checkins.into();
    let decider = &holdings.decider;
    shown["decider"] = json!({
        "epoch": decider.epoch,
        "stream": decider.stream,
        "replica": decider.replica,
        "until": decider.until.map(at),
    });
    shown["checkpoint"] = match &holdings.checkpoint {
        None => Value::Null,
        Some((cut, vector)) => {
            let streams = vector
                .iter()
                .map(|(stream, reached)| (stream.to_string(), Value::from(reached.seq)));
            json!({
                "cut": cut,
                "at": read_until(holdings).map(at),
                "streams": streams.collect::<Map<String, Value>>(),
            })
        }
    };
    let outbox = &holdings.outbox;
    shown["outbox"] = json!({
        "pending": outbox.pending,
        "dead": outbox.dead,
        "oldest_at": outbox.oldest.map(at),
    });
    let streams = holdings.streams.iter().map(|stream| {
        json!({
            "stream": stream.number,
            "replica": stream.replica,
            "opened_at": at(stream.opened),
            "rows": stream.seq,
            "last_at": stream.last.map(at),
        })
    });
    shown["streams"] = streams.collect();
    shown
}
