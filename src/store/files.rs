//! Files given to us to be sent: their bytes, and the platform's name for them while it has one.

use bytes::Bytes;
use sqlx::{AnyConnection, Executor};

use super::read::Columns;
use super::width::{self, fits};
use super::write::Write;
use super::{Store, StoreError};
use crate::ids::FileId;
use crate::seals::{Cell, Seals};

/// Bytes in one row: servers bound the size of a statement.
const PART_BYTES: usize = 1 << 20;

/// Where names and contents are sealed for.
pub(super) const NAME: &str = "files.name";
pub(super) const CONTENT: &str = "file_parts.content";

/// Longest name of a file.
pub const FILE_NAME_BYTES_MAX: usize = 256;

/// What is known of a file besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Our id.
    pub id: FileId,
    /// The channel it is for.
    pub channel: String,
    /// The platform's word for what it is: `image`, `voice`, `video`, `file`.
    pub kind: String,
    /// What people see it is called.
    pub name: String,
    /// The platform's name for it, and when it gave that (wall ms).
    pub uploaded: Option<(String, i64)>,
}

impl Store {
    /// Keeps a file.
    pub async fn add_file(&self, file: &StoredFile, content: Bytes) -> Result<(), StoreError> {
        fits("channel", &file.channel, width::SOURCE)?;
        fits("name", &file.name, FILE_NAME_BYTES_MAX)?;
        self.write(AddFile { file: file.clone(), content, seals: self.inner.seals.clone() }).await
    }

    /// What is known of a file.
    pub async fn file(&self, id: &FileId) -> Result<Option<StoredFile>, StoreError> {
        let query =
            sqlx::query("SELECT id, channel, kind, name, platform_id, uploaded_ms FROM files WHERE id = ?");
        let Some(row) = self.inner.reader.row(query.bind(id.as_str().to_owned())).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let id = columns.parse("file id", FileId::parse)?;
        let (channel, kind, name) = (columns.take()?, columns.take()?, columns.take()?);
        let name = self.inner.seals.open_text(Cell::new(NAME, id.as_str()), name)?;
        let (platform_id, uploaded_ms): (Option<String>, Option<i64>) = (columns.take()?, columns.take()?);
        Ok(Some(StoredFile { id, channel, kind, name, uploaded: platform_id.zip(uploaded_ms) }))
    }

    /// A file's bytes.
    pub async fn file_content(&self, id: &FileId) -> Result<Vec<u8>, StoreError> {
        let query = sqlx::query("SELECT part, content FROM file_parts WHERE id = ? ORDER BY part");
        let mut content = Vec::new();
        for row in self.inner.reader.rows(query.bind(id.as_str().to_owned())).await? {
            let mut columns = Columns::of(&row);
            let cell = Cell { part: columns.take()?, ..Cell::new(CONTENT, id.as_str()) };
            content.extend(self.inner.seals.open(cell, columns.take()?)?);
        }
        Ok(content)
    }

    /// Notes the platform's name for a file; `None`: it has none any more.
    pub async fn set_uploaded(&self, id: &FileId, uploaded: Option<(String, i64)>) -> Result<(), StoreError> {
        self.write(SetUploaded { id: id.clone(), uploaded }).await
    }
}

struct AddFile {
    file: StoredFile,
    content: Bytes,
    seals: Seals,
}

impl Write for AddFile {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let name = self.seals.seal_text(Cell::new(NAME, self.file.id.as_str()), &self.file.name)?;
        let insert = sqlx::query("INSERT INTO files (id, channel, kind, name) VALUES (?, ?, ?, ?)")
            .bind(self.file.id.as_str())
            .bind(self.file.channel.as_str())
            .bind(self.file.kind.as_str())
            .bind(name.into_owned());
        conn.execute(insert).await?;
        for (part, bytes) in (0_i64..).zip(self.content.chunks(PART_BYTES)) {
            let cell = Cell { part, ..Cell::new(CONTENT, self.file.id.as_str()) };
            let bytes = self.seals.seal(cell, bytes)?;
            let insert = sqlx::query("INSERT INTO file_parts (id, part, content) VALUES (?, ?, ?)")
                .bind(self.file.id.as_str())
                .bind(part)
                .bind(bytes.into_owned());
            conn.execute(insert).await?;
        }
        Ok(())
    }
}

struct SetUploaded {
    id: FileId,
    uploaded: Option<(String, i64)>,
}

impl Write for SetUploaded {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let (name, at_ms) = self.uploaded.clone().unzip();
        let update = sqlx::query("UPDATE files SET platform_id = ?, uploaded_ms = ? WHERE id = ?")
            .bind(name)
            .bind(at_ms)
            .bind(self.id.as_str());
        conn.execute(update).await?;
        Ok(())
    }
}
