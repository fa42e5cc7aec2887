//! What the receiver of webhooks was told, by incident.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::receiver::{Arrival, Receiver};

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub key: String,
    pub kind: String,
    pub incident: String,
    pub monitor: String,
    pub started_at: Timestamp,
}

/// The receiver, and the last opening of each monitor that it was told of.
pub struct Hooks {
    pub receiver: Receiver,
    seen: Mutex<(usize, HashMap<String, Timestamp>)>,
}

impl Hooks {
    pub fn start() -> Result<Hooks> {
        Ok(Hooks {
            receiver: Receiver::start()?,
            seen: Mutex::default(),
        })
    }

    /// Whether it was told that an incident of a monitor began after `since`.
    pub fn knows_of(&self, monitor: &str, since: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let new = self.receiver.after(seen.0);
        seen.0 += new.len();
        for told in new.iter().filter_map(|arrival| read(arrival).ok()) {
            if told.kind == "incident.triggered" {
                let last = seen.1.entry(told.monitor).or_default();
                *last = told.started_at.max(*last);
            }
        }
        seen.1.get(monitor).is_some_and(|last| *last > since)
    }

    /// Everything that it was told, in order.
    pub fn all(&self) -> Result<Vec<Told>> {
        self.receiver.after(0).iter().map(read).collect()
    }
}

fn read(arrival: &Arrival) -> Result<Told> {
    let message: Value = serde_json::from_slice(&arrival.body).context("read a webhook")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let told = || {
        Some(Told {
            key: arrival.key.clone(),
            kind: text(&message["type"])?,
            incident: text(&message["data"]["incident"]["id"])?,
            monitor: text(&message["data"]["monitor"]["name"])?,
            started_at: text(&message["data"]["incident"]["started_at"])?
                .parse()
                .ok()?,
        })
    };
    told().with_context(|| format!("a webhook tells of no incident: {message}"))
}
