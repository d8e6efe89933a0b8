//! Writing sealed values anew with the key of now, a slice at a time, so that a previous key can be dropped.
//!
//! A walk goes over every column that holds what people said, in the order of the primary key. It reads the head of
//! each value, which says who sealed it, and only values that would be written otherwise now are read whole. A value
//! that was changed meanwhile is left alone: whoever changed it has written it with the key of now.

use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::erase::overwriting;
use super::read::Columns;
use super::write::Write;
use super::{
    Engine, Store, StoreError, events, evidence, files, links, messages, results, sent_bodies, smart_robots,
};
use crate::domain::sealed::Unopened;
use crate::seals::{Cell, HEAD_CHARS, Seals};

/// Rows whose heads are looked at in one step.
const LOOK: i64 = 500;

/// Rows written in one transaction: few enough for 5 ms on SQLite.
const SLICE: usize = 50;

/// Bytes of values written in one transaction, but at least one value.
const SLICE_BYTES: usize = 1 << 20;

/// How the second part of a primary key is, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// `id`.
    Alone(&'static str),
    /// A text and a number behind it.
    Numbered(&'static str, &'static str),
    /// A number in front of the text: the order of evidence.
    Hashed(&'static str, &'static str),
}

/// One column with sealed values.
#[derive(Debug)]
struct Column {
    table: &'static str,
    name: &'static str,
    /// Where its values are sealed for.
    sealed_for: &'static str,
    key: Key,
    is_text: bool,
}

const COLUMNS: &[Column] = &[
    column("events", "payload", events::PAYLOAD, Key::Alone("id"), false),
    column("messages", "body", messages::BODY, Key::Alone("id"), true),
    column("evidence", "text", evidence::TEXT, Key::Hashed("reference_hash", "id"), true),
    column("delivery_bodies", "body", sent_bodies::BODY, Key::Alone("delivery_id"), false),
    column("attempts", "error", results::ERROR, Key::Numbered("delivery_id", "number"), true),
    column("attempts", "answer", results::ANSWER, Key::Numbered("delivery_id", "number"), true),
    column("links", "url", links::URL, Key::Alone("token"), true),
    column("files", "name", files::NAME, Key::Alone("id"), true),
    column("file_parts", "content", files::CONTENT, Key::Numbered("id", "part"), false),
    column("event_streams", "body", smart_robots::BODY, Key::Alone("id"), true),
];

const fn column(
    table: &'static str,
    name: &'static str,
    sealed_for: &'static str,
    key: Key,
    is_text: bool,
) -> Column {
    Column { table, name, sealed_for, key, is_text }
}

/// Where a walk over all sealed values stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResealPlace {
    column: usize,
    row: RowKey,
}

/// A primary key; `number` is 0 where it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RowKey {
    text: String,
    number: i64,
}

impl ResealPlace {
    /// Before the first value.
    pub fn start() -> Self {
        Self::of(0)
    }

    fn of(column: usize) -> Self {
        Self { column, row: RowKey { text: String::new(), number: i64::MIN } }
    }
}

/// What one step of a walk did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that were, or with a mere look are, not sealed as they would be now.
    pub stale: u64,
    /// Those of them that were written anew.
    pub written: u64,
    /// Those whose key is not here; they stay as they are.
    pub unknown: u64,
    /// Those that nobody can open; they stay as they are.
    pub damaged: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<ResealPlace>,
}

impl Store {
    /// Takes one step from `place`: writes anew what is sealed otherwise than it would be now, or with `only_look`
    /// counts it.
    pub async fn reseal(&self, place: &ResealPlace, only_look: bool) -> Result<Resealed, StoreError> {
        let Some(column) = COLUMNS.get(place.column) else { return Ok(Resealed::default()) };
        let rows = self.inner.reader.rows(column.heads(&place.row)).await?;
        let (mut stale, mut last) = (Vec::new(), None);
        for row in &rows {
            let mut columns = Columns::of(row);
            let key = column.take_key(&mut columns)?;
            if self.inner.seals.is_stale(&column.take_value(&mut columns)?) {
                stale.push(key.clone());
            }
            last = Some(key);
        }
        let mut done = Resealed { stale: u64_of(stale.len()), ..Resealed::default() };
        let mut rest = if only_look { &[][..] } else { &stale[..] };
        while !rest.is_empty() {
            let slice = rest.iter().take(SLICE).cloned().collect();
            let work = Slice { column, rows: slice, seals: self.inner.seals.clone(), engine: self.engine() };
            let slice = self.write(work).await?;
            done.written += slice.written;
            done.unknown += slice.unknown;
            done.damaged += slice.damaged;
            rest = rest.get(slice.taken.max(1)..).unwrap_or_default();
        }
        let is_last = i64::try_from(rows.len()) != Ok(LOOK);
        done.next = match last {
            Some(row) if !is_last => Some(ResealPlace { column: place.column, row }),
            _ => Some(ResealPlace::of(place.column + 1)).filter(|next| next.column < COLUMNS.len()),
        };
        Ok(done)
    }
}

