//! Messages, and the ids under which the world speaks of them: reading. `add_messages.rs` adds and changes them.

use sqlx::AssertSqlSafe;

use super::evidence::reference_hash;
use super::insert::placeholders;
use super::links::TrackedLink;
use super::list::List;
use super::read::Columns;
use super::{Page, Store, StoreError, name_list};
use crate::domain::delivery::Delivery;
use crate::domain::evidence::Evidence;
use crate::domain::message::{Message, SendPolicy};
use crate::domain::status::Status;
use crate::ids::MessageId;
use crate::seals::{Cell, Seals};

/// A message to be kept and sent.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// The message.
    pub message: Message,
    /// How it is sent.
    pub delivery: Delivery,
    /// The first fact about it: `pending`.
    pub evidence: Evidence,
    /// Further ids under which the world will speak of it: a card's task id.
    pub references: Vec<String>,
    /// Links in it whose opening is noticed.
    pub links: Vec<TrackedLink>,
}

/// What became of a message given to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddedMessage {
    /// It is a row now.
    New,
    /// A message with its idempotency key was there before; nothing was added.
    Repeat {
        /// The id of that message.
        id: MessageId,
    },
}

/// Which messages to list. Empty fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Only this channel.
    pub channel: Option<String>,
    /// Only these channels: what the caller's key allows. Empty: all.
    pub allowed_channels: Vec<String>,
    /// Only messages in this state, as last folded.
    pub status: Option<Status>,
    /// Only messages that name this person as a recipient.
    pub user_id: Option<String>,
    /// Made at this time or later, wall ms.
    pub since_ms: Option<i64>,
    /// Made before this time, wall ms.
    pub until_ms: Option<i64>,
    /// Rows in the page, 1 to 1,000; 0: the default of 100.
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Messages read with one statement.
const IDS_AT_ONCE: usize = 64;

/// Where a body is sealed for.
pub(super) const BODY: &str = "messages.body";

const COLUMNS: &str = "id, channel, message_type, body, recipients, policy, idempotency_key, status, generation, \
                       created_ms, updated_ms, expires_ms";

impl Store {
    /// One message.
    pub async fn message(&self, id: &MessageId) -> Result<Option<Message>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM messages WHERE id = ?"].concat();
        let row = self.inner.reader.row(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
        row.as_ref().map(|row| take(&mut Columns::of(row), &self.inner.seals)).transpose()
    }

    /// Those of `ids` that exist, in no order.
    pub async fn messages_of(&self, ids: &[MessageId]) -> Result<Vec<Message>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(IDS_AT_ONCE) {
            let sql =
                ["SELECT ", COLUMNS, " FROM messages WHERE id IN (", &placeholders(some.len()), ")"].concat();
            let query =
                some.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| query.bind(id.as_str()));
            for row in self.inner.reader.rows(query).await? {
                found.push(take(&mut Columns::of(&row), &self.inner.seals)?);
            }
        }
        Ok(found)
    }

    /// The message that our id, the platform's msgid or a task id names; of several, the newest.
    pub async fn message_by_reference(&self, reference: &str) -> Result<Option<Message>, StoreError> {
        if let Some(id) = MessageId::parse(reference)
            && let Some(message) = self.message(&id).await?
        {
            return Ok(Some(message));
        }
        let query = sqlx::query(
            "SELECT message_id, reference FROM message_references WHERE reference_hash = ? \
             ORDER BY message_id DESC LIMIT 100",
        );
        for row in self.inner.reader.rows(query.bind(reference_hash(reference))).await? {
            let mut columns = Columns::of(&row);
            let id = columns.parse("message id", MessageId::parse)?;
            if columns.take::<&str>()? == reference {
                return self.message(&id).await;
            }
        }
        Ok(None)
    }

    /// A page of messages, newest first. It may hold fewer rows than asked for and still have a next one.
    pub async fn messages(&self, filter: &MessageFilter) -> Result<Page<Message>, StoreError> {
        let by_person = filter.user_id.is_some();
        let mut equal: Vec<(&'static str, &str)> = Vec::new();
        equal.extend(filter.user_id.as_deref().map(|user| ("user_id", user)));
        equal.extend(filter.status.map(|status| ("status", status.as_str())));
        equal.extend(filter.channel.as_deref().map(|channel| ("channel", channel)));
        let list = List {
            columns: COLUMNS,
            from: if by_person { "message_recipients JOIN messages ON id = message_id" } else { "messages" },
            id: if by_person { "message_id" } else { "id" },
            prefix: MessageId::PREFIX,
            equal,
            restricts: filter.restricts_beyond_indexes(),
            since_ms: filter.since_ms,
            until_ms: filter.until_ms,
            limit: filter.limit,
            cursor: filter.cursor.as_deref(),
        };
        let take = |columns: &mut Columns<'_>| take(columns, &self.inner.seals);
        list.page(&self.inner.reader, take, |message| filter.matches(message)).await
    }

    /// Every id under which evidence of this message may stand, its own first.
    pub async fn references(&self, id: &MessageId) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query("SELECT reference FROM message_references WHERE message_id = ?");
        let mut references = vec![id.to_string()];
        for row in self.inner.reader.rows(query.bind(id.as_str())).await? {
            references.push(Columns::of(&row).take()?);
        }
        Ok(references)
    }
}

impl MessageFilter {
    fn restricts_beyond_indexes(&self) -> bool {
        !self.allowed_channels.is_empty() || self.since_ms.is_some() || self.until_ms.is_some()
    }

    fn matches(&self, message: &Message) -> bool {
        self.channel.as_ref().is_none_or(|channel| *channel == message.channel)
            && (self.allowed_channels.is_empty() || self.allowed_channels.contains(&message.channel))
            && self.user_id.as_ref().is_none_or(|user| message.recipients.contains(user))
            && self.since_ms.is_none_or(|since| message.created_ms >= since)
            && self.until_ms.is_none_or(|until| message.created_ms < until)
    }
}

/// A row of [`COLUMNS`]. One that cannot be opened says so, and stops nothing else.
fn take(columns: &mut Columns<'_>, seals: &Seals) -> Result<Message, StoreError> {
    let mut message = Message {
        id: columns.parse("message id", MessageId::parse)?,
        channel: columns.take()?,
        message_type: columns.take()?,
        body: columns.take()?,
        unopened: None,
        recipients: columns.parse("recipients", name_list::parse)?,
        policy: columns.parse("send policy", SendPolicy::parse)?,
        idempotency_key: columns.take()?,
        status: columns.parse("message status", Status::parse)?,
        generation: columns.take()?,
        created_ms: columns.take()?,
        updated_ms: columns.take()?,
        expires_ms: columns.take()?,
    };
    let stored = std::mem::take(&mut message.body);
    match seals.open_text(Cell::new(BODY, message.id.as_str()), stored) {
        Ok(body) => message.body = body,
        Err(why) => message.unopened = Some(why),
    }
    Ok(message)
}
