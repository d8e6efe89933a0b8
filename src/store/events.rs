//! Events: one row for each distinct callback.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sqlx::AssertSqlSafe;

use super::insert::placeholders;
use super::read::Columns;
use super::record::READER;
use super::{Store, StoreError, width};
use crate::domain::event::{DedupKey, Event, EventKind, Format};
use crate::domain::evidence::Evidence;
use crate::domain::sealed::Unopened;
use crate::ids::{EventId, MessageId};
use crate::seals::{Cell, Seals};

/// An event to be recorded.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Made when the callback was accepted, kept through every retry.
    pub id: EventId,
    /// The channel it came in through.
    pub source: Arc<str>,
    /// Equal for every repeat; scoped by the source that made it.
    pub dedup_key: DedupKey,
    /// What it says.
    pub event: Event,
    /// The plaintext, word for word.
    pub payload: Bytes,
    /// When it was accepted, wall ms.
    pub accepted_ms: i64,
    /// What it says about messages.
    pub evidence: Vec<Evidence>,
}

/// What became of an event given to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is a row now (or already was, by an earlier try with the same id).
    New,
    /// An event with its key was there before.
    Repeat {
        /// The id of that event.
        id: EventId,
    },
}

/// An event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Our id.
    pub id: EventId,
    /// The channel it came in through.
    pub source: String,
    /// What happened.
    pub kind: EventKind,
    /// How the plaintext is written.
    pub format: Format,
    /// The version of the reader that typed it.
    pub reader: i64,
    /// The corp it is about.
    pub corp_id: Option<String>,
    /// The member who caused it.
    pub user_id: Option<String>,
    /// The customer it is about.
    pub external_user_id: Option<String>,
    /// The group chat it is about.
    pub chat_id: Option<String>,
    /// When it was accepted, wall ms.
    pub accepted_ms: i64,
    /// The plaintext; empty once erased, and while `unopened`.
    pub payload: Bytes,
    /// Why the plaintext cannot be read.
    pub unopened: Option<Unopened>,
}

/// Which events to list. Empty fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// An exact kind, or `message.*` for a whole branch.
    pub kind: Option<String>,
    /// Only this source.
    pub source: Option<String>,
    /// Only these sources: what the caller's key allows. Empty: all.
    pub allowed_sources: Vec<String>,
    /// Only events of this member.
    pub user_id: Option<String>,
    /// Only events about this customer.
    pub external_user_id: Option<String>,
    /// Only events that are evidence of this message.
    pub message_id: Option<MessageId>,
    /// Accepted at this time or later, wall ms.
    pub since_ms: Option<i64>,
    /// Accepted before this time, wall ms.
    pub until_ms: Option<i64>,
    /// Rows in the page, 1 to 1,000; 0: the default of 100.
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Where a payload is sealed for.
pub(super) const PAYLOAD: &str = "events.payload";

/// The columns of [`StoredEvent::take`], in its order.
pub(super) const COLUMNS: &str = "id, source, kind, format, reader, corp_id, user_id, external_user_id, chat_id, \
                                  accepted_ms, payload";

impl StoredEvent {
    /// As it stands in its row, once it is written.
    pub(super) fn of_new(new: &NewEvent) -> Self {
        let event = &new.event;
        let cut =
            |text: &Option<String>, limit| text.as_deref().map(|text| width::cut(text, limit).to_owned());
        Self {
            id: new.id.clone(),
            source: width::cut(&new.source, width::SOURCE).to_owned(),
            kind: event.kind.clone(),
            format: event.format,
            reader: READER,
            corp_id: cut(&event.corp_id, width::CORP),
            user_id: cut(&event.user_id, width::PERSON),
            external_user_id: cut(&event.external_user_id, width::PERSON),
            chat_id: cut(&event.chat_id, width::PERSON),
            accepted_ms: new.accepted_ms,
            payload: new.payload.clone(),
            unopened: None,
        }
    }

    /// A row of [`COLUMNS`]. One that cannot be opened says so, and stops nothing else.
    pub(super) fn take(columns: &mut Columns<'_>, seals: &Seals) -> Result<Self, StoreError> {
        let mut event = Self {
            id: columns.parse("event id", EventId::parse)?,
            source: columns.take()?,
            kind: EventKind::stored(columns.take()?),
            format: columns.parse("event format", Format::parse)?,
            reader: columns.take()?,
            corp_id: columns.take()?,
            user_id: columns.take()?,
            external_user_id: columns.take()?,
            chat_id: columns.take()?,
            accepted_ms: columns.take()?,
            payload: Bytes::new(),
            unopened: None,
        };
        match seals.open(Cell::new(PAYLOAD, event.id.as_str()), columns.take()?) {
            Ok(payload) => event.payload = Bytes::from(payload),
            Err(why) => event.unopened = Some(why),
        }
        Ok(event)
    }

    /// The event, unless another process could read it that this one cannot.
    ///
    /// # Errors
    /// [`StoreError::Unopened`] then.
    pub(super) fn known(self) -> Result<Self, StoreError> {
        match &self.unopened {
            Some(why @ Unopened::UnknownKey(_)) => Err(why.clone().into()),
            Some(Unopened::Damaged) | None => Ok(self),
        }
    }
}

/// Events that are read with one statement.
const READ_AT_ONCE: usize = 64;

impl Store {
    /// Those of `ids` that there are and that can be read.
    pub async fn events_of(&self, ids: &[EventId]) -> Result<HashMap<EventId, Arc<StoredEvent>>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(READ_AT_ONCE) {
            let head = ["SELECT ", COLUMNS, " FROM events WHERE id IN ("].concat();
            let sql = [&head, placeholders(chunk.len()).as_str(), ")"].concat();
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == READ_AT_ONCE);
            for id in chunk {
                query = query.bind(id.as_str());
            }
            for row in self.inner.reader.rows(query).await? {
                let event = StoredEvent::take(&mut Columns::of(&row), &self.inner.seals)?;
                if event.unopened.is_none() {
                    found.insert(event.id.clone(), Arc::new(event));
                }
            }
        }
        Ok(found)
    }

    /// One event.
    ///
    /// # Errors
    /// [`StoreError::Unopened`] if it cannot be read.
    pub async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM events WHERE id = ?"].concat();
        let row = self.inner.reader.row(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
        let Some(row) = row else { return Ok(None) };
        let event = StoredEvent::take(&mut Columns::of(&row), &self.inner.seals)?;
        match event.unopened {
            Some(why) => Err(why.into()),
            None => Ok(Some(event)),
        }
    }
}
