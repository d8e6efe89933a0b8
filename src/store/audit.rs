//! Who did what to the gateway.

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
use crate::ids::AuditId;

/// One act of a person or program, or one attempt at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Our id.
    pub id: AuditId,
    /// When, wall ms.
    pub at_ms: i64,
    /// Who: an API key's id, `cli`, `anonymous`.
    pub actor: String,
    /// From where: the client's address; empty for a command on the machine.
    pub address: String,
    /// What: `api_key.created`, `configuration.reloaded`, `login.refused`, …
    pub action: String,
    /// To what: an id or a name.
    pub subject: String,
    /// More for people; never a secret.
    pub detail: String,
}

/// Which audit rows to list. Empty fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// At this time or later, wall ms.
    pub since_ms: Option<i64>,
    /// Before this time, wall ms.
    pub until_ms: Option<i64>,
    /// Rows in the page, 1 to 1,000; 0: the default of 100.
    pub limit: usize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

const AUDIT: Insert =
    Insert { table: "audit", columns: &["id", "at_ms", "actor", "address", "action", "subject", "detail"] };

const COLUMNS: &str = "id, at_ms, actor, address, action, subject, detail";

/// Longest explanation that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 1_024;

struct AddAudit {
    rows: Vec<AuditRow>,
}

impl Write for AddAudit {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        AUDIT.rows(conn, &self.rows, AuditRow::bind).await
    }
}

impl Store {
    /// Adds audit rows. Texts that are too long are cut: they may come from strangers.
    pub async fn add_audit(&self, rows: &[AuditRow]) -> Result<(), StoreError> {
        self.write(AddAudit { rows: rows.to_vec() }).await
    }

    /// A page of audit rows, newest first.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Page<AuditRow>, StoreError> {
        let list = List {
            columns: COLUMNS,
            from: "audit",
            id: "id",
            prefix: AuditId::PREFIX,
            equal: Vec::new(),
            restricts: filter.since_ms.is_some() || filter.until_ms.is_some(),
            since_ms: filter.since_ms,
            until_ms: filter.until_ms,
            limit: filter.limit,
            cursor: filter.cursor.as_deref(),
        };
        let keep = |row: &AuditRow| {
            filter.since_ms.is_none_or(|since| row.at_ms >= since)
                && filter.until_ms.is_none_or(|until| row.at_ms < until)
        };
        list.page(&self.inner.reader, AuditRow::take, keep).await
    }
}

impl AuditRow {
    fn bind(&self, to: &mut AnyArguments) -> Result<(), BoxDynError> {
        to.add(self.id.as_str())?;
        to.add(self.at_ms)?;
        to.add(cut(&self.actor, width::PERSON))?;
        to.add(cut(&self.address, width::WORD))?;
        to.add(cut(&self.action, width::WORD))?;
        to.add(cut(&self.subject, width::REFERENCE))?;
        to.add(cut(&self.detail, DETAIL_BYTES_MAX))
    }

    fn take(columns: &mut Columns<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            id: columns.parse("audit id", AuditId::parse)?,
            at_ms: columns.take()?,
            actor: columns.take()?,
            address: columns.take()?,
            action: columns.take()?,
            subject: columns.take()?,
            detail: columns.take()?,
        })
    }
}
