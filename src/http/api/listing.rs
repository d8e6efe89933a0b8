//! The form of every list.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::Page;

/// One page of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing<T> {
    /// The rows.
    pub(crate) data: Vec<T>,
    /// Give it as `cursor` to get the next page; `null` after the last.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Listing<T> {
    pub(crate) fn of<R>(page: Page<R>) -> Self
    where
        T: From<R>,
    {
        Self { data: page.items.into_iter().map(T::from).collect(), next_cursor: page.next_cursor }
    }
}
