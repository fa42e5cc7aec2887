//! `systole db copy`: from one server with a directory to a PostgreSQL that several can share.

use std::path::Path;

use systole_server::database::{self, Copied, Counts};
use systole_server::doctor::Place;

use super::place::place;
use super::progress::Progress;
use crate::cli::CopyArgs;
use crate::failure::Failure;
use crate::out;

/// A word for people, and where its number stands.
type Counted = (&'static str, fn(&Counts) -> i64);

/// Copies, counts both, and says what comes next.
///
/// # Errors
/// Why it was not done; the PostgreSQL then holds nothing.
pub async fn run(args: CopyArgs) -> Result<(), Failure> {
    let place = place(args.config, args.data_dir, args.key_file, None)?;
    let Some(url) = args.to.or_else(|| place.database_url.clone()) else {
        return Err(Failure::Usage(
            "where to? name an empty PostgreSQL with --to postgres://user@host/name, or with SYSTOLE_DATABASE_URL, which keeps a \
             password out of sight"
                .to_owned(),
        ));
    };
    let mut line = Progress::new(true);
    let copied = database::copy(&place, &url, |progress| {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let what = format!("rows of {}", progress.table);
        line.at(&what, number(progress.copied), number(progress.of));
    })
    .await;
    line.clear();
    let copied = copied.map_err(Failure::failed)?;
    if copied.before != copied.after {
        let both = counted(&copied);
        return Err(Failure::failed(format!(
            "the copy does not hold what the database holds; do not use it:\n{both}"
        )));
    }
    Ok(out::print(&said(&place, &copied)?)?)
}

fn said(place: &Place, copied: &Copied) -> Result<String, Failure> {
    let data_dir = shown(&place.data_dir)?;
    let key = if place.key.is_some() {
        "  # with the same SYSTOLE_KEY".to_owned()
    } else {
        format!("--key-file {}", shown(&place.key_path())?)
    };
    Ok(format!(
        "{data_dir} is copied to {target}\n\n{counted}\n\
         Next, start the server on it with the same key:\n\n  \
         export SYSTOLE_DATABASE_URL=postgres://…   # the URL that the copy went to\n  \
         systole serve --data-dir {data_dir} {key}\n\n\
         Jobs need no change: their tokens and URLs are the same.\n\
         The database in {data_dir} is as it was. Start no server on it any more:\n\
         two would both tell people. Keep it until the new one has been backed up.\n",
        target = copied.target,
        counted = counted(copied),
    ))
}

/// As it can be typed anywhere.
fn shown(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path)?;
    Ok(out::quoted(&path.display().to_string()))
}

/// What both hold, side by side.
fn counted(copied: &Copied) -> String {
    let rows: [Counted; 4] = [
        ("monitors", |counts| counts.monitors),
        ("channels", |counts| counts.channels),
        ("incidents", |counts| counts.incidents),
        ("check-ins", |counts| counts.checkins),
    ];
    let mut text = format!("{:<10} {:>12} {:>12}\n", "", "directory", "PostgreSQL");
    for (name, of) in rows {
        let (before, after) = (of(&copied.before), of(&copied.after));
        text += &format!("{name:<10} {before:>12} {after:>12}\n");
    }
    text
}
