//! The server-rendered pages: view models in, HTML out.
//!
//! Everything here is pure. A handler fills a struct of [`views`] (with the time it was told), calls the function of
//! [`render`] that bears its name, and replies with the text and [`assets::SECURITY_HEADERS`]. No module here reads a clock,
//! a database or a request. Text that somebody else chose travels as [`text::Untrusted`], which makes control and
//! direction-changing characters visible; the templates escape it.

pub mod assets;
pub mod days;
pub mod draw;
pub mod render;
pub mod snippets;
pub mod text;
pub mod views;

#[cfg(test)]
#[path = "../../examples/pages/samples.rs"]
mod samples;
#[cfg(test)]
mod tests;
