//! The documents that `apply` and `diff` are given: files and directories read, secrets found, everything wrong said at once.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use systole_wire::document::{self, Document, DocumentKind, SecretReference};

use crate::failure::Failure;
use crate::out;

/// No file of documents is larger; a device that never ends stops here.
const LARGEST_FILE: u64 = 4 << 20;

/// What a path without a document means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Emptiness {
    /// Nothing, as long as another path has one.
    Fine,
    /// A mistake: what the documents no longer name is going to be deleted, and a wrong path names nothing.
    Refused,
}

/// Reads all documents of all files, channels first, since monitors name them; says everything that is wrong with any of
/// them.
///
/// # Errors
/// A file that cannot be read, a document that is wrong, an object described twice, or no document at all.
pub fn gather(given: &[PathBuf], emptiness: Emptiness) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for given in given {
        let before = (documents.len(), errors.len());
        gather_one(given, &mut documents, &mut errors)?;
        if emptiness == Emptiness::Refused && before == (documents.len(), errors.len()) {
            return Err(Failure::failed(format!(
                "there are no documents in {}; pruning by it would delete all that the set made",
                given.display()
            )));
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
            "the documents are wrong, and nothing was done:\n  {}",
            errors.join("\n  ")
        )));
    }
    if documents.is_empty() {
        return Err(Failure::failed("there are no documents in what was given"));
    }
    documents.sort_by_key(|document| match document.kind {
        DocumentKind::Channel => 0,
        DocumentKind::Heartbeat => 1,
        DocumentKind::Maintenance => 2,
    });
    Ok(documents)
}

fn gather_one(
    given: &Path,
    documents: &mut Vec<Document>,
    errors: &mut Vec<String>,
) -> Result<(), Failure> {
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
    Ok(())
}

/// The files that were meant: a directory stands for its *.yaml and *.yml files, in order of name.
fn files(given: &Path) -> Result<Vec<PathBuf>, Failure> {
    if given == Path::new("-") || !given.is_dir() {
        return Ok(vec![given.to_owned()]);
    }
    let cannot = |error: std::io::Error| {
        Failure::failed(format!("cannot list {}: {error}", given.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(given).map_err(cannot)? {
        let inner = entry.map_err(cannot)?.path();
        let is_document = inner
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_document && inner.is_file() {
            files.push(inner);
        }
    }
    files.sort();
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
        let documents = gather(&[directory.path().to_owned()], Emptiness::Fine).unwrap();
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
        let Err(Failure::Failed(error)) = gather(&[directory.path().to_owned()], Emptiness::Fine)
        else {
            panic!("accepted")
        };
        let said = format!("{error:#}");
        for part in [
            "the documents are wrong, and nothing was done",
            "a.yaml, document 2: schedule: is required",
            "a.yaml, document 2: shedule: unknown field; did you mean \"schedule\"?",
            "c.yaml: ",
            "heartbeat \"a\" is described twice",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }

    #[test]
    fn a_path_without_documents_is_a_mistake_where_the_rest_is_pruned() {
        let (full, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(
            full.path(),
            "a.yaml",
            "kind: heartbeat\nname: a\nschedule: {every: 6h}\n",
        );
        let both = [full.path().to_owned(), empty.path().to_owned()];
        assert_eq!(gather(&both, Emptiness::Fine).unwrap().len(), 1);
        for given in [&both[..], &both[1..]] {
            let Err(Failure::Failed(error)) = gather(given, Emptiness::Refused) else {
                panic!("accepted")
            };
            assert!(error.to_string().contains("would delete all"), "{error}");
        }
        assert!(gather(&both[1..], Emptiness::Fine).is_err());
    }
}
