//! The forms of names, slugs, labels, tokens and links. Each rule returns a sentence that says what would be right.

use std::collections::BTreeMap;

/// The most labels that one object can carry.
pub const MOST_LABELS: usize = 64;
/// Path suffixes of the check-in URLs, which a slug must not hide.
const RESERVED_SLUGS: [&str; 3] = ["start", "fail", "log"];

/// A name: 1 to 200 printable characters, no space at either end.
///
/// # Errors
/// What is wrong with it.
pub fn name(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if length == 0 {
        return Err("is empty; a name has 1 to 200 printable characters".to_owned());
    }
    if length > 200 {
        return Err(format!("has {length} characters; a name has 1 to 200"));
    }
    if let Some(c) = text.chars().find(|c| !is_printable(*c)) {
        return Err(format!(
            "contains the unprintable character U+{:04X}; a name has printable characters only",
            u32::from(c)
        ));
    }
    if text.trim() != text {
        return Err("begins or ends with a space".to_owned());
    }
    Ok(())
}

/// Whether a character shows itself and does not rearrange its neighbours: no controls, no line separators, no
/// direction overrides, with which a name could pass for another.
pub fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{200B}' | '\u{FEFF}' | '\u{00AD}'
                | '\u{061C}' | '\u{180E}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// A slug: `[a-z0-9_-]{1,100}`, never `start`, `fail`, `log` or a number.
///
/// # Errors
/// What is wrong with it.
pub fn slug(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 100 {
        return Err("has a wrong length; a slug has 1 to 100 characters".to_owned());
    }
    if let Some(c) = text.chars().find(|c| !is_slug_character(*c)) {
        return Err(format!("contains {c:?}; a slug has only a-z, 0-9, _ and -"));
    }
    if is_reserved_slug(text) {
        return Err(format!(
            "{text:?} is part of the check-in URLs; a slug is never start, fail, log or a number"
        ));
    }
    Ok(())
}

fn is_slug_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
}

fn is_reserved_slug(text: &str) -> bool {
    RESERVED_SLUGS.contains(&text) || text.chars().all(|c| c.is_ascii_digit())
}

/// The slug that a name gets where none is given: always a valid one.
pub fn slug_from_name(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if is_slug_character(c) && c != '-' {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 90 {
            break;
        }
    }
    let slug = slug.trim_matches('-');
    match slug {
        "" => "monitor".to_owned(),
        reserved if is_reserved_slug(reserved) => format!("monitor-{reserved}"),
        fine => fine.to_owned(),
    }
}

/// Labels, in the form that Kubernetes gives them.
///
/// # Errors
/// The first label that is wrong, and why.
pub fn labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > MOST_LABELS {
        return Err(format!(
            "has {} labels; there can be {MOST_LABELS}",
            labels.len()
        ));
    }
    labels.iter().try_for_each(|(key, value)| {
        label_key(key)
            .map_err(|why| format!("the key {:?} {why}", crate::strict::shortened(key)))?;
        label_value(value).map_err(|why| format!("the value of {key:?} {why}"))
    })
}

/// A label's key: an optional DNS name and `/`, then up to 63 characters.
///
/// # Errors
/// What is wrong with it.
pub fn label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        let part_is_right = |part: &str| {
            !part.is_empty()
                && part.len() <= 63
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        if prefix.len() > 253 || !prefix.split('.').all(part_is_right) {
            return Err(
                "has a wrong prefix; before the slash stands a DNS name such as example.com"
                    .to_owned(),
            );
        }
    }
    if name.is_empty() {
        return Err("is empty; a key has 1 to 63 characters".to_owned());
    }
    label_word(name)
}

/// A label's value: empty, or up to 63 characters.
///
/// # Errors
/// What is wrong with it.
pub fn label_value(value: &str) -> Result<(), String> {
    if value.is_empty() {
        Ok(())
    } else {
        label_word(value)
    }
}

fn label_word(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("is longer than 63 characters".to_owned());
    }
    if let Some(c) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
    {
        return Err(format!(
            "contains {c:?}; labels have only letters, digits, '-', '_' and '.'"
        ));
    }
    let ends_right = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !ends_right(text.chars().next()) || !ends_right(text.chars().next_back()) {
        return Err("must begin and end with a letter or a digit".to_owned());
    }
    Ok(())
}

/// The name of a set of documents: 1 to 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit.
///
/// # Errors
/// What is wrong with it.
pub fn set(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty; a set's name has 1 to 63 characters".to_owned());
    }
    label_word(name).map_err(|why| why.replace("labels have", "it has"))
}

/// A heartbeat's token that is brought along: `[A-Za-z0-9_-]{10,64}`.
///
/// # Errors
/// What is wrong with it; the token itself is not repeated.
pub fn ping_token(token: &str) -> Result<(), String> {
    if !(10..=64).contains(&token.len()) {
        return Err(format!(
            "has {} characters; a token has 10 to 64",
            token.len()
        ));
    }
    if !token
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    {
        return Err("has a character other than letters, digits, _ and -".to_owned());
    }
    Ok(())
}

