//! Tracked links: a token that nobody can guess, and where it leads.

use sqlx::{AnyConnection, Arguments};

use super::insert::Insert;
use super::read::Columns;
use super::width::{self, fits};
use super::{Store, StoreError};
use crate::ids::MessageId;
use crate::seals::{Cell, Seals};

/// Longest address a link leads to.
const URL_BYTES_MAX: usize = 2_048;

/// Where an address is sealed for.
pub(super) const URL: &str = "links.url";

/// One tracked link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedLink {
    /// What stands in the address that people open.
    pub token: String,
    /// The message it stands in.
    pub message_id: MessageId,
    /// Who alone got it; `None`: several share it.
    pub recipient: Option<String>,
    /// Where it leads. Never changed.
    pub url: String,
}

const LINKS: Insert = Insert { table: "links", columns: &["token", "message_id", "recipient", "url"] };

impl Store {
    /// The link with this token.
    pub async fn link(&self, token: &str) -> Result<Option<TrackedLink>, StoreError> {
        let query = sqlx::query("SELECT token, message_id, recipient, url FROM links WHERE token = ?");
        let Some(row) = self.inner.reader.row(query.bind(token.to_owned())).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        let link = TrackedLink {
            token: columns.take()?,
            message_id: columns.parse("message id", MessageId::parse)?,
            recipient: columns.take()?,
            url: columns.take()?,
        };
        if link.token != token {
            return Ok(None);
        }
        let url = self.inner.seals.open_text(Cell::new(URL, token), link.url)?;
        Ok(Some(TrackedLink { url, ..link }))
    }
}

/// Whether a link fits into its row.
pub(super) fn check(link: &TrackedLink) -> Result<(), StoreError> {
    fits("token", &link.token, width::WORD)?;
    fits("url", &link.url, URL_BYTES_MAX).map(|_| ())
}

/// Adds links inside a transaction.
pub(super) async fn insert_links(
    conn: &mut AnyConnection,
    links: &[&TrackedLink],
    seals: &Seals,
) -> Result<(), StoreError> {
    LINKS
        .rows(conn, links, |link, to| {
            to.add(link.token.as_str())?;
            to.add(link.message_id.as_str())?;
            to.add(link.recipient.as_deref())?;
            to.add(&*seals.seal_text(Cell::new(URL, &link.token), &link.url)?)
        })
        .await
}
