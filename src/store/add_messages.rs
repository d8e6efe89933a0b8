//! Taking over messages: the message, its delivery and its first evidence in one transaction.

use std::collections::BTreeSet;

use sqlx::any::AnyArguments;
use sqlx::error::BoxDynError;
use sqlx::{AnyConnection, Arguments, Executor};

use super::deliveries::insert_deliveries;
use super::evidence::{insert_evidence, reference_hash};
use super::insert::Insert;
use super::links::{self, insert_links};
use super::messages::BODY;
use super::read::Columns;
use super::width::{self, fits};
use super::write::Write;
use super::{AddedMessage, NewMessage, Store, StoreError, name_list};
use crate::domain::message::Message;
use crate::domain::status::Status;
use crate::ids::MessageId;
use crate::seals::{Cell, Seals};

/// Tries when another replica adds the same idempotency key at the same moment.
const TRIES_MAX: u32 = 3;

const MESSAGES: Insert = Insert {
    table: "messages",
    columns: &[
        "id",
        "channel",
        "message_type",
        "body",
        "recipients",
        "policy",
        "idempotency_key",
        "status",
        "generation",
        "created_ms",
        "updated_ms",
        "expires_ms",
    ],
};

const RECIPIENTS: Insert = Insert { table: "message_recipients", columns: &["user_id", "message_id"] };

const REFERENCES: Insert =
    Insert { table: "message_references", columns: &["reference_hash", "message_id", "reference"] };

