//! What an apply would do: each document against the object that there is, and what the documents no longer name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use systole_wire::document::{Document, DocumentKind};
use systole_wire::rules;

use super::apply_diff::{Change, Difference, difference};
use crate::client::Api;
use crate::failure::Failure;
use crate::out;

/// What is to be done for one document.
pub struct Step {
    /// What somebody wants.
    pub document: Document,
    /// What there is.
    pub object: Option<Value>,
    /// What that takes.
    pub action: Action,
    /// What else is to be said: whose it is, where it is not ours.
    pub note: Option<String>,
}

/// What a document takes.
#[derive(Debug)]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there; both empty where nothing differs.
    Change {
        /// What differs for certain.
        changed: Vec<Change>,
        /// Fields that cannot be compared from here.
        unsure: Vec<String>,
    },
    /// It cannot be done, and why.
    Refused(String),
}

impl Step {
    /// What it is about, safe to show.
    pub fn label(&self) -> String {
        let Document { kind, name, .. } = &self.document;
        format!("{} {}", kind.as_str(), out::shown(name))
    }
}

/// The names of fields that differ.
pub fn fields(changed: &[Change]) -> String {
    let names: Vec<&str> = changed.iter().map(|change| change.field.as_str()).collect();
    names.join(", ")
}

/// An object that its set made and the documents no longer name.
#[derive(Debug, PartialEq, Eq)]
pub struct Pruned {
    /// `heartbeat`, `channel` or `maintenance`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its revision.
    pub rev: Option<i64>,
    /// Where objects of its kind are found.
    pub path: &'static str,
    /// Monitors that stay and name this channel.
    pub named_by: Vec<String>,
}

impl Pruned {
    /// What it is about, safe to show.
    pub fn label(&self) -> String {
        format!("{} {}", out::shown(&self.kind), out::shown(&self.name))
    }
}

/// Where objects of a kind are found.
pub fn path(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Channel => "/channels",
        DocumentKind::Heartbeat => "/monitors",
        DocumentKind::Maintenance => "/maintenances",
    }
}

/// Refuses a name that no set can have.
///
/// # Errors
/// What is wrong with it.
pub fn check_set(set: &str) -> Result<(), Failure> {
    rules::set(set).map_err(|why| Failure::Usage(format!("--set: {why}")))
}

/// Looks for every document's object; `take` makes those of others the set's own.
///
/// # Errors
/// That the channels cannot be listed. What concerns one document alone is in its step.
pub async fn steps(
    api: &Api,
    documents: Vec<Document>,
    set: &str,
    take: bool,
) -> Result<Vec<Step>, Failure> {
    let channels = api.list("/channels", &[]).await?;
    let names: BTreeMap<String, String> = channels
        .iter()
        .filter_map(|channel| {
            Some((
                channel["id"].as_str()?.to_owned(),
                channel["name"].as_str()?.to_owned(),
            ))
        })
        .collect();
    let mut steps = Vec::with_capacity(documents.len());
    for document in documents {
        let step = match find(api, &document, &channels).await {
            Ok(object) => step(document, object, &names, set, take),
            Err(Failure::Failed(error)) => Step {
                document,
                object: None,
                action: Action::Refused(format!("{error:#}")),
                note: None,
            },
            Err(other) => return Err(other),
        };
        steps.push(step);
    }
    Ok(steps)
}

async fn find(
    api: &Api,
    document: &Document,
    channels: &[Value],
) -> Result<Option<Value>, Failure> {
    let is_it = |object: &&Value| object["name"] == document.name.as_str();
    match document.kind {
        DocumentKind::Channel => Ok(channels.iter().find(is_it).cloned()),
        DocumentKind::Heartbeat => {
            let query = [
                ("kind", document.kind.as_str()),
                ("name", document.name.as_str()),
            ];
            let found = api.list(path(document.kind), &query).await?;
            Ok(found.iter().find(is_it).cloned())
        }
        DocumentKind::Maintenance => {
            let found = api.list(path(document.kind), &[]).await?;
            Ok(found.iter().find(is_it).cloned())
        }
    }
}

