//! Refused requests, for the operator's eyes.

use sqlx::AnyConnection;
use sqlx::Arguments;
use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;

use super::insert::Insert;
use super::list::List;
use super::read::Columns;
use super::width::{self, cut};
use super::write::Write;
use super::{Page, Store, StoreError};
use crate::ids::RejectionId;

/// One refused request, or several like it merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Our id.
    pub id: RejectionId,
    /// When (the first of them), wall ms.
    pub at_ms: i64,
    /// The source it was for, where one was found.
    pub source: Option<String>,
    /// The client's address.
    pub address: String,
    /// The step that failed: `signature`, `receive_id`, …
    pub step: String,
    /// The HTTP status it was answered with.
    pub status: i64,
    /// What was wrong, for the operator; never a secret.
    pub detail: String,
    /// The receive id the source is set up for, on a mismatch.
    pub expected_receive_id: Option<String>,
    /// The receive id that stood in the message, on a mismatch.
    pub found_receive_id: Option<String>,
    /// How many were merged into this row.
    pub count: i64,
}

/// Which rejections to list. Empty fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct RejectionFilter {
    /// Only for this source.
    pub source: Option<String>,
    /// Only for these sources: what the caller's key allows. Empty: all.
    pub allowed_sources: Vec<String>,
    /// At this time or later, wall ms.
    pub since_ms: Option<i64>,
    /// Before this time, wall ms.
    pub until_ms: Option<i64>,
    /// Rows in the page, 1 to 1,000; 0: the default of 100.
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

const REJECTIONS: Insert = Insert {
    table: "rejections",
    columns: &[
        "id",
        "at_ms",
        "source",
        "address",
        "step",
        "status",
        "detail",
        "expected_receive_id",
        "found_receive_id",
        "count",
    ],
};

const COLUMNS: &str =
    "id, at_ms, source, address, step, status, detail, expected_receive_id, found_receive_id, count";

/// Longest explanation that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 1_024;

struct AddRejections {
    rows: Vec<Rejection>,
}

impl Write for AddRejections {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        REJECTIONS.rows(conn, &self.rows, Rejection::bind).await
    }
}

impl Store {
    /// Adds rejections, merged and bounded by the caller. Texts that are too long are cut: they come from strangers.
    pub async fn add_rejections(&self, rows: &[Rejection]) -> Result<(), StoreError> {
        self.write(AddRejections { rows: rows.to_vec() }).await
    }

    /// A page of rejections, newest first. It may hold fewer rows than asked for and still have a next one.
    pub async fn rejections(&self, filter: &RejectionFilter) -> Result<Page<Rejection>, StoreError> {
        let list = List {
            columns: COLUMNS,
            from: "rejections",
            id: "id",
            prefix: RejectionId::PREFIX,
            equal: filter.source.iter().map(|source| ("source", source.as_str())).collect(),
            restricts: filter.restricts(),
            since_ms: filter.since_ms,
            until_ms: filter.until_ms,
            limit: filter.limit,
            cursor: filter.cursor.as_deref(),
        };
        list.page(&self.inner.reader, Rejection::take, |rejection| filter.matches(rejection)).await
    }
}

impl RejectionFilter {
    fn restricts(&self) -> bool {
        !self.allowed_sources.is_empty() || self.since_ms.is_some() || self.until_ms.is_some()
    }

    fn matches(&self, rejection: &Rejection) -> bool {
        let source = rejection.source.as_ref();
        self.source.as_ref().is_none_or(|only| Some(only) == source)
            && (self.allowed_sources.is_empty()
                || source.is_some_and(|source| self.allowed_sources.contains(source)))
            && self.since_ms.is_none_or(|since| rejection.at_ms >= since)
            && self.until_ms.is_none_or(|until| rejection.at_ms < until)
    }
}

impl Rejection {
    fn bind(&self, to: &mut AnyArguments) -> Result<(), BoxDynError> {
        let id = |text: &Option<String>| text.as_deref().map(|text| cut(text, width::REFERENCE).to_owned());
        to.add(self.id.as_str())?;
        to.add(self.at_ms)?;
        to.add(self.source.as_deref().map(|source| cut(source, width::SOURCE)))?;
        to.add(cut(&self.address, width::WORD))?;
        to.add(cut(&self.step, width::WORD))?;
        to.add(self.status)?;
        to.add(cut(&self.detail, DETAIL_BYTES_MAX))?;
        to.add(id(&self.expected_receive_id))?;
        to.add(id(&self.found_receive_id))?;
        to.add(self.count)
    }

    fn take(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: columns.parse("rejection id", RejectionId::parse)?,
            at_ms: columns.take()?,
            source: columns.take()?,
            address: columns.take()?,
            step: columns.take()?,
            status: columns.take()?,
            detail: columns.take()?,
            expected_receive_id: columns.take()?,
            found_receive_id: columns.take()?,
            count: columns.take()?,
        })
    }
}
