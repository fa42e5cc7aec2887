//! The form of a channel, made of the table of kinds: a new one of each kind, and a channel that is edited.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use systole_wire::{Channel, ChannelPatch, FieldError, REDACTED};

use super::frame::Says;
use super::monitor_form::of_field;
use super::reply::{Failure, Reply, invalid, page, see, sentence};
use super::visitor::Visitor;
use super::{Pages, frame};
use crate::api::channels as api;
use crate::api::{Expected, parse_channel_id, read};
use crate::channels::{Field, Input, KINDS, Kind, is_made};
use crate::web::render;
use crate::web::views::{ChannelEditView, ChannelField, ChannelForm, FormError};

/// What was sent: of the form of one kind, which it names.
pub(super) type Fields = HashMap<String, String>;

/// A field of it, or nothing.
pub(super) fn given<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.get(name).map_or("", |value| value.trim())
}

/// A form for each kind; one that was tried is open and says what was wrong.
pub(super) fn forms(tried: Option<(&Fields, &[FieldError])>) -> Vec<ChannelForm> {
    let of_kind = |kind: &'static Kind| {
        let tried = tried.filter(|(fields, _)| given(fields, "kind") == kind.name);
        let fresh = fresh(kind);
        let (fields, errors) = tried.unwrap_or((&fresh, &[]));
        ChannelForm {
            open: tried.is_some(),
            ..form(kind, fields, errors, &Map::new())
        }
    };
    KINDS.iter().map(of_kind).collect()
}

/// What a new channel has unless told otherwise.
fn fresh(kind: &Kind) -> Fields {
    let mut fields = Fields::from([
        ("remind_every".to_owned(), api::REMIND_EVERY.to_string()),
        ("default".to_owned(), "on".to_owned()),
    ]);
    if api::gathers(kind.name) {
        fields.insert("digest".to_owned(), "on".to_owned());
    }
    fields
}

/// `stored` is the configuration there is, its secrets redacted.
fn form(
    kind: &'static Kind,
    fields: &Fields,
    errors: &[FieldError],
    stored: &Map<String, Value>,
) -> ChannelForm {
    ChannelForm {
        id: None,
        rev: given(fields, "rev").to_owned(),
        kind: kind.name,
        title: kind.title,
        about: kind.about,
        open: false,
        name: given(fields, "name").into(),
        default: fields.contains_key("default"),
        system: fields.contains_key("system"),
        digest: fields.contains_key("digest"),
        remind_every: given(fields, "remind_every").into(),
        fields: asked(kind)
            .map(|field| form_field(kind, field, fields, errors, stored))
            .collect(),
        errors: form_errors(kind, errors),
    }
}

/// The fields that a form asks for.
fn asked(kind: &'static Kind) -> impl Iterator<Item = &'static Field> {
    let fields = kind.fields.iter();
    fields.filter(|field| field.input != Input::Absent)
}

fn form_field(
    kind: &Kind,
    field: &Field,
    fields: &Fields,
    errors: &[FieldError],
    stored: &Map<String, Value>,
) -> ChannelField {
    let value = if field.secret {
        ""
    } else {
        given(fields, field.name)
    };
    let kept = field.secret && stored.contains_key(field.name);
    ChannelField {
        name: field.name,
        label: field.label,
        help: sentence(field.help),
        input: field.input,
        required: field.required && !kept,
        value: value.into(),
        kept,
        can_forget: kept && !field.required && !is_made(kind.name, field.name),
        error: errors
            .iter()
            .find(|error| is_of(error, field))
            .map(|error| of_field(error).into()),
    }
}

/// `config.to[2]` is of the field `to`.
fn is_of(error: &FieldError, field: &Field) -> bool {
    let path = error.field.strip_prefix("config.").unwrap_or_default();
    path.split(['.', '[']).next() == Some(field.name)
}

/// Those that stand beside no field of the kind.
fn form_errors(kind: &Kind, errors: &[FieldError]) -> Vec<FormError> {
    let beside = |error: &&FieldError| {
        !kind
            .fields
            .iter()
            .any(|field| field.input != Input::Absent && is_of(error, field))
    };
    errors
        .iter()
        .filter(beside)
        .map(|error| FormError {
            field: match error.field.as_str() {
                "name" => "name",
                "remind_every" => "remind_every",
                _ => "",
            },
            text: of_field(error).into(),
        })
        .collect()
}

/// A new channel as the API takes it.
pub(super) fn document(fields: &Fields) -> Value {
    let kind = given(fields, "kind");
    let known = KINDS.iter().find(|row| row.name == kind);
    let config = known.map_or_else(Map::new, |kind| config(kind, fields, &Map::new()));
    let mut document = common(fields);
    document["kind"] = kind.into();
    document["config"] = config.into();
    document
}

fn common(fields: &Fields) -> Value {
    let mut document = json!({
        "name": given(fields, "name"),
        "default": fields.contains_key("default"),
        "system": fields.contains_key("system"),
        "digest": fields.contains_key("digest"),
    });
    // Left empty it is as it was, or as it is unless told otherwise.
    let remind_every = given(fields, "remind_every");
    if !remind_every.is_empty() {
        document["remind_every"] = remind_every.into();
    }
    document
}

/// The settings as the form has them. What it does not ask for stays as `stored` has it; so does a secret for which nothing
/// was typed, unless it is to be forgotten.
fn config(kind: &'static Kind, fields: &Fields, stored: &Map<String, Value>) -> Map<String, Value> {
    let mut config = stored.clone();
    for field in asked(kind) {
        let text = given(fields, field.name);
        if text.is_empty() {
            let is_kept = field.secret && !fields.contains_key(&format!("forget-{}", field.name));
            if !is_kept {
                config.remove(field.name);
            }
            continue;
        }
        let value = match field.input {
            // What is no number is refused by the field's own check, which says so.
            Input::Number => text.parse().map_or_else(|_| json!(text), |n: u64| json!(n)),
            Input::List => text
                .split([',', '\n'])
                .map(str::trim)
                .filter(|one| !one.is_empty())
                .collect(),
            _ => json!(text),
        };
        config.insert(field.name.to_owned(), value);
    }
    config
}

/// What the form of a channel shows.
fn filled(channel: &Channel) -> Fields {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
        other => other.to_string(),
    };
    let shown = channel.config.iter();
    let shown = shown.filter(|(_, value)| value.as_str() != Some(REDACTED));
    let mut fields: Fields = shown
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    for (name, value) in [
        ("name", channel.name.clone()),
        ("rev", channel.rev.to_string()),
        ("remind_every", channel.remind_every.0.clone()),
    ] {
        fields.insert(name.to_owned(), value);
    }
    for (name, is_ticked) in [
        ("default", channel.default),
        ("system", channel.system),
        ("digest", channel.digest),
    ] {
        if is_ticked {
            fields.insert(name.to_owned(), "on".to_owned());
        }
    }
    fields
}