fn step(
    document: Document,
    object: Option<Value>,
    channel_names: &BTreeMap<String, String>,
    set: &str,
    take: bool,
) -> Step {
    let Some(found) = &object else {
        return Step {
            document,
            object,
            action: Action::Create,
            note: None,
        };
    };
    let Difference {
        mut changed,
        unsure,
    } = difference(&document.fields, found, channel_names);
    let unchangeable = [
        ("kind", "delete it first"),
        (
            "token",
            "ask for another by rotate-token, or leave it out of the document",
        ),
    ];
    let refused = unchangeable.iter().find_map(|(field, advice)| {
        let is_changed = changed.iter().any(|change| change.field == *field);
        is_changed.then(|| format!("{field}: cannot be changed; {advice}"))
    });
    let owner = found["set"].as_str();
    let mut note = None;
    if owner != Some(set) {
        if take {
            changed.push(Change {
                field: "set".to_owned(),
                from: found["set"].clone(),
                to: Value::from(set),
            });
        } else {
            note = Some(match owner {
                Some(owner) => format!(
                    "it belongs to set {:?} and stays there (--take takes it)",
                    out::shown(owner)
                ),
                None => format!(
                    "it was not made by set {set:?}, which does not own it (--take takes it)"
                ),
            });
        }
    }
    Step {
        action: refused.map_or(Action::Change { changed, unsure }, Action::Refused),
        document,
        object,
        note,
    }
}

/// What the set owns and no document names: monitors before the channels that they name, and before the maintenances that
/// keep them quiet.
///
/// # Errors
/// What the server says.
pub async fn pruned(api: &Api, steps: &[Step], set: &str) -> Result<Vec<Pruned>, Failure> {
    let wanted: BTreeSet<(&str, &str)> = steps
        .iter()
        .map(|step| (step.document.kind.as_str(), step.document.name.as_str()))
        .collect();
    let monitors = api.list("/monitors", &[("set", set)]).await?;
    let mut pruned: Vec<Pruned> = monitors
        .iter()
        .filter_map(|object| unnamed(object, object["kind"].as_str()?, "/monitors", set, &wanted))
        .collect();
    let channels = api.list("/channels", &[]).await?;
    let channels: Vec<Pruned> = channels
        .iter()
        .filter_map(|object| unnamed(object, "channel", "/channels", set, &wanted))
        .collect();
    let maintenances = api.list("/maintenances", &[]).await?;
    let maintenances = maintenances
        .iter()
        .filter_map(|object| unnamed(object, "maintenance", "/maintenances", set, &wanted));
    let all = if channels.is_empty() {
        Vec::new()
    } else {
        api.list("/monitors", &[]).await?
    };
    let staying: Vec<&Value> = all
        .iter()
        .filter(|monitor| !pruned.iter().any(|gone| monitor["id"] == gone.id.as_str()))
        .collect();
    for mut channel in channels {
        channel.named_by = staying
            .iter()
            .filter(|monitor| names(monitor, steps, &channel.name))
            .filter_map(|monitor| Some(monitor["name"].as_str()?.to_owned()))
            .collect();
        pruned.push(channel);
    }
    pruned.extend(maintenances);
    Ok(pruned)
}

/// Whether a monitor names a channel once the documents are applied.
fn names(monitor: &Value, steps: &[Step], channel: &str) -> bool {
    let described = steps.iter().find(|step| {
        step.document.kind.as_str() == monitor["kind"]
            && step.document.name.as_str() == monitor["name"]
    });
    let list = described
        .and_then(|step| step.document.fields.get("channels"))
        .unwrap_or(&monitor["channels"]);
    list.as_array()
        .is_some_and(|list| list.iter().any(|name| name == channel))
}

fn unnamed(
    object: &Value,
    kind: &str,
    path: &'static str,
    set: &str,
    wanted: &BTreeSet<(&str, &str)>,
) -> Option<Pruned> {
    let name = object["name"].as_str()?;
    // Said by the server, and looked at again here: a server that does not know sets must not lose anything.
    let is_ours = object["set"].as_str() == Some(set);
    (is_ours && !wanted.contains(&(kind, name))).then(|| Pruned {
        kind: kind.to_owned(),
        name: name.to_owned(),
        id: object["id"].as_str().unwrap_or_default().to_owned(),
        rev: object["rev"].as_i64(),
        path,
        named_by: Vec::new(),
    })
}
