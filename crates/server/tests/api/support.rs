//! A server of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use systole_core::time::Span;
use systole_server::config::Keep;
use systole_server::{Config, serve};
use systole_testing::postgres;
use tokio::net::TcpStream;

use crate::ON_POSTGRES;

/// The administrator's token.
pub const ADMIN: &str = "an-administrator-of-tests";

/// The key of servers that share a database.
const KEY: [u8; 32] = [7; 32];

/// A running server. It ends with the test's runtime.
pub struct Server {
    pub server: serve::Server,
    _directory: tempfile::TempDir,
    pub database: Option<Arc<postgres::Database>>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Reply {
    /// The body, of a reply that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The only wrong field and what is said of it.
    #[track_caller]
    pub fn only_error(self, status: u16) -> (String, String) {
        let body = self.expect(status);
        let errors = body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{body:#}");
        (
            errors[0]["field"].as_str().unwrap().to_owned(),
            errors[0]["message"].as_str().unwrap().to_owned(),
        )
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    pub async fn start() -> Server {
        Server::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Server {
        let database = ON_POSTGRES.then(|| Arc::new(postgres::database()));
        Server::on(database, change).await
    }

    /// Where `database` is one that others use, one more replica.
    pub async fn on(
        database: Option<Arc<postgres::Database>>,
        change: impl FnOnce(&mut Config),
    ) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            database_url: database.as_ref().map(|database| database.url().to_owned()),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: directory.path().to_owned(),
            key_file: None,
            key: database.is_some().then_some(KEY),
            base_url: None,
            tls: None,
            trusted_proxies: Vec::new(),
            outbound_allow: vec!["127.0.0.0/8".parse().unwrap()],
            metrics_listen: None,
            self_heartbeat_url: None,
            admin_token: Some(ADMIN.to_owned()),
            keep: Keep {
                age: Span::from_seconds(90 * 86_400),
                checkins: 10_000,
                bytes: 1 << 30,
                hours: Span::from_seconds(365 * 86_400),
                days: Span::from_seconds(1_825 * 86_400),
            },
            ping_body_limit: 10_000,
        };
        change(&mut config);
        let server = serve::start(config, None).await.unwrap();
        Server {
            server,
            _directory: directory,
            database,
        }
    }

    /// A request as it is.
    pub async fn send(&self, request: http::Request<Full<Bytes>>) -> Reply {
        let stream = TcpStream::connect(self.server.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let reply = sender.send_request(request).await.unwrap();
        let (head, body) = reply.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    /// A request to the API with a token, and with JSON where there is some.
    pub async fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", self.server.address.to_string());
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        if !bytes.is_empty() {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(Full::new(bytes)).unwrap()).await
    }

    /// As the administrator.
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.call_as(ADMIN, method, path, body, &[]).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, body).await
    }

    /// A heartbeat of this name, six hours apart.
    pub async fn heartbeat(&self, name: &str) -> Value {
        self.post(
            "/monitors",
            json!({"kind": "heartbeat", "name": name, "schedule": {"every": "6h"}}),
        )
        .await
        .expect(201)
    }

    /// A check-in by token; what it makes is decided when this returns.
    pub async fn ping(&self, monitor: &Value, suffix: &str, body: &str) {
        let path = format!("/ping/{}{suffix}", monitor["token"].as_str().unwrap());
        let request = http::Request::post(path)
            .header("host", "x")
            .body(Full::new(Bytes::from(body.to_owned())));
        assert_eq!(self.send(request.unwrap()).await.status, 200);
        self.settle().await;
    }

    /// Rows are decided in order, and a command's answer waits for its own.
    async fn settle(&self) {
        let app = self.server.app();
        let action = systole_core::engine::Action::Configure;
        let command = systole_core::engine::Command {
            at: app.now(),
            monitor: None,
            by: "test".to_owned(),
            action,
        };
        app.engine
            .apply(app.store.command(command).await.unwrap())
            .await;
    }

    /// A token of this role.
    pub async fn token(&self, role: &str) -> String {
        let mut input = json!({"name": format!("a {role}"), "role": role});
        match role {
            "probe" => input["region"] = json!("eu"),
            "agent" => input["cluster"] = json!("one"),
            _ => {}
        }
        self.post("/tokens", input).await.expect(201)["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// The path of an object.
pub fn path(kind: &str, object: &Value, rest: &str) -> String {
    format!("/{kind}/{}{rest}", object["id"].as_str().unwrap())
}
