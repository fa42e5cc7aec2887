//! Which installation's files a command on this machine looks at: found as `systole serve` finds them.

use std::path::PathBuf;

use systole_server::doctor::Place;

use crate::config::{self, ServeFlags, Sources};
use crate::failure::Failure;

/// Data directory, shared database and key, by flags, environment, configuration file, defaults.
///
/// # Errors
/// Wrong settings, all of them.
pub fn place(
    config: Option<PathBuf>,
    data_dir: Option<String>,
    key_file: Option<String>,
    database_url: Option<String>,
) -> Result<Place, Failure> {
    let given = [
        ("data-dir", data_dir),
        ("key-file", key_file),
        ("database-url", database_url),
    ];
    let flags = ServeFlags::of(config, given);
    let sources = Sources::gather(flags).map_err(Failure::Usage)?;
    let (config, _) =
        config::resolve(&sources).map_err(|errors| Failure::Usage(errors.join("\nsystole: ")))?;
    Ok(Place {
        data_dir: config.data_dir,
        database_url: config.database_url.map(|url| url.reveal().clone()),
        key_file: config.key_file,
        key: config.key.as_ref().map(|key| *key.reveal()),
    })
}
