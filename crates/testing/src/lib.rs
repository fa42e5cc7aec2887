//! What the tests of several crates share. No program depends on it.

pub mod postgres;
