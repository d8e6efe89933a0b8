//! Whoever showed a key, and what it lets them do.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::http::problem::Problem;
use crate::messages;
use crate::store::{ApiKeyRow, Role};

/// Whoever called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who, for the audit: a key's id, `config:NAME`, `local`.
    pub actor: String,
    /// What they may do.
    pub role: Role,
    /// The sources and channels they may see. Empty: all.
    pub sources: Vec<String>,
}

impl Caller {
    /// A program on the same machine, where no key is in use.
    pub(crate) fn local() -> Self {
        Self { actor: "local".to_owned(), role: Role::Admin, sources: Vec::new() }
    }

    /// The same as one who sends messages.
    pub(crate) fn asking(&self) -> messages::Caller {
        messages::Caller { scope: self.actor.clone(), allowed: self.sources.clone() }
    }

    /// Whether they may see what belongs to `source`.
    pub fn may_see(&self, source: &str) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|allowed| allowed == source)
    }

    /// What belongs to no source, or to all of them, is only for callers who may see all.
    pub fn may_see_all(&self) -> bool {
        self.sources.is_empty()
    }
}

impl From<ApiKeyRow> for Caller {
    fn from(row: ApiKeyRow) -> Self {
        Self { actor: row.id.to_string(), role: row.role, sources: row.sources }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("a route asks for no key"))
    }
}
