//! Accepting a message to be sent: checked, made a row with its delivery, handed to the sender.
//!
//! What is accepted is on disk with its first evidence (`pending`) before the caller hears of it. A message is
//! checked here against the platform's limits, because the platform's own answer comes too late for the caller.

mod afterwards;
mod batch;
mod content;
mod files;
mod limits;
mod links;
mod request;
mod respond;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::channel::response_url::Responder;
use crate::channel::wecom_app::App;
use crate::channel::wecom_robot::Robot;
use crate::clock::Clock;
use crate::dispatch::Dispatch;
use crate::domain::delivery::{Cargo, Delivery, DeliveryState};
use crate::domain::evidence::{Evidence, Fact};
use crate::domain::message::Message;
use crate::domain::status::Status;
use crate::ids::{IdMaker, MessageId};
use crate::secret::Secret;
use crate::store::{AddedMessage, NewMessage, Store, StoreError};
use crate::wecom::api::field::FieldError;

pub use afterwards::{ActError, CardChange};
use content::Prepared;
pub use files::NewFile;
pub use limits::SendLimits;
pub use links::LinkMaker;
pub use request::PRIORITY_MAX;
use request::{Options, Request, wrong};

/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// What a configured channel can do for a sender.
#[derive(Clone, Debug)]
pub enum SendChannel {
    /// A group robot.
    Robot(Robot),
    /// An app.
    App(App),
    /// Switched off in the configuration.
    Disabled,
    /// Only receives.
    ReceiveOnly,
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A field is missing, of a wrong type or over its limit.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// No channel has this name.
    #[error("no such channel")]
    UnknownChannel,
    /// The channel is switched off.
    #[error("the channel is disabled")]
    Disabled,
    /// The channel only receives.
    #[error("the channel cannot send")]
    ReceiveOnly,
    /// A message of a batch was not accepted, so none was.
    #[error("messages[{0}]: {1}")]
    OfBatch(usize, Box<SendError>),
    /// The idempotency key stands for another message.
    #[error("the idempotency key was used for another message")]
    KeyReused,
    /// Not now; nothing is known to be written.
    #[error(transparent)]
    Store(StoreError),
}

/// A message that is a row now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: MessageId,
    /// Whether it was there before, under the same idempotency key.
    pub repeated: bool,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// What scopes their idempotency keys: the id of their API key.
    pub scope: String,
    /// The channels they may use; empty: all.
    pub allowed: Vec<String>,
}

/// Takes messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Messages {
    store: Store,
    clock: Clock,
    ids: IdMaker,
    dispatch: Dispatch,
    news: mpsc::Sender<Vec<String>>,
    channels: Arc<ArcSwap<HashMap<String, SendChannel>>>,
    links: Option<LinkMaker>,
    responder: Option<Responder>,
    limits: SendLimits,
}

impl Messages {
    /// Takes messages for `channels` and hands them to `dispatch`; `news` is told after each commit.
    pub fn new(
        store: Store,
        clock: Clock,
        ids: IdMaker,
        dispatch: Dispatch,
        news: mpsc::Sender<Vec<String>>,
        channels: HashMap<String, SendChannel>,
    ) -> Self {
        Self {
            store,
            clock,
            ids,
            dispatch,
            news,
            channels: Arc::new(ArcSwap::from_pointee(channels)),
            links: None,
            responder: None,
            limits: SendLimits::default(),
        }
    }

    /// The same with links that are noticed when people open them.
    #[must_use]
    pub fn with_links(self, links: LinkMaker) -> Self {
        Self { links: Some(links), ..self }
    }

    /// The same, answering callbacks of smart robots.
    #[must_use]
    pub fn with_responder(self, responder: Responder) -> Self {
        Self { responder: Some(responder), ..self }
    }

    /// The same with other bounds of requests.
    #[must_use]
    pub fn with_limits(self, limits: SendLimits) -> Self {
        Self { limits, ..self }
    }

    /// Exchanges the channels.
    pub fn reload(&self, channels: HashMap<String, SendChannel>) {
        self.channels.store(Arc::new(channels));
    }

