//! What is set up wrongly: a server's look at itself, and the same look at the files of one that is down.
//!
//! The judgements are pure functions of what was found; [`report`] and [`files`] look.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use systole_store::Error;
use systole_store::backup::{self, BackupError, Depth, Identity, database_file};
use systole_store::status::View;
use systole_wire::{DoctorReport, Finding};

use crate::api::monitors::names_loopback;
use crate::app::App;
use crate::config::Config;
use crate::keys::Keys;
use crate::outbound::guard::Lists;

mod shared;

/// A larger database is not searched for damage while it serves: that reads all of it.
const CHECKED_BYTES: u64 = 1 << 30;
/// Less free space than this is a warning, or a problem.
const LOW_BYTES: u64 = 1 << 30;
const EMPTY_BYTES: u64 = 100 << 20;
/// So many monitors are named.
const NAMED: u32 = 20;

/// Where an installation's files are.
#[derive(Clone)]
pub struct Place {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where the shared database is; `None` for the embedded one. Holds a password.
    pub database_url: Option<String>,
    /// The key file, where not in it.
    pub key_file: Option<PathBuf>,
    /// The key itself, where it was given from outside.
    pub key: Option<[u8; 32]>,
}

impl Place {
    /// That of a running server.
    pub fn of(config: &Config) -> Place {
        Place {
            data_dir: config.data_dir.clone(),
            database_url: config.database_url.clone(),
            key_file: config.key_file.clone(),
            key: config.key,
        }
    }

    /// The key at hand; none is made.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn keys(&self) -> Result<Keys, crate::keys::KeyError> {
        Keys::read(self.key.as_ref(), self.key_file.as_deref(), &self.data_dir)
    }

    /// The key's file, unless it was given from outside.
    pub fn key_path(&self) -> PathBuf {
        let inside = || self.data_dir.join("key");
        self.key_file.clone().unwrap_or_else(inside)
    }
}

/// What the server finds when it looks at itself.
///
/// # Errors
/// What the database says.
pub async fn report(app: &App, project: i64) -> Result<DoctorReport, Error> {
    let now = app.now();
    let place = Place::of(&app.config);
    let mut findings = match View::of(&app.store) {
        Some(view) => shared::findings(&place, &view).await,
        None => files(&place).await,
    };
    findings.extend(loops(&app.loops.not_ready(now)));
    findings.push(encryption(app));
    findings.push(base_url(app));
    findings.extend(channels(app, project).await?);
    findings.push(deliveries(app.store.outbox_depths().await?.dead));
    findings.push(sign_in(
        app.config.admin_token.is_some() || app.store.has_people().await?,
    ));
    findings.push(watcher(app.config.self_heartbeat_url.is_some()));
    findings.extend(outbound(&app.config));
    Ok(DoctorReport {
        instance: app.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: now.to_string(),
        base_url: app.base_url.clone(),
        findings,
    })
}

/// A look at an installation's files, whether its server runs or not.
pub async fn files(place: &Place) -> Vec<Finding> {
    if let Some(url) = &place.database_url {
        return match View::shared(url).await {
            Ok(view) => shared::findings(place, &view).await,
            Err(error) => vec![shared::unreachable(&error), key(place, None)],
        };
    }
    let file = database_file(&place.data_dir);
    let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    let depth = if bytes > CHECKED_BYTES {
        Depth::Glance
    } else {
        Depth::Quick
    };
    let looked = backup::identify(&file, depth).await;
    let identity = looked.as_ref().ok().cloned();
    vec![
        database(looked, depth),
        disk(&place.data_dir),
        key(place, identity.as_ref()),
    ]
}

fn database(looked: Result<Identity, BackupError>, depth: Depth) -> Finding {
    match looked {
        Ok(identity) if depth == Depth::Glance => Finding::ok(
            "database",
            format!(
                "readable, schema version {}, {}; too large to be searched for damage by the way: `systole db check` does",
                identity.version,
                size(identity.bytes)
            ),
        ),
        Ok(identity) => Finding::ok(
            "database",
            format!(
                "readable and sound, schema version {}, {}",
                identity.version,
                size(identity.bytes)
            ),
        ),
        Err(BackupError::Damaged { found, .. }) => Finding::problem(
            "database",
            format!("it is damaged: {found}"),
            "stop the server, keep a copy of the data directory, and restore a backup: systole db restore FILE",
        ),
        Err(error) => Finding::problem(
            "database",
            crate::chain(&error),
            "make the file readable for this user, or name the right directory with --data-dir",
        ),
    }
}

