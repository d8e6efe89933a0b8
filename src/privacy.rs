//! What is known of one person: all of it for them to see, or none of it any more.
//!
//! A person is a member (or a follower of an Official Account, whose `openid` stands in the same place) or a customer
//! by external id. Erasing goes in slices with pauses, so that callbacks do not wait for it; it can
//! be repeated, and a repeat finds only what has come since.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::domain::message::Message;
use crate::domain::sealed::Unopened;
use crate::store::{EventFilter, EvidencePlace, MessageFilter, Store, StoreError, StoredEvent};

/// The pause between two slices.
const PAUSE: Duration = Duration::from_millis(5);

/// Rows read at once.
const PAGE: usize = 250;

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person<'p> {
    /// A member by user id, or a follower of an Official Account by `openid`.
    Member(&'p str),
    /// A customer by `external_userid`.
    Customer(&'p str),
}

impl<'p> Person<'p> {
    fn id(self) -> &'p str {
        match self {
            Self::Member(id) | Self::Customer(id) => id,
        }
    }

    /// The events that they caused, or that are about them.
    fn events(self) -> EventFilter {
        match self {
            Self::Member(id) => EventFilter { user_id: Some(id.to_owned()), ..EventFilter::default() },
            Self::Customer(id) => {
                EventFilter { external_user_id: Some(id.to_owned()), ..EventFilter::default() }
            }
        }
    }
}

/// What an export may hold.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    /// Most events, and most messages.
    pub rows_max: usize,
    /// Most bytes of their texts together.
    pub bytes_max: usize,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self { rows_max: 10_000, bytes_max: 32 << 20 }
    }
}

/// Everything known of one person, newest first.
#[derive(Clone, Debug, Default)]
pub struct Export {
    /// The events that they caused, or that are about them.
    pub events: Vec<StoredEvent>,
    /// The messages that name them as a recipient.
    pub messages: Vec<Message>,
    /// Whether that is all; otherwise a limit was met.
    pub complete: bool,
}

/// What an erasure did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events blanked.
    pub events: u64,
    /// Messages from which the person was taken out.
    pub messages: u64,
    /// Messages not sent yet, left as they are.
    pub pending_messages: u64,
    /// Rows of evidence renamed.
    pub evidence: u64,
    /// Whether everything was looked at; otherwise the time was over, and it is to be repeated.
    pub complete: bool,
}

/// Collects what is known of `person`.
pub async fn export(store: &Store, person: Person<'_>, limits: ExportLimits) -> Result<Export, StoreError> {
    let user_id = person.id();
    let mut found = Export { complete: true, ..Export::default() };
    let mut bytes = 0_usize;
    let mut filter = EventFilter { limit: PAGE, ..person.events() };
    loop {
        let page = store.events(&filter).await?;
        for event in page.items {
            bytes = bytes.saturating_add(event.payload.len());
            if found.events.len() == limits.rows_max || bytes > limits.bytes_max {
                found.complete = false;
                return Ok(found);
            }
            found.events.push(event);
        }
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    let mut filter =
        MessageFilter { user_id: Some(user_id.to_owned()), limit: PAGE, ..MessageFilter::default() };
    loop {
        let page = store.messages(&filter).await?;
        for message in page.items {
            bytes = bytes.saturating_add(message.body.len());
            if found.messages.len() == limits.rows_max || bytes > limits.bytes_max {
                found.complete = false;
                return Ok(found);
            }
            found.messages.push(message);
        }
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return Ok(found),
        }
    }
}

/// Erases what is known of `person`, who is called `alias` where a name has to stay; until `deadline_ms` (steady).
pub async fn erase(
    store: &Store,
    person: Person<'_>,
    alias: &str,
    clock: &Clock,
    deadline_ms: i64,
) -> Result<Erased, StoreError> {
    let (mut done, user_id) = (Erased::default(), person.id());
    let theirs = person.events();
    loop {
        match store.erase_events(&theirs).await? {
            0 => break,
            rows => done.events += rows,
        }
        if clock.steady_ms() >= deadline_ms {
            return Ok(done);
        }
        tokio::time::sleep(PAUSE).await;
    }
    let mut filter =
        MessageFilter { user_id: Some(user_id.to_owned()), limit: PAGE, ..MessageFilter::default() };
    loop {
        let page = store.messages(&filter).await?;
        for message in page.items {
            if let Some(why @ Unopened::UnknownKey(_)) = message.unopened {
                return Err(why.into());
            }
            if store.erase_from_message(&without(message, user_id, alias), user_id, alias).await? {
                done.messages += 1;
            } else {
                done.pending_messages += 1;
            }
            if clock.steady_ms() >= deadline_ms {
                return Ok(done);
            }
        }
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    let mut place = EvidencePlace::start();
    loop {
        let (rows, next) = store.erase_evidence_of(user_id, alias, &place).await?;
        done.evidence += rows;
        match next {
            Some(next) if clock.steady_ms() < deadline_ms => place = next,
            Some(_) => return Ok(done),
            None => {
                done.complete = true;
                return Ok(done);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `message` without the person: one that was theirs alone loses its text, in others they lose their name.
fn without(message: Message, user_id: &str, alias: &str) -> Message {
    let alone = message.recipients.iter().all(|name| name == user_id);
    let body = match serde_json::from_str(&message.body) {
        Ok(mut body) if !alone => {
            rename(&mut body, user_id, alias);
            body.to_string()
        }
        _ => "{}".to_owned(),
    };
    let name = |name: String| if name == user_id { alias.to_owned() } else { name };
    let recipients = message.recipients.into_iter().map(name).collect();
    Message { body, recipients, ..message }
}

/// Renames the person in texts that are their id, or a list of ids with `|`.
fn rename(value: &mut Value, user_id: &str, alias: &str) {
    match value {
        Value::String(text) => {
            let names: Vec<&str> =
                text.split('|').map(|name| if name == user_id { alias } else { name }).collect();
            *text = names.join("|");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, user_id, alias)),
        Value::Object(members) => members.values_mut().for_each(|member| rename(member, user_id, alias)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_is_renamed_where_they_are_named_and_nowhere_else() {
        let mut body = json!({"touser": "li|zhang|zhangsan", "text": {"content": "zhang is here",
            "mentioned_list": ["zhang", "@all"]}, "safe": 0});
        rename(&mut body, "zhang", "erased:1");
        assert_eq!(
            body,
            json!({"touser": "li|erased:1|zhangsan", "text": {"content": "zhang is here",
                "mentioned_list": ["erased:1", "@all"]}, "safe": 0})
        );
    }
}
