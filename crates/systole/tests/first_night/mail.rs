//! A mail server with TLS and a password, and what it has received.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::common::until;

pub struct Mail {
    child: Child,
    port: u64,
    certificate: String,
    letters: Arc<Mutex<Vec<Value>>>,
    _directory: tempfile::TempDir,
}

impl Mail {
    pub fn start() -> Mail {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = pem("CERTIFICATE", made.cert.der());
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        let settings = json!({
            "tls": "starttls", "auth": true,
            "certificate": file("certificate.pem", &certificate), "key": file("key.pem", &key),
        });
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../server/tests/api/mail_server.py"
        );
        let mut child = Command::new(python())
            .args([script, &settings.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .map(|line| serde_json::from_str::<Value>(&line).unwrap());
        let port = said.next().expect("the mail server ended")["port"]
            .as_u64()
            .unwrap();
        let letters = Arc::new(Mutex::new(Vec::new()));
        let memory = Arc::clone(&letters);
        std::thread::spawn(move || said.for_each(|letter| memory.lock().unwrap().push(letter)));
        Mail {
            child,
            port,
            certificate,
            letters,
            _directory: directory,
        }
    }

    /// A channel's settings for it.
    pub fn config(&self) -> Value {
        json!({
            "host": "localhost", "port": self.port, "ca": self.certificate,
            "username": "systole", "password": "hidden-password",
            "from": "Systole <systole@example.org>", "to": ["on-call@example.org"],
        })
    }

    /// All letters, once there are so many.
    pub fn letters(&self, count: usize) -> Vec<Letter> {
        let letters = until("the letters", || {
            let letters = self.letters.lock().unwrap();
            (letters.len() >= count).then(|| letters.clone())
        });
        letters.into_iter().map(Letter).collect()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub struct Letter(Value);

impl Letter {
    pub fn head(&self, name: &str) -> &str {
        let heads = self.0["heads"].as_array().unwrap();
        let found = heads.iter().find(|head| head[0] == name);
        found.map_or("", |head| head[1].as_str().unwrap())
    }

    pub fn text(&self) -> String {
        self.0["parts"]["text/plain"]
            .as_str()
            .unwrap()
            .replace("\r\n", "\n")
    }

    /// What is wrong with it by Python's parser, and whether it came encrypted.
    pub fn is_sound(&self) -> bool {
        self.0["defects"] == json!([]) && self.0["tls"] == true && self.0["user"] == "systole"
    }
}

/// One that has the server's library: Debian's package is for Debian's own Python, which need not be the first.
fn python() -> &'static str {
    let has_it = |python: &&str| {
        let tried = Command::new(python)
            .args(["-c", "import aiosmtpd.smtp"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(has_it)
        .expect("python3 with aiosmtpd is needed: apt-get install python3-aiosmtpd")
}

/// The text form of what a certificate or a key is made of.
fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