    /// The apps of a corp that can be sent through, by channel name.
    pub fn apps_of(&self, corp_id: &str) -> Vec<(String, App)> {
        let channels = self.channels.load();
        let apps = channels.iter().filter_map(|(name, channel)| match channel {
            SendChannel::App(app) if app.token_of().credentials().corp_id == corp_id => {
                Some((name.clone(), app.clone()))
            }
            _ => None,
        });
        let mut apps: Vec<_> = apps.collect();
        apps.sort_by(|(one, _), (other, _)| one.cmp(other));
        apps
    }

    /// The robots that can be sent through, by channel name.
    pub fn robots(&self) -> Vec<(String, Robot)> {
        let channels = self.channels.load();
        let robots = channels.iter().filter_map(|(name, channel)| match channel {
            SendChannel::Robot(robot) => Some((name.clone(), robot.clone())),
            _ => None,
        });
        robots.collect()
    }

    /// Told the references of messages whose delivery ended on this replica; lossy.
    pub fn ended(&self) -> tokio::sync::broadcast::Receiver<Arc<str>> {
        self.dispatch.ended()
    }

    /// Accepts one message: `{"channel": …, "msgtype": …, …}` in the platform's own form, with the gateway's
    /// `expires_at`, `send_at`, `priority`, `policy` and `long_text` beside it.
    pub async fn send(
        &self,
        request: Value,
        caller: &Caller,
        idempotency_key: Option<&str>,
    ) -> Result<Accepted, SendError> {
        let new = self.prepare(request, caller, idempotency_key)?;
        self.check_file(&new.message).await?;
        self.add(vec![new]).await?.pop().ok_or(SendError::Store(StoreError::Busy))
    }

    /// Checks one message and makes its rows.
    fn prepare(
        &self,
        request: Value,
        caller: &Caller,
        idempotency_key: Option<&str>,
    ) -> Result<NewMessage, SendError> {
        let wall_ms = self.clock.wall_ms();
        let Request { channel, options, mut content } = Request::parse(request, wall_ms, &self.limits)?;
        let found = self.channel(&channel, caller)?;
        let id: MessageId = self.ids.make();
        let idempotency_key = scoped_key(caller, idempotency_key)?;
        let unique = idempotency_key.as_deref().map_or_else(|| id.to_string(), fingerprint);
        content::expand(&mut content);
        let made = if options.track_links { self.tracked(&mut content)? } else { Vec::new() };
        let Prepared { message_type, body, recipients, policy, references } =
            content::prepare(&found, content, (&options, &self.limits), &unique)?;
        let links = links::rows(made, &id, &recipients);
        let message = Message {
            id,
            channel,
            message_type: message_type.to_owned(),
            body,
            unopened: None,
            recipients,
            policy,
            idempotency_key,
            status: Status::Pending,
            generation: 0,
            created_ms: wall_ms,
            updated_ms: wall_ms,
            expires_ms: options.expires_ms,
        };
        Ok(NewMessage { links, ..self.rows(message, &options, references) })
    }

    fn tracked(&self, content: &mut Map<String, Value>) -> Result<Vec<(String, String)>, FieldError> {
        let made = self.links.as_ref().and_then(|links| links.track(content));
        made.ok_or_else(|| wrong("track_links", "false, since webhook.public_url is not configured", "true"))
    }

    /// The channel, if it can be sent through.
    fn channel(&self, name: &str, caller: &Caller) -> Result<SendChannel, SendError> {
        if !caller.allowed.is_empty() && !caller.allowed.iter().any(|allowed| allowed == name) {
            return Err(SendError::UnknownChannel);
        }
        match self.channels.load().get(name) {
            None => Err(SendError::UnknownChannel),
            Some(SendChannel::Disabled) => Err(SendError::Disabled),
            Some(SendChannel::ReceiveOnly) => Err(SendError::ReceiveOnly),
            Some(found) => Ok(found.clone()),
        }
    }

