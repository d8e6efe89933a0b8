//! Which keys sealed rows of this database: noted before a key seals its first row, forgotten when no row is left.
//!
//! So a process that lacks a key says so when it starts, and not when it meets the first row.

use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::read::Columns;
use super::write::Write;
use super::{Store, StoreError, Writer};
use crate::seals::Seals;

/// What the names of these facts begin with.
const NOTE: &str = "sealed_by_";

const SELECT: &str = "SELECT name FROM facts WHERE name LIKE 'sealed%'";

/// Notes the key that seals now. Refuses to go on without a key that rows were sealed with.
///
/// # Errors
/// [`StoreError::Settings`] with the id of the key that is missing.
pub(super) async fn check(conn: &mut AnyConnection, seals: &Seals) -> Result<(), StoreError> {
    let (noted, known) = (noted(conn).await?, seals.ids());
    let missing: Vec<&str> = noted.iter().filter(|id| !known.contains(id)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(StoreError::Settings(format!(
            "rows are sealed with the key {}, which is not among `encryption.key` and `encryption.previous` \
             (GATEWAY_ENCRYPTION_KEY, GATEWAY_ENCRYPTION_PREVIOUS)",
            missing.join(" and ")
        )));
    }
    note(conn, seals.current().as_deref(), &noted).await
}

async fn noted(conn: &mut AnyConnection) -> Result<Vec<String>, StoreError> {
    let mut ids = Vec::new();
    for row in conn.fetch_all(SELECT).await? {
        let name: String = Columns::of(&row).take()?;
        ids.extend(name.strip_prefix(NOTE).map(ToOwned::to_owned));
    }
    Ok(ids)
}

async fn note(conn: &mut AnyConnection, id: Option<&str>, noted: &[String]) -> Result<(), StoreError> {
    let Some(id) = id.filter(|id| !noted.iter().any(|known| known == id)) else { return Ok(()) };
    let insert = sqlx::query("INSERT INTO facts (name, value) VALUES (?, 1)").bind([NOTE, id].concat());
    match conn.execute(insert).await.map_err(StoreError::from) {
        // Another replica was faster.
        Ok(_) | Err(StoreError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

impl Store {
    /// The ids of the keys that rows may be sealed with.
    pub async fn noted_keys(&self) -> Result<Vec<String>, StoreError> {
        let rows = self.inner.reader.rows(sqlx::query(SELECT)).await?;
        let names = rows.iter().map(|row| Columns::of(row).take::<String>());
        let ids = names.map(|name| Ok(name?.strip_prefix(NOTE).map(ToOwned::to_owned)));
        ids.filter_map(Result::transpose).collect()
    }

    /// From now on rows are sealed and opened with the keys of `seals`.
    ///
    /// # Errors
    /// [`StoreError::Settings`] if one is missing that rows were sealed with; nothing is changed then, nor if the
    /// database is away.
    pub async fn exchange_keys(&self, seals: &Seals) -> Result<(), StoreError> {
        if let Some(Writer::MySql(writer)) = self.writer()
            && !writer.is_prepared()
        {
            // Nothing can be written yet, perhaps for want of these keys.
            let before = self.inner.seals.snapshot();
            self.inner.seals.replace(seals);
            return writer.prepare().await.inspect_err(|_error| self.inner.seals.replace(&before));
        }
        self.write(Check { seals: seals.clone() }).await?;
        self.inner.seals.replace(seals);
        Ok(())
    }

    /// Notes the key that seals now, once more: a replica that was late with a new key may have had it forgotten.
    pub async fn note_key(&self) -> Result<(), StoreError> {
        match self.inner.seals.current() {
            Some(id) => self.write(Note { id }).await,
            None => Ok(()),
        }
    }

    /// Forgets keys that seal no row any more.
    pub async fn forget_keys(&self, ids: &[String]) -> Result<(), StoreError> {
        self.write(Forget { names: ids.iter().map(|id| [NOTE, id].concat()).collect() }).await
    }
}

struct Check {
    seals: Seals,
}

impl Write for Check {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        check(conn, &self.seals).await
    }
}

struct Note {
    id: String,
}

impl Write for Note {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let noted = noted(conn).await?;
        note(conn, Some(&self.id), &noted).await
    }
}

struct Forget {
    names: Vec<String>,
}

impl Write for Forget {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        for name in &self.names {
            conn.execute(sqlx::query(AssertSqlSafe("DELETE FROM facts WHERE name = ?")).bind(name.as_str()))
                .await?;
        }
        Ok(())
    }
}
