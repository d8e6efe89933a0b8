//! Listing events: newest first, filtered, a page at a time.
//!
//! The filter picks one *walk*: an index that gives positions in falling order (all events, one member's, one customer's, those of
//! some sources and kinds, those that are evidence of a message). Rows are loaded a chunk at a time and compared
//! with the whole filter. A walk looks at a bounded number of rows; a page may therefore hold fewer than were asked
//! for while it has a next one.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;

use super::event_index::segments_below;
use super::events::COLUMNS;
use super::insert::placeholders;
use super::page::limit_of;
use super::read::{AnyQuery, Columns};
use super::{Engine, EventFilter, Page, Store, StoreError, StoredEvent, ids};
use crate::ids::EventId;

/// Rows loaded at once when the filter lets only some through.
const CHUNK: usize = 250;

/// Rows looked at for one page.
const LOOK_MAX: usize = 20_000;

/// How far apart the order of events and the order of their times may be.
const SLACK_MS: i64 = 60_000;

/// Where an event stands in the list: the order of commits on SQLite, the order of ids on MySQL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Position {
    Seq(i64),
    Id(String),
}

/// Which index gives the positions.
enum Walk {
    All,
    User(String),
    Customer(String),
    Kinds(Vec<(String, String)>),
    These(Vec<Position>),
}

impl Store {
    /// A page of events, newest first. It may hold fewer rows than asked for and still have a next one.
    pub async fn events(&self, filter: &EventFilter) -> Result<Page<StoredEvent>, StoreError> {
        let limit = limit_of(filter.limit);
        let mut before = match &filter.cursor {
            Some(cursor) => Position::parse(self.engine(), cursor).ok_or(StoreError::Cursor)?,
            None => self.end_of(filter.until_ms).await?,
        };
        let first_ms = filter.since_ms.map_or(i64::MIN, |since| since.saturating_sub(SLACK_MS));
        self.bring_lists_up_to_date().await?;
        let walk = self.walk(filter).await?;
        let mut items = Vec::new();
        let mut looked = 0;
        while looked < LOOK_MAX {
            let chunk = if filter.restricts() { CHUNK } else { limit + 1 };
            let rows = self.walk_on(&walk, &before, chunk).await?;
            let exhausted = rows.len() < chunk;
            looked += rows.len();
            for (position, event) in rows {
                if event.accepted_ms < first_ms {
                    return Ok(Page { items, next_cursor: None });
                }
                if items.len() == limit {
                    return Ok(Page { items, next_cursor: Some(before.to_text()) });
                }
                before = position;
                if filter.matches(&event) {
                    items.push(event);
                }
            }
            if exhausted {
                return Ok(Page { items, next_cursor: None });
            }
        }
        Ok(Page { items, next_cursor: Some(before.to_text()) })
    }

    /// The position that every event accepted before `until_ms` is below.
    async fn end_of(&self, until_ms: Option<i64>) -> Result<Position, StoreError> {
        if let Some(until_ms) = until_ms {
            let query = sqlx::query("SELECT position FROM event_list WHERE id >= ? ORDER BY id LIMIT 1");
            let later = query.bind(ids::first_at(EventId::PREFIX, until_ms.saturating_add(SLACK_MS)));
            if let Some(row) = self.inner.reader.row(later).await? {
                return Position::take(self.engine(), &mut Columns::of(&row));
            }
        }
        Ok(match self.engine() {
            Engine::Sqlite => Position::Seq(i64::MAX),
            // Behind every id: they are made of lower-case letters and digits.
            Engine::MySql => Position::Id("~".to_owned()),
        })
    }

    async fn walk(&self, filter: &EventFilter) -> Result<Walk, StoreError> {
        if let Some(message) = &filter.message_id {
            let references = self.references(message).await?;
            let evidence = self.evidence(&references, None, LOOK_MAX).await?;
            let ids: BTreeSet<EventId> =
                evidence.into_iter().filter_map(|evidence| evidence.event_id).collect();
            return Ok(Walk::These(self.positions_of(&Vec::from_iter(ids)).await?));
        }
        if let Some(user) = &filter.user_id {
            return Ok(Walk::User(user.clone()));
        }
        if let Some(customer) = &filter.external_user_id {
            return Ok(Walk::Customer(customer.clone()));
        }
        if filter.kind.is_none() && filter.source.is_none() && filter.allowed_sources.is_empty() {
            return Ok(Walk::All);
        }
        let mut pairs = Vec::new();
        for source in self.sources_of(filter).await? {
            self.kinds_of(&source, filter.kind.as_deref(), &mut pairs).await?;
        }
        Ok(Walk::Kinds(pairs))
    }

