//! What the receiver of webhooks was told, by incident.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use crate::receiver::{Arrival, Receiver};

/// What a webhook says of one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub key: String,
    pub kind: String,
    pub incident: String,
    pub monitor: String,
    pub started_at: Timestamp,
    /// Not alone in its message: of each incident that has only the latest news, under the key of the first.
    pub grouped: bool,
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
        for told in new
            .iter()
            .flat_map(|arrival| read(arrival).unwrap_or_default())
        {
            if told.kind == "incident.triggered" {
                let last = seen.1.entry(told.monitor).or_default();
                *last = told.started_at.max(*last);
            }
        }
        seen.1.get(monitor).is_some_and(|last| *last > since)
    }

    /// Everything that it was told, in order.
    pub fn all(&self) -> Result<Vec<Told>> {
        let arrivals = self.receiver.after(0);
        let told: Vec<Vec<Told>> = arrivals.iter().map(read).collect::<Result<_>>()?;
        Ok(told.into_iter().flatten().collect())
    }
}

fn read(arrival: &Arrival) -> Result<Vec<Told>> {
    let message: Value = serde_json::from_slice(&arrival.body).context("read a webhook")?;
    let others = message["data"]["grouped"].as_array();
    let others = others.map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let told = |kind: &Value, item: &Value| {
        Some(Told {
            key: arrival.key.clone(),
            kind: text(kind)?,
            incident: text(&item["incident"]["id"])?,
            monitor: text(&item["monitor"]["name"])?,
            started_at: text(&item["incident"]["started_at"])?.parse().ok()?,
            grouped: !others.is_empty(),
        })
    };
    std::iter::once(told(&message["type"], &message["data"]))
        .chain(others.iter().map(|item| told(&item["type"], item)))
        .map(|told| told.with_context(|| format!("a webhook tells of no incident: {message}")))
        .collect()
}
