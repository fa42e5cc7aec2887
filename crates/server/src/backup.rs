//! Copies of an installation's database: the store's, with the key that they need and never hold.

use std::path::{Path, PathBuf};

use systole_core::time::Time;
pub use systole_store::backup::{BackupError, Contents, back_up, database_file, inspect};
use systole_store::backup::{Identity, stage};

pub use crate::doctor::Place;
use crate::keys::KeyError;

/// Why a backup was not put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The copy.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The key.
    #[error("{0}; a backup never holds the key, and without it the secrets in it cannot be read")]
    Key(#[from] KeyError),
    /// A copy of a database that was never used.
    #[error("{path} was made before the first start of its server: there is nothing in it")]
    Unused {
        /// The file.
        path: PathBuf,
    },
}

/// Whether the key at hand opens a database.
///
/// # Errors
/// That there is none, or another one.
pub fn opens(place: &Place, identity: &Identity) -> Result<(), KeyError> {
    let keys = place.keys()?;
    match &identity.key {
        Some((id, check)) => keys.verify(id, check),
        None => Ok(()),
    }
}

/// Puts `file` in the place of the database, once it is known to be sound and the key at hand to open it. The server must be
/// stopped. Answers what it holds, and where the former database is, if there was one.
///
/// # Errors
/// [`RestoreError`]; the former database is then where it was.
pub async fn restore(
    place: &Place,
    file: &Path,
    replace: bool,
    now: Time,
) -> Result<(Contents, Option<PathBuf>), RestoreError> {
    let staged = stage(&place.data_dir, file, replace).await?;
    if staged.contents.identity.key.is_none() {
        return Err(RestoreError::Unused {
            path: file.to_owned(),
        });
    }
    opens(place, &staged.contents.identity)?;
    let contents = staged.contents.clone();
    // Without colons, which some file systems do not take.
    let stamp = Time::from_seconds(now.as_seconds())
        .to_string()
        .replace([':', '-'], "");
    let aside = staged.install(&format!("before-restore-{stamp}"))?;
    Ok((contents, aside))
}
