//! Documents of `systole apply`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use systole_wire::document::{Document, DocumentKind, SecretReference, read, split};
use systole_wire::problem::FieldError;

fn secrets(reference: &SecretReference) -> Result<String, String> {
    match reference {
        SecretReference::Environment(name) if name == "HOOK_SECRET" => Ok("whsec_x".to_owned()),
        SecretReference::Environment(name) => Err(format!("the variable {name} is not set")),
        SecretReference::File(path) => Ok(format!("from {path}")),
    }
}

fn one(text: &str) -> Result<Document, Vec<FieldError>> {
    let documents = split(text).unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    read(documents.into_iter().next().unwrap().1, &mut secrets)
}

#[test]
fn a_file_holds_several_documents_and_empty_ones_are_skipped() {
    let documents =
        split("---\nkind: heartbeat\n---\n---\n# nothing\n---\nkind: Channel\n").unwrap();
    assert_eq!(
        documents
            .iter()
            .map(|(_, value)| value["kind"].clone())
            .collect::<Vec<_>>(),
        ["heartbeat", "Channel"]
    );
    let documents = split("[{\"kind\": \"heartbeat\"}, {\"kind\": \"channel\"}]").unwrap();
    assert_eq!(
        documents
            .iter()
            .map(|(number, value)| (*number, value["kind"].as_str().unwrap()))
            .collect::<Vec<_>>(),
        [(1, "heartbeat"), (2, "channel")],
        "a list of objects stands for its members"
    );
    assert_eq!(split("").unwrap(), []);
}

#[test]
fn kinds_are_read_in_any_case_and_secrets_are_resolved_where_they_stand() {
    let document =
        one("kind: HeartBeat\nname: a\nschedule: {every: 6h}\nlabels: {env: prod}\n").unwrap();
    assert_eq!(document.kind, DocumentKind::Heartbeat);
    assert_eq!(document.fields["labels"], json!({"env": "prod"}));
    assert_eq!(document.fields["kind"], "heartbeat");

    let text = "kind: channel\ntype: Webhook\nname: ops\nconfig:\n  secret: {env: HOOK_SECRET}\n  headers:\n    Authorization: {file: /run/token}\n";
    let document = one(text).unwrap();
    assert_eq!(
        (document.kind, document.name.as_str()),
        (DocumentKind::Channel, "ops")
    );
    assert_eq!(document.fields["kind"], "webhook");
    assert_eq!(
        document.fields["config"],
        json!({"secret": "whsec_x", "headers": {"Authorization": "from /run/token"}})
    );
    let mut places = document.secrets.clone();
    places.sort();
    assert_eq!(places, ["config.headers.Authorization", "config.secret"]);

    let text = "kind: Maintenance\nname: a\nselector: team=a,!b\nwhen: {start: 2026-12-06T02:00, duration: 2h, rrule: FREQ=DAILY;BYHOUR=2}\n";
    let document = one(text).unwrap();
    assert_eq!(document.kind, DocumentKind::Maintenance);
    assert_eq!(document.fields["when"]["start"], "2026-12-06T02:00");
    assert!(!document.fields.contains_key("kind"));

    let document = one("kind: Slack\nname: ops\nconfig: {url: {env: HOOK_SECRET}}\n").unwrap();
    assert_eq!(document.fields["kind"], "slack");
}

#[test]
fn a_wrong_document_names_every_field() {
    for (text, expected) in [
        (
            "- a\n",
            vec!["must be an object with kind and name, not a list"],
        ),
        (
            "name: a\n",
            vec!["kind: is required: heartbeat, channel or maintenance"],
        ),
        (
            "kind: hartbeat\nname: a\n",
            vec!["kind: \"hartbeat\" is not a kind; did you mean \"heartbeat\"?"],
        ),
        (
            "kind: Endpoint\nname: a\n",
            vec!["kind: monitors of kind \"endpoint\" are not built yet"],
        ),
        (
            "kind: heartbeat\nname: a\nschedule: {every: 6h}\nset: a\n",
            vec![
                "set: does not stand in documents; say it on the command line: systole apply --set NAME",
            ],
        ),
        (
            "kind: channel\nname: a\n",
            vec!["type: is required: the kind of the channel, for example webhook"],
        ),
        (
            "kind: maintenance\nname: a\nselector: team=a\nwhen: {duration: 1h}\n",
            vec![
                "when.start: is required in a document, so that applying it again changes nothing",
            ],
        ),
        (
            "kind: heartbeat\nname: a\nschedule: {cron: 0 2 * * *, timezoen: UTC}\ntoken: {env: NONE}\nperiod: 5m\n",
            vec![
                "token: the variable NONE is not set",
                "schedule.timezoen: unknown field; did you mean \"timezone\"?",
                "period: unknown field; did you mean \"schedule\"?",
            ],
        ),
    ] {
        let found: Vec<String> = one(text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn wrong_yaml_is_refused_with_its_line() {
    for text in [
        "kind: heartbeat\nkind: channel\n",
        "a: [1, 2\nb: 3\n",
        "a: *missing\n",
        "a: 'x\n",
    ] {
        let error = split(text).unwrap_err();
        assert!(error.contains("line"), "{text:?}: {error}");
    }
}

#[test]
fn yaml_that_multiplies_itself_is_refused() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let before = format!("*a{}, ", i - 1).repeat(10);
        text.push_str(&format!(
            "a{i}: &a{i} [{}]\n",
            before.trim_end_matches(", ")
        ));
    }
    assert!(split(&text).is_err());
    assert!(split(&"[".repeat(100_000)).is_err());
    assert!(split(&"x".repeat(5 * 1024 * 1024)).is_err());
}

#[test]
fn words_of_yaml_1_1_stay_words() {
    let documents = split("kind: heartbeat\nname: no\nowner: on\n").unwrap();
    assert_eq!(documents[0].1["name"], Value::from("no"));
}
