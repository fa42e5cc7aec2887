//! Settings of `systole serve`: lines `NAME=value` of the environment up to an empty one, then a `systole.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use systole::config::{ServeFlags, Sources, resolve};

use super::{is_said, is_told_apart};

/// Variables that hold secrets.
const SECRET: [&str; 2] = ["SYSTOLE_KEY", "SYSTOLE_ADMIN_TOKEN"];

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (lines, file) = text.split_once("\n\n").unwrap_or((text, ""));
    let environment: BTreeMap<String, String> = lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.starts_with("SYSTOLE_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let Ok(table) = file.parse::<toml::Table>() else {
        return;
    };
    let sources = Sources {
        flags: ServeFlags::default(),
        environment: environment.clone(),
        file: Some((PathBuf::from("systole.toml"), table)),
    };
    let said = match resolve(&sources) {
        Ok((config, warnings)) => {
            assert!((1..=36_500).contains(&config.retention_days));
            assert!(config.retention_bytes >= 1 << 20 && config.ping_body_limit <= 1 << 20);
            assert!(
                config
                    .base_url
                    .as_ref()
                    .is_none_or(|url| !url.ends_with('/'))
            );
            assert!(config.trusted_proxy.iter().all(|net| net.trunc() == *net));
            [warnings, vec![format!("{config:?}")]].concat()
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            errors
        }
    };
    for line in &said {
        is_said(line, 10_000);
    }
    // A secret is in no message, unless it is a word that other settings hold too.
    let others: String = environment
        .iter()
        .filter(|(name, _)| !SECRET.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    for secret in SECRET.iter().filter_map(|name| environment.get(*name)) {
        let is_secret = is_told_apart(secret) && !others.contains(secret) && !file.contains(secret);
        assert!(
            !is_secret || !said.iter().any(|line| line.contains(secret)),
            "{said:?} repeats a secret"
        );
    }
}
