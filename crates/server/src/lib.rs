//! x
pub mod channels;
pub mod outbound;
