//! The only crate with SQL: log, checkpoints, incidents, outbox, configuration.
//!
//! Start at [`Store`]. [`log`] appends and reads rows, [`decide`] writes what the engine decided, and one module per
//! kind of row holds what people configure. It knows nothing of HTTP. `sql` lets one statement text serve both databases:
//! SQLite in a directory, PostgreSQL for any number of replicas.

pub mod backup;
mod bytes;
pub mod channels;
pub mod copy;
mod db;
pub mod decide;
pub mod deliveries;
mod error;
pub mod incidents;
pub mod lease;
pub mod log;
pub mod maintenance;
pub mod monitors;
mod occasion;
pub mod people;
pub mod record;
pub mod retention;
mod settings;
mod sql;
pub mod standby;
mod state;

pub use db::{Session, Store};
pub use error::Error;

/// The one project until there are more.
pub const DEFAULT_PROJECT: i64 = 1;
