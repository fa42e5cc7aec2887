//! Mail over SMTP: one letter by one connection, whose address the guard has judged.
//!
//! Three things must happen at exact places. Nothing but `EHLO` and `STARTTLS` is said before the connection is encrypted,
//! and nothing that came before the handshake is believed after it. Each recipient is asked for on its own, so that one wrong
//! address keeps the letter from nobody else. Right before `DATA` the claim's age is compared.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use systole_core::delivery::ErrorClass;
use systole_core::time::Span;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::client::{Outbound, SendError, tls_config};
use super::connect::{Failure, Target, addresses, connect, server_name, tls_failure};
use super::smtp_dialogue::{Dialogue, Reply};
use crate::channels::email::{Mail, Server, Tls};

/// How long things take at most, in [`super::Limits::whole`]: what comes before the letter, the letter itself, and the server's
/// last word about it. Servers look for viruses before they say that, and asking again would send the letter twice.
const BEFORE: i64 = 2;
const AFTER: i64 = 3;
/// Of what a server says, so much is kept, and so much is looked through for secrets before.
const SAID_MOST: usize = 300;
const SAID_READ: usize = 8_000;
/// The record of an attempt.
const DETAIL_MOST: usize = 1_000;
/// Refused recipients that are named.
const NAMED_MOST: usize = 10;

/// How far the conversation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server's greeting, and ours.
    Greeting,
    /// The request for TLS.
    StartTls,
    /// User name and password.
    Authentication,
    /// The sender.
    Sender,
    /// The recipients.
    Recipients,
    /// The letter.
    Letter,
}

impl Stage {
    const fn words(self) -> &'static str {
        match self {
            Stage::Greeting => "at the greeting",
            Stage::StartTls => "when asked for TLS",
            Stage::Authentication => "at the sign-in",
            Stage::Sender => "at the sender's address",
            Stage::Recipients => "at the recipients",
            Stage::Letter => "at the letter",
        }
    }
}

/// What the server answered, where it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAnswer {
    /// How far it came.
    pub stage: Stage,
    /// The code of the reply that ended it.
    pub code: u16,
    /// What it said with it, in one line without secrets.
    pub said: String,
    /// Recipients for whom it took the letter.
    pub accepted: usize,
    /// Those whom it refused, with what it said.
    pub refused: Vec<Refused>,
}

/// A recipient who was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The address.
    pub address: String,
    /// The code of the reply.
    pub code: u16,
    /// What it said with it.
    pub said: String,
}

impl MailAnswer {
    /// For the record of the attempt: what was said, and who was refused.
    pub fn detail(&self) -> String {
        let mut detail = if self.accepted > 0 {
            format!("SMTP {}: {}", self.code, self.said)
        } else {
            format!("SMTP {} {}: {}", self.code, self.stage.words(), self.said)
        };
        if self.accepted > 0 && !self.refused.is_empty() {
            let named: Vec<String> = self
                .refused
                .iter()
                .take(NAMED_MOST)
                .map(|one| format!("{} ({} {})", one.address, one.code, one.said))
                .collect();
            detail = format!("{detail}; not taken for {}", named.join(", "));
            let more = self.refused.len() - named.len();
            if more > 0 {
                detail = format!("{detail} and {more} more");
            }
        }
        detail.chars().take(DETAIL_MOST).collect()
    }
}

/// Why a conversation ended before its end.
enum Ended {
    /// There was no answer, or none that can be used.
    Failed(Failure),
    /// The server said no.
    Answered(MailAnswer),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Ended {
        Ended::Failed(failure)
    }
}

/// What carries a conversation.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Conversation = Dialogue<Box<dyn Stream>>;

impl Outbound {
    /// Sends mail and reads what the server says about it.
    ///
    /// `before_write` is asked right before the letter is sent; at its no nothing is. The longest time from a yes to the last
    /// byte written is [`super::Limits::whole`].
    ///
    /// # Errors
    /// [`SendError`] when there is no answer. The letter may have arrived nevertheless where the class is `Timeout`,
    /// `Connect` or `InvalidResponse`.
    pub async fn send_mail(
        &self,
        mail: &Mail,
        before_write: impl FnOnce() -> bool + Send,
    ) -> Result<MailAnswer, SendError> {
        let what = format!("SMTP {}:{}", mail.server.host, mail.server.port);
        let ended = match Box::pin(self.converse(mail, before_write)).await {
            Ok(answer) | Err(Ended::Answered(answer)) => Ok(answer),
            Err(Ended::Failed((class, why))) => Err(SendError {
                class,
                message: format!("{what}: {why}"),
            }),
        };
        let secrets = secrets(&mail.server);
        ended.map(|answer| answer_without(answer, &secrets))
    }

