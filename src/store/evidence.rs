//! Evidence, found by what it refers to.

use sha2::{Digest, Sha256};
use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{AnyConnection, Arguments, AssertSqlSafe, Executor};

use super::insert::Insert;
use super::read::Columns;
use super::sealing::{seal_optional, shown};
use super::width::{self, fits};
use super::write::Write;
use super::{Store, StoreError};
use crate::domain::evidence::{Evidence, Fact, InteractionKind};
use crate::domain::status::Status;
use crate::ids::{EventId, EvidenceId};
use crate::seals::{Cell, Seals};

struct AddEvidence {
    rows: Vec<Evidence>,
    seals: Seals,
}

impl Write for AddEvidence {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        insert_evidence(conn, &Vec::from_iter(&self.rows), &self.seals).await
    }
}

impl Store {
    /// Adds evidence that no event carried: results of sends, reports through our API.
    pub async fn add_evidence(&self, rows: &[Evidence]) -> Result<(), StoreError> {
        for evidence in rows {
            fits("reference", &evidence.reference, width::REFERENCE)?;
            fits("recipient", evidence.recipient.as_deref().unwrap_or(""), width::PERSON)?;
            fits("source", &evidence.source, width::SOURCE)?;
        }
        self.write(AddEvidence { rows: rows.to_vec(), seals: self.inner.seals.clone() }).await
    }

    /// The evidence under any of `references`, by rising id, from behind `after`, at most `limit` rows.
    pub async fn evidence(
        &self,
        references: &[String],
        after: Option<&EvidenceId>,
        limit: usize,
    ) -> Result<Vec<Evidence>, StoreError> {
        let mut found = Vec::new();
        for reference in references {
            let sql = [
                "SELECT ",
                COLUMNS,
                " FROM evidence WHERE reference_hash = ? AND id > ? ORDER BY id LIMIT ?",
            ];
            let query = sqlx::query(AssertSqlSafe(sql.concat()))
                .bind(reference_hash(reference))
                .bind(after.map_or("", EvidenceId::as_str).to_owned())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX));
            for row in self.inner.reader.rows(query).await? {
                let evidence =
                    take(&mut Columns::of(&row), |cell, text| Ok(shown(&self.inner.seals, cell, text)))?;
                if evidence.reference == *reference {
                    found.push(evidence);
                }
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found.dedup_by(|a, b| a.id == b.id && a.reference == b.reference);
        found.truncate(limit);
        Ok(found)
    }
}

impl Store {
    /// What the newest evidence refers to, newest first: id, reference and when it was learned. From before `before`,
    /// at most `limit` rows.
    pub async fn newest_references(
        &self,
        before: Option<&EvidenceId>,
        limit: usize,
    ) -> Result<Vec<(EvidenceId, String, i64)>, StoreError> {
        // `~` sorts behind every id.
        let query =
            sqlx::query("SELECT id, reference, at_ms FROM evidence WHERE id < ? ORDER BY id DESC LIMIT ?")
                .bind(before.map_or("~", EvidenceId::as_str).to_owned())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.inner.reader.rows(query).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((columns.parse("evidence id", EvidenceId::parse)?, columns.take()?, columns.take()?))
            })
            .collect()
    }
}

/// Where a text is sealed for.
pub(super) const TEXT: &str = "evidence.text";

/// The columns of [`take`], in its order.
const COLUMNS: &str =
    "id, reference, generation, recipient, fact, fact_value, code, text, source, event_id, at_ms";

/// The evidence that one event carried, where it can be found by it.
///
/// # Errors
/// [`StoreError::Unopened`] if one of its texts cannot be read.
pub(super) async fn of_event(
    conn: &mut AnyConnection,
    id: &EventId,
    seals: &Seals,
) -> Result<Vec<Evidence>, StoreError> {
    let sql = ["SELECT ", COLUMNS, " FROM evidence WHERE event_id = ? ORDER BY id"].concat();
    let rows = conn.fetch_all(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
    let open = |cell: Cell<'_>, text| Ok(seals.open_text(cell, text)?);
    rows.iter().map(|row| take(&mut Columns::of(row), open)).collect()
}

const EVIDENCE: Insert = Insert {
    table: "evidence",
    columns: &[
        "reference_hash",
        "id",
        "reference",
        "generation",
        "recipient",
        "fact",
        "fact_value",
        "code",
        "text",
        "source",
        "event_id",
        "at_ms",
    ],
};

/// Adds rows inside a transaction. What is too long is cut: a callback is not refused for what it says.
pub(super) async fn insert_evidence(
    conn: &mut AnyConnection,
    rows: &[&Evidence],
    seals: &Seals,
) -> Result<(), StoreError> {
    EVIDENCE.rows(conn, rows, |evidence, to| bind(evidence, seals, to)).await
}

fn bind(evidence: &Evidence, seals: &Seals, to: &mut AnyArguments) -> Result<(), BoxDynError> {
    let cut = |text: &Option<String>, limit| text.as_deref().map(|text| width::cut(text, limit).to_owned());
    let reference = width::cut(&evidence.reference, width::REFERENCE);
    let (fact, value) = match &evidence.fact {
        Fact::Status(status) => ("status", status.as_str()),
        Fact::Interaction(kind) => ("interaction", width::cut(kind.as_str(), width::WORD)),
    };
    to.add(reference_hash(reference))?;
    to.add(evidence.id.as_str())?;
    to.add(reference)?;
    to.add(evidence.generation)?;
    to.add(cut(&evidence.recipient, width::PERSON))?;
    to.add(fact)?;
    to.add(value)?;
    to.add(evidence.code)?;
    let text = evidence.text.as_deref().map(|text| width::cut(text, width::EVIDENCE_TEXT));
    to.add(seal_optional(seals, Cell::new(TEXT, evidence.id.as_str()), text)?)?;
    to.add(width::cut(&evidence.source, width::SOURCE))?;
    to.add(evidence.event_id.as_ref().map(EventId::as_str))?;
    to.add(evidence.at_ms)?;
    Ok(())
}

fn take(
    columns: &mut Columns<'_>,
    open: impl Fn(Cell<'_>, String) -> Result<String, StoreError>,
) -> Result<Evidence, StoreError> {
    let id = columns.parse("evidence id", EvidenceId::parse)?;
    Ok(Evidence {
        reference: columns.take()?,
        generation: columns.take()?,
        recipient: columns.take()?,
        fact: {
            let fact: String = columns.take()?;
            let value: String = columns.take()?;
            match fact.as_str() {
                "status" => Fact::Status(
                    Status::parse(&value).ok_or_else(|| StoreError::corrupt("evidence status", &value))?,
                ),
                "interaction" => Fact::Interaction(InteractionKind::parse(&value)),
                _ => return Err(StoreError::corrupt("evidence fact", &fact)),
            }
        },
        code: columns.take()?,
        text: {
            let text: Option<String> = columns.take()?;
            text.map(|text| open(Cell::new(TEXT, id.as_str()), text)).transpose()?
        },
        source: columns.take()?,
        event_id: columns.parse_optional("event id", EventId::parse)?,
        at_ms: columns.take()?,
        id,
    })
}

/// What references are looked up by: eight bytes index better than a text of any length. Rows are compared with
/// the whole text again.
pub(super) fn reference_hash(reference: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(reference.as_bytes()).into();
    let mut first = [0; 8];
    first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    i64::from_be_bytes(first)
}
