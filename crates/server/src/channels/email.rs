//! Email: a letter by SMTP through a server that the channel names.

use std::fmt;

use lettre::Address;
use lettre::message::Mailbox;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use systole_core::delivery::{ErrorClass, Outcome};
use systole_core::message::Message;
use systole_core::time::Time;
use url::Host;

use super::{Field, FieldError, Input, Kind, Sending, letter, words};
use crate::outbound::{MailAnswer, Stage};

/// The row of this kind.
pub const KIND: Kind = Kind {
    name: "email",
    title: "Email",
    about: "Sends mail through an SMTP server; the messages of one incident make one conversation.",
    fields: &[
        Field {
            name: "host",
            label: "SMTP server",
            help: "the name or address of the server that takes the mail, as smtp.example.com",
            required: true,
            secret: false,
            destination: &[],
            input: Input::Text,
            check: |value| read_host(value).map(drop),
        },
        Field {
            name: "port",
            label: "Port",
            help: "587 for starttls, 465 for implicit and 25 for none, where it is left out",
            required: false,
            secret: false,
            destination: &[],
            input: Input::Number,
            check: |value| read_port(value).map(drop),
        },
        Field {
            name: "tls",
            label: "TLS",
            help: "starttls (the default), implicit, or none, which is for a server on this machine; without TLS nothing is sent to others",
            required: false,
            secret: false,
            destination: &[],
            input: Input::Choice(&["starttls", "implicit", "none"]),
            check: |value| Tls::read(value).map(drop),
        },
        Field {
            name: "username",
            label: "User name",
            help: "for the server, where it asks for one",
            required: false,
            secret: false,
            destination: &[],
            input: Input::Text,
            check: |value| read_line(value).map(drop),
        },
        Field {
            name: "password",
            label: "Password",
            help: "of that user",
            required: false,
            secret: true,
            destination: &["host", "port", "tls", "ca"],
            input: Input::Secret,
            check: |value| read_line(value).map(drop),
        },
        Field {
            name: "from",
            label: "From",
            help: "the sender's address, as systole@example.com or Systole <systole@example.com>",
            required: true,
            secret: false,
            destination: &[],
            input: Input::Text,
            check: |value| read_mailbox(value).map(drop),
        },
        Field {
            name: "to",
            label: "To",
            help: "1 to 50 addresses; on a form, one to a line",
            required: true,
            secret: false,
            destination: &[],
            input: Input::List,
            check: |value| read_recipients(value).map(drop),
        },
        Field {
            name: "ca",
            label: "Certificate authority",
            help: "for a server whose certificate is of your own making: the authority's certificate as PEM, which then is the only one that is trusted",
            required: false,
            secret: false,
            destination: &[],
            input: Input::Lines,
            check: |value| read_ca(value).map(drop),
        },
    ],
};

/// Recipients of one channel.
const RECIPIENTS_MOST: usize = 50;
/// Of a user name, a password, a sender.
const LINE_MOST: usize = 400;
const CA_MOST: usize = 64 * 1_024;

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// It begins in clear, and nothing but the request for TLS is sent until it is encrypted.
    #[default]
    StartTls,
    /// It is encrypted from its first byte.
    Implicit,
    /// It is not: to this machine alone.
    None,
}

impl Tls {
    fn read(value: &Value) -> Result<Tls, String> {
        match value.as_str() {
            Some("starttls") => Ok(Tls::StartTls),
            Some("implicit") => Ok(Tls::Implicit),
            Some("none") => Ok(Tls::None),
            _ => Err(format!(
                "{value} is none of its words; it is \"starttls\", \"implicit\" or \"none\""
            )),
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Tls::StartTls => 587,
            Tls::Implicit => 465,
            Tls::None => 25,
        }
    }
}

/// A server that takes mail. Its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name or address.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// The only certificates that are trusted, where some are given, in DER.
    pub ca: Vec<CertificateDer<'static>>,
    /// User name and password.
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("ca", &format_args!("{} certificates", self.ca.len()))
            .field("credentials", &self.credentials.as_ref().map(|_| "…"))
            .finish()
    }
}

