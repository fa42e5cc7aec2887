//! The management API on a shared PostgreSQL: the tests of `main.rs`, and what two replicas know of each other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

const ON_POSTGRES: bool = true;

mod bulk;
mod channels;
mod history;
mod incidents;
mod mail;
mod maintenances;
mod monitors;
mod openapi;
mod replicas;
mod requests;
mod support;
mod tokens;
mod unsubscribe;
