//! What `systole serve` is told: flags, environment, `systole.toml`, defaults, in that order.

mod settings;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches};
use ipnet::IpNet;
use systole_wire::strict::suggestion;

pub use settings::reference;
use settings::{SETTINGS, Setting, VARIABLES};
pub use values::Secret;

/// Everything that the server is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Address for check-ins, the API and the pages.
    pub listen: SocketAddr,
    /// Directory of the embedded database and the key.
    pub data_dir: PathBuf,
    /// PostgreSQL that replicas share; it may hold a password.
    pub database_url: Option<Secret<String>>,
    /// File with the key that encrypts secrets; `key` in the data directory where there is neither this nor `key`.
    pub key_file: Option<PathBuf>,
    /// The key itself, from the environment.
    pub key: Option<Secret<[u8; 32]>>,
    /// An administrator's API token, from the environment.
    pub admin_token: Option<Secret<String>>,
    /// URL under which people and jobs reach the server, without a slash at its end.
    pub base_url: Option<String>,
    /// Certificate chain and private key, both or neither.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxy: Vec<IpNet>,
    /// Private ranges that channels may send to.
    pub outbound_allow: Vec<IpNet>,
    /// Address for metrics without a token.
    pub metrics_listen: Option<SocketAddr>,
    /// URL told that this server lives; whoever knows it can tell it too.
    pub self_heartbeat_url: Option<Secret<String>>,
    /// How long check-ins are kept.
    pub retention_days: u32,
    /// How many check-ins of each monitor are kept.
    pub retention_checkins: u32,
    /// How long hourly figures are kept.
    pub retention_hourly_days: u32,
    /// How long daily figures are kept.
    pub retention_daily_days: u32,
    /// How large history may become.
    pub retention_bytes: u64,
    /// How much of a check-in's body is kept.
    pub ping_body_limit: u64,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

/// The flags of `systole serve` that were given.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags {
    /// `--config`.
    pub config: Option<PathBuf>,
    given: BTreeMap<&'static str, String>,
}

impl ServeFlags {
    /// As if these had been typed: for commands that look at the files of a server.
    pub fn of(
        config: Option<PathBuf>,
        given: impl IntoIterator<Item = (&'static str, Option<String>)>,
    ) -> ServeFlags {
        let given = given.into_iter();
        ServeFlags {
            config,
            given: given
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        }
    }
}

/// Made by hand rather than derived, since the table of settings says which flags there are.
impl clap::Args for ServeFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file [env: SYSTOLE_CONFIG] [default: ./systole.toml where it exists]");
        SETTINGS
            .iter()
            .fold(command.arg(config), |command, setting| {
                command.arg(argument(setting))
            })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ServeFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeFlags, clap::Error> {
        let mut flags = ServeFlags {
            config: matches.get_one::<PathBuf>("config").cloned(),
            ..ServeFlags::default()
        };
        for setting in SETTINGS {
            if setting.value.is_none() {
                if matches.get_flag(setting.name) {
                    flags.given.insert(setting.name, "true".to_owned());
                }
            } else if let Some(values) = matches.get_many::<String>(setting.name) {
                // A list can be given by repeating the flag as well as by commas.
                flags
                    .given
                    .insert(setting.name, values.cloned().collect::<Vec<_>>().join(","));
            }
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ServeFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let mut help = format!("{} [env: {}]", setting.help, setting.variable());
    if let Some(default) = setting.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    let argument = Arg::new(setting.name).long(setting.name).help(help);
    match setting.value {
        None => argument.action(ArgAction::SetTrue),
        Some(value) if value.ends_with(",...") => {
            argument.value_name(value).action(ArgAction::Append)
        }
        Some(value) => argument.value_name(value),
    }
}

/// Where settings come from. What the process was started with, gathered once.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The flags.
    pub flags: ServeFlags,
    /// The environment's `SYSTOLE_*` variables.
    pub environment: BTreeMap<String, String>,
    /// The configuration file and its path.
    pub file: Option<(PathBuf, toml::Table)>,
}

impl Sources {
    /// Gathers the environment and the configuration file.
    ///
    /// # Errors
    /// A file that was named and cannot be read, or any that is no TOML.
    pub fn gather(flags: ServeFlags) -> Result<Sources, String> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("SYSTOLE_"))
            .collect();
        let named = flags
            .config
            .clone()
            .or_else(|| environment.get("SYSTOLE_CONFIG").map(PathBuf::from));
        let path = named
            .clone()
            .unwrap_or_else(|| PathBuf::from("systole.toml"));
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let table = text.parse::<toml::Table>();
                Some((
                    path.clone(),
                    table.map_err(|error| not_toml(&path, &text, &error))?,
                ))
            }
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(format!(
                    "cannot read the configuration file {}: {error}",
                    path.display()
                ));
            }
        };
        Ok(Sources {
            flags,
            environment,
            file,
        })
    }
}

