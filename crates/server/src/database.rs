//! The database as a whole: looked at, and grown from an embedded into a shared one.

use systole_store::backup::{BackupError, Depth, database_file, identify};
use systole_store::{Error, Store};

pub use systole_store::copy::Progress;
pub use systole_store::status::{Counts, Decider, Holdings, Standby, Status, Stream, View};

use crate::backup::opens;
use crate::doctor::Place;
use crate::keys::KeyError;

/// Why a database was not looked at, or not copied.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The embedded database.
    #[error(transparent)]
    File(#[from] BackupError),
    /// Either of them.
    #[error(transparent)]
    Store(#[from] Error),
    /// The key.
    #[error("{0}; the copy needs the key that this database was made with")]
    Key(#[from] KeyError),
    /// There is nothing to copy.
    #[error("{place} was never used by a server: there is nothing to copy")]
    Unused {
        /// The directory.
        place: String,
    },
    /// It would be changed by being opened.
    #[error(
        "the database in {place} is of version {found}, this Systole knows {known}; start systole serve of this version on it once, \
         which migrates it, stop it, and copy then"
    )]
    Older {
        /// The directory.
        place: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// The database that servers with these settings use, for somebody who only looks.
///
/// # Errors
/// [`DatabaseError`].
pub async fn view(place: &Place) -> Result<View, DatabaseError> {
    Ok(match &place.database_url {
        Some(url) => View::shared(url).await?,
        None => View::embedded(&place.data_dir).await?,
    })
}

/// What a copy has brought over.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Name, host and port of the shared database.
    pub target: String,
    /// What the embedded database holds.
    pub before: Counts,
    /// What the shared one holds.
    pub after: Counts,
}

/// Copies the embedded database of a directory into the shared one at `url`, which must hold nothing. No server may use the
/// directory, and the key at hand must open it. The embedded database stays as it is.
///
/// # Errors
/// [`DatabaseError`]; the shared database then holds nothing.
pub async fn copy(
    place: &Place,
    url: &str,
    progress: impl FnMut(&Progress) + Send,
) -> Result<Copied, DatabaseError> {
    let directory = &place.data_dir;
    let identity = identify(&database_file(directory), Depth::Quick).await?;
    let shown = || directory.display().to_string();
    let view = View::embedded(directory).await?;
    let known = view.known();
    if identity.version < known {
        return Err(DatabaseError::Older {
            place: shown(),
            found: identity.version,
            known,
        });
    }
    if identity.key.is_none() {
        return Err(DatabaseError::Unused { place: shown() });
    }
    opens(place, &identity)?;
    // Whoever holds it holds the directory.
    let source = Store::open(directory).await?;
    let target = Store::connect(url).await?;
    source.copy_to(&target, progress).await?;
    let copied = View::shared(url).await?;
    Ok(Copied {
        target: copied.place().to_owned(),
        before: view.counts().await?,
        after: copied.counts().await?,
    })
}
