//! A server of the test's own, and a browser with one cookie.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use systole_core::time::Span;
use systole_server::Config;
use systole_server::config::Keep;
use systole_server::serve::{Server, start};

pub const EMAIL: &str = "admin@example.org";
pub const PASSWORD: &str = "correct horse battery";

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            line.split_once(": ")
                .is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        };
        self.head
            .lines()
            .find(named)
            .and_then(|line| line.split_once(": "))
            .map(|(_, value)| value)
    }

    #[track_caller]
    pub fn sees(&self, path: &str) {
        assert_eq!(
            (self.status, self.header("location")),
            (303, Some(path)),
            "{}",
            self.body
        );
    }

    #[track_caller]
    pub fn shows(&self, status: u16, texts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.body);
        for text in texts {
            assert!(self.body.contains(text), "no {text:?} in {}", self.body);
        }
    }
}

/// A server in a directory of its own, and a browser with one cookie.
pub struct Site {
    pub server: Server,
    pub cookie: Option<String>,
    _directory: tempfile::TempDir,
}

impl Site {
    pub async fn start() -> Site {
        Site::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: directory.path().to_owned(),
            database_url: None,
            key_file: None,
            key: None,
            base_url: None,
            tls: None,
            trusted_proxies: Vec::new(),
            outbound_allow: Vec::new(),
            metrics_listen: None,
            self_heartbeat_url: None,
            admin_token: None,
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
        Site {
            server: start(config, None).await.unwrap(),
            cookie: None,
            _directory: directory,
        }
    }

    /// With an administrator who is signed in.
    pub async fn set_up() -> Site {
        let mut site = Site::start().await;
        let url = site.server.setup_url.clone().unwrap();
        let code = url.split_once('#').unwrap().1.to_owned();
        let reply = site
            .post(
                "/setup",
                &[("code", &code), ("email", EMAIL), ("password", PASSWORD)],
            )
            .await;
        reply.sees("/");
        site
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let origin = format!("http://{}", self.server.address);
        self.post_from(&origin, path, fields).await
    }

    pub async fn post_from(&mut self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[("origin", origin), kind], &body)
            .await
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let address = self.server.address;
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(cookie) = &self.cookie {
            request.push_str(&format!("cookie: other=1; {cookie}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let text = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).unwrap();
            String::from_utf8(reply).unwrap()
        })
        .await
        .unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let reply = Reply {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        };
        if let Some(cookie) = reply.header("set-cookie") {
            let pair = cookie.split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        reply
    }

    /// Makes a heartbeat by the form; answers its path and its ping path.
    pub async fn make(&mut self, name: &str) -> (String, String) {
        let made = self
            .post(
                "/monitors",
                &[("name", name), ("schedule", "1h"), ("grace", "5m")],
            )
            .await;
        assert_eq!(made.status, 303, "{}", made.body);
        let path = made.header("location").unwrap().to_owned();
        let page = self.get(&path).await;
        page.shows(200, &["How it reports"]);
        let ping = page.body.split("/ping/").nth(1).unwrap();
        let token = &ping[..36];
        (path, format!("/ping/{token}"))
    }
}

/// Looks until the engine has decided.
pub async fn until(site: &mut Site, path: &str, text: &str) -> Reply {
    loop {
        let page = site.get(path).await;
        if page.body.contains(text) {
            return page;
        }
        tokio::task::yield_now().await;
    }
}