/// Where and why, but not the line: it may hold a URL that is a credential.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text
        .bytes()
        .take(start)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1;
    format!(
        "{} is not TOML: line {line}: {}",
        path.display(),
        error.message()
    )
}

/// Makes the configuration of its sources, and warnings for variables that nobody reads.
///
/// # Errors
/// Everything that is wrong, each with the place it came from.
pub fn resolve(sources: &Sources) -> Result<(ServeConfig, Vec<String>), Vec<String>> {
    let mut reader = Reader {
        sources,
        errors: Vec::new(),
    };
    reader.check_file_keys();
    reader.refuse("kubernetes");
    let tls_cert = reader.path("tls-cert");
    let tls_key = reader.path("tls-key");
    let tls = match (tls_cert, tls_key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            reader.errors.push(
                "--tls-cert and --tls-key belong together; one of them is missing".to_owned(),
            );
            None
        }
    };
    let key_file = reader.path("key-file");
    let key = reader.secret("SYSTOLE_KEY", values::key);
    if key_file.is_some() && key.is_some() {
        reader
            .errors
            .push("there are both a key file and SYSTOLE_KEY; give one of them".to_owned());
    }
    let config = ServeConfig {
        listen: reader
            .read("listen", values::address)
            .unwrap_or(([127, 0, 0, 1], 8080).into()),
        data_dir: reader.path("data-dir").unwrap_or_default(),
        database_url: reader
            .read("database-url", values::database_url)
            .map(Secret::new),
        key_file,
        key,
        admin_token: reader.secret("SYSTOLE_ADMIN_TOKEN", values::admin_token),
        base_url: reader.read("base-url", values::base_url),
        tls,
        trusted_proxy: reader
            .read("trusted-proxy", values::ranges)
            .unwrap_or_default(),
        outbound_allow: reader
            .read("outbound-allow", values::ranges)
            .unwrap_or_default(),
        metrics_listen: reader
            .read("metrics-listen", values::address_or_off)
            .flatten(),
        self_heartbeat_url: reader
            .read("self-heartbeat-url", values::web_url)
            .map(Secret::new),
        retention_days: reader
            .read("retention-days", |text| whole(text, 1, 36_500))
            .unwrap_or_default(),
        retention_checkins: reader
            .read("retention-checkins", |text| whole(text, 1, 1_000_000_000))
            .unwrap_or_default(),
        retention_hourly_days: reader
            .read("retention-hourly-days", |text| whole(text, 1, 36_500))
            .unwrap_or_default(),
        retention_daily_days: reader
            .read("retention-daily-days", |text| whole(text, 1, 36_500))
            .unwrap_or_default(),
        retention_bytes: reader
            .read("retention-bytes", |text| {
                within(values::size(text)?, 1 << 20, u64::MAX, "1MiB or more")
            })
            .unwrap_or_default(),
        ping_body_limit: reader
            .read("ping-body-limit", |text| {
                within(values::size(text)?, 0, 1 << 20, "at most 1MiB")
            })
            .unwrap_or_default(),
        log_format: reader
            .read("log-format", log_format)
            .unwrap_or(LogFormat::Text),
        log: reader
            .read("log", |text| Ok(text.to_owned()))
            .unwrap_or_default(),
    };
    if reader.errors.is_empty() {
        Ok((config, unknown_variables(&sources.environment)))
    } else {
        Err(reader.errors)
    }
}

fn whole(text: &str, least: u32, most: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!(
            "{text:?} is not a whole number from {least} to {most}"
        )),
    }
}

