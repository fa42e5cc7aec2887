//! How the client commands reach the server.

pub mod checkin;
pub mod http;
mod target;

use serde_json::Value;
use systole_wire::Problem;

use self::http::{Reply, Url};
use crate::cli::Connection;
use crate::failure::Failure;
use crate::out;

pub use target::server_url;

/// No list is followed further: a cursor that never ends must not keep us for ever.
const MOST_PAGES: usize = 10_000;

/// What the server refused.
#[derive(Debug)]
pub struct Refused {
    /// With which status.
    pub status: u16,
    /// What it said of it, where that could be read.
    pub problem: Option<Problem>,
    /// The same for people.
    pub said: String,
}

/// A connection to the management API.
pub struct Api {
    http: http::Http,
    server: Url,
    token: Option<String>,
}

impl Api {
    /// Works out which server and which token are meant.
    ///
    /// # Errors
    /// A server that is no URL, or a token file that cannot be read.
    pub fn connect(connection: &Connection) -> Result<Api, Failure> {
        let server = server_url(connection.server.as_deref())?;
        let token = target::token(connection, &server)?;
        if token.is_some() && !server.is_encrypted() && !server.is_loopback() {
            eprintln!(
                "systole: warning: the token goes to {} without encryption; anyone on the way can read it",
                server.origin()
            );
        }
        Ok(Api {
            http: http::Http::new(),
            server,
            token,
        })
    }

    /// The server that is meant.
    pub fn server(&self) -> &Url {
        &self.server
    }

    /// One request without a token to any URL.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn get(&self, url: &Url) -> anyhow::Result<Reply> {
        self.http.send("GET", url, &[], Vec::new()).await
    }

    /// One request to `/api/v1{path}`.
    ///
    /// # Errors
    /// What went wrong on the way, or what the server said was wrong.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        rev: Option<i64>,
    ) -> Result<Value, Failure> {
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = self.ask(method, path, body, rev).await?;
        answer.map_err(|refused| Failure::failed(refused.said))
    }

    /// The same with a body of JSON; the inner error is what the server refused.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        rev: Option<i64>,
    ) -> Result<Result<Value, Refused>, Failure> {
        let url = self.server.join(&format!("/api/v1{path}"));
        let mut headers = vec![("accept", "application/json".to_owned())];
        if let Some(token) = &self.token {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        if let Some(rev) = rev {
            headers.push(("if-match", format!("\"{rev}\"")));
        }
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let bytes = body.unwrap_or_default();
        let reply = self.http.send(method, &url, &headers, bytes).await?;
        if (200..300).contains(&reply.status) {
            if reply.body.is_empty() {
                return Ok(Ok(Value::Null));
            }
            return serde_json::from_slice(&reply.body).map(Ok).map_err(|_| {
                Failure::failed(format!(
                    "{} did not answer with JSON; is it a Systole server?",
                    url.shown()
                ))
            });
        }
        Ok(Err(Refused {
            status: reply.status,
            problem: serde_json::from_slice(&reply.body).ok(),
            said: self.explained(method, &url, &reply),
        }))
    }

    /// All items of a list, page after page.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn list(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut text = String::from("?limit=500");
            for (name, value) in query
                .iter()
                .copied()
                .chain(cursor.as_deref().map(|cursor| ("cursor", cursor)))
            {
                text.push_str(&format!("&{name}={}", http::escaped(value)));
            }
            let mut page = self
                .call("GET", &format!("{path}{text}"), None, None)
                .await?;
            match page["items"].take() {
                Value::Array(more) => items.extend(more),
                _ => {
                    return Err(Failure::failed(format!(
                        "the answer to {path} is no list; is it a Systole server?"
                    )));
                }
            }
            match page["next"].take() {
                Value::String(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(items),
            }
        }
        Err(Failure::failed(format!(
            "{path} has more than {MOST_PAGES} pages"
        )))
    }

    fn explained(&self, method: &str, url: &Url, reply: &Reply) -> String {
        let mut said = match serde_json::from_slice::<Problem>(&reply.body) {
            Ok(problem) => explain(&problem, reply.status),
            Err(_) => format!(
                "{method} {} was answered with status {}",
                url.shown(),
                reply.status
            ),
        };
        if reply.status == 401 && self.token.is_none() {
            said.push_str("\n  no token was given; use --token-file, SYSTOLE_TOKEN_FILE, or --data-dir for a server on this machine");
        }
        if let Some(location) = &reply.location {
            said.push_str(&format!(
                "\n  it points to {}; give that as --server if it is right",
                out::shown(location)
            ));
        }
        said
    }
}

/// A problem as lines for people: what was wrong, then each field.
pub fn explain(problem: &Problem, status: u16) -> String {
    let detail = if problem.detail.is_empty() {
        &problem.title
    } else {
        &problem.detail
    };
    let mut said = format!("{} (status {status})", out::shown(detail));
    for error in &problem.errors {
        said.push_str(&format!("\n  {}", out::shown(&error.to_string())));
    }
    said
}

#[cfg(test)]
mod tests {
    use systole_wire::FieldError;

    use super::*;

    #[test]
    fn a_problem_is_said_field_by_field_and_safely() {
        let problem = Problem::invalid(vec![
            FieldError::new("schedule.timezone", "\"Mars/Base\" is not known"),
            FieldError::new("name", "has \u{1b}[31m in it"),
        ]);
        assert_eq!(
            explain(&problem, 422),
            "2 fields are wrong; see errors (status 422)\n  schedule.timezone: \"Mars/Base\" is not known\n  name: has \\u{1b}[31m in it"
        );
    }
}
