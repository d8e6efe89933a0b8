//! Why a text that was kept cannot be read: it was sealed at rest (see `seals.rs`).

use std::fmt;

/// What stands between a sealed text and its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// It was sealed with a key that this process does not have; one that has it can read it.
    UnknownKey(String),
    /// It was changed, cut, or taken from another row: nobody can read it.
    Damaged,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(id) => {
                write!(f, "sealed with the key {id}, which is not among this process's `encryption` keys")
            }
            Self::Damaged => f.write_str("sealed, and damaged or taken from another row"),
        }
    }
}

impl std::error::Error for Unopened {}
