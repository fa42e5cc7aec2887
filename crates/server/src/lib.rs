//! x
pub mod channels;
pub mod outbound;
pub mod web;
