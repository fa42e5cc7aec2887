//! Documents of `systole apply`: YAML.

use serde_json::Value;
use systole_wire::document::{self, DocumentKind, SecretReference};

use super::is_said;

/// Long enough for a token, with letters that a token may have.
const SECRET: &str = "resolved-secret";

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match document::split(text) {
        Err(why) => is_said(&why, 10_000),
        Ok(values) => {
            let numbers: Vec<usize> = values.iter().map(|(number, _)| *number).collect();
            assert!(numbers.is_sorted() && values.len() <= text.len() + 1);
            for (_, value) in values {
                check(value);
            }
        }
    }
}

fn check(value: Value) {
    let mut refuse = |_: &SecretReference| Err("is not set".to_owned());
    let refused = document::read(value.clone(), &mut refuse);
    let mut asked = 0;
    let mut resolve = |_: &SecretReference| {
        asked += 1;
        Ok(SECRET.to_owned())
    };
    let read = document::read(value, &mut resolve);
    assert!(
        asked == 0 || refused.is_err(),
        "a secret that is not there was not missed"
    );
    match read {
        Ok(document) => {
            assert_eq!(document.fields["name"], document.name.as_str());
            assert!(document.fields["kind"].is_string());
            assert_eq!(
                document.kind == DocumentKind::Heartbeat,
                document.fields["kind"] == "heartbeat"
            );
            if asked == 0 {
                assert_eq!(
                    refused.unwrap(),
                    document,
                    "nothing but references needs a secret"
                );
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                is_said(&error.message, 3_000);
                assert!(
                    !error.to_string().contains(SECRET),
                    "{error} repeats a secret"
                );
            }
        }
    }
}
