//! New heartbeats of an apply, many to a request: in the order of the documents, and each with an outcome of its own.

use std::collections::BTreeMap;

use serde_json::Value;
use systole_wire::bulk::{MOST_BYTES, MOST_ITEMS, item_of};
use systole_wire::document::DocumentKind;
use systole_wire::{FieldError, Problem};

use super::plan::{self, Action, Step};
use crate::client::{Api, Refused, explain};
use crate::failure::Failure;

/// What stands around the items of a request.
const FRAME: usize = r#"{"items":[]}"#.len();

/// Steps that are done by one request, or by none; or a single one that has a request of its own.
pub struct Stretch<'a> {
    /// In the order of the documents.
    pub steps: &'a [Step],
    /// The bodies of the heartbeats among them that are to be made, as JSON.
    pub created: Vec<String>,
}

impl Stretch<'_> {
    /// Whether a step of this stretch is done by its common request.
    pub fn is_created(&self, step: &Step) -> bool {
        !self.created.is_empty() && is_new_heartbeat(step)
    }
}

fn is_new_heartbeat(step: &Step) -> bool {
    step.document.kind == DocumentKind::Heartbeat && matches!(step.action, Action::Create)
}

/// Whether nothing is asked of the server for it.
fn is_idle(step: &Step) -> bool {
    match &step.action {
        Action::Create => false,
        Action::Change { changed, unsure } => changed.is_empty() && unsure.is_empty(),
        Action::Refused(_) => true,
    }
}

/// Divides steps so that doing them stretch by stretch is the same as one by one: a change may free a slug or a token that
/// the next document takes.
pub fn stretches<'a>(steps: &'a [Step], set: &str) -> impl Iterator<Item = Stretch<'a>> {
    let mut rest = steps;
    std::iter::from_fn(move || {
        let stretch = first(rest, set);
        rest = &rest[stretch.steps.len()..];
        (!stretch.steps.is_empty()).then_some(stretch)
    })
}

fn first<'a>(steps: &'a [Step], set: &str) -> Stretch<'a> {
    let mut created = Vec::new();
    let mut bytes = FRAME;
    for (index, step) in steps.iter().enumerate() {
        if is_new_heartbeat(step) {
            let body = body(step, set);
            bytes += body.len() + 1;
            if !created.is_empty() && (bytes > MOST_BYTES || created.len() == MOST_ITEMS) {
                return stretch(steps, index, created);
            }
            created.push(body);
        } else if !is_idle(step) {
            return stretch(steps, index.max(1), created);
        }
    }
    stretch(steps, steps.len(), created)
}

fn stretch(steps: &[Step], length: usize, created: Vec<String>) -> Stretch<'_> {
    Stretch {
        steps: &steps[..length],
        created,
    }
}

/// What is asked for: the document's fields and the set that makes it.
fn body(step: &Step, set: &str) -> String {
    let mut fields = step.document.fields.clone();
    fields.insert("set".to_owned(), Value::from(set));
    Value::Object(fields).to_string()
}

/// Makes heartbeats, and says of each what became of it. Where some are refused the others are made without them.
///
/// # Errors
/// What concerns all that follows, too.
pub async fn create(api: &Api, bodies: &[String]) -> Result<Vec<Result<String, String>>, Failure> {
    let mut outcomes: BTreeMap<usize, Result<String, String>> = BTreeMap::new();
    let mut left: Vec<usize> = (0..bodies.len()).collect();
    while !left.is_empty() {
        let items: Vec<&str> = left.iter().map(|index| bodies[*index].as_str()).collect();
        let body = format!("{{\"items\":[{}]}}", items.join(",")).into_bytes();
        let path = format!("{}/bulk", plan::path(DocumentKind::Heartbeat));
        let refused = match api.ask("POST", &path, Some(body), None).await {
            Ok(Ok(_)) => {
                outcomes.extend(
                    left.drain(..)
                        .map(|index| (index, Ok("created".to_owned()))),
                );
                continue;
            }
            Ok(Err(refused)) => {
                by_item(&refused, left.len()).unwrap_or_else(|| of_all(&refused.said, left.len()))
            }
            Err(Failure::Failed(error)) => of_all(&format!("{error:#}"), left.len()),
            Err(other) => return Err(other),
        };
        let mut position = 0;
        left.retain(|index| {
            let why = refused.get(&position);
            position += 1;
            why.map(|why| outcomes.insert(*index, Err(why.clone())))
                .is_none()
        });
    }
    Ok(outcomes.into_values().collect())
}

fn of_all(why: &str, count: usize) -> BTreeMap<usize, String> {
    (0..count).map(|index| (index, why.to_owned())).collect()
}

