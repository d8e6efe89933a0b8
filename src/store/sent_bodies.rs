//! What was sent, word for word, where events are changed before they leave: a later try sends the same bytes even
//! if the endpoint has been told to change them otherwise since.

use bytes::Bytes;
use sqlx::{AnyConnection, Executor};

use super::read::Columns;
use super::write::Write;
use super::{Store, StoreError};
use crate::ids::DeliveryId;

impl Store {
    /// The body of an earlier try.
    pub async fn sent_body(&self, id: &DeliveryId) -> Result<Option<Bytes>, StoreError> {
        let query = sqlx::query("SELECT body FROM delivery_bodies WHERE delivery_id = ?").bind(id.as_str());
        let row = self.inner.reader.row(query).await?;
        row.map(|row| Ok(Bytes::from(Columns::of(&row).take::<Vec<u8>>()?))).transpose()
    }

    /// Keeps the body of a delivery that is about to be tried for the first time.
    pub async fn keep_sent_body(&self, id: &DeliveryId, body: Bytes) -> Result<(), StoreError> {
        match self.write(KeepBody { id: id.clone(), body }).await {
            // An earlier try of this process was cut off behind the commit.
            Err(StoreError::Conflict) => Ok(()),
            outcome => outcome,
        }
    }
}

struct KeepBody {
    id: DeliveryId,
    body: Bytes,
}

impl Write for KeepBody {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let insert = sqlx::query("INSERT INTO delivery_bodies (delivery_id, body) VALUES (?, ?)")
            .bind(self.id.as_str())
            .bind(&self.body[..]);
        conn.execute(insert).await?;
        Ok(())
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}