fn disk(directory: &Path) -> Finding {
    match nix::sys::statvfs::statvfs(directory) {
        Ok(found) => {
            // These numbers have other types on other systems; all of them fit here.
            let unit = u128::from(found.fragment_size());
            let bytes = |blocks: u128| u64::try_from(blocks * unit).unwrap_or(u64::MAX);
            space(
                bytes(u128::from(found.blocks_available())),
                bytes(u128::from(found.blocks())),
            )
        }
        Err(error) => Finding::warning(
            "disk",
            format!("how much space is free cannot be found out: {error}"),
            "look with df",
        ),
    }
}

fn space(free: u64, whole: u64) -> Finding {
    let said = format!(
        "{} of {} are free where the data is",
        size(free),
        size(whole)
    );
    let advice = "make room, or keep less with --retention-days and --retention-bytes: on a full disk check-ins are refused";
    if free < EMPTY_BYTES {
        Finding::problem("disk", said, advice)
    } else if free < LOW_BYTES {
        Finding::warning("disk", said, advice)
    } else {
        Finding::ok("disk", said)
    }
}

fn key(place: &Place, identity: Option<&Identity>) -> Finding {
    let path = place.key_path();
    let shown = path.display();
    if place.database_url.is_some() && place.key.is_none() && place.key_file.is_none() {
        return Finding::problem(
            "key",
            "with a shared database the key must be given: the server does not start",
            format!("give --key-file or SYSTOLE_KEY, for example --key-file {shown}"),
        );
    }
    let keys = match place.keys() {
        Ok(keys) => keys,
        Err(error) => {
            return Finding::problem(
                "key",
                error.to_string(),
                "bring the key back: without it stored secrets are lost",
            );
        }
    };
    if let Some((id, check)) = identity.and_then(|identity| identity.key.as_ref())
        && let Err(error) = keys.verify(id, check)
    {
        return Finding::problem(
            "key",
            error.to_string(),
            "without that key stored secrets are lost, and the server does not start",
        );
    }
    let opens = match identity {
        Some(_) => "it opens the database",
        None => "whether it opens the database cannot be seen",
    };
    if place.key.is_some() {
        return Finding::ok("key", format!("given as SYSTOLE_KEY; {opens}"));
    }
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.mode() & 0o077 != 0 => Finding::problem(
            "key",
            format!(
                "{shown} has mode {:04o}: others may read it",
                metadata.mode() & 0o7777
            ),
            format!("chmod 600 {shown}"),
        ),
        _ => Finding::ok("key", format!("{shown} is its owner's alone; {opens}")),
    }
}

fn loops(not_ready: &[String]) -> Vec<Finding> {
    if not_ready.is_empty() {
        return vec![Finding::ok("loops", "every background loop does its work")];
    }
    let problem = |reason: &String| {
        Finding::problem(
            "loops",
            reason.clone(),
            "the log of the server says more; /readyz says when it is over",
        )
    };
    not_ready.iter().map(problem).collect()
}

fn encryption(app: &App) -> Finding {
    let https = app.base_url.starts_with("https://");
    if app.config.tls.is_some() {
        Finding::ok("encryption", "TLS, with a certificate of its own")
    } else if app.address.ip().is_loopback() {
        Finding::ok("encryption", "plain HTTP, on loopback alone")
    } else if https && !app.config.trusted_proxies.is_empty() {
        Finding::ok(
            "encryption",
            "TLS ends at a trusted proxy; between it and here it is plain HTTP",
        )
    } else {
        Finding::warning(
            "encryption",
            format!(
                "plain HTTP on {}: tokens and check-ins travel readable",
                app.address
            ),
            "give --tls-cert and --tls-key, or listen on loopback behind a proxy",
        )
    }
}

fn base_url(app: &App) -> Finding {
    if names_loopback(app) {
        Finding::warning(
            "base url",
            format!(
                "ping URLs begin with {}, which only this machine can reach",
                app.base_url
            ),
            "set --base-url to what your jobs can reach",
        )
    } else {
        Finding::ok("base url", format!("ping URLs begin with {}", app.base_url))
    }
}

async fn channels(app: &App, project: i64) -> Result<Vec<Finding>, Error> {
    let channels = app.store.channels(project).await?;
    let count = app.store.count_without_channel(project).await?;
    let first = app.store.without_channel(project, NAMED).await?;
    let names: Vec<String> = first.into_iter().map(|(_, name)| name).collect();
    Ok(vec![
        system(
            channels.len(),
            channels.iter().any(|channel| channel.fields.system),
        ),
        without_channel(u64::try_from(count).unwrap_or_default(), &names),
    ])
}