    /// The sources the filter names or allows, or every source there is.
    async fn sources_of(&self, filter: &EventFilter) -> Result<Vec<String>, StoreError> {
        if let Some(source) = &filter.source {
            return Ok(vec![source.clone()]);
        }
        if !filter.allowed_sources.is_empty() {
            return Ok(filter.allowed_sources.clone());
        }
        let mut sources: Vec<String> = Vec::new();
        loop {
            let after = sources.last().cloned().unwrap_or_default();
            let next = sqlx::query("SELECT MIN(source) FROM event_kinds WHERE source > ?").bind(after);
            match self.text_of(next).await? {
                Some(source) => sources.push(source),
                None => return Ok(sources),
            }
        }
    }

    /// The kinds of one source that match `pattern`, each found with one step in the index.
    async fn kinds_of(
        &self,
        source: &str,
        pattern: Option<&str>,
        pairs: &mut Vec<(String, String)>,
    ) -> Result<(), StoreError> {
        let branch = match pattern {
            Some(pattern) => {
                if let Some(branch) = pattern.strip_suffix('*') {
                    branch
                } else {
                    pairs.push((source.to_owned(), pattern.to_owned()));
                    return Ok(());
                }
            }
            None => "",
        };
        let mut after = branch.to_owned();
        loop {
            let next = sqlx::query("SELECT MIN(kind) FROM event_kinds WHERE source = ? AND kind > ?")
                .bind(source)
                .bind(&after);
            match self.text_of(next).await? {
                Some(kind) if kind.starts_with(branch) => {
                    pairs.push((source.to_owned(), kind.clone()));
                    after = kind;
                }
                _ => return Ok(()),
            }
        }
    }

    async fn text_of(&self, query: AnyQuery<'_>) -> Result<Option<String>, StoreError> {
        match self.inner.reader.row(query).await? {
            Some(row) => Columns::of(&row).take(),
            None => Ok(None),
        }
    }

    /// The next `count` rows of the walk below `before`, newest first.
    async fn walk_on(
        &self,
        walk: &Walk,
        before: &Position,
        count: usize,
    ) -> Result<Vec<(Position, StoredEvent)>, StoreError> {
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let mut newest = BTreeSet::new();
        match walk {
            Walk::All => {
                let sql = ["SELECT position, ", COLUMNS, " FROM event_list WHERE position < ?"].concat();
                let query = sqlx::query(AssertSqlSafe(sql + " ORDER BY position DESC LIMIT ?"));
                return self.placed_events(before.bind(query).bind(limit)).await;
            }
            Walk::User(user) => {
                for segment in self.segments(before).await? {
                    let query = sqlx::query(
                        "SELECT position FROM event_users WHERE segment = ? AND user_id = ? AND position < ? \
                         ORDER BY position DESC LIMIT ?",
                    );
                    newest.extend(
                        self.positions(before.bind(query.bind(segment).bind(user)).bind(limit)).await?,
                    );
                    if newest.len() >= count {
                        break;
                    }
                }
            }
            Walk::Customer(customer) => {
                let query = sqlx::query(
                    "SELECT position FROM event_customers WHERE external_user_id = ? AND position < ? \
                     ORDER BY position DESC LIMIT ?",
                );
                newest.extend(self.positions(before.bind(query.bind(customer)).bind(limit)).await?);
            }
            Walk::Kinds(pairs) => {
                for (source, kind) in pairs {
                    let query = sqlx::query(
                        "SELECT position FROM event_kinds WHERE source = ? AND kind = ? AND position < ? \
                         ORDER BY position DESC LIMIT ?",
                    );
                    newest.extend(
                        self.positions(before.bind(query.bind(source).bind(kind)).bind(limit)).await?,
                    );
                }
            }
            Walk::These(positions) => newest.extend(positions.iter().filter(|at| *at < before).cloned()),
        }
        let newest: Vec<Position> = newest.into_iter().rev().take(count).collect();
        self.events_at(&newest).await
    }

