//! What the binary does: `systole serve` and the commands that talk to it.
//!
//! [`cli`] says what can be typed, [`config`] what can be set, `commands/` holds one room per client command,
//! [`client`] how they reach the server. Nothing is decided here. It is a library beside a `main` of a few lines, so that
//! what reads settings, URLs and webhooks can be called by more than the binary.

pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod failure;
pub mod out;
mod serve;
mod table;
mod telemetry;
mod times;