/// `GET /channels/{id}/edit`.
pub(super) async fn show_edit(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Reply {
    let by = visitor.editor()?;
    let id = parse_channel_id(&id).ok_or(Failure::NotFound)?;
    let channel = api::read(&pages.app, by, id).await?;
    let view = edit_view(&pages, &visitor, &channel, &filled(&channel), &[]).await?;
    Ok(page(StatusCode::OK, render::channel_edit(&view)))
}

/// `POST /channels/{id}/edit`.
pub(super) async fn edit(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(mut fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let id = parse_channel_id(&id).ok_or(Failure::NotFound)?;
    let channel = api::read(&pages.app, by, id).await?;
    let kind = kind_of(&channel)?;
    let mut document = common(&fields);
    document["config"] = config(kind, &fields, &channel.config).into();
    let expected = Expected(given(&fields, "rev").parse().ok());
    let edited = match read::<ChannelPatch>(document) {
        Ok(patch) => api::update(&pages.app, by, id, expected, patch).await,
        Err(error) => Err(error),
    };
    match edited {
        Ok(channel) => {
            let text = format!(
                "{} is saved. Send a test to see that it works.",
                channel.name
            );
            pages.notices.say(&visitor, false, text);
            Ok(see("/channels"))
        }
        Err(error) if error.status() == StatusCode::PRECONDITION_FAILED => {
            let text = "somebody else has changed it since you opened this form. Below is what you typed, but for secrets; save \
                        again to overwrite";
            fields.insert("rev".to_owned(), channel.rev.to_string());
            let errors = [FieldError::new("", text)];
            let view = edit_view(&pages, &visitor, &channel, &fields, &errors).await?;
            Ok(page(StatusCode::CONFLICT, render::channel_edit(&view)))
        }
        Err(error) if error.problem().errors.is_empty() => Err(error.into()),
        Err(error) => {
            let errors = &error.problem().errors;
            let view = edit_view(&pages, &visitor, &channel, &fields, errors).await?;
            Ok(invalid(render::channel_edit(&view)))
        }
    }
}

fn kind_of(channel: &Channel) -> Result<&'static Kind, Failure> {
    let mut kinds = KINDS.iter();
    kinds
        .find(|kind| kind.name == channel.kind)
        .ok_or(Failure::NotFound)
}

async fn edit_view(
    pages: &Pages,
    visitor: &Visitor,
    channel: &Channel,
    fields: &Fields,
    errors: &[FieldError],
) -> Result<ChannelEditView, Failure> {
    let form = form(kind_of(channel)?, fields, errors, &channel.config);
    Ok(ChannelEditView {
        frame: frame::frame(pages, visitor, Says::Nothing).await?,
        form: ChannelForm {
            id: Some(channel.id.clone()),
            open: true,
            ..form
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_channel_keeps_its_secrets_and_what_the_form_does_not_ask_for() {
        let stored =
            json!({"url": "https://a.test/", "secret": REDACTED, "headers": {"x-key": REDACTED}});
        let Value::Object(stored) = stored else {
            panic!("{stored}")
        };
        let mail = json!({"host": "a.test", "port": 25, "password": REDACTED});
        let Value::Object(mail) = mail else {
            panic!("{mail}")
        };
        let kind = |name| KINDS.iter().find(|kind| kind.name == name).unwrap();
        for (kind, stored, sent, expected) in [
            (
                kind("webhook"),
                &stored,
                vec![("url", "https://b.test/"), ("secret", "")],
                json!({"url": "https://b.test/", "secret": REDACTED, "headers": {"x-key": REDACTED}}),
            ),
            (
                kind("webhook"),
                &stored,
                vec![("url", "https://a.test/"), ("secret", "new")],
                json!({"url": "https://a.test/", "secret": "new", "headers": {"x-key": REDACTED}}),
            ),
            (
                kind("email"),
                &mail,
                vec![("host", "a.test"), ("port", ""), ("to", "a@b.c\nd@e.f")],
                json!({"host": "a.test", "password": REDACTED, "to": ["a@b.c", "d@e.f"]}),
            ),
            (
                kind("email"),
                &mail,
                vec![("host", "a.test"), ("forget-password", "on")],
                json!({"host": "a.test"}),
            ),
        ] {
            let fields: Fields = sent
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(Value::Object(config(kind, &fields, stored)), expected);
        }
    }
}
