//! The documents of `systole apply`: YAML, several to a file, each one object.

use serde_json::{Map, Value};

use crate::channel::ChannelInput;
use crate::maintenance::{MaintenanceInput, WindowSpec};
use crate::monitor::MonitorInput;
use crate::problem::FieldError;
use crate::strict::{self, shortened, suggestion};

/// No file that a person writes is larger.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// The most documents in one file.
const MOST_DOCUMENTS: usize = 10_000;

/// The kinds of documents, and the kinds of channels, by which a channel may be named too.
const KINDS: [&str; 6] = [
    "heartbeat",
    "channel",
    "maintenance",
    "webhook",
    "slack",
    "email",
];
/// Kinds of channels that a document may have as its own kind; whether the server has them is its to say.
const CHANNEL_KINDS: [&str; 8] = [
    "webhook",
    "slack",
    "email",
    "pagerduty",
    "opsgenie",
    "discord",
    "telegram",
    "ntfy",
];
/// Kinds that the contract names and that are not there yet.
const LATER_KINDS: [&str; 4] = ["endpoint", "cronjob", "job", "workload"];

/// One object that somebody wants to exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// Its name.
    pub name: String,
    /// Its fields as written and as the API names them, secrets resolved. Only what was written is in it, so that an
    /// apply leaves the rest alone.
    pub fields: Map<String, Value>,
    /// The places whose values came from references, for example `config.secret`: they are not to be shown.
    pub secrets: Vec<String>,
}

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// A monitor of kind heartbeat.
    Heartbeat,
    /// A channel. Its document has `kind: channel` and the channel's own kind as `type: webhook`, or `kind: webhook`.
    Channel,
    /// A maintenance window.
    Maintenance,
}

impl DocumentKind {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            DocumentKind::Heartbeat => "heartbeat",
            DocumentKind::Channel => "channel",
            DocumentKind::Maintenance => "maintenance",
        }
    }
}

/// Where a secret is to be found, on the machine of whoever applies the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretReference {
    /// `{env: NAME}`.
    Environment(String),
    /// `{file: PATH}`.
    File(String),
}

/// Splits a file into the JSON values of its documents; empty ones are left out, the others are numbered from
/// 1. A list of objects stands for its members: so `export -o json` writes them.
///
/// # Errors
/// Where the YAML is wrong, with the line.
pub fn split(text: &str) -> Result<Vec<(usize, Value)>, String> {
    if text.len() > MOST_BYTES {
        return Err(format!(
            "the file has {} bytes; there can be {MOST_BYTES}",
            text.len()
        ));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: MOST_DOCUMENTS,
            max_depth: 64,
            max_nodes: 500_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
        },
        strict_booleans: true,
        with_snippet: false,
    };
    let values: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| error.to_string())?;
    let documents = values.into_iter().flat_map(|value| match value {
        Value::Array(items) if items.iter().all(Value::is_object) => items,
        Value::Null => Vec::new(),
        other => vec![other],
    });
    Ok((1..).zip(documents).collect())
}

/// Reads one document and checks every field of it; `secret` finds what the references name.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(
    value: Value,
    secret: &mut dyn FnMut(&SecretReference) -> Result<String, String>,
) -> Result<Document, Vec<FieldError>> {
    let Value::Object(mut fields) = value else {
        return Err(vec![strict::mistyped(
            "",
            "an object with kind and name",
            &value,
        )]);
    };
    let kind = take_kind(&mut fields).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let mut secrets = Vec::new();
    if fields.remove("set").is_some() {
        errors.push(FieldError::new(
            "set",
            "does not stand in documents; say it on the command line: systole apply --set NAME",
        ));
    }
    // Only where a secret can stand: a label may well be called env.
    let place = match kind {
        DocumentKind::Channel => Some("config"),
        DocumentKind::Heartbeat => Some("token"),
        DocumentKind::Maintenance => None,
    };
    if let Some((place, value)) = place.and_then(|place| Some((place, fields.get_mut(place)?))) {
        resolve(value, place, secret, &mut secrets, &mut errors);
    }
    let whole = Value::Object(fields.clone());
    let name = match kind {
        DocumentKind::Heartbeat => {
            strict::from_value::<MonitorInput>(whole).map(|input| input.common().name.clone())
        }
        DocumentKind::Channel => strict::from_value::<ChannelInput>(whole).map(|input| input.name),
        DocumentKind::Maintenance => strict::from_value::<MaintenanceInput>(whole).and_then(dated),
    };
    match name {
        Ok(name) if errors.is_empty() => Ok(Document {
            kind,
            name,
            fields,
            secrets,
        }),
        Ok(_) => Err(errors),
        Err(more) => {
            // A reference that could not be resolved is still an object where text is wanted; once is enough.
            let unresolved: Vec<String> = errors.iter().map(|error| error.field.clone()).collect();
            errors.extend(
                more.into_iter()
                    .filter(|error| !unresolved.contains(&error.field)),
            );
            Err(errors)
        }
    }
}

