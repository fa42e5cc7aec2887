//! What an apply would do: each document against the object that there is, and what the documents no longer name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;
use systole_wire::document::{Document, DocumentKind};
use systole_wire::rules;

use super::apply_diff::{Change, Difference, difference};
use super::progress::Progress;
use crate::client::Api;
use crate::client::http::escaped;
use crate::failure::Failure;
use crate::out;

/// The names of one request line: proxies take 8 KiB of it, with the rest of the path.
const LOOKUP_BYTES: usize = 6_000;
/// As many as a page has.
const MOST_LOOKED_FOR: usize = systole_wire::page::MOST as usize;

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
    progress: &mut Progress,
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
    let mut there = There::new(&channels);
    if documents
        .iter()
        .any(|document| document.kind == DocumentKind::Maintenance)
    {
        let listed = api.list("/maintenances", &[]).await;
        there.put(DocumentKind::Maintenance, listed)?;
    }
    let heartbeats: Vec<&str> = documents
        .iter()
        .filter(|document| document.kind == DocumentKind::Heartbeat)
        .map(|document| document.name.as_str())
        .collect();
    let mut looked = 0;
    for names in lookups(&heartbeats) {
        progress.at("documents compared", looked, heartbeats.len());
        let mut query = vec![("kind", DocumentKind::Heartbeat.as_str())];
        query.extend(names.iter().map(|name| ("name", *name)));
        match api.list("/monitors", &query).await {
            Err(Failure::Failed(error)) => {
                let why = format!("{error:#}");
                let unknown = names.iter().map(|name| ((*name).to_owned(), why.clone()));
                there.unknown.extend(unknown);
            }
            listed => there.put(DocumentKind::Heartbeat, listed)?,
        }
        looked += names.len();
    }
    progress.clear();
    let steps = documents
        .into_iter()
        .map(|document| match there.take(&document) {
            Ok(object) => step(document, object, &names, set, take),
            Err(why) => Step {
                document,
                object: None,
                action: Action::Refused(why),
                note: None,
            },
        });
    Ok(steps.collect())
}

/// The objects that there are, by kind and name.
struct There {
    objects: HashMap<(&'static str, String), Value>,
    /// Heartbeats that could not be looked for, and why.
    unknown: HashMap<String, String>,
    /// Maintenances could not be listed, and why.
    unlisted: Option<String>,
}

impl There {
    fn new(channels: &[Value]) -> There {
        let mut there = There {
            objects: HashMap::new(),
            unknown: HashMap::new(),
            unlisted: None,
        };
        there.add(DocumentKind::Channel, channels.to_vec());
        there
    }

    fn put(
        &mut self,
        kind: DocumentKind,
        listed: Result<Vec<Value>, Failure>,
    ) -> Result<(), Failure> {
        match listed {
            Ok(objects) => self.add(kind, objects),
            Err(Failure::Failed(error)) => self.unlisted = Some(format!("{error:#}")),
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn add(&mut self, kind: DocumentKind, objects: Vec<Value>) {
        for object in objects {
            if let Some(name) = object["name"].as_str() {
                let key = (kind.as_str(), name.to_owned());
                self.objects.entry(key).or_insert(object);
            }
        }
    }

    /// The object of a document, or why it could not be looked for.
    fn take(&mut self, document: &Document) -> Result<Option<Value>, String> {
        let unknown = match document.kind {
            DocumentKind::Channel => None,
            DocumentKind::Heartbeat => self.unknown.get(&document.name).cloned(),
            DocumentKind::Maintenance => self.unlisted.clone(),
        };
        let key = (document.kind.as_str(), document.name.clone());
        unknown.map_or_else(|| Ok(self.objects.remove(&key)), Err)
    }
}

/// Names to look for with one request each: as many as fit into a request line that every proxy takes, and on a page.
fn lookups<'a, 'n>(names: &'a [&'n str]) -> Vec<&'a [&'n str]> {
    let mut lookups = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (index, name) in names.iter().enumerate() {
        let more = escaped(name).len() + "&name=".len();
        if index > from && (bytes + more > LOOKUP_BYTES || index - from == MOST_LOOKED_FOR) {
            lookups.push(&names[from..index]);
            (from, bytes) = (index, 0);
        }
        bytes += more;
    }
    lookups.push(&names[from..]);
    lookups.retain(|names| !names.is_empty());
    lookups
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
    let gone: HashSet<&str> = pruned.iter().map(|object| object.id.as_str()).collect();
    let described: HashMap<(&str, &str), &Step> = steps
        .iter()
        .map(|step| {
            let document = &step.document;
            ((document.kind.as_str(), document.name.as_str()), step)
        })
        .collect();
    let mut named_by: HashMap<String, Vec<String>> = HashMap::new();
    for monitor in &all {
        let (Some(id), Some(name)) = (monitor["id"].as_str(), monitor["name"].as_str()) else {
            continue;
        };
        if gone.contains(id) {
            continue;
        }
        for channel in named(monitor, &described) {
            let naming = named_by.entry(channel.to_owned()).or_default();
            naming.push(name.to_owned());
        }
    }
    pruned.extend(channels.into_iter().map(|mut channel| {
        channel.named_by = named_by.remove(&channel.name).unwrap_or_default();
        channel
    }));
    pruned.extend(maintenances);
    Ok(pruned)
}

/// The channels that a monitor names once the documents are applied.
fn named<'a>(
    monitor: &'a Value,
    described: &HashMap<(&str, &str), &'a Step>,
) -> impl Iterator<Item = &'a str> {
    let kind = monitor["kind"].as_str().unwrap_or_default();
    let name = monitor["name"].as_str().unwrap_or_default();
    let list = described
        .get(&(kind, name))
        .and_then(|step| step.document.fields.get("channels"))
        .unwrap_or(&monitor["channels"]);
    let names = list.as_array().into_iter().flatten();
    names.filter_map(Value::as_str)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_in_lines_that_proxies_take() {
        let short: Vec<String> = (0..1_200).map(|i| format!("n{i}")).collect();
        let short: Vec<&str> = short.iter().map(String::as_str).collect();
        let long = "☂".repeat(200);
        let long = [long.as_str(); 9];
        for (names, counts) in [
            (&[][..], vec![]),
            (&short[..3], vec![3]),
            (&short[..], vec![500, 500, 200]),
            (&long[..], vec![3, 3, 3]),
        ] {
            let lookups = lookups(names);
            let found: Vec<usize> = lookups.iter().map(|names| names.len()).collect();
            assert_eq!(found, counts);
            assert_eq!(lookups.concat(), names);
        }
    }
}
