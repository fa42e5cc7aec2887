//! Reading what people wrote, and telling them everything that is wrong with it at once.
//!
//! serde stops at the first error and does not say where; here every field is read on its own, so that a document
//! with three mistakes takes one round to correct, not three.

use serde_json::{Map, Value};

use crate::problem::FieldError;
use crate::text::DurationText;

/// More errors than this are not listed: nobody reads them, and the reply stays bounded.
const MOST_ERRORS: usize = 50;

/// What other tools call a field, and what it is called here; offered where the spelling is not close.
const SYNONYMS: &[(&str, &str)] = &[
    ("period", "schedule"),
    ("interval", "schedule"),
    ("cron", "schedule"),
    ("every", "schedule"),
    ("crontab", "cron"),
    ("tz", "timezone"),
    ("time_zone", "timezone"),
    ("timeZone", "timezone"),
    ("tags", "labels"),
    ("desc", "description"),
    ("note", "description"),
    ("timeout", "max_runtime"),
    ("runbook", "runbook_url"),
    ("notify", "channels"),
    ("integrations", "channels"),
    ("priority", "severity"),
    ("level", "severity"),
    ("type", "kind"),
];

/// Something that can be read from JSON field by field.
pub trait Read: Sized {
    /// Reads `value`, which stands at `path`; pushes what is wrong and returns `None` where nothing can be made of it.
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Self>;
}

/// Reads a whole request or document.
///
/// # Errors
/// Every unknown, missing, mistyped or malformed field, nested ones by their path.
pub fn from_value<T: Read>(value: Value) -> Result<T, Vec<FieldError>> {
    let mut errors = Vec::new();
    let read = T::read(value, "", &mut errors);
    errors.truncate(MOST_ERRORS);
    match read {
        Some(read) if errors.is_empty() => Ok(read),
        _ if errors.is_empty() => Err(vec![FieldError::new("", "cannot be read")]),
        _ => Err(errors),
    }
}

/// A JSON object whose fields are taken out one by one; [`Object::finish`] complains of those left over.
pub struct Object<'a> {
    path: String,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Object<'a> {
    /// Opens `value`; anything but an object is an error.
    pub fn open(value: Value, path: &str, errors: &'a mut Vec<FieldError>) -> Option<Object<'a>> {
        match value {
            Value::Object(fields) => Some(Object {
                path: path.to_owned(),
                fields,
                known: Vec::new(),
                errors,
            }),
            other => {
                errors.push(mistyped(path, "an object", &other));
                None
            }
        }
    }

    /// A field that must be there.
    pub fn required<T: Read>(&mut self, name: &'static str) -> Option<T> {
        match self.take(name) {
            None | Some(Value::Null) => {
                self.wrong(name, "is required");
                None
            }
            Some(value) => T::read(value, &self.path_of(name), self.errors),
        }
    }

    /// A field that may be left out; `null` is the same as leaving it out.
    pub fn optional<T: Read>(&mut self, name: &'static str) -> Option<T> {
        match self.take(name) {
            None | Some(Value::Null) => None,
            Some(value) => T::read(value, &self.path_of(name), self.errors),
        }
    }

    /// A field of a change that has no empty state: left out it stays, `null` is an error.
    pub fn change<T: Read>(&mut self, name: &'static str) -> Option<T> {
        match self.take(name)? {
            Value::Null => {
                self.wrong(name, "cannot be null; leave it out to keep it as it is");
                None
            }
            value => T::read(value, &self.path_of(name), self.errors),
        }
    }

    /// A field of a change that can be emptied: left out it stays (`None`), `null` empties it (`Some(None)`).
    pub fn change_or_clear<T: Read>(&mut self, name: &'static str) -> Option<Option<T>> {
        match self.take(name)? {
            Value::Null => Some(None),
            value => T::read(value, &self.path_of(name), self.errors).map(Some),
        }
    }

    /// Applies a rule to a value that was read.
    pub fn check<T: ?Sized>(
        &mut self,
        name: &'static str,
        value: Option<&T>,
        rule: impl FnOnce(&T) -> Result<(), String>,
    ) {
        if let Some(Err(message)) = value.map(rule) {
            self.wrong(name, message);
        }
    }

    /// Says what is wrong with the field `name`.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        let field = self.path_of(name);
        self.errors.push(FieldError::new(field, message));
    }

    /// Refuses a field that is known but has no place here.
    pub fn take_unchangeable(&mut self, name: &'static str, message: &str) {
        self.fields.remove(name);
        self.wrong(name, message);
    }

    /// Whether the field was given and not taken yet.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The number of errors so far, here and elsewhere.
    pub fn error_count(&self) -> usize {
        self.errors.len()
    }

    /// Complains of every field that nobody asked for.
    pub fn finish(self) {
        for name in self.fields.keys() {
            let message = match suggestion(name, &self.known) {
                Some(known) => format!("unknown field; did you mean {known:?}?"),
                None => format!("unknown field; there are {}", self.known.join(", ")),
            };
            self.errors
                .push(FieldError::new(join(&self.path, &shortened(name)), message));
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.fields.remove(name)
    }

    fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

/// Reads one of a few words; a near miss is answered with the word that was meant.
pub fn read_word<T: Copy>(
    value: &Value,
    path: &str,
    errors: &mut Vec<FieldError>,
    words: &[(&'static str, T)],
) -> Option<T> {
    let names: Vec<&'static str> = words.iter().map(|(name, _)| *name).collect();
    let Value::String(text) = value else {
        errors.push(mistyped(
            path,
            &format!("one of {}", names.join(", ")),
            value,
        ));
        return None;
    };
    if let Some((_, word)) = words.iter().find(|(name, _)| name == text) {
        return Some(*word);
    }
    let message = match suggestion(text, &names) {
        Some(known) => format!(
            "{:?} is not known; did you mean {known:?}?",
            shortened(text)
        ),
        None => format!(
            "{:?} is not known; it is one of {}",
            shortened(text),
            names.join(", ")
        ),
    };
    errors.push(FieldError::new(path, message));
    None
}

/// An error that names the type that was wanted and the one that came.
pub fn mistyped(path: &str, wanted: &str, found: &Value) -> FieldError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    FieldError::new(path, format!("must be {wanted}, not {found}"))
}

/// The known word that was probably meant.
pub fn suggestion<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    if given.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(given);
    let nearest = known
        .iter()
        .map(|known| (distance(&wanted, &plain(known)), *known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= (known.len().min(given.len()) / 3).max(1));
    nearest.map(|(_, known)| known).or_else(|| {
        let (_, here) = SYNONYMS.iter().find(|(there, _)| *there == given)?;
        known.iter().find(|known| *known == here).copied()
    })
}

/// Edit distance: insertions, deletions, replacements, and swaps of neighbours count one each.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// At most 60 characters of what was given, for messages.
pub fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(57).chain("...".chars()).collect()
    }
}

