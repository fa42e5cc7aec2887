//! Secrets are planted in every place that takes one, every error that can be is provoked, and every byte that comes out or is
//! written down is searched for them: as they are, in base64, in hex and with percent signs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../common/mod.rs"]
mod common;
mod refused;
mod running;
mod search;
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/mod.rs"]
mod support;
