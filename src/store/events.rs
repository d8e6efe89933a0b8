//! Events: one row for each distinct callback.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::AssertSqlSafe;

use super::read::Columns;
use super::record::READER;
use super::{Store, StoreError, width};
use crate::domain::event::{DedupKey, Event, EventKind, Format};
use crate::domain::evidence::Evidence;
use crate::ids::{EventId, MessageId};

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
    /// The plaintext; empty once erased.
    pub payload: Bytes,
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
        }
    }

    pub(super) fn take(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(Self {
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
            payload: Bytes::from(columns.take::<Vec<u8>>()?),
        })
    }
}

impl Store {
    /// One event.
    pub async fn event(&self, id: &EventId) -> Result<Option<StoredEvent>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM events WHERE id = ?"].concat();
        let row = self.inner.reader.row(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
        row.as_ref().map(|row| StoredEvent::take(&mut Columns::of(row))).transpose()
    }
}