    fn rows(&self, message: Message, options: &Options, references: Vec<String>) -> NewMessage {
        let wait_ms = options.send_ms.map_or(0, |send_ms| send_ms.saturating_sub(message.created_ms).max(0));
        let delivery = Delivery {
            id: self.ids.make(),
            target_id: message.channel.clone(),
            cargo: Cargo::Message(message.id.clone()),
            run: 0,
            priority: options.priority,
            attempts: 0,
            state: DeliveryState::Queued,
            due_ms: Some(self.clock.steady_ms().saturating_add(wait_ms)),
            started_ms: None,
            expires_ms: message.expires_ms,
            created_ms: message.created_ms,
        };
        let evidence = self.evidence(&message, Status::Pending, None);
        NewMessage { message, delivery, evidence, references, links: Vec::new() }
    }

    /// A fact about a whole message that the gateway itself brought about.
    fn evidence(&self, message: &Message, status: Status, text: Option<String>) -> Evidence {
        Evidence {
            id: self.ids.make(),
            reference: message.id.to_string(),
            generation: message.generation,
            recipient: None,
            fact: Fact::Status(status),
            code: None,
            text,
            source: message.channel.clone(),
            event_id: None,
            at_ms: self.clock.wall_ms(),
        }
    }

    /// Adds messages in one transaction and hands them to the sender.
    async fn add(&self, new: Vec<NewMessage>) -> Result<Vec<Accepted>, SendError> {
        let added = self.store.add_messages(&new).await.map_err(SendError::Store)?;
        let mut accepted = Vec::with_capacity(new.len());
        let mut references = Vec::new();
        for (new, added) in new.into_iter().zip(added) {
            match added {
                AddedMessage::Repeat { id } => accepted.push(self.repeat(id, &new.message).await?),
                AddedMessage::New => {
                    let id = new.message.id.clone();
                    references.push(id.to_string());
                    self.dispatch.offer(new.delivery, Arc::new(new.message));
                    accepted.push(Accepted { id, repeated: false });
                }
            }
        }
        // Lossy: the status is folded from the evidence whenever it is asked for.
        let _full = self.news.try_send(references);
        Ok(accepted)
    }

    /// The same key must mean the same message.
    async fn repeat(&self, id: MessageId, asked: &Message) -> Result<Accepted, SendError> {
        let found = self.store.message(&id).await.map_err(SendError::Store)?;
        let is_same = |found: &Message| {
            (&found.channel, &found.message_type) == (&asked.channel, &asked.message_type)
                && links::without_chance(&found.body) == links::without_chance(&asked.body)
        };
        match found {
            Some(Message { unopened: Some(why), .. }) => Err(SendError::Store(why.into())),
            Some(found) if is_same(&found) => Ok(Accepted { id, repeated: true }),
            _ => Err(SendError::KeyReused),
        }
    }
}

fn scoped_key(caller: &Caller, key: Option<&str>) -> Result<Option<String>, FieldError> {
    let Some(key) = key else { return Ok(None) };
    let is_fit = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if !is_fit {
        let limit = format!("1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters");
        return Err(wrong("Idempotency-Key", limit, format!("{} bytes", key.len())));
    }
    Ok(Some(format!("{}:{key}", caller.scope)))
}

/// A name for a key that may stand in a card's task id.
fn fingerprint(key: &str) -> String {
    format!("key-{}", Secret::new(key).fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_keys_are_bounded_and_scoped() {
        let caller = Caller { scope: "key_1".to_owned(), allowed: Vec::new() };
        assert_eq!(scoped_key(&caller, None).unwrap(), None);
        assert_eq!(scoped_key(&caller, Some("a b")).unwrap().as_deref(), Some("key_1:a b"));
        assert!(scoped_key(&caller, Some(&"k".repeat(IDEMPOTENCY_KEY_BYTES_MAX))).is_ok());
        for bad in
            [String::new(), "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1), "é".to_owned(), "a\n".to_owned()]
        {
            assert_eq!(scoped_key(&caller, Some(&bad)).unwrap_err().field, "Idempotency-Key");
        }
    }
}
