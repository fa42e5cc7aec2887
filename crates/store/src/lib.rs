//! The only crate with SQL: log, checkpoints, incidents, outbox, configuration.
//!
//! Start at [`Store`]. [`log`] appends and reads rows, [`decide`] writes what the engine decided, and one module per
//! kind of row holds what people configure. It knows nothing of HTTP. Statements use `$N` placeholders, so that one
//! text serves both databases where the dialects agree; today there is SQLite, PostgreSQL gets a second migration
//! folder and a second pool in [`Store`].

pub mod backup;
mod bytes;
pub mod channels;
mod db;
pub mod decide;
pub mod deliveries;
mod error;
pub mod incidents;
pub mod log;
pub mod maintenance;
pub mod monitors;
mod occasion;
pub mod people;
pub mod record;
pub mod retention;
mod settings;
mod state;

pub use db::{Session, Store};
pub use error::Error;

/// The one project until there are more.
pub const DEFAULT_PROJECT: i64 = 1;
