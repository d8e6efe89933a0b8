//! What was sent, word for word, where events are changed before they leave: a later try sends the same bytes even
//! if the endpoint has been told to change them otherwise since.

use bytes::Bytes;
use sqlx::{AnyConnection, Executor};

use super::read::Columns;
use super::write::Write;
use super::{Store, StoreError};
use crate::ids::DeliveryId;
use crate::seals::{Cell, Seals};

/// Where a body is sealed for.
pub(super) const BODY: &str = "delivery_bodies.body";

impl Store {
    /// The body of an earlier try.
    pub async fn sent_body(&self, id: &DeliveryId) -> Result<Option<Bytes>, StoreError> {
        let query = sqlx::query("SELECT body FROM delivery_bodies WHERE delivery_id = ?").bind(id.as_str());
        let row = self.inner.reader.row(query).await?;
        row.map(|row| {
            let stored = Columns::of(&row).take()?;
            Ok(Bytes::from(self.inner.seals.open(Cell::new(BODY, id.as_str()), stored)?))
        })
        .transpose()
    }

    /// Keeps the body of a delivery that is about to be tried for the first time.
    pub async fn keep_sent_body(&self, id: &DeliveryId, body: Bytes) -> Result<(), StoreError> {
        match self.write(KeepBody { id: id.clone(), body, seals: self.inner.seals.clone() }).await {
            // An earlier try of this process was cut off behind the commit.
            Err(StoreError::Conflict) => Ok(()),
            outcome => outcome,
        }
    }
}

struct KeepBody {
    id: DeliveryId,
    body: Bytes,
    seals: Seals,
}

impl Write for KeepBody {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let body = self.seals.seal(Cell::new(BODY, self.id.as_str()), &self.body)?;
        let insert = sqlx::query("INSERT INTO delivery_bodies (delivery_id, body) VALUES (?, ?)")
            .bind(self.id.as_str())
            .bind(body.into_owned());
        conn.execute(insert).await?;
        Ok(())
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}
