//! Reads the URL of a shared database, strictly: what is not understood may be a password in the wrong place, or a
//! demand for encryption that would go unheard.

use std::borrow::Cow;
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::Error;

/// What may follow the `?`.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

pub(super) fn read(text: &str) -> Result<PgConnectOptions, Error> {
    let refused = |why: String| Error::Url { why };
    let url = Url::parse(text).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(refused(format!(
            "it begins with {}:, not with postgres:",
            url.scheme()
        )));
    }
    for (name, _) in url.query_pairs() {
        if !PARAMETERS.contains(&&*name) {
            return Err(refused(format!(
                "nothing is known of its parameter {name:?}, only of {}",
                PARAMETERS.join(", ")
            )));
        }
    }
    let named = |name: &str| {
        url.query_pairs()
            .any(|(found, value)| found == Cow::Borrowed(name) && !value.is_empty())
    };
    if url.path().trim_start_matches('/').is_empty() && !named("dbname") {
        return Err(refused("it names no database".to_owned()));
    }
    PgConnectOptions::from_str(text).map_err(|error| match error {
        sqlx::Error::Configuration(why) => refused(why.to_string()),
        other => refused(other.to_string()),
    })
}
