//! What the query of a check-in says, as pure functions of its text.

use systole_core::heartbeat::RunId;

use super::Refusal;

/// `rid`: a dashed UUID of any case.
///
/// # Errors
/// [`Refusal::Malformed`] when it is there and is none.
pub fn run_id(query: &str) -> Result<Option<RunId>, Refusal> {
    // Most have none, and decoding takes longer than this look. A name can be written with escapes too.
    if !query.contains("rid") && !query.contains('%') {
        return Ok(None);
    }
    let Some(text) = parameter(query, "rid") else {
        return Ok(None);
    };
    let dashed = text.len() == 36;
    match uuid::Uuid::try_parse(&text) {
        Ok(uuid) if dashed => Ok(Some(uuid.as_u128())),
        _ => Err(Refusal::Malformed("invalid uuid format")),
    }
}

/// The value of a parameter, decoded; the first where there are several.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";

    #[test]
    fn a_run_is_named_by_a_dashed_uuid() {
        let run = uuid::Uuid::parse_str(RUN).unwrap().as_u128();
        for (query, named) in [
            (format!("rid={RUN}"), Some(run)),
            (format!("a=b&rid={}&c", RUN.to_uppercase()), Some(run)),
            (format!("%72id={RUN}"), Some(run)),
            (format!("grid={RUN}"), None),
            (String::new(), None),
            ("create=1".to_owned(), None),
        ] {
            assert_eq!(run_id(&query).unwrap(), named, "{query}");
        }
        for wrong in [
            String::from("rid="),
            String::from("rid=7"),
            format!("rid={}", RUN.replace('-', "")),
        ] {
            assert!(
                matches!(run_id(&wrong), Err(Refusal::Malformed(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_first_of_several_values_counts() {
        assert_eq!(parameter("msg=a+b&msg=c", "msg").as_deref(), Some("a b"));
        assert_eq!(parameter("msg", "msg").as_deref(), Some(""));
        assert_eq!(parameter("message=a", "msg"), None);
    }
}
