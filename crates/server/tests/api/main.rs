//! The management API through its own boundary: a real server on a port of its own, spoken to in HTTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// `postgres.rs` runs the same tests on the other database.
const ON_POSTGRES: bool = false;

mod bulk;
mod channels;
mod history;
mod incidents;
mod mail;
mod maintenances;
mod monitors;
mod openapi;
mod requests;
#[expect(dead_code, reason = "where it lies only replicas ask")]
mod support;
mod tokens;
mod unsubscribe;
