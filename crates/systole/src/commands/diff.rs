//! `systole diff`: what an apply would change, field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::apply_diff::Change;
use super::documents::{self, Emptiness};
use super::plan::{self, Action, Pruned, Step};
use super::progress::Progress;
use crate::cli::DiffArgs;
use crate::client::Api;
use crate::failure::Failure;
use crate::out;

/// Prints the differences. As with diff(1) the exit status is 0 where there are none, 1 where there are, 2 where it cannot
/// be said.
///
/// # Errors
/// [`Failure::Told`] where something differs.
pub async fn run(args: DiffArgs) -> Result<(), Failure> {
    let compared = compare(&args).await.map_err(|failure| match failure {
        Failure::Failed(error) => Failure::Undecided(error),
        other => other,
    })?;
    out::print(&compared.text)?;
    if compared.differs {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

/// What is to be said, and whether anything differs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    text: String,
    differs: bool,
}

async fn compare(args: &DiffArgs) -> Result<Compared, Failure> {
    plan::check_set(&args.set)?;
    let emptiness = if args.prune {
        Emptiness::Refused
    } else {
        Emptiness::Fine
    };
    let documents = documents::gather(&args.files, emptiness)?;
    let api = Api::connect(&args.connection)?;
    let steps = plan::steps(
        &api,
        documents,
        &args.set,
        args.take,
        &mut Progress::new(true),
    )
    .await?;
    let pruned = if args.prune {
        plan::pruned(&api, &steps, &args.set).await?
    } else {
        Vec::new()
    };
    Ok(shown(&steps, &pruned))
}

/// `+` would be created, `~` changed, `-` deleted, `!` refused; `?` cannot be compared, which is no difference.
fn shown(steps: &[Step], pruned: &[Pruned]) -> Compared {
    let mut compared = Compared::default();
    for step in steps {
        let (sign, lines) = match &step.action {
            Action::Create => ('+', created(step)),
            Action::Refused(why) => ('!', vec![out::shown(why)]),
            Action::Change { changed, unsure } => {
                let secrets = &step.document.secrets;
                let mut lines: Vec<String> = changed
                    .iter()
                    .flat_map(|change| lines(change, secrets))
                    .collect();
                lines.extend(unsure.iter().map(|field| {
                    let what = match field.as_str() {
                        "monitors" => "named by ids, which",
                        _ => "a secret, which",
                    };
                    format!("{}: {what} cannot be compared", out::shown(field))
                }));
                (if changed.is_empty() { '?' } else { '~' }, lines)
            }
        };
        if sign == '?' && lines.is_empty() {
            continue;
        }
        compared.differs |= sign != '?';
        compared
            .text
            .push_str(&format!("{sign} {}\n", step.label()));
        for line in lines {
            compared.text.push_str(&format!("    {line}\n"));
        }
    }
    for object in pruned {
        compared.differs = true;
        compared.text.push_str(&format!("- {}\n", object.label()));
    }
    compared
}

/// Every field of a document whose object is not there, but of settings the names alone: which of them are secret is the
/// server's to know.
fn created(step: &Step) -> Vec<String> {
    let fields = step.document.fields.iter();
    fields
        .filter(|(name, _)| !matches!(name.as_str(), "kind" | "name"))
        .map(|(name, value)| match (name.as_str(), value) {
            ("config", Value::Object(settings)) => {
                let names: Vec<String> = settings.keys().map(|name| out::shown(name)).collect();
                format!("config: {}", names.join(", "))
            }
            ("token", _) => "token: (secret)".to_owned(),
            _ => format!("{}: {}", out::shown(name), value_shown(value)),
        })
        .collect()
}

/// A line for each part that differs: a schedule and labels have several.
fn lines(change: &Change, secrets: &[String]) -> Vec<String> {
    if !matches!(change.field.as_str(), "schedule" | "labels" | "when") {
        return vec![line(change, secrets)];
    }
    let parts = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (from, mut to) = (parts(&change.from), parts(&change.to));
    if to.contains_key("cron") {
        for (name, default) in [("timezone", "UTC"), ("dialect", "classic")] {
            to.entry(name).or_insert_with(|| Value::from(default));
        }
    }
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differing = names
        .into_iter()
        .filter(|name| from.get(*name) != to.get(*name));
    differing
        .map(|name| {
            let part = |value: &Map<String, Value>| value.get(name).cloned().unwrap_or_default();
            let change = Change {
                field: format!("{}.{name}", change.field),
                from: part(&from),
                to: part(&to),
            };
            line(&change, secrets)
        })
        .collect()
}

fn line(change: &Change, secrets: &[String]) -> String {
    let field = out::shown(&change.field);
    let is_within =
        |place: &String| place == &change.field || place.starts_with(&format!("{}.", change.field));
    let is_secret = secrets.iter().any(is_within)
        // Of what the server does not have yet nobody says here whether it is secret.
        || change.field.starts_with("config.") && change.from.is_null();
    if is_secret {
        let from = if change.from.is_null() {
            "(none)"
        } else {
            "(not shown)"
        };
        return format!("{field}: {from} → (not shown)");
    }
    let shown = |value: &Value| match value {
        // A diff ends in logs and in reviews, and such a URL is a credential as often as not.
        Value::String(text) if change.field.starts_with("config.") => {
            origin(text).map_or_else(|| value_shown(value), |origin| out::shown(&origin))
        }
        _ => value_shown(value),
    };
    format!("{field}: {} → {}", shown(&change.from), shown(&change.to))
}

/// Of a URL its scheme and host alone.
fn origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?;
    let is_whole = rest.trim_end_matches('/') == host;
    let more = if is_whole { "" } else { "/…" };
    Some(format!("{scheme}://{host}{more}"))
}

