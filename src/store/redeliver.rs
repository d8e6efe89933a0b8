//! Deliveries of events by hand: made anew, tried again, dropped, taken back.

use std::sync::Arc;

use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::deliveries::{COLUMNS, take};
use super::read::Columns;
use super::routing::{FreshDelivery, fresh, insert_fresh};
use super::write::Write;
use super::{Store, StoreError, StoredEvent};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::filter::Routed;
use crate::ids::DeliveryId;

/// Rows changed in one transaction.
const SLICE: usize = 200;

/// What to do with deliveries that are no longer tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// Tried once more, now.
    Retry,
    /// Given up for good: what waits behind it goes on.
    Drop,
}

impl Store {
    /// Makes deliveries of a stored event.
    pub async fn deliver_again(
        &self,
        event: &Arc<StoredEvent>,
        routed: Vec<Routed>,
        run: i64,
    ) -> Result<Vec<FreshDelivery>, StoreError> {
        let (steady_ms, wall_ms) = (self.inner.clock.steady_ms(), self.inner.clock.wall_ms());
        let ids = &self.inner.ids;
        let made = routed.into_iter().map(|routed| fresh(ids, event, routed, run, steady_ms, wall_ms));
        self.write(AddFresh { fresh: made.collect() }).await
    }

    /// Does `what` to one delivery of an event. `false`: it is not there, carries no event, or does not stand so that
    /// this could be done.
    pub async fn by_hand(&self, what: ByHand, id: &DeliveryId) -> Result<bool, StoreError> {
        let ids = vec![id.clone()];
        Ok(self.write(ActByHand { what, ids, due_ms: self.inner.clock.steady_ms() }).await? == 1)
    }

    /// Does `what` to dead letters of these targets, one slice of them; how many.
    pub async fn by_hand_to_dead(&self, what: ByHand, targets: &[String]) -> Result<usize, StoreError> {
        let ids = self.ids_of(targets, "state = 'dead'").await?;
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(ActByHand { what, ids, due_ms: self.inner.clock.steady_ms() }).await
    }

    /// Takes back what still waits for a target that is no more, one slice of it; how many.
    pub async fn cancel_unfinished(&self, target_id: &str) -> Result<usize, StoreError> {
        let targets = [target_id.to_owned()];
        let ids = self.ids_of(&targets, "due_ms IS NOT NULL").await?;
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(Cancel { ids }).await
    }

    async fn ids_of(
        &self,
        targets: &[String],
        condition: &'static str,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let mut ids = Vec::new();
        for target in targets {
            let order = if condition.starts_with("state") { "state, id" } else { "due_ms, id" };
            let sql = [
                "SELECT id FROM deliveries WHERE target_id = ? AND ",
                condition,
                " ORDER BY ",
                order,
                " LIMIT ?",
            ];
            let query = sqlx::query(AssertSqlSafe(sql.concat()))
                .bind(target.clone())
                .bind(i64::try_from(SLICE).unwrap_or(i64::MAX));
            for row in self.inner.reader.rows(query).await? {
                ids.push(Columns::of(&row).parse("delivery id", DeliveryId::parse)?);
            }
        }
        ids.truncate(SLICE);
        Ok(ids)
    }
}

struct AddFresh {
    fresh: Vec<FreshDelivery>,
}

impl Write for AddFresh {
    type Output = Vec<FreshDelivery>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<FreshDelivery>, StoreError> {
        insert_fresh(conn, &self.fresh).await?;
        Ok(self.fresh.clone())
    }
}

struct ActByHand {
    what: ByHand,
    ids: Vec<DeliveryId>,
    due_ms: i64,
}

impl Write for ActByHand {
    type Output = usize;

    async fn run(&self, conn: &mut AnyConnection) -> Result<usize, StoreError> {
        let mut done = 0;
        for id in &self.ids {
            let Some(delivery) = select(conn, id).await? else { continue };
            let acted = match self.what {
                ByHand::Retry => retry(conn, &delivery, self.due_ms).await?,
                ByHand::Drop => drop_one(conn, &delivery).await?,
            };
            done += usize::from(acted);
        }
        Ok(done)
    }
}

async fn select(conn: &mut AnyConnection, id: &DeliveryId) -> Result<Option<Delivery>, StoreError> {
    let sql = ["SELECT ", COLUMNS, " FROM deliveries WHERE id = ? AND event_id IS NOT NULL"].concat();
    let row = conn.fetch_optional(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
    row.as_ref().map(|row| take(&mut Columns::of(row))).transpose()
}

async fn retry(conn: &mut AnyConnection, delivery: &Delivery, due_ms: i64) -> Result<bool, StoreError> {
    if delivery.state == DeliveryState::Succeeded {
        return Ok(false);
    }
    // One that waits for its next try is tried now.
    let update = sqlx::query(
        "UPDATE deliveries SET state = ?, due_ms = ? WHERE id = ? AND attempts = ? AND state = ?",
    )
    .bind(DeliveryState::Queued.as_str())
    .bind(due_ms)
    .bind(delivery.id.as_str())
    .bind(delivery.attempts)
    .bind(delivery.state.as_str());
    Ok(conn.execute(update).await?.rows_affected() == 1)
}

async fn drop_one(conn: &mut AnyConnection, delivery: &Delivery) -> Result<bool, StoreError> {
    if !matches!(delivery.state, DeliveryState::Queued | DeliveryState::Dead) {
        return Ok(false);
    }
    let update = sqlx::query(
        "UPDATE deliveries SET state = ?, due_ms = NULL WHERE id = ? AND attempts = ? AND state = ?",
    )
    .bind(DeliveryState::Cancelled.as_str())
    .bind(delivery.id.as_str())
    .bind(delivery.attempts)
    .bind(delivery.state.as_str());
    Ok(conn.execute(update).await?.rows_affected() == 1)
}

struct Cancel {
    ids: Vec<DeliveryId>,
}

impl Write for Cancel {
    type Output = usize;

    async fn run(&self, conn: &mut AnyConnection) -> Result<usize, StoreError> {
        for id in &self.ids {
            let update = sqlx::query(
                "UPDATE deliveries SET state = ?, due_ms = NULL WHERE id = ? AND due_ms IS NOT NULL",
            );
            conn.execute(update.bind(DeliveryState::Cancelled.as_str()).bind(id.as_str())).await?;
        }
        Ok(self.ids.len())
    }
}