    async fn converse(
        &self,
        mail: &Mail,
        before_write: impl FnOnce() -> bool + Send,
    ) -> Result<MailAnswer, Ended> {
        let whole = self.limits.whole;
        let before = times(whole, BEFORE);
        let late = || {
            let why = format!("the server did not take the mail within {before}");
            Ended::Failed((ErrorClass::Timeout, why))
        };
        let opening = Box::pin(self.opened(mail));
        let (mut conversation, refused) = timeout(before.as_std(), opening)
            .await
            .unwrap_or_else(|_| Err(late()))?;
        if !before_write() {
            let why = "the claim had grown too old, so nothing was sent";
            return Err((ErrorClass::ClaimTooOld, why.to_owned()).into());
        }
        let write_by = Instant::now() + whole.as_std();
        let writing = async {
            let go_on = conversation.command("DATA").await?;
            if go_on.code != 354 {
                return Ok(Some(go_on));
            }
            conversation.letter(&mail.letter).await?;
            Ok::<_, Failure>(None)
        };
        let refusal = timeout_at(write_by, writing).await.unwrap_or_else(|_| {
            let why = format!("the letter could not be written within {whole}");
            Err((ErrorClass::Timeout, why))
        })?;
        let last = match refusal {
            Some(reply) => reply,
            None => {
                let after = times(whole, AFTER);
                let why =
                    || format!("no word about the letter within {after}; it may have arrived");
                timeout(after.as_std(), conversation.reply())
                    .await
                    .unwrap_or_else(|_| Err((ErrorClass::Timeout, why())))?
            }
        };
        conversation.leave();
        let accepted = if last.is_good() {
            mail.to.len() - refused.len()
        } else {
            0
        };
        Ok(MailAnswer {
            stage: Stage::Letter,
            code: last.code,
            said: last.said(SAID_READ),
            accepted,
            refused,
        })
    }

    /// Up to the letter: connection, TLS, sign-in, sender, recipients. Gives those who were refused.
    async fn opened(&self, mail: &Mail) -> Result<(Conversation, Vec<Refused>), Ended> {
        let (mut conversation, hello) = self.greeted(&mail.server).await?;
        if let Some((username, password)) = &mail.server.credentials {
            sign_in(&mut conversation, &hello, username, password).await?;
        }
        let from = conversation
            .command(&format!("MAIL FROM:<{}>", mail.from))
            .await?;
        good(Stage::Sender, from)?;
        let mut refused = Vec::new();
        for address in &mail.to {
            let reply = conversation
                .command(&format!("RCPT TO:<{address}>"))
                .await?;
            if reply.code == 421 {
                return Err(answered(Stage::Recipients, &reply));
            }
            if !reply.is_good() {
                refused.push(Refused {
                    address: address.clone(),
                    code: reply.code,
                    said: reply.said(SAID_READ),
                });
            }
        }
        if refused.len() < mail.to.len() {
            return Ok((conversation, refused));
        }
        conversation.leave();
        // One who may be taken later is worth another attempt.
        let decisive = refused
            .iter()
            .find(|one| (400..500).contains(&one.code))
            .or(refused.first())
            .cloned();
        let (code, said) = decisive.map_or((0, String::new()), |one| {
            (one.code, format!("{}: {}", one.address, one.said))
        });
        Err(Ended::Answered(MailAnswer {
            stage: Stage::Recipients,
            code,
            said,
            accepted: 0,
            refused,
        }))
    }

    /// An open conversation, protected as the server's configuration says, with the server's answer to our greeting.
    async fn greeted(&self, server: &Server) -> Result<(Conversation, Reply), Ended> {
        let connect_by = Instant::now() + self.limits.connect.as_std();
        let target = Target {
            tls: server.tls == Tls::Implicit,
            host: server.host.clone(),
            port: server.port,
        };
        let opening = async {
            let mut found = addresses(&target, &self.lists).await?;
            if server.tls == Tls::None {
                only_this_machine(&mut found)?;
            }
            connect(&found, connect_by).await
        };
        let (tcp, _) = timeout_at(connect_by, Box::pin(opening))
            .await
            .unwrap_or_else(|_| {
                let why = "no connection was made in time".to_owned();
                Err((ErrorClass::Timeout, why))
            })?;
        let name = own_name(&tcp);
        let stream: Box<dyn Stream> = match server.tls {
            Tls::Implicit => self.encrypted(server, tcp).await?,
            Tls::StartTls | Tls::None => Box::new(tcp),
        };
        let mut conversation = Dialogue::new(stream);
        let greeting = conversation.reply().await?;
        good(Stage::Greeting, greeting)?;
        let mut hello = hello(&mut conversation, &name).await?;
        if server.tls == Tls::StartTls {
            conversation = self.upgraded(server, conversation, &hello).await?;
            // What was offered in clear may have been somebody else's offer.
            hello = self::hello(&mut conversation, &name).await?;
        }
        Ok((conversation, hello))
    }

