//! API keys: only their hashes are here.

use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{AnyConnection, Arguments, Executor};

use super::insert::Insert;
use super::read::Columns;
use super::width::{self, fits};
use super::write::Write;
use super::{Store, StoreError, name_list};
use crate::ids::ApiKeyId;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Reader,
    /// Look, send and replay.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, by rising power.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Operator, Self::Admin];

    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads [`Role::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// An API key as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Our id.
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// The first characters of the key, to recognise it by.
    pub shown_prefix: String,
    /// SHA-256 of the key, 64 hex digits.
    pub hash: String,
    /// What it may do.
    pub role: Role,
    /// The sources it may see. Empty: all.
    pub sources: Vec<String>,
    /// When it was made, wall ms.
    pub created_ms: i64,
    /// When it was revoked, wall ms.
    pub revoked_ms: Option<i64>,
}

const KEYS: Insert = Insert {
    table: "api_keys",
    columns: &["id", "name", "shown_prefix", "hash", "role", "sources", "created_ms", "revoked_ms"],
};

/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Longest part of a key that is kept to recognise it by.
const SHOWN_PREFIX_BYTES_MAX: usize = 16;

struct AddKey {
    key: ApiKeyRow,
}

impl Write for AddKey {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        KEYS.rows(conn, std::slice::from_ref(&self.key), ApiKeyRow::bind).await
    }
}

struct RevokeKey {
    id: ApiKeyId,
    at_ms: i64,
}

impl Write for RevokeKey {
    type Output = bool;

    async fn run(&self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        let revoke = sqlx::query("UPDATE api_keys SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL");
        let done = conn.execute(revoke.bind(self.at_ms).bind(self.id.as_str())).await?;
        Ok(done.rows_affected() == 1)
    }
}

impl Store {
    /// Adds a key. [`StoreError::Conflict`] if its hash is there already.
    pub async fn add_api_key(&self, key: &ApiKeyRow) -> Result<(), StoreError> {
        fits("name", &key.name, NAME_BYTES_MAX)?;
        fits("shown_prefix", &key.shown_prefix, SHOWN_PREFIX_BYTES_MAX)?;
        fits("hash", &key.hash, width::WORD)?;
        self.write(AddKey { key: key.clone() }).await
    }

    /// The key with this hash, revoked or not.
    pub async fn api_key_by_hash(&self, hash: &str) -> Result<Option<ApiKeyRow>, StoreError> {
        let query = sqlx::query(
            "SELECT id, name, shown_prefix, hash, role, sources, created_ms, revoked_ms FROM api_keys \
             WHERE hash = ?",
        );
        let row = self.inner.reader.row(query.bind(hash)).await?;
        let key = row.as_ref().map(|row| ApiKeyRow::take(&mut Columns::of(row))).transpose()?;
        Ok(key.filter(|key| key.hash == hash))
    }

    /// Every key, oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, StoreError> {
        let query = sqlx::query(
            "SELECT id, name, shown_prefix, hash, role, sources, created_ms, revoked_ms FROM api_keys ORDER BY id",
        );
        let rows = self.inner.reader.rows(query).await?;
        rows.iter().map(|row| ApiKeyRow::take(&mut Columns::of(row))).collect()
    }

    /// Revokes a key; `false` if there is none, or it was revoked before.
    pub async fn revoke_api_key(&self, id: &ApiKeyId, at_ms: i64) -> Result<bool, StoreError> {
        self.write(RevokeKey { id: id.clone(), at_ms }).await
    }
}

impl ApiKeyRow {
    fn bind(&self, to: &mut AnyArguments) -> Result<(), BoxDynError> {
        to.add(self.id.as_str())?;
        to.add(self.name.as_str())?;
        to.add(self.shown_prefix.as_str())?;
        to.add(self.hash.as_str())?;
        to.add(self.role.as_str())?;
        to.add(name_list::to_text(&self.sources))?;
        to.add(self.created_ms)?;
        to.add(self.revoked_ms)
    }

    fn take(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: columns.parse("API key id", ApiKeyId::parse)?,
            name: columns.take()?,
            shown_prefix: columns.take()?,
            hash: columns.take()?,
            role: columns.parse("role", Role::parse)?,
            sources: columns.parse("sources", name_list::parse)?,
            created_ms: columns.take()?,
            revoked_ms: columns.take()?,
        })
    }
}
