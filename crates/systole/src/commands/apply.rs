//! `systole apply`: makes what documents describe, and with `--prune` deletes what they no longer do.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::Value;

use super::apply_many;
use super::documents::{self, Emptiness};
use super::plan::{self, Action, Pruned, Step};
use super::progress::Progress;
use crate::cli::ApplyArgs;
use crate::client::Api;
use crate::client::http::escaped;
use crate::failure::Failure;
use crate::out;

/// Reads every document, and only if all of them are right makes them so: channels first, maintenances last; then deletes,
/// monitors first.
///
/// # Errors
/// What is wrong with the documents, or that the server refused some.
pub async fn run(args: ApplyArgs) -> Result<(), Failure> {
    plan::check_set(&args.set)?;
    let emptiness = if args.prune {
        Emptiness::Refused
    } else {
        Emptiness::Fine
    };
    let documents = documents::gather(&args.files, emptiness)?;
    let api = Api::connect(&args.connection)?;
    let mut comparing = Progress::new(true);
    let steps = plan::steps(&api, documents, &args.set, args.take, &mut comparing).await?;
    let pruned = if args.prune {
        plan::pruned(&api, &steps, &args.set).await?
    } else {
        Vec::new()
    };
    if !args.dry_run && !pruned.is_empty() {
        ask(&args, &pruned)?;
    }
    let mut failed = carry_out(&args, &api, &steps).await?;
    if failed && !pruned.is_empty() {
        // What was refused may be a new name of what is to be deleted.
        eprintln!("systole: nothing was pruned, since documents were refused");
        return Err(Failure::Told);
    }
    for object in &pruned {
        if args.dry_run {
            out::line(&format!("{}: would be deleted", object.label()))?;
            continue;
        }
        match delete(&api, object).await {
            Ok(()) => out::line(&format!("{}: deleted", object.label()))?,
            Err(Failure::Failed(error)) => {
                failed = true;
                eprintln!("{}: {error:#}", object.label());
            }
            Err(other) => return Err(other),
        }
    }
    if failed { Err(Failure::Told) } else { Ok(()) }
}

/// Does every step, or says what it would do; whether one failed.
async fn carry_out(args: &ApplyArgs, api: &Api, steps: &[Step]) -> Result<bool, Failure> {
    let mut failed = false;
    // On a terminal the lines of the documents say how far it is.
    let mut progress = Progress::new(!std::io::stdout().is_terminal());
    let mut done = 0;
    for stretch in apply_many::stretches(steps, &args.set) {
        progress.at("documents applied", done, steps.len());
        let mut created = if args.dry_run {
            Vec::new()
        } else {
            apply_many::create(api, &stretch.created).await?
        }
        .into_iter();
        for step in stretch.steps {
            let outcome = if args.dry_run {
                Ok(would(step))
            } else if stretch.is_created(step) {
                Ok(created
                    .next()
                    .unwrap_or_else(|| Err("the server did not say what became of it".to_owned())))
            } else {
                perform(api, step, &args.set).await
            };
            let label = step.label();
            let refused = match outcome {
                Ok(Ok(outcome)) => {
                    out::line(&format!("{label}: {outcome}{}", noted(step)))?;
                    continue;
                }
                Ok(Err(refused)) => refused,
                Err(Failure::Failed(error)) => format!("{error:#}"),
                Err(other) => return Err(other),
            };
            failed = true;
            progress.clear();
            eprintln!("{label}: {refused}");
        }
        done += stretch.steps.len();
    }
    progress.clear();
    Ok(failed)
}

/// What is said of ownership that is not ours.
fn noted(step: &Step) -> String {
    step.note
        .as_ref()
        .map_or(String::new(), |note| format!("; {note}"))
}

/// What a step would do; the inner error is why it would not.
fn would(step: &Step) -> Result<String, String> {
    Ok(match &step.action {
        Action::Create => "would be created".to_owned(),
        Action::Refused(why) => return Err(why.clone()),
        Action::Change { changed, unsure } => match (changed.is_empty(), unsure.is_empty()) {
            (true, true) => "unchanged".to_owned(),
            (true, false) => format!(
                "unchanged, as far as can be seen ({} cannot be compared)",
                unsure.join(", ")
            ),
            (false, true) => format!("would be changed ({})", plan::fields(changed)),
            (false, false) => format!(
                "would be changed ({}; {} cannot be compared)",
                plan::fields(changed),
                unsure.join(", ")
            ),
        },
    })
}