    /// The parts of the index by user that may hold positions below `before`, newest first.
    async fn segments(&self, before: &Position) -> Result<Vec<i64>, StoreError> {
        let Position::Seq(before) = before else { return Ok(vec![0]) };
        let query = sqlx::query("SELECT MAX(seq) FROM events");
        let last = match self.inner.reader.row(query).await? {
            Some(row) => Columns::of(&row).take::<Option<i64>>()?.unwrap_or(0),
            None => 0,
        };
        Ok(segments_below(last.min(*before)).collect())
    }

    async fn positions(&self, query: AnyQuery<'_>) -> Result<Vec<Position>, StoreError> {
        let rows = self.inner.reader.rows(query).await?;
        rows.iter().map(|row| Position::take(self.engine(), &mut Columns::of(row))).collect()
    }

    async fn positions_of(&self, ids: &[EventId]) -> Result<Vec<Position>, StoreError> {
        let mut positions = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let sql =
                ["SELECT position FROM event_list WHERE id IN (", &placeholders(chunk.len()), ")"].concat();
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == CHUNK);
            for id in chunk {
                query = query.bind(id.as_str());
            }
            positions.extend(self.positions(query).await?);
        }
        Ok(positions)
    }

    /// The rows at `positions`, newest first. One that was deleted just now is left out.
    async fn events_at(&self, positions: &[Position]) -> Result<Vec<(Position, StoredEvent)>, StoreError> {
        let mut events = Vec::with_capacity(positions.len());
        for chunk in positions.chunks(CHUNK) {
            let head = ["SELECT position, ", COLUMNS, " FROM event_list WHERE position IN ("].concat();
            let sql = [&head, placeholders(chunk.len()).as_str(), ")"].concat();
            let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == CHUNK);
            for position in chunk {
                query = position.bind(query);
            }
            events.extend(self.placed_events(query).await?);
        }
        events.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(events)
    }

    async fn placed_events(&self, query: AnyQuery<'_>) -> Result<Vec<(Position, StoredEvent)>, StoreError> {
        let rows = self.inner.reader.rows(query).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((
                    Position::take(self.engine(), &mut columns)?,
                    StoredEvent::take(&mut columns, &self.inner.seals)?,
                ))
            })
            .collect()
    }
}

impl Position {
    pub(super) fn take(engine: Engine, columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(match engine {
            Engine::Sqlite => Self::Seq(columns.take()?),
            Engine::MySql => Self::Id(columns.take()?),
        })
    }

    fn bind<'q>(&self, query: AnyQuery<'q>) -> AnyQuery<'q> {
        match self {
            Self::Seq(seq) => query.bind(*seq),
            Self::Id(id) => query.bind(id.clone()),
        }
    }

    /// The cursor that goes out.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Seq(seq) => seq.to_string(),
            Self::Id(id) => id.clone(),
        }
    }

    /// Reads [`Position::to_text`].
    fn parse(engine: Engine, text: &str) -> Option<Self> {
        match engine {
            Engine::Sqlite => text.parse().ok().filter(|seq| *seq > 0).map(Self::Seq),
            Engine::MySql => EventId::parse(text).map(|id| Self::Id(id.to_string())),
        }
    }
}

impl EventFilter {
    /// Whether some events are left out.
    fn restricts(&self) -> bool {
        self.kind.is_some()
            || self.source.is_some()
            || !self.allowed_sources.is_empty()
            || self.user_id.is_some()
            || self.external_user_id.is_some()
            || self.message_id.is_some()
            || self.since_ms.is_some()
            || self.until_ms.is_some()
    }

    /// Compares a row with everything but the message, which the walk has seen to.
    fn matches(&self, event: &StoredEvent) -> bool {
        let kind = |pattern: &String| match pattern.strip_suffix('*') {
            Some(branch) => event.kind.as_str().starts_with(branch),
            None => event.kind.as_str() == pattern,
        };
        self.kind.as_ref().is_none_or(kind)
            && self.source.as_ref().is_none_or(|source| *source == event.source)
            && (self.allowed_sources.is_empty() || self.allowed_sources.contains(&event.source))
            && self.user_id.as_ref().is_none_or(|user| event.user_id.as_ref() == Some(user))
            && self.external_user_id.as_ref().is_none_or(|id| event.external_user_id.as_ref() == Some(id))
            && self.since_ms.is_none_or(|since| event.accepted_ms >= since)
            && self.until_ms.is_none_or(|until| event.accepted_ms < until)
    }
}
