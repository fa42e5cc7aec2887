//! Lists, one page at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many items a page has where the request does not say.
pub const DEFAULT_LIMIT: u32 = 50;
/// The most items that one page can have.
pub const MOST: u32 = 500;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, newest first where time orders them.
    pub items: Vec<T>,
    /// Pass this as `cursor` for the next page; `null` on the last one.
    pub next: Option<String>,
}
