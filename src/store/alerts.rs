//! What people were last told about, shared by all replicas.

use sqlx::{AnyConnection, Executor};

use super::insert::Insert;
use super::read::Columns;
use super::write::Write;
use super::{Store, StoreError};
use crate::domain::delivery::DeliveryState;

const TOTALS: Insert = Insert { table: "alert_totals", columns: &["name", "total"] };

struct SetTotal {
    name: &'static str,
    total: i64,
}

impl Write for SetTotal {
    type Output = bool;

    async fn run(&self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        let rise = sqlx::query("UPDATE alert_totals SET total = ? WHERE name = ? AND total < ?");
        let rise = rise.bind(self.total).bind(self.name).bind(self.total);
        if conn.execute(rise).await?.rows_affected() == 1 {
            return Ok(true);
        }
        let fall = sqlx::query("UPDATE alert_totals SET total = ? WHERE name = ? AND total > ?");
        let fall = fall.bind(self.total).bind(self.name).bind(self.total);
        if conn.execute(fall).await?.rows_affected() == 1 {
            return Ok(false);
        }
        let known = sqlx::query("SELECT total FROM alert_totals WHERE name = ?").bind(self.name);
        if conn.fetch_optional(known).await?.is_some() {
            return Ok(false);
        }
        TOTALS
            .rows(conn, &[(self.name, self.total)], |(name, total), to| {
                sqlx::Arguments::add(to, *name)?;
                sqlx::Arguments::add(to, *total)
            })
            .await?;
        Ok(self.total > 0)
    }
}

impl Store {
    /// Notes how many there are of `name` now. `true` for the one caller, among all replicas, that is the first to
    /// say that they have become more.
    pub async fn alert_total_rose(&self, name: &'static str, total: i64) -> Result<bool, StoreError> {
        let query = sqlx::query("SELECT total FROM alert_totals WHERE name = ?").bind(name);
        let known = match self.inner.reader.row(query).await? {
            Some(row) => Some(Columns::of(&row).take::<i64>()?),
            None => None,
        };
        if known.unwrap_or(0) == total {
            return Ok(false);
        }
        match self.write(SetTotal { name, total }).await {
            // Another replica made the row at the same moment.
            Err(StoreError::Conflict) => self.write(SetTotal { name, total }).await,
            outcome => outcome,
        }
    }

    /// Deliveries that were given up, up to 10,000.
    pub async fn dead_deliveries(&self) -> Result<i64, StoreError> {
        let query = sqlx::query(
            "SELECT COUNT(*) FROM (SELECT id FROM deliveries WHERE state = ? LIMIT 10000) AS some_of_them",
        );
        match self.inner.reader.row(query.bind(DeliveryState::Dead.as_str())).await? {
            Some(row) => Columns::of(&row).take(),
            None => Ok(0),
        }
    }
}
