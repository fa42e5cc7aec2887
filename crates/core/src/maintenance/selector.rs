//! Which monitors a window covers: by their labels, by name, or all of them.

use std::fmt;

use crate::engine::MonitorId;

/// Longer selectors are not written by people.
const LONGEST_TEXT: usize = 1_000;

/// Which monitors a window covers: those that the labels select, and those that are named.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selector {
    /// Every monitor, whatever else is said.
    pub all: bool,
    /// Those with such labels.
    pub labels: LabelSelector,
    /// These.
    pub monitors: Vec<MonitorId>,
}

impl Selector {
    /// Whether a monitor with these labels is covered. A selector that says nothing selects nothing.
    pub fn selects(&self, labels: &[(String, String)], monitor: MonitorId) -> bool {
        self.all || self.monitors.contains(&monitor) || self.labels.selects(labels)
    }

    /// Whether it can select anything.
    pub fn is_empty(&self) -> bool {
        !self.all && self.monitors.is_empty() && self.labels.requirements.is_empty()
    }
}

/// A label selector in Kubernetes' form: `team=billing,env in (prod,staging),!legacy`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One condition on one label; all must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Condition {
    Exists,
    Absent,
    In(Vec<String>),
    /// True of monitors without the label, too.
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Reads a selector; an empty text selects nothing.
    ///
    /// # Errors
    /// A sentence that names the part at fault.
    pub fn parse(text: &str) -> Result<LabelSelector, String> {
        if text.len() > LONGEST_TEXT {
            return Err(format!(
                "has {} characters; there can be {LONGEST_TEXT}",
                text.len()
            ));
        }
        let mut requirements = Vec::new();
        if text.trim().is_empty() {
            return Ok(LabelSelector::default());
        }
        for part in split(text)? {
            let requirement = requirement(part.trim())?;
            if !requirements.contains(&requirement) {
                requirements.push(requirement);
            }
        }
        Ok(LabelSelector { requirements })
    }

    /// Whether these labels fulfil every condition; without conditions, no.
    pub fn selects(&self, labels: &[(String, String)]) -> bool {
        let value = |key: &str| {
            labels
                .iter()
                .find(|(known, _)| known == key)
                .map(|(_, value)| value)
        };
        !self.requirements.is_empty()
            && self.requirements.iter().all(|requirement| {
                let value = value(&requirement.key);
                match &requirement.condition {
                    Condition::Exists => value.is_some(),
                    Condition::Absent => value.is_none(),
                    Condition::In(values) => value.is_some_and(|value| values.contains(value)),
                    Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                }
            })
    }
}

/// The canonical form, which is read back to the same.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Requirement { key, condition }) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match condition {
                Condition::Exists => f.write_str(key)?,
                Condition::Absent => write!(f, "!{key}")?,
                Condition::In(values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}")?,
                    values => write!(f, "{key} in ({})", values.join(","))?,
                },
                Condition::NotIn(values) => match values.as_slice() {
                    [value] => write!(f, "{key}!={value}")?,
                    values => write!(f, "{key} notin ({})", values.join(","))?,
                },
            }
        }
        Ok(())
    }
}

