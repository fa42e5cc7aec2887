//! The pages of a server that runs, as a browser without script sees them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod door;
mod maintenance;
mod monitors;
mod site;
mod unsubscribe;
mod whole;
