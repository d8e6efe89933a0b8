//! Where the database is and how patient we are with it.

use crate::seals::Seals;
use crate::secret::Secret;

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// `sqlite:PATH`, `mysql://USER:PASSWORD@HOST:PORT/NAME`. Secret, because it may hold a password.
    pub url: Secret,
    /// Longest wait for a connection.
    pub acquire_timeout_ms: u64,
    /// Longest wait for the answer to a statement.
    pub statement_timeout_ms: u64,
    /// Connections to MySQL, or readers of a SQLite file.
    pub connections_max: u32,
    /// Whether an acknowledged callback must survive a power loss.
    pub durability: Durability,
    /// Seals what people said in the rows; by default nothing is sealed.
    pub seals: Seals,
    /// Whether the store opens although the server cannot be reached; for those who spool meanwhile.
    pub may_be_away: bool,
}

impl StoreSettings {
    /// The defaults for the database at `url`.
    pub fn new(url: Secret) -> Self {
        Self { url, ..Self::default() }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            acquire_timeout_ms: 1_000,
            statement_timeout_ms: 2_000,
            connections_max: 8,
            durability: Durability::Strict,
            seals: Seals::default(),
            may_be_away: false,
        }
    }
}

/// What a commit promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk when it returns. A database set up otherwise is refused at start.
    #[default]
    Strict,
    /// The database may lose the last commits when the power fails; they survive a crash of the gateway.
    Relaxed,
}

impl Durability {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        }
    }

    /// Reads [`Durability::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Strict, Self::Relaxed].into_iter().find(|durability| durability.as_str() == text)
    }
}