/// Text as it is where it is plain, everything else as JSON; safe to show.
fn value_shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) if !text.is_empty() && !text.starts_with(['"', '(', '{', '[']) => {
            out::shown(text)
        }
        other => out::shown(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use systole_wire::document::{Document, DocumentKind};

    use super::*;

    fn step(fields: Value, secrets: &[&str], action: Action) -> Step {
        let Value::Object(fields) = fields else {
            panic!("{fields}")
        };
        Step {
            document: Document {
                kind: DocumentKind::Channel,
                name: "ops\u{1b}[2J".to_owned(),
                fields,
                secrets: secrets.iter().map(|place| (*place).to_owned()).collect(),
            },
            object: None,
            action,
            note: None,
        }
    }

    fn change(field: &str, from: Value, to: Value) -> Change {
        Change {
            field: field.to_owned(),
            from,
            to,
        }
    }

    #[test]
    fn differences_are_shown_safely_and_without_secrets() {
        let made = json!({"kind": "webhook", "name": "x", "config": {"url": "https://hidden.test", "headers": {"a": "hidden"}}});
        let changed = vec![
            change("default", json!(true), json!(false)),
            change(
                "schedule",
                json!({"cron": "0 2 * * *", "timezone": "UTC", "dialect": "classic"}),
                json!({"cron": "0 3 * * *"}),
            ),
            change(
                "schedule",
                json!({"every": "6h"}),
                json!({"cron": "0 3 * * *", "dialect": "kubernetes"}),
            ),
            change("labels", json!({"a": "1", "b": "2"}), json!({"b": "3"})),
            change("description", json!(""), json!("a\u{1b}[31mb\nc")),
            change(
                "config.url",
                json!("https://a.test"),
                json!("https://hidden.test"),
            ),
            change("config.headers", Value::Null, json!({"a": "hidden"})),
            change("config.format", json!("vigilmon"), Value::Null),
            change(
                "config.other",
                json!("https://b.test/"),
                json!("https://u:hidden@b.test:8443/hidden?hidden"),
            ),
        ];
        let unsure = vec!["config.secret".to_owned()];
        let steps = [
            step(made.clone(), &[], Action::Create),
            step(
                made.clone(),
                &["config.url"],
                Action::Change {
                    changed,
                    unsure: unsure.clone(),
                },
            ),
            step(
                made.clone(),
                &[],
                Action::Change {
                    changed: Vec::new(),
                    unsure,
                },
            ),
            step(
                made.clone(),
                &[],
                Action::Change {
                    changed: Vec::new(),
                    unsure: Vec::new(),
                },
            ),
            step(
                made,
                &[],
                Action::Refused("kind: cannot be changed".to_owned()),
            ),
        ];
        let compared = shown(&steps, &[]);
        let expected = "\
+ channel ops\\u{1b}[2J
    config: headers, url
~ channel ops\\u{1b}[2J
    default: true → false
    schedule.cron: 0 2 * * * → 0 3 * * *
    schedule.cron: (none) → 0 3 * * *
    schedule.dialect: (none) → kubernetes
    schedule.every: 6h → (none)
    schedule.timezone: (none) → UTC
    labels.a: 1 → (none)
    labels.b: 2 → 3
    description: \"\" → a\\u{1b}[31mb\\nc
    config.url: (not shown) → (not shown)
    config.headers: (none) → (not shown)
    config.format: vigilmon → (none)
    config.other: https://b.test → https://b.test:8443/…
    config.secret: a secret, which cannot be compared
? channel ops\\u{1b}[2J
    config.secret: a secret, which cannot be compared
! channel ops\\u{1b}[2J
    kind: cannot be changed
";
        assert_eq!(compared.text, expected);
        assert!(compared.differs && !compared.text.contains("hidden"));
        assert!(!shown(&steps[2..4], &[]).differs);
    }
}
