//! `systole export`: monitors, channels and maintenances as documents that `apply` reads back to no change.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Map, Value, json};
use systole_wire::{
    Channel, ChannelInput, HeartbeatInput, Maintenance, MaintenanceInput, Monitor, MonitorDetail,
    MonitorInput, REDACTED,
};

use crate::cli::{ExportArgs, ExportFormat};
use crate::client::Api;
use crate::failure::Failure;
use crate::out;

/// More than this `apply` does not read from one file.
const LARGEST_FILE: usize = 4 << 20;
const MOST_DOCUMENTS: usize = 10_000;

/// Fields in the order in which people read them; others follow by name.
const ORDER: [&str; 27] = [
    "kind",
    "type",
    "name",
    "slug",
    "description",
    "schedule",
    "grace",
    "start_grace",
    "max_runtime",
    "early_window",
    "fail_threshold",
    "recovery_threshold",
    "severity",
    "labels",
    "owner",
    "runbook_url",
    "channels",
    "default",
    "system",
    "remind_every",
    "digest",
    "config",
    "token",
    "selector",
    "monitors",
    "all",
    "when",
];

/// Writes the documents to stdout, channels first, maintenances last, each kind by name.
///
/// # Errors
/// What the server says, or an object that this release cannot write down.
pub async fn run(args: ExportArgs) -> Result<(), Failure> {
    if let Some(set) = &args.set {
        super::plan::check_set(set)?;
    }
    let api = Api::connect(&args.connection)?;
    // To those who may not edit, tokens and URLs are not shown: what they export could not be applied. This asks for the
    // same right, and whether jobs report by name, which documents do not carry.
    let ping_key = api.call("GET", "/ping-key", None, None).await?;
    let query: Vec<(&str, &str)> = args.set.iter().map(|set| ("set", set.as_str())).collect();
    let channels = api.list("/channels", &[]).await?;
    let monitors = api.list("/monitors", &query).await?;
    let maintenances = api.list("/maintenances", &[]).await?;
    let is_asked_for =
        |object: &Value| args.set.is_none() || object["set"].as_str() == args.set.as_deref();
    let mut export = Export::default();
    for channel in by_name(channels) {
        if is_asked_for(&channel) {
            export.channel(channel)?;
        }
    }
    for monitor in by_name(monitors) {
        export.monitor(monitor)?;
    }
    for maintenance in by_name(maintenances) {
        if is_asked_for(&maintenance) {
            export.maintenance(maintenance)?;
        }
    }
    if let Some(path) = &args.env_file {
        write_new(path, &export.env_file()).map_err(|error| {
            Failure::failed(format!(
                "cannot write {}: {error}; name a file that is not there yet",
                path.display()
            ))
        })?;
    }
    let has_ping_key = !ping_key["ping_key"].is_null();
    let text = match args.output {
        ExportFormat::Yaml => export.yaml(has_ping_key)?,
        ExportFormat::Json => {
            eprint!("{}", export.remarks(has_ping_key, ""));
            out::json(&Value::from(export.values())) + "\n"
        }
    };
    if text.len() > LARGEST_FILE || export.documents.len() > MOST_DOCUMENTS {
        eprintln!(
            "systole: warning: these are {} documents in {} bytes, and apply reads {MOST_DOCUMENTS} documents in {LARGEST_FILE} bytes from one file; divide it, or export set by set",
            export.documents.len(),
            text.len()
        );
    }
    Ok(out::print(&text)?)
}

fn by_name(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by(|a, b| {
        (a["kind"].as_str(), a["name"].as_str()).cmp(&(b["kind"].as_str(), b["name"].as_str()))
    });
    items
}

/// A secret that the documents refer to.
struct Variable {
    name: String,
    /// For people: `token of heartbeat nightly`.
    what: String,
    /// Where the server shows it.
    value: Option<String>,
}

#[derive(Default)]
struct Export {
    documents: Vec<Map<String, Value>>,
    variables: Vec<Variable>,
    taken: BTreeSet<String>,
}

impl Export {
    fn channel(&mut self, object: Value) -> Result<(), Failure> {
        let channel: Channel = read(object)?;
        let name = channel.name.clone();
        let mut config = Value::Object(channel.config);
        self.refer(&mut config, "config", &["channel", &name], &[]);
        let input = ChannelInput {
            name: channel.name,
            kind: "channel".to_owned(),
            config: config.as_object().cloned().unwrap_or_default(),
            default: Some(channel.default),
            system: Some(channel.system),
            remind_every: Some(channel.remind_every),
            digest: Some(channel.digest),
            // Whose it is, is said when it is applied.
            set: None,
        };
        self.document(&input, &[("type", Value::from(channel.kind))])
    }