/// Whether somebody is told of what concerns Systole itself.
pub fn system(channels: usize, has_system: bool) -> Finding {
    if channels == 0 {
        Finding::problem(
            "channels",
            "there is no channel: nobody is told anything",
            "make one: docs/quick-start.md shows how, or the page Channels",
        )
    } else if has_system {
        Finding::ok(
            "channels",
            format!("{channels} in all, one of them for what concerns Systole itself"),
        )
    } else {
        Finding::warning(
            "channels",
            "none has `system`: nobody is told of dead deliveries and of what concerns Systole itself",
            "set `system: true` on one",
        )
    }
}

/// Whether every monitor resolves to a channel; `names` are the first of those that do not.
pub fn without_channel(count: u64, names: &[String]) -> Finding {
    if count == 0 {
        return Finding::ok("monitors", "every monitor has a channel");
    }
    let more = count.saturating_sub(names.len() as u64);
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    Finding::problem(
        "monitors",
        format!(
            "nobody is told when these go down: {}{more}",
            names.join(", ")
        ),
        "name a channel in `channels`, or make one the default",
    )
}

fn deliveries(dead: i64) -> Finding {
    if dead == 0 {
        Finding::ok("deliveries", "none was given up")
    } else {
        Finding::warning(
            "deliveries",
            format!("{dead} were given up: those messages reached nobody"),
            "systole get deliveries --state dead says why; POST /api/v1/deliveries/ID/replay sends one again",
        )
    }
}

fn sign_in(possible: bool) -> Finding {
    if possible {
        Finding::ok("sign-in", "there is an administrator")
    } else {
        Finding::warning(
            "sign-in",
            "there is no administrator yet: whoever has the set-up link can become it",
            "open the link that the server printed at its start (valid for an hour; a restart prints another)",
        )
    }
}

fn watcher(is_set: bool) -> Finding {
    if is_set {
        Finding::ok("watcher", "a heartbeat elsewhere watches this server")
    } else {
        Finding::warning(
            "watcher",
            "nobody notices when this server itself is down",
            "set --self-heartbeat-url to a heartbeat on another machine",
        )
    }
}

fn outbound(config: &Config) -> Vec<Finding> {
    let lists = Lists {
        allow: config.outbound_allow.clone(),
    };
    let open = lists.loopback_entries().map(|net| {
        Finding::warning(
            "outbound",
            format!("channels may reach {net} on this machine"),
            "take it out of --outbound-allow unless a receiver runs there",
        )
    });
    open.collect()
}

/// Bytes as people say them.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let unit = UNITS.iter().find(|(_, size)| bytes >= *size);
    match unit {
        // Tenths are enough.
        Some((unit, size)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use systole_wire::Level;

    use super::*;

    #[test]
    fn findings_are_as_bad_as_what_they_mean() {
        for (finding, level, part) in [
            (
                space(EMPTY_BYTES - 1, 1 << 40),
                Level::Problem,
                "99.9 MiB of 1.0 TiB",
            ),
            (space(LOW_BYTES - 1, 1 << 40), Level::Warning, "1023.9 MiB"),
            (space(LOW_BYTES, 1 << 40), Level::Ok, "1.0 GiB"),
            (loops(&[]).remove(0), Level::Ok, "every"),
            (
                loops(&["writer: the log cannot be written".to_owned()]).remove(0),
                Level::Problem,
                "writer:",
            ),
            (system(0, false), Level::Problem, "no channel"),
            (system(2, false), Level::Warning, "none has `system`"),
            (system(2, true), Level::Ok, "2 in all"),
            (without_channel(0, &[]), Level::Ok, "every"),
            (
                without_channel(2, &["a".to_owned(), "b".to_owned()]),
                Level::Problem,
                ": a, b",
            ),
            (
                without_channel(5, &["a".to_owned()]),
                Level::Problem,
                ": a and 4 more",
            ),
            (deliveries(0), Level::Ok, "none"),
            (deliveries(3), Level::Warning, "3 were given up"),
            (sign_in(false), Level::Warning, "no administrator"),
            (watcher(false), Level::Warning, "nobody notices"),
        ] {
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.message.contains(part), "{part:?}: {finding:?}");
            assert_eq!(finding.advice.is_none(), level == Level::Ok, "{finding:?}");
        }
    }

    #[tokio::test]
    async fn files_that_are_missing_are_problems() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place {
            data_dir: directory.path().to_owned(),
            database_url: None,
            key_file: None,
            key: None,
        };
        let levels: Vec<(String, Level)> = files(&place)
            .await
            .into_iter()
            .map(|finding| (finding.check, finding.level))
            .collect();
        assert_eq!(levels[0], ("database".to_owned(), Level::Problem));
        assert_eq!(levels[2], ("key".to_owned(), Level::Problem));
    }
}