/// What is wrong with each item that is named, in the words of a request with that one alone; `None` where none is.
fn by_item(refused: &Refused, count: usize) -> Option<BTreeMap<usize, String>> {
    let problem = refused.problem.as_ref()?;
    let mut errors: BTreeMap<usize, Vec<FieldError>> = BTreeMap::new();
    for error in &problem.errors {
        let (index, field) = item_of(&error.field).filter(|(index, _)| *index < count)?;
        let error = FieldError::new(field, error.message.clone());
        errors.entry(index).or_default().push(error);
    }
    let explained = errors.into_iter().map(|(index, errors)| {
        let problem = Problem {
            status: refused.status,
            ..Problem::invalid(errors)
        };
        (index, explain(&problem, refused.status))
    });
    let explained: BTreeMap<usize, String> = explained.collect();
    (!explained.is_empty()).then_some(explained)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use systole_wire::document::Document;

    use super::super::apply_diff::Change;
    use super::*;

    fn step(sign: char, length: usize) -> Step {
        let (kind, action) = match sign {
            '+' => (DocumentKind::Heartbeat, Action::Create),
            'c' => (DocumentKind::Channel, Action::Create),
            '!' => (DocumentKind::Heartbeat, Action::Refused("no".to_owned())),
            other => {
                let change = Change {
                    field: "grace".to_owned(),
                    from: Value::Null,
                    to: Value::Null,
                };
                let changed = (other == '~').then_some(change).into_iter().collect();
                let unsure = Vec::new();
                (DocumentKind::Heartbeat, Action::Change { changed, unsure })
            }
        };
        let fields = json!({"description": "x".repeat(length)});
        Step {
            document: Document {
                kind,
                name: sign.to_string(),
                fields: fields.as_object().unwrap().clone(),
                secrets: Vec::new(),
            },
            object: None,
            action,
            note: None,
        }
    }

    /// The signs of each stretch, and how many of it one request makes.
    fn divided(steps: &[Step]) -> Vec<(String, usize)> {
        stretches(steps, "default")
            .map(|stretch| {
                let signs = stretch.steps.iter().map(|step| step.document.name.as_str());
                (signs.collect(), stretch.created.len())
            })
            .collect()
    }

    #[test]
    fn what_needs_no_request_of_its_own_goes_with_its_neighbours() {
        for (signs, expected) in [
            ("", vec![]),
            ("c+", vec![("c", 0), ("+", 1)]),
            ("++=!+", vec![("++=!+", 3)]),
            (
                "==~+=~~",
                vec![("==", 0), ("~", 0), ("+=", 1), ("~", 0), ("~", 0)],
            ),
        ] {
            let steps: Vec<Step> = signs.chars().map(|sign| step(sign, 0)).collect();
            let expected: Vec<(String, usize)> = expected
                .into_iter()
                .map(|(signs, count)| (signs.to_owned(), count))
                .collect();
            assert_eq!(divided(&steps), expected, "{signs}");
        }
    }

    #[test]
    fn a_request_has_as_many_as_the_server_takes_and_no_more_bytes() {
        let many: Vec<Step> = (0..2_500).map(|_| step('+', 0)).collect();
        let counts: Vec<usize> = divided(&many).iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1_000, 1_000, 500]);
        let large: Vec<Step> = (0..5).map(|_| step('+', 2_000_000)).collect();
        let counts: Vec<usize> = divided(&large).iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 2, 1]);
        for stretch in stretches(&large, "default") {
            let bytes: usize = stretch.created.iter().map(|body| body.len() + 1).sum();
            assert!(FRAME + bytes <= MOST_BYTES);
        }
    }

    #[test]
    fn each_item_is_told_its_own_errors_in_the_words_of_a_single_request() {
        let refused = |fields: &[&str]| Refused {
            status: 422,
            problem: Some(Problem::invalid(
                fields
                    .iter()
                    .map(|field| FieldError::new(*field, "is wrong"))
                    .collect(),
            )),
            said: "all".to_owned(),
        };
        let found = by_item(
            &refused(&["items[2].grace", "items[0].name", "items[2]"]),
            3,
        );
        let expected = [
            (0, "name: is wrong (status 422)\n  name: is wrong"),
            (
                2,
                "2 fields are wrong; see errors (status 422)\n  grace: is wrong\n  is wrong",
            ),
        ];
        let expected = expected.map(|(index, text)| (index, text.to_owned()));
        assert_eq!(found, Some(BTreeMap::from(expected)));
        for nameless in [&[][..], &["items"], &["items[3].name"]] {
            assert_eq!(by_item(&refused(nameless), 3), None, "{nameless:?}");
        }
    }
}
