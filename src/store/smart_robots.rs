//! What is said to a smart robot's callback after its answer: through its `response_url`, once, or as a stream that
//! grows while the platform asks for the rest.

use sqlx::{AnyConnection, Arguments, Executor};

use super::insert::Insert;
use super::read::Columns;
use super::write::Write;
use super::{Store, StoreError};
use crate::ids::EventId;
use crate::seals::{Cell, Seals};

/// Where what is said is sealed for.
pub(super) const BODY: &str = "event_streams.body";

const RESPONSES: Insert = Insert { table: "event_responses", columns: &["id", "at_ms"] };
const STREAMS: Insert =
    Insert { table: "event_streams", columns: &["id", "source", "body", "finished", "opened_ms"] };

/// The answer to one callback, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// The channel that was called.
    pub source: String,
    /// The platform's `stream` as JSON, without its id and whether it is finished.
    pub body: String,
    /// Whether nothing follows.
    pub finished: bool,
    /// When it was opened, wall ms.
    pub opened_ms: i64,
}

impl Store {
    /// Takes the one use of an event's `response_url`: from now on it counts as used, whatever becomes of the request,
    /// because one whose answer is lost may have been taken. `false`: it was used before.
    pub async fn take_response(&self, id: &EventId, now_ms: i64) -> Result<bool, StoreError> {
        match self.write(TakeResponse { id: id.clone(), now_ms }).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives it back: the platform did not take what was said.
    pub async fn give_response_back(&self, id: &EventId) -> Result<(), StoreError> {
        self.write(GiveBack { id: id.clone() }).await
    }

    /// Opens the stream that answers an event, unless something was said there already.
    pub async fn open_stream(&self, id: &EventId, row: StreamRow) -> Result<(), StoreError> {
        match self.write(OpenStream(self.saying(id, row))).await {
            Ok(()) | Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says what the stream says from now on, and opens it if need be. `false`: it is finished.
    pub async fn feed_stream(&self, id: &EventId, row: StreamRow) -> Result<bool, StoreError> {
        let feed = || FeedStream(self.saying(id, row.clone()));
        match self.write(feed()).await {
            // Somebody opened it at the same moment.
            Err(StoreError::Conflict) => self.write(feed()).await,
            outcome => outcome,
        }
    }

    /// What the stream says; `None`: it was not opened.
    pub async fn stream(&self, id: &EventId) -> Result<Option<StreamRow>, StoreError> {
        let query = sqlx::query("SELECT source, body, finished, opened_ms FROM event_streams WHERE id = ?");
        let Some(row) = self.inner.reader.row(query.bind(id.as_str())).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        Ok(Some(StreamRow {
            source: columns.take()?,
            body: self.inner.seals.open_text(Cell::new(BODY, id.as_str()), columns.take()?)?,
            finished: columns.take::<i64>()? != 0,
            opened_ms: columns.take()?,
        }))
    }

    fn saying(&self, id: &EventId, row: StreamRow) -> Saying {
        Saying { id: id.clone(), row, seals: self.inner.seals.clone() }
    }
}

struct TakeResponse {
    id: EventId,
    now_ms: i64,
}

impl Write for TakeResponse {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        RESPONSES
            .rows(conn, &[(self.id.as_str(), self.now_ms)], |(id, now_ms), to| {
                to.add(*id)?;
                to.add(*now_ms)
            })
            .await
    }
}

struct GiveBack {
    id: EventId,
}

impl Write for GiveBack {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM event_responses WHERE id = ?").bind(self.id.as_str());
        conn.execute(delete).await?;
        Ok(())
    }
}

/// What a stream is to say.
struct Saying {
    id: EventId,
    row: StreamRow,
    seals: Seals,
}

struct OpenStream(Saying);

impl Write for OpenStream {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        self.0.insert(conn).await
    }
}

struct FeedStream(Saying);

impl Write for FeedStream {
    type Output = bool;

    async fn run(&self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        let Saying { id, row, .. } = &self.0;
        let update =
            sqlx::query("UPDATE event_streams SET body = ?, finished = ? WHERE id = ? AND finished = 0")
                .bind(self.0.body()?)
                .bind(i64::from(row.finished))
                .bind(id.as_str());
        if conn.execute(update).await?.rows_affected() == 1 {
            return Ok(true);
        }
        let known = sqlx::query("SELECT finished FROM event_streams WHERE id = ?").bind(id.as_str());
        if let Some(row) = conn.fetch_optional(known).await? {
            // The same words once more change no row on MySQL.
            return Ok(Columns::of(&row).take::<i64>()? == 0);
        }
        self.0.insert(conn).await?;
        Ok(true)
    }
}

impl Saying {
    /// As it is written.
    fn body(&self) -> Result<String, StoreError> {
        Ok(self.seals.seal_text(Cell::new(BODY, self.id.as_str()), &self.row.body)?.into_owned())
    }

    async fn insert(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let body = self.body()?;
        STREAMS
            .rows(conn, &[&self.row], |row, to| {
                to.add(self.id.as_str())?;
                to.add(row.source.as_str())?;
                to.add(body.as_str())?;
                to.add(i64::from(row.finished))?;
                to.add(row.opened_ms)
            })
            .await
    }
}
