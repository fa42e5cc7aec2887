//! Which installation's files a command on this machine looks at: found as `systole serve` finds them.

use std::path::PathBuf;

use systole_server::doctor::Place;

use crate::config::{self, ServeFlags, Sources};
use crate::failure::Failure;

/// Data directory and key, by flags, environment, configuration file, defaults.
///
/// # Errors
/// Wrong settings, all of them.
pub fn place(
    config: Option<PathBuf>,
    data_dir: Option<String>,
    key_file: Option<String>,
) -> Result<Place, Failure> {
    let flags = ServeFlags::of(config, [("data-dir", data_dir), ("key-file", key_file)]);
    let sources = Sources::gather(flags).map_err(Failure::Usage)?;
    let (config, _) =
        config::resolve(&sources).map_err(|errors| Failure::Usage(errors.join("\nsystole: ")))?;
    Ok(Place {
        data_dir: config.data_dir,
        key_file: config.key_file,
        key: config.key.as_ref().map(|key| *key.reveal()),
    })
}
