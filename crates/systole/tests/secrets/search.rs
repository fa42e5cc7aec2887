//! What was planted, what came out, and the search for the one in the other.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::PATIENCE;

/// A secret, and the outputs that may show it: by the beginnings of their names.
pub struct Planted {
    name: String,
    bytes: Vec<u8>,
    shown_in: &'static [&'static str],
}

/// What was planted, and everything that came out.
#[derive(Default)]
pub struct Search {
    pub planted: Vec<Planted>,
    pub outputs: Vec<(String, Vec<u8>)>,
}

impl Search {
    pub fn plant(
        &mut self,
        name: &str,
        secret: impl AsRef<[u8]>,
        shown_in: &'static [&'static str],
    ) {
        self.planted.push(Planted {
            name: name.to_owned(),
            bytes: secret.as_ref().to_vec(),
            shown_in,
        });
    }

    pub fn output(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.outputs.push((name.into(), bytes.into()));
    }

    /// Runs a command to its end; what it said is an output.
    pub fn run(&mut self, name: &str, command: &mut Command) -> Option<i32> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("{name} does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        let status = output.status.code();
        self.output(format!("{name} ({status:?})"), output.stdout);
        self.output(format!("{name} ({status:?}), stderr"), output.stderr);
        status
    }

    /// Every file below a directory but those whose contents are secrets.
    pub fn files(&mut self, name: &str, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                self.files(&format!("{name}/{file}"), &path);
            } else if !matches!(file.as_str(), "key" | "local-token") {
                self.output(format!("{name}/{file}"), std::fs::read(&path).unwrap());
            }
        }
    }

    pub fn find(&self) {
        let mut found = Vec::new();
        for (output, bytes) in &self.outputs {
            for planted in &self.planted {
                if planted
                    .shown_in
                    .iter()
                    .any(|place| output.starts_with(place))
                {
                    continue;
                }
                for (form, needle) in forms(&planted.bytes) {
                    if let Some(at) = bytes.windows(needle.len()).position(|part| part == needle) {
                        let around = &bytes[at.saturating_sub(60)..(at + 60).min(bytes.len())];
                        found.push(format!(
                            "{} {form} in {output}: …{}…",
                            planted.name,
                            String::from_utf8_lossy(around).escape_debug()
                        ));
                        break;
                    }
                }
            }
        }
        assert!(self.outputs.len() > 10 && self.planted.len() > 3);
        assert!(
            found.is_empty(),
            "{} places:\n{}",
            found.len(),
            found.join("\n")
        );
    }
}

/// The ways in which a secret may be written.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |upper: bool, before: &str| -> Vec<u8> {
        let byte = |byte: &u8| {
            if upper {
                format!("{before}{byte:02X}")
            } else {
                format!("{before}{byte:02x}")
            }
        };
        secret.iter().map(byte).collect::<String>().into_bytes()
    };
    let mut forms = vec![
        ("as it is", secret.to_vec()),
        ("in hex", hex(false, "")),
        ("in hex", hex(true, "")),
        ("with percent signs", hex(false, "%")),
        ("with percent signs", hex(true, "%")),
    ];
    // Wherever in a longer text it stands: without the letters that its neighbours have a part in.
    for before in 0..3 {
        let text = STANDARD.encode([&vec![0; before], secret].concat());
        let text = text.trim_end_matches('=');
        let whole = (before + secret.len()).is_multiple_of(3);
        let middle = &text[[0, 2, 3][before]..text.len() - usize::from(!whole)];
        forms.push(("in base64", middle.as_bytes().to_vec()));
        let for_urls = middle.replace('+', "-").replace('/', "_");
        forms.push(("in base64", for_urls.into_bytes()));
    }
    forms
}

#[test]
fn every_form_of_a_secret_is_found() {
    let secret = b"planted/secret+value";
    let text = |bytes: &[u8]| {
        forms(secret)
            .iter()
            .any(|(_, form)| bytes.windows(form.len()).any(|part| part == form))
    };
    for before in ["", "a", "ab", "abc", "\0user\0"] {
        let whole = STANDARD.encode([before.as_bytes(), secret, b"after"].concat());
        assert!(text(whole.as_bytes()), "{whole}");
        let end = STANDARD.encode([before.as_bytes(), secret].concat());
        assert!(text(end.as_bytes()), "{end}");
    }
    assert!(text(b"x 706c616e7465642f7365637265742b76616c7565 x"));
    assert!(!text(b"planted/secret+valu"));
}
