//! Which server, and which token.

use std::path::{Path, PathBuf};

use super::http::Url;
use crate::cli::Connection;
use crate::failure::Failure;

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// No token is longer; what is, is another file.
const LONGEST_TOKEN: u64 = 4096;

/// The server that is meant.
///
/// # Errors
/// Text that is no URL.
pub fn server_url(given: Option<&str>) -> Result<Url, Failure> {
    let text = given
        .filter(|text| !text.is_empty())
        .unwrap_or(DEFAULT_SERVER);
    Url::parse(text).map_err(|error| Failure::Usage(format!("--server: {error}")))
}

/// The token that is meant: a given one, that of a given file, or the local one of a server on this machine.
///
/// # Errors
/// A named file that cannot be read.
pub fn token(connection: &Connection, server: &Url) -> Result<Option<String>, Failure> {
    if let Some(token) = connection
        .token
        .as_deref()
        .filter(|token| !token.is_empty())
    {
        return Ok(Some(token.to_owned()));
    }
    if let Some(path) = &connection.token_file {
        return read_token(path).map(Some).map_err(|error| {
            Failure::failed(format!(
                "cannot read the token file {}: {error}",
                path.display()
            ))
        });
    }
    if !server.is_loopback() {
        return Ok(None);
    }
    let directory = connection
        .data_dir
        .clone()
        .unwrap_or_else(|| PathBuf::from("./systole-data"));
    let path = directory.join("local-token");
    match read_token(&path) {
        Ok(token) => Ok(Some(token)),
        Err(error) if connection.data_dir.is_some() => Err(Failure::failed(format!(
            "cannot read the local token {}: {error}",
            path.display()
        ))),
        Err(_) => Ok(None),
    }
}

fn read_token(path: &Path) -> std::io::Result<String> {
    use std::io::{Error, ErrorKind, Read as _};
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(LONGEST_TOKEN + 1)
        .read_to_string(&mut text)?;
    let token = text.trim();
    if token.is_empty()
        || token.len() as u64 > LONGEST_TOKEN
        || !token.chars().all(|c| c.is_ascii_graphic())
    {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "it does not hold a token",
        ));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(
        token: Option<&str>,
        token_file: Option<PathBuf>,
        data_dir: Option<PathBuf>,
    ) -> Connection {
        Connection {
            server: None,
            token: token.map(str::to_owned),
            token_file,
            data_dir,
        }
    }

    #[test]
    fn the_local_token_is_used_for_a_server_on_this_machine_only() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("local-token"), "local\n").unwrap();
        let file = directory.path().join("mine");
        std::fs::write(&file, "from-file\n").unwrap();
        let data_dir = Some(directory.path().to_owned());
        for (given, server, expected) in [
            (
                connection(None, None, data_dir.clone()),
                "http://127.0.0.1:8080",
                Some("local"),
            ),
            (
                connection(None, None, data_dir.clone()),
                "http://localhost:9",
                Some("local"),
            ),
            (
                connection(None, None, data_dir.clone()),
                "https://systole.example.com",
                None,
            ),
            (
                connection(Some("given"), Some(file.clone()), data_dir.clone()),
                "http://127.0.0.1",
                Some("given"),
            ),
            (
                connection(None, Some(file), data_dir),
                "https://systole.example.com",
                Some("from-file"),
            ),
        ] {
            let token = token(&given, &Url::parse(server).unwrap()).unwrap();
            assert_eq!(token.as_deref(), expected, "{server}");
        }
    }

    #[test]
    fn a_token_file_that_was_named_must_hold_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let server = Url::parse("http://127.0.0.1").unwrap();
        for content in [None, Some(""), Some("two words"), Some(&*"x".repeat(5000))] {
            let path = directory.path().join("token");
            let _ = std::fs::remove_file(&path);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            assert!(
                token(&connection(None, Some(path), None), &server).is_err(),
                "{:?}",
                content.map(str::len)
            );
        }
    }
}
