//! `systole apply`: makes what documents describe.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use systole_wire::document::{self, Document, DocumentKind, SecretReference};

use super::apply_diff::{Difference, difference};
use crate::cli::ApplyArgs;
use crate::client::Api;
use crate::client::http::escaped;
use crate::failure::Failure;
use crate::out;

/// No file of documents is larger; a device that never ends stops here.
const LARGEST_FILE: u64 = 4 << 20;

/// Reads every document, and only if all of them are right makes them so: channels first, maintenances last.
///
/// # Errors
/// What is wrong with the documents, or that the server refused some.
pub async fn run(args: ApplyArgs) -> Result<(), Failure> {
    if args.prune || args.set.is_some() {
        let flag = if args.prune { "--prune" } else { "--set" };
        return Err(Failure::Usage(format!(
            "`systole apply {flag}` is not built yet"
        )));
    }
    let mut documents = gather(&args.files)?;
    // Monitors name channels and maintenances name monitors, so those must exist before.
    documents.sort_by_key(|document| match document.kind {
        DocumentKind::Channel => 0,
        DocumentKind::Heartbeat => 1,
        DocumentKind::Maintenance => 2,
    });
    let api = Api::connect(&args.connection)?;
    let mut channels = api.list("/channels", &[]).await?;
    let mut failed = false;
    for document in &documents {
        let label = format!("{} {}", document.kind.as_str(), out::shown(&document.name));
        match apply(&api, document, &mut channels, args.dry_run).await {
            Ok(outcome) => out::line(&format!("{label}: {outcome}"))?,
            Err(Failure::Failed(error)) => {
                failed = true;
                eprintln!("{label}: {error:#}");
            }
            Err(other) => return Err(other),
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// Makes one document so; the sentence says what that took.
async fn apply(
    api: &Api,
    document: &Document,
    channels: &mut Vec<Value>,
    dry_run: bool,
) -> Result<String, Failure> {
    let is_channel = document.kind == DocumentKind::Channel;
    let path = match document.kind {
        DocumentKind::Channel => "/channels",
        DocumentKind::Heartbeat => "/monitors",
        DocumentKind::Maintenance => "/maintenances",
    };
    let Some(object) = find(api, document, channels).await? else {
        if dry_run {
            return Ok("would be created".to_owned());
        }
        let made = api
            .call(
                "POST",
                path,
                Some(&Value::Object(document.fields.clone())),
                None,
            )
            .await?;
        if is_channel {
            channels.push(made);
        }
        return Ok("created".to_owned());
    };
    let names: BTreeMap<String, String> = channels
        .iter()
        .filter_map(|channel| {
            Some((
                channel["id"].as_str()?.to_owned(),
                channel["name"].as_str()?.to_owned(),
            ))
        })
        .collect();
    let Difference { changed, unsure } = difference(&document.fields, &object, &names);
    for (field, advice) in [
        ("kind", "delete it first"),
        (
            "token",
            "ask for another by rotate-token, or leave it out of the document",
        ),
    ] {
        if changed.iter().any(|changed| changed == field) {
            return Err(Failure::failed(format!(
                "{field}: cannot be changed; {advice}"
            )));
        }
    }
    if changed.is_empty() && unsure.is_empty() {
        return Ok("unchanged".to_owned());
    }
    if dry_run {
        return Ok(match (changed.is_empty(), unsure.is_empty()) {
            (true, _) => format!(
                "unchanged, as far as can be seen ({} cannot be compared)",
                unsure.join(", ")
            ),
            (false, true) => format!("would be changed ({})", changed.join(", ")),
            (false, false) => {
                format!(
                    "would be changed ({}; {} cannot be compared)",
                    changed.join(", "),
                    unsure.join(", ")
                )
            }
        });
    }
    let mut fields = document.fields.clone();
    fields.remove("token");
    let id = object["id"]
        .as_str()
        .ok_or_else(|| Failure::failed("the server's object has no id"))?;
    let rev = object["rev"].as_i64();
    let patched = api
        .call(
            "PATCH",
            &format!("{path}/{}", escaped(id)),
            Some(&Value::Object(fields)),
            rev,
        )
        .await?;
    // What could not be compared from here, the server has compared: it counts real changes only.
    if changed.is_empty() && patched["rev"].as_i64() == rev {
        return Ok("unchanged".to_owned());
    }
    let named = if changed.is_empty() { unsure } else { changed };
    Ok(format!("changed ({})", named.join(", ")))
}

async fn find(
    api: &Api,
    document: &Document,
    channels: &[Value],
) -> Result<Option<Value>, Failure> {
    let is_it = |object: &&Value| object["name"] == document.name.as_str();
    match document.kind {
        DocumentKind::Channel => return Ok(channels.iter().find(is_it).cloned()),
        DocumentKind::Maintenance => {
            let all = api.list("/maintenances", &[]).await?;
            return Ok(all.iter().find(is_it).cloned());
        }
        DocumentKind::Heartbeat => {}
    }
    let query = [
        ("kind", document.kind.as_str()),
        ("q", document.name.as_str()),
    ];
    Ok(api
        .list("/monitors", &query)
        .await?
        .iter()
        .find(is_it)
        .cloned())
}

/// Reads all documents of all files; says everything that is wrong with any of them.
fn gather(given: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for path in files(given)? {
        let shown = if path == Path::new("-") {
            "stdin".to_owned()
        } else {
            path.display().to_string()
        };
        let text = read_file(&path)
            .map_err(|error| Failure::failed(format!("cannot read {shown}: {error}")))?;
        match document::split(&text) {
            Err(error) => errors.push(format!("{shown}: {error}")),
            Ok(values) => {
                for (number, value) in values {
                    let base = path.parent().unwrap_or(Path::new(""));
                    match document::read(value, &mut |reference| secret(reference, base)) {
                        Ok(document) => documents.push(document),
                        Err(wrong) => errors.extend(wrong.iter().map(|error| {
                            format!(
                                "{shown}, document {number}: {}",
                                out::shown(&error.to_string())
                            )
                        })),
                    }
                }
            }
        }
    }
    let mut seen = BTreeSet::new();
    for document in &documents {
        if !seen.insert((document.kind.as_str(), document.name.clone())) {
            errors.push(format!(
                "{} {:?} is described twice",
                document.kind.as_str(),
                document.name
            ));
        }
    }
    if !errors.is_empty() {
        return Err(Failure::failed(format!(
            "nothing was applied:\n  {}",
            errors.join("\n  ")
        )));
    }
    if documents.is_empty() {
        return Err(Failure::failed("there are no documents in what was given"));
    }
    Ok(documents)
}

/// The files that were meant: a directory stands for its *.yaml and *.yml files, in order of name.
fn files(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in given {
        if path == Path::new("-") || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let cannot = |error: std::io::Error| {
            Failure::failed(format!("cannot list {}: {error}", path.display()))
        };
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(cannot)? {
            let inner = entry.map_err(cannot)?.path();
            let is_document = inner
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml");
            if is_document && inner.is_file() {
                inside.push(inner);
            }
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    source.take(LARGEST_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}

/// Finds a secret on this machine; a relative path is seen from the document's directory. One line end is dropped, which
/// editors add.
fn secret(reference: &SecretReference, base: &Path) -> Result<String, String> {
    let text = match reference {
        SecretReference::Environment(name) => {
            std::env::var(name).map_err(|_| format!("the variable {name:?} is not set here"))?
        }
        SecretReference::File(path) => {
            let path = base.join(path);
            let text = read_file(&path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            text.strip_suffix('\n')
                .map(|text| text.strip_suffix('\r').unwrap_or(text))
                .unwrap_or(&text)
                .to_owned()
        }
    };
    if text.is_empty() {
        Err("the secret that it names is empty".to_owned())
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, text: &str) {
        std::fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn a_directory_stands_for_its_yaml_files_in_order() {
        let directory = tempfile::tempdir().unwrap();
        write(
            directory.path(),
            "b.yml",
            "kind: heartbeat\nname: b\nschedule: {every: 6h}\n",
        );
        write(
            directory.path(),
            "a.yaml",
            "kind: channel\ntype: webhook\nname: a\nconfig: {secret: {file: s.txt}}\n",
        );
        write(directory.path(), "s.txt", "whsec_x\n");
        write(directory.path(), "c.json", "nonsense");
        let documents = gather(&[directory.path().to_owned()]).unwrap();
        assert_eq!(
            documents
                .iter()
                .map(|document| document.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(documents[0].fields["config"]["secret"], "whsec_x");
    }

    #[test]
    fn every_error_names_file_document_and_field_and_nothing_is_applied() {
        let directory = tempfile::tempdir().unwrap();
        write(
            directory.path(),
            "a.yaml",
            "kind: heartbeat\nname: a\nschedule: {every: 6h}\n---\nkind: heartbeat\nname: x\nshedule: 1\n",
        );
        write(
            directory.path(),
            "b.yaml",
            "kind: heartbeat\nname: a\nschedule: {every: 1h}\n",
        );
        write(directory.path(), "c.yaml", "kind: [\n");
        let Err(Failure::Failed(error)) = gather(&[directory.path().to_owned()]) else {
            panic!("accepted")
        };
        let said = format!("{error:#}");
        for part in [
            "nothing was applied",
            "a.yaml, document 2: schedule: is required",
            "a.yaml, document 2: shedule: unknown field; did you mean \"schedule\"?",
            "c.yaml: ",
            "heartbeat \"a\" is described twice",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}
