//! Endpoints: what business systems want, and their sealed secrets. Every change is counted in the same transaction.

use std::sync::Arc;

use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::read::Columns;
use super::routing::Routing;
use super::width::{self, fits};
use super::write::Write;
use super::{Store, StoreError};
use crate::domain::endpoint::{Endpoint, EndpointOrigin, EndpointSpec, EndpointState};
use crate::ids::EndpointId;

/// The row of `versions` that counts changes of endpoints.
pub(super) const ENDPOINTS_VERSION: &str = "endpoints";

/// Longest sealed secrets, in bytes.
const SECRETS_BYTES_MAX: usize = 4_096;

/// An endpoint with its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRow {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its secrets, sealed: the store cannot read them.
    pub secrets: String,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    /// Done.
    Done,
    /// The row is not there, or has been changed by somebody else since it was read.
    Moved,
    /// There are as many as there may be.
    Full,
}

const COLUMNS: &str =
    "id, origin, state, reason, spec, secrets, payload_version, revision, created_ms, updated_ms";

impl Store {
    /// Every endpoint, oldest first.
    pub async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM endpoints ORDER BY id"].concat();
        let rows = self.inner.reader.rows(sqlx::query(AssertSqlSafe(sql))).await?;
        rows.iter().map(|row| take(&mut Columns::of(row))).collect()
    }

    /// One endpoint.
    pub async fn endpoint(&self, id: &EndpointId) -> Result<Option<EndpointRow>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM endpoints WHERE id = ?"].concat();
        let row = self.inner.reader.row(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
        row.as_ref().map(|row| take(&mut Columns::of(row))).transpose()
    }

    /// How often endpoints were changed.
    pub async fn endpoints_version(&self) -> Result<i64, StoreError> {
        let query = sqlx::query("SELECT value FROM versions WHERE name = ?");
        match self.inner.reader.row(query.bind(ENDPOINTS_VERSION)).await? {
            Some(row) => Columns::of(&row).take(),
            None => Ok(0),
        }
    }

    /// Adds an endpoint. Every event of a commit that begins after this has returned is routed to it (on MySQL:
    /// [`super::SETTLED_MS`] later). There are `endpoints_max` of them at most.
    pub async fn add_endpoint(
        &self,
        row: &EndpointRow,
        endpoints_max: usize,
    ) -> Result<EndpointChange, StoreError> {
        check(row)?;
        self.change(Change::Add(row.clone(), endpoints_max)).await
    }

    /// Writes a changed endpoint, whose revision must be one above the row's.
    pub async fn change_endpoint(&self, row: &EndpointRow) -> Result<EndpointChange, StoreError> {
        check(row)?;
        self.change(Change::Put(row.clone())).await
    }

    /// Takes an endpoint out.
    pub async fn remove_endpoint(&self, id: &EndpointId) -> Result<EndpointChange, StoreError> {
        self.change(Change::Remove(id.clone())).await
    }

    async fn change(&self, change: Change) -> Result<EndpointChange, StoreError> {
        self.write(ChangeEndpoint { change, routing: Arc::clone(&self.inner.routing) }).await
    }
}

fn check(row: &EndpointRow) -> Result<(), StoreError> {
    fits("name", &row.endpoint.spec.name, width::SOURCE)?;
    fits("secrets", &row.secrets, SECRETS_BYTES_MAX).map(drop)
}

enum Change {
    Add(EndpointRow, usize),
    Put(EndpointRow),
    Remove(EndpointId),
}

struct ChangeEndpoint {
    change: Change,
    routing: Arc<Routing>,
}

impl Write for ChangeEndpoint {
    type Output = EndpointChange;

    async fn run(&self, conn: &mut AnyConnection) -> Result<EndpointChange, StoreError> {
        let changed = match &self.change {
            Change::Add(row, endpoints_max) => {
                // The count first: on MySQL its row lock puts two that add at once behind each other.
                count_change(conn).await?;
                let count: i64 =
                    Columns::of(&conn.fetch_one("SELECT COUNT(*) FROM endpoints").await?).take()?;
                if usize::try_from(count).unwrap_or(usize::MAX) >= *endpoints_max {
                    return Ok(EndpointChange::Full);
                }
                insert(conn, row).await?
            }
            Change::Put(row) => update(conn, row).await?,
            Change::Remove(id) => {
                let delete = sqlx::query("DELETE FROM endpoints WHERE id = ?").bind(id.as_str());
                conn.execute(delete).await?.rows_affected()
            }
        };
        if changed == 0 {
            return Ok(EndpointChange::Moved);
        }
        if !matches!(self.change, Change::Add(..)) {
            count_change(conn).await?;
        }
        Ok(EndpointChange::Done)
    }