/// Makes one document so; the sentence says what that took.
async fn perform(api: &Api, step: &Step, set: &str) -> Result<Result<String, String>, Failure> {
    let path = plan::path(step.document.kind);
    let mut fields = step.document.fields.clone();
    let (changed, unsure) = match &step.action {
        Action::Refused(why) => return Ok(Err(why.clone())),
        Action::Create => {
            fields.insert("set".to_owned(), Value::from(set));
            api.call("POST", path, Some(&Value::Object(fields)), None)
                .await?;
            return Ok(Ok("created".to_owned()));
        }
        Action::Change { changed, unsure } => (changed, unsure),
    };
    if changed.is_empty() && unsure.is_empty() {
        return Ok(Ok("unchanged".to_owned()));
    }
    fields.remove("token");
    if changed.iter().any(|change| change.field == "set") {
        fields.insert("set".to_owned(), Value::from(set));
    }
    let object = step.object.as_ref().unwrap_or(&Value::Null);
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
        return Ok(Ok("unchanged".to_owned()));
    }
    let named = if changed.is_empty() {
        unsure.join(", ")
    } else {
        plan::fields(changed)
    };
    Ok(Ok(format!("changed ({named})")))
}

async fn delete(api: &Api, object: &Pruned) -> Result<(), Failure> {
    let path = format!("{}/{}", object.path, escaped(&object.id));
    api.call("DELETE", &path, None, object.rev).await.map(drop)
}

/// Whether deleting has to be agreed to first.
#[derive(Debug, PartialEq, Eq)]
enum Consent {
    Given,
    Ask,
    /// There is somebody to ask, and no way to hear the answer.
    CannotAsk,
}

fn consent(yes: bool, can_hear: bool, can_show: bool) -> Consent {
    match (yes, can_hear, can_show) {
        (true, _, _) | (_, _, false) => Consent::Given,
        (false, true, true) => Consent::Ask,
        (false, false, true) => Consent::CannotAsk,
    }
}

/// Says what is going to be deleted, and asks where somebody is there.
fn ask(args: &ApplyArgs, pruned: &[Pruned]) -> Result<(), Failure> {
    let mut list = format!(
        "made by set {:?} and no longer named by the documents, so to be deleted:\n",
        args.set
    );
    for object in pruned {
        list.push_str(&format!("  {}", object.label()));
        if !object.named_by.is_empty() {
            list.push_str(&format!(
                " (still named by {}, which would lose it)",
                out::shown(&object.named_by.join(", "))
            ));
        }
        list.push('\n');
    }
    let mut stderr = std::io::stderr();
    stderr.write_all(list.as_bytes())?;
    let is_ours = !args.files.iter().any(|file| file.as_os_str() == "-");
    match consent(
        args.yes,
        is_ours && std::io::stdin().is_terminal(),
        stderr.is_terminal(),
    ) {
        Consent::Given => Ok(()),
        Consent::CannotAsk => Err(Failure::Usage(
            "nothing was done: nobody can be asked while stdin is in use; give --yes to delete them"
                .to_owned(),
        )),
        Consent::Ask => {
            stderr.write_all(b"apply the documents and delete these? [y/N] ")?;
            let mut answer = String::new();
            std::io::stdin().lock().read_line(&mut answer)?;
            if matches!(answer.trim(), "y" | "Y" | "yes") {
                Ok(())
            } else {
                Err(Failure::failed("nothing was done"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_is_asked_for_where_somebody_is_there() {
        for (yes, can_hear, can_show, expected) in [
            (true, true, true, Consent::Given),
            (false, true, true, Consent::Ask),
            (false, false, true, Consent::CannotAsk),
            (false, false, false, Consent::Given),
            (false, true, false, Consent::Given),
        ] {
            assert_eq!(consent(yes, can_hear, can_show), expected);
        }
    }
}