impl Read for String {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            other => {
                errors.push(mistyped(path, "a string", &other));
                None
            }
        }
    }
}

impl Read for bool {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<bool> {
        let read = value.as_bool();
        if read.is_none() {
            errors.push(mistyped(path, "true or false", &value));
        }
        read
    }
}

impl Read for u32 {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<u32> {
        let read = value.as_u64().and_then(|number| u32::try_from(number).ok());
        if read.is_none() {
            errors.push(match value {
                Value::Number(number) => FieldError::new(
                    path,
                    format!("must be a whole number of 0 or more, not {number}"),
                ),
                other => mistyped(path, "a whole number", &other),
            });
        }
        read
    }
}

impl Read for DurationText {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<DurationText> {
        match value {
            Value::String(text) => Some(DurationText(text)),
            Value::Number(number) => Some(DurationText(number.to_string())),
            other => {
                errors.push(mistyped(
                    path,
                    "a duration such as 90s, 5m, 1h30m or 1d",
                    &other,
                ));
                None
            }
        }
    }
}

impl Read for Map<String, Value> {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Map<String, Value>> {
        match value {
            Value::Object(fields) => Some(fields),
            other => {
                errors.push(mistyped(path, "an object", &other));
                None
            }
        }
    }
}

impl Read for Vec<String> {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Vec<String>> {
        let Value::Array(items) = value else {
            errors.push(mistyped(path, "a list of strings", &value));
            return None;
        };
        let before = errors.len();
        let read = items
            .into_iter()
            .enumerate()
            .filter_map(|(i, item)| String::read(item, &format!("{path}[{i}]"), errors))
            .collect();
        (errors.len() == before).then_some(read)
    }
}

impl Read for std::collections::BTreeMap<String, String> {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Self> {
        let Value::Object(fields) = value else {
            errors.push(mistyped(path, "an object of strings", &value));
            return None;
        };
        let before = errors.len();
        let read = fields
            .into_iter()
            .filter_map(|(key, value)| {
                let at = join(path, &shortened(&key));
                Some((key, String::read(value, &at, errors)?))
            })
            .collect();
        (errors.len() == before).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_answered_with_the_field_that_was_meant() {
        let known = [
            "name",
            "schedule",
            "grace",
            "labels",
            "fail_threshold",
            "timezone",
            "max_runtime",
        ];
        for (given, meant) in [
            ("grcae", Some("grace")),
            ("shedule", Some("schedule")),
            ("failThreshold", Some("fail_threshold")),
            ("fail-threshold", Some("fail_threshold")),
            ("tz", Some("timezone")),
            ("tags", Some("labels")),
            ("timeout", Some("max_runtime")),
            ("Name", Some("name")),
            ("colour", None),
        ] {
            assert_eq!(suggestion(given, &known), meant, "{given}");
        }
        assert_eq!(suggestion(&"n".repeat(100_000), &known), None);
    }

    #[test]
    fn edit_distance_counts_a_swap_as_one() {
        for (left, right, steps) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("grace", "grcae", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), steps, "{left} {right}");
        }
    }
}