impl Column {
    /// The heads of the values behind `after`.
    fn heads(&self, after: &RowKey) -> super::read::AnyQuery<'static> {
        let head = ["SUBSTR(", self.name, ", 1, ", &HEAD_CHARS.to_string(), ")"].concat();
        let (first, second) = match self.key {
            Key::Alone(id) => {
                let sql =
                    ["SELECT ", id, ", ", &head, " FROM ", self.table, " WHERE ", id, " > ? ORDER BY ", id];
                let query = sqlx::query(AssertSqlSafe(sql.concat() + " LIMIT ?"));
                return query.bind(after.text.clone()).bind(LOOK);
            }
            Key::Numbered(first, second) | Key::Hashed(first, second) => (first, second),
        };
        let mut sql = ["SELECT ", first, ", ", second, ", ", &head, " FROM ", self.table].concat();
        sql += &[" WHERE ", first, " >= ? AND (", first, " > ? OR ", second, " > ?)"].concat();
        sql += &[" ORDER BY ", first, ", ", second, " LIMIT ?"].concat();
        let query = sqlx::query(AssertSqlSafe(sql));
        let query = match self.key {
            Key::Hashed(..) => query.bind(after.number).bind(after.number).bind(after.text.clone()),
            _ => query.bind(after.text.clone()).bind(after.text.clone()).bind(after.number),
        };
        query.bind(LOOK)
    }

    fn take_key(&self, columns: &mut Columns<'_>) -> Result<RowKey, StoreError> {
        Ok(match self.key {
            Key::Alone(_) => RowKey { text: columns.take()?, number: 0 },
            Key::Numbered(..) => RowKey { text: columns.take()?, number: columns.take()? },
            Key::Hashed(..) => {
                let number = columns.take()?;
                RowKey { text: columns.take()?, number }
            }
        })
    }

    /// The next value as bytes; none where there is none.
    fn take_value(&self, columns: &mut Columns<'_>) -> Result<Vec<u8>, StoreError> {
        Ok(if self.is_text {
            columns.take::<Option<String>>()?.unwrap_or_default().into_bytes()
        } else {
            columns.take::<Option<Vec<u8>>>()?.unwrap_or_default()
        })
    }

    fn condition(&self) -> String {
        match self.key {
            Key::Alone(id) => [" WHERE ", id, " = ?"].concat(),
            Key::Numbered(first, second) | Key::Hashed(second, first) => {
                [" WHERE ", first, " = ? AND ", second, " = ?"].concat()
            }
        }
    }

    fn bind<'q>(&self, query: super::read::AnyQuery<'q>, row: &RowKey) -> super::read::AnyQuery<'q> {
        let query = query.bind(row.text.clone());
        if matches!(self.key, Key::Alone(_)) { query } else { query.bind(row.number) }
    }

    fn cell<'c>(&self, row: &'c RowKey) -> Cell<'c> {
        let part = if matches!(self.key, Key::Numbered(..)) { row.number } else { 0 };
        Cell { column: self.sealed_for, row: &row.text, part }
    }

    /// What `stored` is to be replaced with, or why it cannot be opened.
    fn sealed_anew(
        &self,
        seals: &Seals,
        row: &RowKey,
        stored: &[u8],
    ) -> Result<Result<Vec<u8>, Unopened>, StoreError> {
        let cell = self.cell(row);
        if self.is_text {
            let text = String::from_utf8_lossy(stored).into_owned();
            return Ok(match seals.open_text(cell, text) {
                Ok(text) => Ok(seals.seal_text(cell, &text)?.into_owned().into_bytes()),
                Err(why) => Err(why),
            });
        }
        Ok(match seals.open(cell, stored.to_vec()) {
            Ok(value) => Ok(seals.seal(cell, &value)?.into_owned()),
            Err(why) => Err(why),
        })
    }
}

/// What became of some values.
#[derive(Debug, Default)]
struct SliceDone {
    /// Rows that were looked at.
    taken: usize,
    written: u64,
    unknown: u64,
    damaged: u64,
}

/// Some values of one column.
struct Slice {
    column: &'static Column,
    rows: Vec<RowKey>,
    seals: Seals,
    engine: Engine,
}

impl Write for Slice {
    type Output = SliceDone;

    async fn run(&self, conn: &mut AnyConnection) -> Result<SliceDone, StoreError> {
        // What stood there before is not to be found in the file any more.
        overwriting(self.engine, conn, true).await?;
        let done = self.rewrite(conn).await;
        overwriting(self.engine, conn, false).await?;
        done
    }
}

impl Slice {
    async fn rewrite(&self, conn: &mut AnyConnection) -> Result<SliceDone, StoreError> {
        let column = self.column;
        let select = ["SELECT ", column.name, " FROM ", column.table, &column.condition()].concat();
        let update = ["UPDATE ", column.table, " SET ", column.name, " = ?", &column.condition()].concat();
        let update = [&update, " AND ", column.name, " = ?"].concat();
        let (mut done, mut bytes) = (SliceDone::default(), 0_usize);
        for row in &self.rows {
            if bytes > SLICE_BYTES {
                break;
            }
            done.taken += 1;
            let query = column.bind(sqlx::query(AssertSqlSafe(select.clone())), row);
            let Some(found) = conn.fetch_optional(query).await? else { continue };
            let stored = column.take_value(&mut Columns::of(&found))?;
            bytes = bytes.saturating_add(stored.len());
            if !self.seals.is_stale(stored.get(..HEAD_CHARS).unwrap_or(&stored)) {
                continue;
            }
            let anew = match column.sealed_anew(&self.seals, row, &stored)? {
                Ok(anew) => anew,
                Err(Unopened::UnknownKey(_)) => {
                    done.unknown += 1;
                    continue;
                }
                Err(Unopened::Damaged) => {
                    done.damaged += 1;
                    continue;
                }
            };
            let query = sqlx::query(AssertSqlSafe(update.clone()));
            let query = if column.is_text {
                let [anew, stored] = [anew, stored].map(|text| String::from_utf8_lossy(&text).into_owned());
                column.bind(query.bind(anew), row).bind(stored)
            } else {
                column.bind(query.bind(anew), row).bind(stored)
            };
            done.written += conn.execute(query).await?.rows_affected();
        }
        Ok(done)
    }
}

fn u64_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
