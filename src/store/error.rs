//! What can go wrong between the gateway and its database, in the words callers decide by.
//!
//! The text of a driver's error stays in here and in the log: it may hold an address or a column's value, so it
//! is never shown outside.

use crate::domain::sealed::Unopened;

/// Why a call of the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Too much is waiting, or other transactions were in the way after every retry. Try again.
    #[error("the database is busy")]
    Busy,
    /// The database cannot be reached, or did not answer in time. The outcome of a write is not known.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A row says something this program does not know.
    #[error("unknown {what} in the database: {value:?}")]
    Corrupt {
        /// Which column.
        what: &'static str,
        /// What stands there, cut to 64 bytes.
        value: String,
    },
    /// The schema was made by a newer program.
    #[error("the database has schema version {found}, this program knows versions up to {known}")]
    NewerSchema {
        /// The version in the database.
        found: i64,
        /// The newest version in this program.
        known: i64,
    },
    /// The database's settings could lose acknowledged callbacks.
    #[error("unsafe database settings: {0}")]
    Unsafe(String),
    /// Another process has this SQLite file open for writing.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// The settings do not lead to a usable database: a wrong address, password or library.
    #[error("cannot use the database: {0}")]
    Settings(String),
    /// A value is longer than its column.
    #[error("{field} is {actual} bytes long, the limit is {limit}")]
    TooLong {
        /// Which value.
        field: &'static str,
        /// The longest that is stored, in bytes.
        limit: usize,
        /// Its length in bytes.
        actual: usize,
    },
    /// The cursor of a list was not made by us.
    #[error("the cursor is not valid")]
    Cursor,
    /// A row with this key is there already.
    #[error("a row with this key exists")]
    Conflict,
    /// A value was sealed at rest and cannot be opened.
    #[error("a value in the database is {0}")]
    Unopened(#[from] Unopened),
    /// The database refused a statement for a reason of its own.
    #[error("the database refused a statement: {0}")]
    Refused(String),
}

impl StoreError {
    /// Whether the database as a whole cannot be used now, whatever is asked of it: it is away, or this process is not
    /// fit for it (a key or a newer program is missing).
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Unavailable(_)
                | Self::NewerSchema { .. }
                | Self::Unsafe(_)
                | Self::Settings(_)
        )
    }

    /// A stored text that means nothing to this program.
    pub(super) fn corrupt(what: &'static str, value: &str) -> Self {
        Self::Corrupt { what, value: value.chars().take(32).collect() }
    }
}