/// Mail as a value. Its `Debug` shows no letter.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Who takes it.
    pub server: Server,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The letter, with its head, in lines that end with CR LF.
    pub letter: Vec<u8>,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("server", &self.server)
            .field("recipients", &self.to.len())
            .field("letter", &format_args!("{} bytes", self.letter.len()))
            .finish()
    }
}

/// An email channel's configuration, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    server: Server,
    from: Mailbox,
    to: Vec<Address>,
}

impl Config {
    /// Reads fields that [`KIND`] knows.
    pub(super) fn from_checked(fields: &Map<String, Value>) -> Result<Config, Vec<FieldError>> {
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let wrong =
            |name: &str, detail: String| vec![FieldError::new(format!("config.{name}"), detail)];
        let required = |name: &str| given(name).unwrap_or(&Value::Null);
        let host = read_host(required("host")).map_err(|detail| wrong("host", detail))?;
        let tls = given("tls").map_or(Ok(Tls::default()), Tls::read);
        let tls = tls.map_err(|detail| wrong("tls", detail))?;
        let port = given("port").map_or(Ok(tls.default_port()), read_port);
        let port = port.map_err(|detail| wrong("port", detail))?;
        let line = |name: &str| {
            let read = given(name).map(read_line).transpose();
            read.map_err(|detail| wrong(name, detail))
        };
        let credentials = match (line("username")?, line("password")?) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(wrong(
                    "password",
                    "a user name is given without it".to_owned(),
                ));
            }
            (None, Some(_)) => {
                return Err(wrong(
                    "username",
                    "a password is given without it".to_owned(),
                ));
            }
        };
        let from = read_mailbox(required("from")).map_err(|detail| wrong("from", detail))?;
        let to = read_recipients(required("to")).map_err(|detail| wrong("to", detail))?;
        let ca = given("ca").map_or(Ok(Vec::new()), read_ca);
        let ca = ca.map_err(|detail| wrong("ca", detail))?;
        if tls == Tls::None && !is_this_machine(&host) {
            let detail = "mail to another machine would travel readable, its password too; use starttls or implicit";
            return Err(wrong("tls", detail.to_owned()));
        }
        Ok(Config {
            server: Server {
                host,
                port,
                tls,
                ca,
                credentials,
            },
            from,
            to,
        })
    }

    /// The sender's address.
    pub fn from(&self) -> &str {
        self.from.email.as_ref()
    }

    /// Where it goes, as it may be shown.
    pub fn target(&self) -> String {
        let (first, more) = match self.to.split_first() {
            Some((first, more)) => (first.to_string(), more.len()),
            None => (String::new(), 0),
        };
        let to = match more {
            0 => first,
            n => format!("{first} and {n} more"),
        };
        format!("{to} by {}:{}", self.server.host, self.server.port)
    }
}

/// The mail for a message, or `None` where no letter can be made of it.
pub fn request(config: &Config, message: &Message, sending: &Sending<'_>) -> Option<Mail> {
    let told = words::told(message, sending.base_url, sending.now);
    let letter = letter::letter(&config.from, &config.to, &told, message, sending)?;
    Some(Mail {
        server: config.server.clone(),
        from: config.from.email.to_string(),
        to: config.to.iter().map(ToString::to_string).collect(),
        letter,
    })
}

/// The mail to one whom the unsubscribe link took off, or `None` where `address` is none or no letter can be made.
pub fn farewell(
    config: &Config,
    address: &str,
    base_url: &str,
    id: &str,
    now: Time,
) -> Option<Mail> {
    let address: Address = address.parse().ok()?;
    let letter = letter::farewell(&config.from, &address, base_url, id, now)?;
    Some(Mail {
        server: config.server.clone(),
        from: config.from.email.to_string(),
        to: vec![address.to_string()],
        letter,
    })
}