    fn committed(&self, change: &EndpointChange) {
        if *change == EndpointChange::Done {
            match &self.change {
                Change::Add(row, _) | Change::Put(row) => {
                    self.routing.changed(&row.endpoint.id, Some(&row.endpoint));
                }
                Change::Remove(id) => self.routing.changed(id, None),
            }
        }
    }
}

async fn insert(conn: &mut AnyConnection, row: &EndpointRow) -> Result<u64, StoreError> {
    let endpoint = &row.endpoint;
    let insert = sqlx::query(
        "INSERT INTO endpoints (id, name, origin, state, reason, spec, secrets, payload_version, revision, created_ms, \
         updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(endpoint.id.as_str())
    .bind(endpoint.spec.name.as_str())
    .bind(endpoint.origin.as_str())
    .bind(endpoint.state.as_str())
    .bind(endpoint.reason.as_deref())
    .bind(endpoint.spec.to_json().to_string())
    .bind(row.secrets.as_str())
    .bind(endpoint.payload_version)
    .bind(endpoint.revision)
    .bind(endpoint.created_ms)
    .bind(endpoint.updated_ms);
    Ok(conn.execute(insert).await?.rows_affected())
}

async fn update(conn: &mut AnyConnection, row: &EndpointRow) -> Result<u64, StoreError> {
    let endpoint = &row.endpoint;
    let update = sqlx::query(
        "UPDATE endpoints SET name = ?, origin = ?, state = ?, reason = ?, spec = ?, secrets = ?, revision = ?, \
         updated_ms = ? WHERE id = ? AND revision = ?",
    )
    .bind(endpoint.spec.name.as_str())
    .bind(endpoint.origin.as_str())
    .bind(endpoint.state.as_str())
    .bind(endpoint.reason.as_deref())
    .bind(endpoint.spec.to_json().to_string())
    .bind(row.secrets.as_str())
    .bind(endpoint.revision)
    .bind(endpoint.updated_ms)
    .bind(endpoint.id.as_str())
    .bind(endpoint.revision.saturating_sub(1));
    Ok(conn.execute(update).await?.rows_affected())
}

async fn count_change(conn: &mut AnyConnection) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE versions SET value = value + 1 WHERE name = ?").bind(ENDPOINTS_VERSION);
    if conn.execute(update).await?.rows_affected() == 0 {
        let insert = sqlx::query("INSERT INTO versions (name, value) VALUES (?, 1)").bind(ENDPOINTS_VERSION);
        conn.execute(insert).await?;
    }
    Ok(())
}

/// Every endpoint, inside a transaction.
pub(super) async fn select_endpoints(conn: &mut AnyConnection) -> Result<Vec<EndpointRow>, StoreError> {
    let sql = ["SELECT ", COLUMNS, " FROM endpoints ORDER BY id"].concat();
    let rows = conn.fetch_all(sqlx::query(AssertSqlSafe(sql))).await?;
    rows.iter().map(|row| take(&mut Columns::of(row))).collect()
}

fn take(columns: &mut Columns<'_>) -> Result<EndpointRow, StoreError> {
    let id = columns.parse("endpoint id", EndpointId::parse)?;
    let origin = columns.parse("origin of an endpoint", EndpointOrigin::parse)?;
    let state = columns.parse("state of an endpoint", EndpointState::parse)?;
    let reason = columns.take()?;
    let spec = columns.parse("spec of an endpoint", |text| {
        let value: Value = serde_json::from_str(text).ok()?;
        EndpointSpec::parse(&value).ok()
    })?;
    let secrets = columns.take()?;
    let endpoint = Endpoint {
        id,
        spec,
        origin,
        state,
        reason,
        payload_version: columns.take()?,
        revision: columns.take()?,
        created_ms: columns.take()?,
        updated_ms: columns.take()?,
    };
    Ok(EndpointRow { endpoint, secrets })
}
