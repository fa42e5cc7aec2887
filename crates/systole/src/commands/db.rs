//! `systole db`: the database's backups and its soundness; `status` and `copy` have files of their own.

use systole_server::backup::{self, Contents, Place};
use systole_server::doctor::size;

use super::place::place;
use super::{db_copy, db_status};
use crate::cli::{BackupArgs, CheckArgs, DbArgs, DbCommand, PlaceArgs, RestoreArgs};
use crate::failure::Failure;
use crate::{out, times};

const BACKUP_INSTEAD: &str = "  pg_dump --format=custom --file=FILE URL     a copy of one moment, while servers run
  pg_basebackup --pgdata=DIR                  of the whole PostgreSQL; with WAL archiving up to the last moment";
const RESTORE_INSTEAD: &str =
    "  pg_restore --clean --if-exists --single-transaction --dbname=URL FILE

with all servers stopped, of a file that pg_dump --format=custom made.";
const CHECK_INSTEAD: &str = "  pg_amcheck --dbname=NAME     searches tables and indexes for damage
  systole db status            what is in it, and who uses it
  systole doctor               version, clock, commits, standby, lease, and whether the key opens it";

/// Does what was asked.
///
/// # Errors
/// Why it was not done, or what is wrong with the database.
pub async fn run(args: DbArgs) -> Result<(), Failure> {
    match args.command {
        DbCommand::Backup(args) => back_up(args).await,
        DbCommand::Restore(args) => restore(args).await,
        DbCommand::Check(args) => check(args).await,
        DbCommand::Status(args) => db_status::run(args).await,
        DbCommand::Copy(args) => db_copy::run(args).await,
    }
}

pub(super) fn of(args: PlaceArgs) -> Result<Place, Failure> {
    place(args.config, args.data_dir, args.key_file, args.database_url)
}

/// The same for what is done with the files of an embedded database. A PostgreSQL has better tools of its own.
fn of_files(args: PlaceArgs, instead: &str) -> Result<Place, Failure> {
    let place = of(args)?;
    if place.database_url.is_none() {
        return Ok(place);
    }
    Err(Failure::Usage(format!(
        "this is for the database in a data directory, and --database-url, SYSTOLE_DATABASE_URL or systole.toml names a \
         PostgreSQL. Its own tools do that:\n\n{instead}\n\nThe key is not in it: keep that apart."
    )))
}

async fn back_up(args: BackupArgs) -> Result<(), Failure> {
    let place = of_files(args.place, BACKUP_INSTEAD)?;
    let contents = backup::back_up(&place.data_dir, &args.file)
        .await
        .map_err(Failure::failed)?;
    let mut text = format!(
        "{}: written, read again and sound\n{}",
        args.file.display(),
        counted(&contents)
    );
    if let Some((id, _)) = &contents.identity.key {
        text += &format!(
            "the key ({id}) is not in it: keep that too, apart from it; without it the secrets in it cannot be read\n"
        );
    }
    Ok(out::print(&text)?)
}

async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let place = of_files(args.place, RESTORE_INSTEAD)?;
    let (contents, aside) = backup::restore(&place, &args.file, args.force, times::now())
        .await
        .map_err(Failure::failed)?;
    let mut text = format!(
        "{}: sound, opened by the key at hand, and now the database of {}\n{}",
        args.file.display(),
        place.data_dir.display(),
        counted(&contents)
    );
    if let Some(aside) = aside {
        text += &format!(
            "the database that was there is kept in {}\n",
            aside.display()
        );
    }
    text += "what came after is not in it; the time until the server starts counts as an outage of ours, not as silence of \
             the jobs\n";
    Ok(out::print(&text)?)
}

async fn check(args: CheckArgs) -> Result<(), Failure> {
    let is_backup = args.file.is_some();
    // A file that is named is one of SQLite's, whatever the server uses by now.
    let place = if is_backup && args.place.database_url.is_none() {
        of(args.place)?
    } else {
        of_files(args.place, CHECK_INSTEAD)?
    };
    let file = args
        .file
        .unwrap_or_else(|| backup::database_file(&place.data_dir));
    let contents = backup::inspect(&file).await.map_err(Failure::failed)?;
    out::print(&format!(
        "{}: sound\n{}",
        file.display(),
        counted(&contents)
    ))?;
    match backup::opens(&place, &contents.identity) {
        Ok(()) => Ok(out::line("the key at hand opens it")?),
        // A backup may well be looked at where the key is not.
        Err(error) if is_backup && place.keys().is_err() => Ok(out::line(&format!(
            "whether the key opens it was not seen: {error}"
        ))?),
        Err(error) => Err(Failure::failed(error)),
    }
}

fn counted(contents: &Contents) -> String {
    let identity = &contents.identity;
    let mut text = format!(
        "{} monitors, {} channels, {} incidents, {} check-ins in the log; schema version {}, {}\n",
        contents.monitors,
        contents.channels,
        contents.incidents,
        contents.checkins,
        identity.version,
        size(identity.bytes)
    );
    if let Some(last) = contents.last {
        text += &format!(
            "its last sign of life is of {last}, {}\n",
            times::relative(last, times::now())
        );
    }
    text
}