/// What the server's answer means. As soon as it has taken the letter for one recipient it counts as delivered: sending it
/// again would tell that one twice. The others are named in the attempt.
pub fn judge(answer: &MailAnswer) -> Outcome {
    if answer.accepted > 0 {
        return Outcome::Delivered {
            status: answer.code,
        };
    }
    let retry = |class| Outcome::Retry {
        class,
        retry_after: None,
    };
    let reject = |class| Outcome::Reject { class };
    match (answer.stage, answer.code) {
        (_, 421 | 450 | 452) => retry(ErrorClass::RateLimited),
        (_, 400..=499) => retry(ErrorClass::Http5xx),
        (Stage::Authentication, 500..=599) | (_, 530 | 534 | 535 | 538) => reject(ErrorClass::Auth),
        (_, 500..=504) => reject(ErrorClass::InvalidPayload),
        (_, 505..=599) => reject(ErrorClass::Http4xx),
        _ => retry(ErrorClass::InvalidResponse),
    }
}

fn is_this_machine(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name.trim_end_matches('.') == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn read_text(value: &Value, most: usize) -> Result<&str, String> {
    let text = value.as_str().ok_or("it must be a string")?;
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.len() > most {
        return Err(format!(
            "it has {} bytes, at most {most} are taken",
            text.len()
        ));
    }
    Ok(text)
}

/// Errors do not repeat it: it may be a password.
fn read_line(value: &Value) -> Result<String, String> {
    let text = read_text(value, LINE_MOST)?;
    if text.chars().any(char::is_control) {
        return Err("it has a control character in it".to_owned());
    }
    Ok(text.to_owned())
}

fn read_host(value: &Value) -> Result<Host<String>, String> {
    let text = read_text(value, 253)?;
    let bare = text.contains(':') && !text.starts_with('[');
    let host = if bare {
        Host::parse(&format!("[{text}]"))
    } else {
        Host::parse(text)
    };
    host.map_err(|error| {
        format!("{text:?} is not the name or address of a server ({error}); the port has a field of its own")
    })
}

fn read_port(value: &Value) -> Result<u16, String> {
    value
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{value} is not a port; it is a number from 1 to 65535"))
}

fn read_mailbox(value: &Value) -> Result<Mailbox, String> {
    let text = read_line(value)?;
    let mailbox: Mailbox = text
        .parse()
        .map_err(|error| format!("{text:?} is not an address of email ({error})"))?;
    is_plain(&mailbox.email)?;
    Ok(mailbox)
}

fn read_address(value: &Value) -> Result<Address, String> {
    let text = read_line(value)?;
    let address: Address = text
        .parse()
        .map_err(|error| format!("{text:?} is not an address of email ({error})"))?;
    is_plain(&address)?;
    Ok(address)
}

/// Few servers take other letters in addresses, and those that do not refuse the whole message.
fn is_plain(address: &Address) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"');
    let text: &str = address.as_ref();
    if text.chars().all(plain) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} has letters that not every server takes; write the domain in its xn-- form, and use an address \
             without quotation marks"
        ))
    }
}

fn read_recipients(value: &Value) -> Result<Vec<Address>, String> {
    let advice = r#"it is a list of addresses, such as ["on-call@example.com"]"#;
    let given = value.as_array().ok_or(advice)?;
    if given.is_empty() || given.len() > RECIPIENTS_MOST {
        return Err(format!(
            "it has {} addresses; 1 to {RECIPIENTS_MOST} are taken",
            given.len()
        ));
    }
    let mut read: Vec<Address> = Vec::new();
    for one in given {
        let address = read_address(one)?;
        if read.contains(&address) {
            return Err(format!("{address} is in it twice"));
        }
        read.push(address);
    }
    Ok(read)
}

fn read_ca(value: &Value) -> Result<Vec<CertificateDer<'static>>, String> {
    let advice = "it is one certificate or several as PEM, from -----BEGIN CERTIFICATE----- on";
    let text = read_text(value, CA_MOST).map_err(|wrong| format!("{wrong}; {advice}"))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = read.map_err(|_| format!("it cannot be read; {advice}"))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate in it cannot be trusted: {error}"))?;
    }
    if certificates.is_empty() {
        return Err(format!("there is no certificate in it; {advice}"));
    }
    Ok(certificates)
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
