//! Everything the server sends to URLs and servers that people entered: channels, tests of channels, its own heartbeat.
//!
//! [`guard`] decides which addresses may be connected to; [`client`] (HTTP) and [`smtp`] connect to nothing else.

pub mod client;
mod connect;
mod echo;
pub mod guard;
mod pool;
pub mod smtp;
pub mod smtp_dialogue;
#[cfg(test)]
mod test_server;

pub use client::{Limits, Outbound, Response, SendError, excerpt, written};
pub use smtp::{MailAnswer, Refused, Stage};

use crate::channels::Request;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To an HTTP request.
    Http(Response),
    /// To mail.
    Mail(MailAnswer),
}

impl Answer {
    /// Its status, or the code of its reply.
    pub const fn status(&self) -> u16 {
        match self {
            Answer::Http(answer) => answer.status,
            Answer::Mail(answer) => answer.code,
        }
    }

    /// What it said, for the record of the attempt.
    pub fn detail(&self) -> String {
        match self {
            Answer::Http(answer) => format!("HTTP {}: {}", answer.status, answer.excerpt),
            Answer::Mail(answer) => answer.detail(),
        }
    }
}

impl Outbound {
    /// Sends whatever a channel made and gives what came back. `before_write` is asked right before the message is written;
    /// at its no nothing is, and [`Limits::whole`] after its yes nothing is written any more.
    ///
    /// # Errors
    /// [`SendError`] when there is no answer.
    pub async fn deliver(
        &self,
        request: Request,
        before_write: impl FnMut() -> bool + Send,
    ) -> Result<Answer, SendError> {
        match request {
            Request::Http(request) => self.send(request, before_write).await.map(Answer::Http),
            Request::Mail(mail) => self.send_mail(&mail, before_write).await.map(Answer::Mail),
        }
    }
}