    fn monitor(&mut self, object: Value) -> Result<(), Failure> {
        let monitor: Monitor = read(object)?;
        let mut common = monitor.common;
        common.set = None;
        let MonitorDetail::Heartbeat { spec, status } = monitor.detail;
        let what = format!("token of heartbeat {}", common.name);
        let token = status
            .token
            .map(|token| self.variable(&["heartbeat", &common.name, "token"], what, Some(token)));
        let input = MonitorInput::Heartbeat(HeartbeatInput {
            common,
            spec,
            token: None,
        });
        let token = token.map(|token| ("token", json!({"env": token})));
        self.document(&input, &token.into_iter().collect::<Vec<_>>())
    }

    fn maintenance(&mut self, object: Value) -> Result<(), Failure> {
        let maintenance: Maintenance = read(object)?;
        let input = MaintenanceInput {
            name: maintenance.name,
            description: maintenance.description,
            selector: maintenance.selector,
            monitors: maintenance.monitors,
            all: maintenance.all,
            when: maintenance.when,
            set: None,
        };
        self.document(&input, &[("kind", Value::from("maintenance"))])
    }

    /// Only what says something: `apply` leaves alone what is not written. An empty list of channels does: none.
    fn document(
        &mut self,
        input: &impl serde::Serialize,
        more: &[(&str, Value)],
    ) -> Result<(), Failure> {
        let Value::Object(mut fields) = serde_json::to_value(input).map_err(Failure::failed)?
        else {
            return Err(Failure::failed("an object cannot be written as a document"));
        };
        fields.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        fields.retain(|_, value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        });
        self.documents.push(fields);
        Ok(())
    }

    /// Puts references in the place of secrets, however deep they stand.
    fn refer(&mut self, value: &mut Value, place: &str, whose: &[&str; 2], path: &[&str]) {
        match value {
            Value::String(text) if text.contains(REDACTED) => {
                let parts: Vec<&str> = whose.iter().chain(path).copied().collect();
                let what = format!("{place} of {} {}", whose[0], whose[1]);
                *value = json!({"env": self.variable(&parts, what, None)});
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
                    self.refer(value, &format!("{place}.{name}"), whose, &path);
                }
            }
            _ => {}
        }
    }

    /// A variable's name that no other secret has.
    fn variable(&mut self, parts: &[&str], what: String, value: Option<String>) -> String {
        let base = variable_name(parts);
        let mut name = base.clone();
        let mut n = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{base}_{n}");
            n += 1;
        }
        self.variables.push(Variable {
            name: name.clone(),
            what,
            value,
        });
        name
    }

    /// What whoever applies this must know.
    fn remarks(&self, has_ping_key: bool, begin: &str) -> String {
        let mut lines = Vec::new();
        if !self.variables.is_empty() {
            lines.push(
                "Secrets are not in here. Set these variables where `systole apply` runs:"
                    .to_owned(),
            );
            lines.extend(
                self.variables
                    .iter()
                    .map(|variable| format!("  {}: {}", variable.name, out::shown(&variable.what))),
            );
            lines.push(
                "`systole export --env-file FILE` writes those that the server shows; secrets of channels it never does."
                    .to_owned(),
            );
        }
        if has_ping_key {
            lines.push(
                "The ping key of check-ins by name is not in documents; `systole db backup` takes everything along."
                    .to_owned(),
            );
        }
        lines
            .iter()
            .map(|line| format!("{begin}{line}\n"))
            .collect()
    }

    fn env_file(&self) -> String {
        let mut text = String::from("# set -a; . ./THIS_FILE; set +a\n");
        for variable in &self.variables {
            let what = out::shown(&variable.what);
            match &variable.value {
                // A token's letters need no quotes in any shell.
                Some(value) => text.push_str(&format!("# {what}\n{}={value}\n", variable.name)),
                None => text.push_str(&format!(
                    "# {what}: the server never shows it, fill it in\n#{}=\n",
                    variable.name
                )),
            }
        }
        text
    }

    fn values(&self) -> Vec<Value> {
        self.documents.iter().cloned().map(Value::Object).collect()
    }

    fn yaml(&self, has_ping_key: bool) -> Result<String, Failure> {
        let mut text = String::from("# Written by `systole export`, for `systole apply -f`.\n");
        text.push_str(&self.remarks(has_ping_key, "# "));
        for document in &self.documents {
            text.push_str("---\n");
            let place = |name: &String| {
                ORDER
                    .iter()
                    .position(|known| known == name)
                    .unwrap_or(ORDER.len())
            };
            let mut fields: Vec<(&String, &Value)> = document.iter().collect();
            fields.sort_by_key(|(name, _)| place(name));
            for (name, value) in fields {
                let written = out::yaml_field(name, value).map_err(Failure::failed)?;
                text.push_str(&written);
                if !written.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> Result<T, Failure> {
    let label = format!(
        "{} {}",
        out::shown(object["kind"].as_str().unwrap_or("maintenance")),
        out::shown(object["name"].as_str().unwrap_or_default())
    );
    serde_json::from_value(object).map_err(|error| {
        Failure::failed(format!(
            "{label} cannot be written as a document by this release ({error}); use the systole of the server's version"
        ))
    })
}

/// `HEARTBEAT_NIGHTLY_BACKUP_TOKEN`: what every shell takes.
fn variable_name(parts: &[&str]) -> String {
    let mut name = String::new();
    for part in parts {
        if !name.is_empty() {
            name.push('_');
        }
        let before = name.len();
        for c in part.chars() {
            if c.is_ascii_alphanumeric() {
                name.push(c.to_ascii_uppercase());
            } else if name.len() > before && !name.ends_with('_') {
                name.push('_');
            }
        }
        name.truncate(name.trim_end_matches('_').len());
    }
    name
}

/// A file that was not there, readable by this user alone.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use systole_wire::document::{self, SecretReference};

    use super::*;

    #[test]
    fn variables_have_names_that_shells_take_and_nobody_else_has() {
        let mut export = Export::default();
        let mut name = |parts: &[&str]| export.variable(parts, String::new(), None);
        for (parts, expected) in [
            (
                &["channel", "on-call", "secret"][..],
                "CHANNEL_ON_CALL_SECRET",
            ),
            (
                &["channel", "on call", "secret"],
                "CHANNEL_ON_CALL_SECRET_2",
            ),
            (
                &["channel", "on_call", "secret"],
                "CHANNEL_ON_CALL_SECRET_3",
            ),
            (&["heartbeat", "日本", "token"], "HEARTBEAT_TOKEN"),
            (
                &["heartbeat", "☂ Ångström!", "token"],
                "HEARTBEAT_NGSTR_M_TOKEN",
            ),
            (
                &["channel", "a", "headers", "X-Key"],
                "CHANNEL_A_HEADERS_X_KEY",
            ),
        ] {
            assert_eq!(name(parts), expected);
        }
    }

    #[test]
    fn every_text_is_read_back_as_it_was() {
        for text in [
            "no",
            "yes",
            "on",
            "null",
            "~",
            "true",
            "1",
            "1.5",
            "1e3",
            "0x1f",
            "0o7",
            "1_000",
            ".inf",
            ".nan",
            "2026-11-25",
            "12:30:00",
            "- a",
            "? a",
            "a: b",
            "a #b",
            "#a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "'a'",
            "\"a\"",
            "a\nb",
            "a\nb\n",
            "a\n\n b\n\n",
            "\ttab",
            "a\r\nb",
            "{a}",
            "[a]",
            "a\\nb",
            "日本 ☂",
            "---",
            "...",
            "<<",
            "=",
            "|",
            ">",
            " two  spaces",
            "---\nkind: heartbeat",
            "\u{1F600}",
            &"long ".repeat(300),
        ] {
            let mut export = Export::default();
            let monitor = json!({
                "id": "mon_1", "rev": 1, "kind": "heartbeat", "name": "a", "description": text, "owner": null,
                "state": "up", "since": null, "open_incident": null, "created_at": "x", "schedule": {"cron": "* * * * *"},
                "labels": {"a": "no", "b": "1"}, "channels": [], "token": "0123456789",
            });
            export.monitor(monitor).unwrap();
            let yaml = export.yaml(false).unwrap();
            let documents = document::split(&yaml).unwrap();
            assert_eq!(documents.len(), 1, "{yaml}");
            let mut secret = |reference: &SecretReference| match reference {
                SecretReference::Environment(name) if name == "HEARTBEAT_A_TOKEN" => {
                    Ok("0123456789".to_owned())
                }
                other => Err(format!("{other:?}")),
            };
            let document = document::read(documents[0].1.clone(), &mut secret).unwrap();
            assert_eq!(document.fields["description"], text, "{yaml}");
            assert_eq!(
                document.fields["labels"],
                json!({"a": "no", "b": "1"}),
                "{yaml}"
            );
            assert_eq!(document.fields["channels"], json!([]), "{yaml}");
            assert_eq!(document.fields["token"], "0123456789");
        }
    }
}