/// A link for people: `http://` or `https://`, at most 2000 characters.
///
/// # Errors
/// What is wrong with it.
pub fn link(url: &str) -> Result<(), String> {
    if url.len() > 2000 {
        return Err(format!(
            "has {} characters; a link has at most 2000",
            url.len()
        ));
    }
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err("must be a link that begins with https:// or http://".to_owned());
    }
    if url.chars().any(|c| c.is_whitespace() || !is_printable(c)) {
        return Err("contains a space or an unprintable character".to_owned());
    }
    Ok(())
}

/// Text of several lines for people, such as a description: at most 4000 characters.
///
/// # Errors
/// What is wrong with it.
pub fn prose(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if length > 4000 {
        return Err(format!("has {length} characters; there can be 4000"));
    }
    match text
        .chars()
        .find(|c| !is_printable(*c) && !matches!(c, '\n' | '\r' | '\t'))
    {
        Some(c) => Err(format!(
            "contains the unprintable character U+{:04X}",
            u32::from(c)
        )),
        None => Ok(()),
    }
}

/// A monitor's list of channels: at most 100 names or ids, none twice.
///
/// # Errors
/// What is wrong with it.
pub fn channel_list(channels: &[String]) -> Result<(), String> {
    if channels.len() > 100 {
        return Err(format!("has {} entries; there can be 100", channels.len()));
    }
    for (i, channel) in channels.iter().enumerate() {
        name(channel).map_err(|why| format!("entry {} {why}", i + 1))?;
        if channels[..i].contains(channel) {
            return Err(format!("names {channel:?} twice"));
        }
    }
    Ok(())
}

/// A number of at least one, at most a thousand: thresholds.
///
/// # Errors
/// What is wrong with it.
pub fn threshold(number: u32) -> Result<(), String> {
    if (1..=1000).contains(&number) {
        Ok(())
    } else {
        Err(format!("is {number}; it can be 1 to 1000"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slugs_keep_their_rules() {
        let long = "x".repeat(201);
        for (text, why) in [
            ("", "empty"),
            (long.as_str(), "201 characters"),
            ("a\u{7}b", "U+0007"),
            (" a", "space"),
            ("a\u{202e}b", "U+202E"),
            ("a\nb", "U+000A"),
        ] {
            let error = name(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        for text in ["invoice-generator", "Ångström ☂ nightly", "a"] {
            assert_eq!(name(text), Ok(()), "{text}");
        }
        let long = "x".repeat(101);
        for (text, why) in [
            ("", "length"),
            (long.as_str(), "length"),
            ("Abc", "'A'"),
            ("a.b", "'.'"),
            ("start", "never"),
            ("255", "never"),
        ] {
            let error = slug(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn every_name_gets_a_valid_slug() {
        let long = "long name ".repeat(20);
        for (given, expected) in [
            ("Invoice Generator", "invoice-generator"),
            ("  a -- b  ", "a-b"),
            ("start", "monitor-start"),
            ("42", "monitor-42"),
            ("☂", "monitor"),
            ("db_backup", "db_backup"),
            ("Ångström", "ngstr-m"),
        ] {
            assert_eq!(slug_from_name(given), expected, "{given}");
        }
        for given in [
            "Invoice",
            "42",
            "☂",
            "log",
            "-",
            long.as_str(),
            &"9".repeat(120),
        ] {
            let made = slug_from_name(given);
            assert_eq!(slug(&made), Ok(()), "{given:?} gave {made:?}");
        }
    }

    #[test]
    fn labels_have_the_form_of_kubernetes() {
        let long = "k".repeat(64);
        for (key, value, right) in [
            ("team", "billing", true),
            ("app.kubernetes.io/name", "shop", true),
            ("a", "", true),
            ("A_b.c-d", "1", true),
            ("", "x", false),
            ("/x", "y", false),
            ("Example.com/x", "y", false),
            ("a b", "c", false),
            ("-a", "b", false),
            ("a", "b-", false),
            (long.as_str(), "v", false),
            ("a", long.as_str(), false),
            ("a/b/c", "d", false),
        ] {
            let given = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(
                labels(&given).is_ok(),
                right,
                "{key}={value}: {:?}",
                labels(&given)
            );
        }
    }

    #[test]
    fn tokens_sets_and_links_keep_their_rules() {
        for (token, right) in [
            ("0123456789", true),
            ("012345678", false),
            ("abc def ghi jk", false),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(ping_token(token).is_ok(), right, "{token}");
        }
        for (name, right) in [
            ("default", true),
            ("team-a.prod", true),
            ("", false),
            ("-a", false),
            ("a b", false),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(set(name).is_ok(), right, "{name}");
        }
        for (url, right) in [
            ("https://example.com/x", true),
            ("http://a", true),
            ("javascript:alert(1)", false),
            ("https://", false),
            ("https:///x", false),
            ("https://a b", false),
        ] {
            assert_eq!(link(url).is_ok(), right, "{url}");
        }
    }
}