/// Without a start a window begins when it is made, so each apply would move it.
fn dated(input: MaintenanceInput) -> Result<String, Vec<FieldError>> {
    if matches!(input.when, WindowSpec::Once { start: None, .. }) {
        let message = "is required in a document, so that applying it again changes nothing";
        return Err(vec![FieldError::new("when.start", message)]);
    }
    Ok(input.name)
}

/// Decides what a document describes, and leaves in `fields` the `kind` that the API wants to see.
fn take_kind(fields: &mut Map<String, Value>) -> Result<DocumentKind, FieldError> {
    let given = match fields.remove("kind") {
        None | Some(Value::Null) => {
            return Err(FieldError::new(
                "kind",
                "is required: heartbeat, channel or maintenance",
            ));
        }
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(strict::mistyped(
                "kind",
                "heartbeat, channel or maintenance",
                &other,
            ));
        }
    };
    let lower = given.to_ascii_lowercase();
    match lower.as_str() {
        "heartbeat" => {
            fields.insert("kind".to_owned(), Value::from("heartbeat"));
            Ok(DocumentKind::Heartbeat)
        }
        "maintenance" => Ok(DocumentKind::Maintenance),
        "channel" => match fields.remove("type") {
            Some(Value::String(kind)) => {
                fields.insert("kind".to_owned(), Value::from(kind.to_ascii_lowercase()));
                Ok(DocumentKind::Channel)
            }
            Some(other) => Err(strict::mistyped(
                "type",
                "a kind of channel such as webhook",
                &other,
            )),
            None => Err(FieldError::new(
                "type",
                "is required: the kind of the channel, for example webhook",
            )),
        },
        kind if CHANNEL_KINDS.contains(&kind) => {
            fields.insert("kind".to_owned(), Value::from(kind));
            Ok(DocumentKind::Channel)
        }
        later if LATER_KINDS.contains(&later) => Err(FieldError::new(
            "kind",
            format!("monitors of kind {later:?} are not built yet"),
        )),
        other => {
            let other = shortened(other);
            Err(FieldError::new(
                "kind",
                match suggestion(&other, &KINDS) {
                    Some(kind) => format!("{other:?} is not a kind; did you mean {kind:?}?"),
                    None => format!(
                        "{other:?} is not a kind; there are heartbeat, channel and maintenance"
                    ),
                },
            ))
        }
    }
}

/// Puts secrets in the place of the references to them, however deep they stand.
fn resolve(
    value: &mut Value,
    path: &str,
    secret: &mut dyn FnMut(&SecretReference) -> Result<String, String>,
    resolved: &mut Vec<String>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(reference) = reference(value) {
        match secret(&reference) {
            Ok(text) => {
                *value = Value::String(text);
                resolved.push(path.to_owned());
            }
            Err(message) => errors.push(FieldError::new(path, message)),
        }
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                resolve(
                    value,
                    &format!("{path}.{}", shortened(name)),
                    secret,
                    resolved,
                    errors,
                );
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter_mut().enumerate() {
                resolve(value, &format!("{path}[{i}]"), secret, resolved, errors);
            }
        }
        _ => {}
    }
}

fn reference(value: &Value) -> Option<SecretReference> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    let (name, value) = fields.iter().next()?;
    let text = value.as_str()?.to_owned();
    match name.as_str() {
        "env" => Some(SecretReference::Environment(text)),
        "file" => Some(SecretReference::File(text)),
        _ => None,
    }
}
