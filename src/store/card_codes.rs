//! The codes with which interactive cards can be changed: each works once.

use sqlx::{AnyConnection, Executor};

use super::read::Columns;
use super::width;
use super::write::Write;
use super::{Store, StoreError};
use crate::ids::MessageId;
use crate::secret::Secret;

/// Longest code that is kept; a longer one is none.
const CODE_BYTES_MAX: usize = 1_024;

/// What became of a card's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardCode {
    /// The message has none: no interactive card, or not sent yet.
    None,
    /// It was used.
    Spent,
    /// It is the caller's, and spent now; given at this time (wall ms).
    Taken(Secret, i64),
}

impl Store {
    /// Takes the code of a message's card: from now on it counts as spent, whatever becomes of the change, because a
    /// change whose answer is lost may have been made.
    pub async fn take_card_code(&self, id: &MessageId, now_ms: i64) -> Result<CardCode, StoreError> {
        self.write(TakeCode { id: id.clone(), now_ms }).await
    }
}

struct TakeCode {
    id: MessageId,
    now_ms: i64,
}

impl Write for TakeCode {
    type Output = CardCode;

    async fn run(&self, conn: &mut AnyConnection) -> Result<CardCode, StoreError> {
        let query = sqlx::query("SELECT code, at_ms FROM card_codes WHERE message_id = ?");
        let Some(row) = conn.fetch_optional(query.bind(self.id.as_str())).await? else {
            return Ok(CardCode::None);
        };
        let mut columns = Columns::of(&row);
        let (code, at_ms) = (Secret::new(columns.take::<String>()?), columns.take()?);
        let spend =
            sqlx::query("UPDATE card_codes SET spent_ms = ? WHERE message_id = ? AND spent_ms IS NULL")
                .bind(self.now_ms)
                .bind(self.id.as_str());
        let is_mine = conn.execute(spend).await?.rows_affected() == 1;
        Ok(if is_mine { CardCode::Taken(code, at_ms) } else { CardCode::Spent })
    }
}

/// Keeps the code that came with the answer to a send, inside its transaction. A later one replaces an earlier one.
pub(super) async fn put_code(
    conn: &mut AnyConnection,
    id: &MessageId,
    code: &Secret,
    at_ms: i64,
) -> Result<(), StoreError> {
    if width::fits("response_code", code.expose(), CODE_BYTES_MAX).is_err() {
        return Ok(());
    }
    let delete = sqlx::query("DELETE FROM card_codes WHERE message_id = ?").bind(id.as_str());
    conn.execute(delete).await?;
    let insert = sqlx::query("INSERT INTO card_codes (message_id, code, at_ms) VALUES (?, ?, ?)")
        .bind(id.as_str())
        .bind(code.expose().to_owned())
        .bind(at_ms);
    conn.execute(insert).await?;
    Ok(())
}