impl Store {
    /// Adds messages with their deliveries and first evidence in one transaction. The answers stand in the order
    /// given. A message whose idempotency key is there already adds nothing.
    pub async fn add_messages(&self, new: &[NewMessage]) -> Result<Vec<AddedMessage>, StoreError> {
        for new in new {
            check(new)?;
        }
        let mut tries = 1;
        loop {
            match self.write(AddMessages { new: new.to_vec(), seals: self.inner.seals.clone() }).await {
                Err(StoreError::Conflict) if tries < TRIES_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Writes folded statuses: message, status, and when it changed (wall ms). An older change than the one that
    /// stands is left out.
    pub async fn set_message_status(&self, changes: &[(MessageId, Status, i64)]) -> Result<(), StoreError> {
        self.write(SetStatus { changes: changes.to_vec() }).await
    }
}

fn check(new: &NewMessage) -> Result<(), StoreError> {
    let message = &new.message;
    fits("channel", &message.channel, width::SOURCE)?;
    fits("message_type", &message.message_type, width::WORD)?;
    fits("idempotency_key", message.idempotency_key.as_deref().unwrap_or(""), width::REFERENCE)?;
    fits("target_id", &new.delivery.target_id, width::SOURCE)?;
    for reference in &new.references {
        fits("reference", reference, width::REFERENCE)?;
    }
    new.links.iter().try_for_each(links::check)?;
    for recipient in &message.recipients {
        fits("recipient", recipient, width::PERSON)?;
    }
    Ok(())
}

struct AddMessages {
    new: Vec<NewMessage>,
    seals: Seals,
}

impl Write for AddMessages {
    type Output = Vec<AddedMessage>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<AddedMessage>, StoreError> {
        let mut answers = Vec::with_capacity(self.new.len());
        let mut added: Vec<&NewMessage> = Vec::with_capacity(self.new.len());
        for new in &self.new {
            let Some(key) = new.message.idempotency_key.as_deref() else {
                added.push(new);
                answers.push(AddedMessage::New);
                continue;
            };
            let in_this_call =
                added.iter().find(|other| other.message.idempotency_key.as_deref() == Some(key));
            let known = match in_this_call {
                Some(other) => Some(other.message.id.clone()),
                None => message_with_key(conn, key).await?,
            };
            match known {
                Some(id) if id != new.message.id => answers.push(AddedMessage::Repeat { id }),
                // An earlier try of this call was committed and its answer lost.
                Some(_mine) => answers.push(AddedMessage::New),
                None => {
                    added.push(new);
                    answers.push(AddedMessage::New);
                }
            }
        }
        insert(conn, &added, &self.seals).await?;
        Ok(answers)
    }
}

async fn message_with_key(conn: &mut AnyConnection, key: &str) -> Result<Option<MessageId>, StoreError> {
    let query = sqlx::query("SELECT id, idempotency_key FROM messages WHERE idempotency_key = ?");
    let Some(row) = conn.fetch_optional(query.bind(key)).await? else { return Ok(None) };
    let mut columns = Columns::of(&row);
    let id = columns.parse("message id", MessageId::parse)?;
    Ok((columns.take::<&str>()? == key).then_some(id))
}

async fn insert(conn: &mut AnyConnection, added: &[&NewMessage], seals: &Seals) -> Result<(), StoreError> {
    MESSAGES.rows(conn, added, |new, to| bind(&new.message, seals, to)).await?;
    let mut recipients = BTreeSet::new();
    for new in added {
        recipients.extend(new.message.recipients.iter().map(|person| (person, &new.message.id)));
    }
    let bind_recipient = |(person, message): &(&String, &MessageId), to: &mut AnyArguments| {
        to.add(person.as_str())?;
        to.add(message.as_str())
    };
    RECIPIENTS.rows(conn, &Vec::from_iter(recipients), bind_recipient).await?;
    let mut references = Vec::new();
    for new in added {
        references.extend(new.references.iter().map(|reference| (new.message.id.clone(), reference.clone())));
    }
    insert_references(conn, &Vec::from_iter(&references)).await?;
    insert_links(conn, &added.iter().flat_map(|new| &new.links).collect::<Vec<_>>(), seals).await?;
    let deliveries: Vec<_> = added.iter().map(|new| &new.delivery).collect();
    insert_deliveries(conn, &deliveries).await?;
    let evidence: Vec<_> = added.iter().map(|new| &new.evidence).collect();
    insert_evidence(conn, &evidence, seals).await
}

fn bind(message: &Message, seals: &Seals, to: &mut AnyArguments) -> Result<(), BoxDynError> {
    to.add(message.id.as_str())?;
    to.add(message.channel.as_str())?;
    to.add(message.message_type.as_str())?;
    to.add(&*seals.seal_text(Cell::new(BODY, message.id.as_str()), &message.body)?)?;
    to.add(name_list::to_text(&message.recipients))?;
    to.add(message.policy.as_str())?;
    to.add(message.idempotency_key.as_deref())?;
    to.add(message.status.as_str())?;
    to.add(message.generation)?;
    to.add(message.created_ms)?;
    to.add(message.updated_ms)?;
    to.add(message.expires_ms)
}

/// Adds ids under which the world speaks of messages; those that are there already stay.
pub(super) async fn insert_references(
    conn: &mut AnyConnection,
    references: &[&(MessageId, String)],
) -> Result<(), StoreError> {
    let mut fresh = Vec::new();
    for (message, reference) in references.iter().copied() {
        let query =
            sqlx::query("SELECT 1 FROM message_references WHERE reference_hash = ? AND message_id = ?");
        let known = query.bind(reference_hash(reference)).bind(message.as_str());
        if conn.fetch_optional(known).await?.is_none() && !fresh.contains(&(message, reference)) {
            fresh.push((message, reference));
        }
    }
    let bind_reference = |(message, reference): &(&MessageId, &String), to: &mut AnyArguments| {
        to.add(reference_hash(reference))?;
        to.add(message.as_str())?;
        to.add(reference.as_str())
    };
    REFERENCES.rows(conn, &fresh, bind_reference).await
}

struct SetStatus {
    changes: Vec<(MessageId, Status, i64)>,
}

impl Write for SetStatus {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        for (id, status, at_ms) in &self.changes {
            let update = sqlx::query(
                "UPDATE messages SET status = ?, updated_ms = ? WHERE id = ? AND updated_ms <= ?",
            )
            .bind(status.as_str())
            .bind(*at_ms)
            .bind(id.as_str())
            .bind(*at_ms);
            conn.execute(update).await?;
        }
        Ok(())
    }
}
