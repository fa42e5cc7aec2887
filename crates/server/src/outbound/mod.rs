//! Everything the server sends to URLs that people entered: channels, tests of channels, its own heartbeat.
//!
//! [`guard`] decides which addresses may be connected to; [`client`] connects to nothing else.

pub mod client;
mod connect;
pub mod guard;
mod pool;
#[cfg(test)]
mod test_server;

pub use client::{Limits, Outbound, Response, SendError, excerpt, written};
