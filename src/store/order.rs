//! Which deliveries of one target go before which others, where an endpoint wants an order within a key.
//!
//! The first row of a key is the only one that may go. Rows are added with their deliveries and taken out when these
//! are finished; ids rise in the order in which events were accepted.

use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Executor};

use super::deliveries::{COLUMNS, take};
use super::insert::Insert;
use super::read::Columns;
use super::routing::FreshDelivery;
use super::width::{self, cut};
use super::write::Write;
use super::{Store, StoreError};
use crate::domain::delivery::Delivery;
use crate::ids::DeliveryId;

const ORDER: Insert = Insert { table: "delivery_order", columns: &["target_id", "order_key", "delivery_id"] };

/// One place in an order.
pub(super) struct OrderRow<'f> {
    target_id: &'f str,
    order_key: &'f str,
    delivery_id: &'f DeliveryId,
}

impl<'f> OrderRow<'f> {
    pub(super) fn of(fresh: &'f FreshDelivery) -> Option<Self> {
        Some(Self {
            target_id: &fresh.delivery.target_id,
            order_key: cut(fresh.order_key.as_deref()?, width::PERSON),
            delivery_id: &fresh.delivery.id,
        })
    }
}

/// Adds rows inside a transaction.
pub(super) async fn insert_order(conn: &mut AnyConnection, rows: &[OrderRow<'_>]) -> Result<(), StoreError> {
    let bind = |row: &OrderRow<'_>, to: &mut AnyArguments| {
        to.add(row.target_id)?;
        to.add(row.order_key)?;
        to.add(row.delivery_id.as_str())
    };
    ORDER.rows(conn, rows, bind).await
}

/// The next deliveries of one key.
#[derive(Clone, Debug)]
pub struct KeyQueue {
    /// The key.
    pub key: String,
    /// Its first deliveries, in order. One that is finished here is a dead letter that blocks the others, or its row
    /// was left behind by a crash.
    pub deliveries: Vec<Delivery>,
}

impl Store {
    /// The keys of `target_id` behind `after` that have unfinished deliveries, at most `keys_max` of them, each with
    /// its first `each_max` deliveries. Fewer than `keys_max`: there are no more.
    pub async fn key_queues(
        &self,
        target_id: &str,
        after: Option<&str>,
        keys_max: usize,
        each_max: usize,
    ) -> Result<Vec<KeyQueue>, StoreError> {
        let mut queues: Vec<KeyQueue> = Vec::new();
        let mut after = after.map(str::to_owned);
        while queues.len() < keys_max {
            let sql = match after {
                Some(_) => "SELECT MIN(order_key) FROM delivery_order WHERE target_id = ? AND order_key > ?",
                None => "SELECT MIN(order_key) FROM delivery_order WHERE target_id = ?",
            };
            let mut query = sqlx::query(sql).bind(target_id.to_owned());
            if let Some(after) = &after {
                query = query.bind(after.clone());
            }
            let Some(row) = self.inner.reader.row(query).await? else { break };
            let Some(key) = Columns::of(&row).take::<Option<String>>()? else { break };
            let columns: Vec<String> = COLUMNS.split(',').map(|name| format!("d.{}", name.trim())).collect();
            let sql = [
                "SELECT ",
                &columns.join(", "),
                " FROM delivery_order o JOIN deliveries d ON d.id = o.delivery_id \
                 WHERE o.target_id = ? AND o.order_key = ? ORDER BY o.delivery_id LIMIT ?",
            ];
            let query = sqlx::query(AssertSqlSafe(sql.concat()))
                .bind(target_id.to_owned())
                .bind(key.clone())
                .bind(i64::try_from(each_max).unwrap_or(i64::MAX));
            let rows = self.inner.reader.rows(query).await?;
            let deliveries = rows.iter().map(|row| take(&mut Columns::of(row))).collect::<Result<_, _>>()?;
            after = Some(key.clone());
            queues.push(KeyQueue { key, deliveries });
        }
        Ok(queues)
    }

    /// Takes a delivery out of the order of its key: the next may go.
    pub async fn release_order(&self, target_id: &str, key: &str, id: &DeliveryId) -> Result<(), StoreError> {
        let (target_id, key) = (target_id.to_owned(), cut(key, width::PERSON).to_owned());
        self.write(ReleaseOrder { target_id, key, id: id.clone() }).await
    }
}

struct ReleaseOrder {
    target_id: String,
    key: String,
    id: DeliveryId,
}

impl Write for ReleaseOrder {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let delete = sqlx::query(
            "DELETE FROM delivery_order WHERE target_id = ? AND order_key = ? AND delivery_id = ?",
        )
        .bind(self.target_id.as_str())
        .bind(self.key.as_str())
        .bind(self.id.as_str());
        conn.execute(delete).await?;
        Ok(())
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}
