//! The description of the API.

use std::path::Path;

use serde_json::Value;

use crate::support::Server;

fn described() -> Value {
    serde_json::to_value(systole_server::api::openapi()).unwrap()
}

/// In the order of names, whatever order the JSON library keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: std::collections::BTreeMap<String, Value> = fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[test]
fn the_committed_description_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = serde_json::to_string_pretty(&sorted(described())).unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/openapi.json is not what the code describes; write it anew with: UPDATE_OPENAPI=1 cargo test -p \
         systole-server --test api openapi"
    );
}

#[test]
fn every_operation_is_described() {
    let document = described();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                operation["summary"].is_string(),
                "{method} {path} has no summary"
            );
            assert!(
                responses.contains_key("default"),
                "{method} {path} names no problem"
            );
            assert_eq!(
                operation["tags"].as_array().unwrap().len(),
                1,
                "{method} {path}"
            );
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = described();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(place).is_some(),
            "{reference} leads nowhere"
        );
    }
}

#[tokio::test]
async fn the_description_is_served_without_a_token() {
    let server = Server::start().await;
    let served = server
        .call_as("", "GET", "/openapi.json", Value::Null, &[])
        .await
        .expect(200);
    assert_eq!(served, described());
}
