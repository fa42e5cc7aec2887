//! The pure domain of Systole.
//!
//! What is late, what is down, what is an incident, who is told and why. Everything here is a value or a function of
//! values: the time is an argument, ids and jitter are handed in, nothing is read from the environment, nothing is
//! sent. The crate knows neither SQL nor HTTP nor the wire's types; `clippy.toml` beside it enforces the clock part.
//!
//! Start at [`heartbeat`] for the state machine of a job, at [`schedule`] for expected times, and at [`engine`] for
//! how observations become decisions.
#![warn(missing_docs)]

pub mod delivery;
pub mod engine;
pub mod heartbeat;
pub mod history;
pub mod incident;
pub mod maintenance;
pub mod message;
pub mod outage;
pub mod reason;
pub mod schedule;
pub mod time;