/// At commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let (mut begin, mut is_open) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if is_open => return Err("has a parenthesis within parentheses".to_owned()),
            ')' if !is_open => {
                return Err("has a closing parenthesis without an opening one".to_owned());
            }
            '(' => is_open = true,
            ')' => is_open = false,
            ',' if !is_open => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if is_open {
        return Err("has an opening parenthesis without a closing one".to_owned());
    }
    parts.push(&text[begin..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    if part.is_empty() {
        return Err(
            "has an empty part between its commas; write key=value, key, !key or key in (a,b)"
                .to_owned(),
        );
    }
    if let Some(list) = part.strip_suffix(')') {
        return set(part, list);
    }
    let made = |key: &str, condition| {
        Ok(Requirement {
            key: self::key(part, key)?,
            condition,
        })
    };
    if let Some(name) = part.strip_prefix('!') {
        return made(name, Condition::Absent);
    }
    if let Some((name, given)) = part.split_once("!=") {
        return made(name, Condition::NotIn(vec![value(part, given)?]));
    }
    if let Some((name, given)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return made(name, Condition::In(vec![value(part, given)?]));
    }
    made(part, Condition::Exists)
}

/// `key in (a,b)` and `key notin (a,b)`; `list` is the part without the last parenthesis.
fn set(part: &str, list: &str) -> Result<Requirement, String> {
    let wrong =
        || format!("{part:?} is not understood; a set is written key in (a,b) or key notin (a,b)");
    let (before, values) = list.split_once('(').ok_or_else(wrong)?;
    let mut words = before.split_whitespace();
    let (Some(name), Some(operator), None) = (words.next(), words.next(), words.next()) else {
        return Err(wrong());
    };
    let mut read: Vec<String> = Vec::new();
    for given in values.split(',') {
        let given = value(part, given)?;
        if !read.contains(&given) {
            read.push(given);
        }
    }
    let condition = match operator {
        "in" => Condition::In(read),
        "notin" => Condition::NotIn(read),
        _ => return Err(wrong()),
    };
    Ok(Requirement {
        key: key(part, name)?,
        condition,
    })
}

fn key(part: &str, text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if text.is_empty() {
        return Err(format!("{part:?} names no label"));
    }
    match text.chars().find(|c| !is_right(*c)) {
        Some('<' | '>') => Err(format!("{part:?} compares numbers, which labels are not")),
        Some(c) => Err(format!("{part:?} has {c:?} in the name of a label")),
        None => Ok(text.to_owned()),
    }
}

/// An empty value is one: a label can be empty.
fn value(part: &str, text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.chars().find(|c| !is_right(*c)) {
        Some(c) => Err(format!("{part:?} has {c:?} in the value of a label")),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(String, String)> {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn every_condition_must_hold() {
        for (selector, given, selected) in [
            ("team=billing", "team=billing env=prod", true),
            ("team == billing", "team=billing", true),
            ("team=billing", "team=search", false),
            ("team=billing", "", false),
            ("team=", "team=", true),
            ("team!=billing", "team=search", true),
            ("team!=billing", "env=prod", true),
            ("team!=billing", "team=billing", false),
            ("env in (prod,staging)", "env=staging", true),
            ("env in ( prod , staging )", "env=test", false),
            ("env in (prod,)", "env=", true),
            ("env notin (prod)", "env=test", true),
            ("env notin (prod)", "", true),
            ("env notin (prod)", "env=prod", false),
            ("legacy", "legacy=", true),
            ("legacy", "", false),
            ("!legacy", "", true),
            ("! legacy", "legacy=1", false),
            (
                "team=billing,env in (prod,staging),!legacy",
                "team=billing env=prod",
                true,
            ),
            (
                "team=billing,env in (prod,staging),!legacy",
                "team=billing env=prod legacy=1",
                false,
            ),
            (
                "app.kubernetes.io/name=shop",
                "app.kubernetes.io/name=shop",
                true,
            ),
            ("in=x", "in=x", true),
            ("", "team=billing", false),
            ("  ", "", false),
        ] {
            let read = LabelSelector::parse(selector).unwrap();
            assert_eq!(
                read.selects(&labels(given)),
                selected,
                "{selector} of {given}"
            );
            assert_eq!(
                LabelSelector::parse(&read.to_string()).as_ref(),
                Ok(&read),
                "{selector} written {read}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (selector, part) in [
            ("team=billing,", "empty part"),
            (",", "empty part"),
            ("env in prod", "' ' in the name"),
            ("env in (prod", "opening parenthesis without"),
            ("env in prod)", "closing parenthesis without"),
            ("env in ((prod))", "parenthesis within"),
            ("env has (prod)", "a set is written"),
            ("in (prod)", "a set is written"),
            ("(prod)", "a set is written"),
            ("replicas>1", "compares numbers"),
            ("=billing", "names no label"),
            ("!", "names no label"),
            ("team=a b", "' ' in the value"),
            ("team=a=b", "'=' in the value"),
            ("Ä=b", "in the name of a label"),
        ] {
            let error = LabelSelector::parse(selector).unwrap_err();
            assert!(error.contains(part), "{selector}: {error}");
        }
        assert!(LabelSelector::parse(&"a".repeat(1_001)).is_err());
    }

    #[test]
    fn labels_and_names_add_up_and_nothing_selects_nothing() {
        let billing = labels("team=billing");
        let mut selector = Selector::default();
        assert!(selector.is_empty() && !selector.selects(&billing, 1));
        selector.monitors = vec![7];
        assert!(selector.selects(&billing, 7) && !selector.selects(&billing, 1));
        selector.labels = LabelSelector::parse("team=billing").unwrap();
        assert!(selector.selects(&billing, 1) && !selector.selects(&[], 1));
        selector = Selector {
            all: true,
            ..Selector::default()
        };
        assert!(selector.selects(&[], 1) && !selector.is_empty());
    }
}