    async fn upgraded(
        &self,
        server: &Server,
        mut conversation: Conversation,
        hello: &Reply,
    ) -> Result<Conversation, Ended> {
        if !hello.offers("STARTTLS") {
            let why = "the server offers no STARTTLS, and without it nothing is sent; if its port is for TLS from the \
                       first byte, set tls to implicit";
            return Err((ErrorClass::Tls, why.to_owned()).into());
        }
        let reply = conversation.command("STARTTLS").await?;
        good(Stage::StartTls, reply)?;
        let stream = conversation.into_stream()?;
        Ok(Dialogue::new(self.encrypted(server, stream).await?))
    }

    async fn encrypted<S: Stream + 'static>(
        &self,
        server: &Server,
        stream: S,
    ) -> Result<Box<dyn Stream>, Failure> {
        let config = if server.ca.is_empty() {
            Arc::clone(&self.mail_tls)
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(server.ca.iter().cloned());
            let made = tls_config(roots);
            Arc::new(made.map_err(|error| (ErrorClass::Tls, error.to_string()))?)
        };
        let name = server_name(&server.host)?;
        let encrypted = TlsConnector::from(config).connect(name, stream).await;
        Ok(Box::new(encrypted.map_err(|error| tls_failure(&error))?))
    }
}

/// Without TLS the address itself must be this machine's, whatever its name says.
fn only_this_machine(found: &mut Vec<SocketAddr>) -> Result<(), Failure> {
    let other = found
        .iter()
        .find(|address| !address.ip().is_loopback())
        .copied();
    found.retain(|address| address.ip().is_loopback());
    match other {
        Some(other) if found.is_empty() => Err((
            ErrorClass::BlockedByPolicy,
            format!(
                "{} is another machine, to which nothing is sent without TLS",
                other.ip()
            ),
        )),
        _ => Ok(()),
    }
}

/// Our side's address: a name of ours that the other side could check is not known.
fn own_name(tcp: &TcpStream) -> String {
    match tcp.local_addr() {
        Ok(SocketAddr::V4(address)) => format!("[{}]", address.ip()),
        Ok(SocketAddr::V6(address)) => format!("[IPv6:{}]", address.ip()),
        Err(_) => "[127.0.0.1]".to_owned(),
    }
}

async fn hello(conversation: &mut Conversation, name: &str) -> Result<Reply, Ended> {
    let reply = conversation.command(&format!("EHLO {name}")).await?;
    good(Stage::Greeting, reply)
}

async fn sign_in(
    conversation: &mut Conversation,
    hello: &Reply,
    username: &str,
    password: &str,
) -> Result<(), Ended> {
    let last = if hello.offers("AUTH PLAIN") {
        let secret = STANDARD.encode(format!("\0{username}\0{password}"));
        conversation
            .command(&format!("AUTH PLAIN {secret}"))
            .await?
    } else if hello.offers("AUTH LOGIN") {
        let mut reply = conversation.command("AUTH LOGIN").await?;
        for word in [username, password] {
            if reply.code != 334 {
                break;
            }
            reply = conversation.command(&STANDARD.encode(word)).await?;
        }
        reply
    } else {
        let why = "the server offers neither AUTH PLAIN nor AUTH LOGIN; if it needs no sign-in, take the user name away";
        return Err((ErrorClass::Auth, why.to_owned()).into());
    };
    good(Stage::Authentication, last).map(drop)
}

fn good(stage: Stage, reply: Reply) -> Result<Reply, Ended> {
    if reply.is_good() {
        Ok(reply)
    } else {
        Err(answered(stage, &reply))
    }
}

fn answered(stage: Stage, reply: &Reply) -> Ended {
    Ended::Answered(MailAnswer {
        stage,
        code: reply.code,
        said: reply.said(SAID_READ),
        accepted: 0,
        refused: Vec::new(),
    })
}

/// What must not be recorded, should a server repeat it.
fn secrets(server: &Server) -> Vec<String> {
    let Some((username, password)) = &server.credentials else {
        return Vec::new();
    };
    vec![
        STANDARD.encode(format!("\0{username}\0{password}")),
        STANDARD.encode(password),
        password.clone(),
    ]
}

fn answer_without(mut answer: MailAnswer, secrets: &[String]) -> MailAnswer {
    let clear = |said: &mut String| {
        for secret in secrets {
            *said = said.replace(secret.as_str(), "(secret)");
        }
        // Only now: a cut could leave half a secret.
        *said = said.chars().take(SAID_MOST).collect();
    };
    clear(&mut answer.said);
    answer
        .refused
        .iter_mut()
        .for_each(|one| clear(&mut one.said));
    answer
}

fn times(span: Span, n: i64) -> Span {
    Span::from_micros(span.as_micros().saturating_mul(n))
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;