fn within(number: u64, least: u64, most: u64, rule: &str) -> Result<u64, String> {
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} bytes is out of range: {rule}"))
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other:?} is neither text nor json")),
    }
}

/// Takes settings from their sources and keeps what is wrong with them.
struct Reader<'a> {
    sources: &'a Sources,
    errors: Vec<String>,
}

impl Reader<'_> {
    /// The text of a setting and where it came from.
    fn find(&self, name: &str) -> Option<(String, String)> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name)?;
        if let Some(text) = self.sources.flags.given.get(name) {
            return Some((text.clone(), format!("--{name}")));
        }
        // An empty variable is how shells and manifests leave one out.
        if let Some(text) = self
            .sources
            .environment
            .get(&setting.variable())
            .filter(|text| !text.is_empty())
        {
            return Some((text.clone(), setting.variable()));
        }
        if let Some((path, table)) = &self.sources.file
            && let Some(text) = table.get(&setting.key()).and_then(text_of)
        {
            return Some((text, format!("{} in {}", setting.key(), path.display())));
        }
        setting
            .default
            .map(|text| (text.to_owned(), "the default".to_owned()))
    }

    fn read<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (text, place) = self.find(name)?;
        read(&text)
            .map_err(|message| self.errors.push(format!("{place}: {message}")))
            .ok()
    }

    fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.read(name, |text| match text {
            "" => Err("is empty; it names a file or a directory".to_owned()),
            text => Ok(Path::new(text).to_owned()),
        })
    }

    fn secret<T>(
        &mut self,
        variable: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self
            .sources
            .environment
            .get(variable)
            .filter(|text| !text.is_empty())?;
        read(text)
            .map_err(|message| self.errors.push(format!("{variable} {message}")))
            .ok()
    }

    fn refuse(&mut self, name: &str) {
        if let Some((text, place)) = self.find(name)
            && values::switch(&text) != Ok(false)
        {
            self.errors.push(format!("{place}: this is not built yet"));
        }
    }

    /// A key that nobody reads is a setting that somebody believes to be set.
    fn check_file_keys(&mut self) {
        let Some((path, table)) = &self.sources.file else {
            return;
        };
        let keys: Vec<String> = SETTINGS.iter().map(Setting::key).collect();
        let known: Vec<&str> = keys.iter().map(String::as_str).collect();
        for (key, value) in table {
            let place = format!("{key} in {}", path.display());
            if matches!(key.as_str(), "key" | "admin_token" | "token") {
                let variable = format!("SYSTOLE_{}", key.to_ascii_uppercase());
                self.errors.push(format!("{place}: secrets do not belong in this file; use {variable} or a file of its own"));
            } else if !known.contains(&key.as_str()) {
                let hint = suggestion(key, &known)
                    .map(|known| format!("; did you mean {known}?"))
                    .unwrap_or_default();
                self.errors
                    .push(format!("{place}: there is no such setting{hint}"));
            } else if text_of(value).is_none() {
                self.errors.push(format!(
                    "{place}: must be a string, a number, true or false, or a list of strings"
                ));
            }
        }
    }
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

/// Warnings for variables that look like settings and are none.
fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let mut known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    known.extend(VARIABLES.iter().map(|variable| variable.name.to_owned()));
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let unknown: Vec<&str> = environment
        .keys()
        .map(String::as_str)
        .filter(|name| !known.contains(name))
        .collect();
    // Kubernetes puts these into every pod beside a Service named systole.
    let (injected, stray): (Vec<&str>, Vec<&str>) = unknown.into_iter().partition(|name| {
        name.starts_with("SYSTOLE_SERVICE_")
            || *name == "SYSTOLE_PORT"
            || name.starts_with("SYSTOLE_PORT_")
    });
    let mut warnings: Vec<String> = stray
        .iter()
        .map(|name| {
            let hint = suggestion(name, &known)
                .map(|known| format!("; did you mean {known}?"))
                .unwrap_or_default();
            format!("the variable {name} is not known and is ignored{hint}")
        })
        .collect();
    if let Some(first) = injected.first() {
        warnings.push(format!(
            "{first} and its like come from a Kubernetes Service named systole and are ignored; \
             enableServiceLinks: false on the pod leaves them out"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
