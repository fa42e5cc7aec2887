//! The server role: ingest, engine loop, deliverer, management API, pages.
//!
//! [`serve::start`] puts the parts together; [`app::App`] is what they share. A check-in comes in through [`listen`]
//! and [`ping`], waits in [`ingest`] until it is durable, and is folded and judged in [`engine_loop`]; what is decided
//! goes out through [`deliverer`] and [`outbound`]. HTTP handlers ([`api`], [`pages`]) extract, call one function,
//! reply. The crate knows no SQL.

pub mod api;
pub mod app;
pub mod auth;
pub mod backup;
pub mod channels;
pub mod clock;
pub mod compose;
pub mod config;
pub mod database;
pub mod deliverer;
pub mod doctor;
mod engine_loop;
pub mod health;
mod historian;
mod housekeeping;
pub mod ingest;
pub mod keys;
pub mod listen;
pub mod loops;
pub mod maintenance;
pub mod metrics;
pub mod outbound;
pub mod pages;
pub mod ping;
pub mod principals;
pub mod provision;
mod replica;
pub mod seed;
pub mod serve;
pub mod tls;
pub mod tokens;
pub mod visible;
pub mod web;

pub use config::Config;

/// An error with all its causes, for one log line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors say their cause themselves.
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
