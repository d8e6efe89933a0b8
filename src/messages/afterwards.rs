//! What can still be done about a message: cancel it before it is sent, recall it, change its card.

use serde_json::{Map, Value};

use super::{Caller, Messages, SendChannel};
use crate::channel::wecom_app::App;
use crate::domain::delivery::{Cargo, DeliveryState};
use crate::domain::evidence::Fact;
use crate::domain::message::Message;
use crate::domain::outcome::{Outcome, Try};
use crate::domain::status::Status;
use crate::ids::MessageId;
use crate::store::{CardCode, DeliveryFilter, StoreError};
use crate::wecom::api::card_change::CardUpdate;
use crate::wecom::api::field::FieldError;

pub use crate::wecom::api::card_change::CardChange;

/// How long a card can be changed after its sending.
const CARD_MS: i64 = 72 * 3_600_000;

/// Evidence read at a time.
const PAGE: usize = 1_000;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// No message of ours has this id, or the caller may not see it.
    #[error("no such message")]
    Unknown,
    /// The request is wrong.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// It cannot be done to this message, or not any more.
    #[error("{0}")]
    Impossible(&'static str),
    /// The platform refused.
    #[error("{text}")]
    Refused {
        /// Its errcode, if it gave one.
        code: Option<i64>,
        /// What it said.
        text: String,
    },
    /// Whether it was done is not known.
    #[error("{0}")]
    Unsure(String),
    /// Not now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Messages {
    /// Takes back a message that has not left yet.
    pub async fn cancel(&self, id: &str, caller: &Caller) -> Result<MessageId, ActError> {
        let message = self.own(id, caller).await?;
        let filter =
            DeliveryFilter { cargo: Some(Cargo::Message(message.id.clone())), ..DeliveryFilter::default() };
        let mut evidence = Vec::new();
        let mut deliveries = self.store.deliveries(&filter).await?.items;
        deliveries.retain(|delivery| delivery.state == DeliveryState::Queued);
        for delivery in &deliveries {
            let attempts = self.store.attempts(&delivery.id).await?;
            if attempts.iter().any(|attempt| attempt.error.is_none()) {
                return Err(ActError::Impossible("a part of the message was sent already"));
            }
            evidence = vec![self.evidence(
                &message,
                Status::Expired,
                Some("cancelled before it was sent".to_owned()),
            )];
        }
        for delivery in &deliveries {
            if !self.store.cancel_delivery(&delivery.id, delivery.attempts, &evidence).await? {
                evidence.clear();
            }
        }
        if evidence.is_empty() {
            return Err(ActError::Impossible("the message is on its way, was sent, or is over"));
        }
        self.tell(&message.id);
        Ok(message.id)
    }

    /// Recalls a message: the platform takes it back within 24 hours, in WeCom's own programs.
    pub async fn recall(&self, id: &str, caller: &Caller) -> Result<MessageId, ActError> {
        let message = self.own(id, caller).await?;
        let app =
            self.app_of(&message, "a robot's message cannot be recalled: the platform gives it no id")?;
        let references = self.store.references(&message.id).await?;
        if self.is_recalled(&references).await? {
            return Err(ActError::Impossible("the message was recalled already"));
        }
        let own_names = names(&message);
        let handles: Vec<&String> =
            references.iter().filter(|reference| !own_names.contains(*reference)).collect();
        if handles.is_empty() {
            return Err(ActError::Impossible("the message was not sent, or the platform gave it no id"));
        }
        for msgid in handles {
            done(app.recall(msgid).await)?;
        }
        self.store.add_evidence(&[self.evidence(&message, Status::Recalled, None)]).await?;
        self.tell(&message.id);
        Ok(message.id)
    }

    /// Changes the card of a message, which can be done once.
    pub async fn update_card(&self, id: &str, caller: &Caller, change: Value) -> Result<MessageId, ActError> {
        let message = self.own(id, caller).await?;
        let app = self.app_of(&message, "a robot's card cannot be changed")?;
        let change = CardChange::parse(change)?;
        let now_ms = self.clock.wall_ms();
        let (code, given_ms) = match self.store.take_card_code(&message.id, now_ms).await? {
            CardCode::Taken(code, given_ms) => (code, given_ms),
            CardCode::Spent => {
                return Err(ActError::Impossible("the card was changed already, which works once"));
            }
            CardCode::None => {
                return Err(ActError::Impossible(
                    "the message has no card that can be changed, or was not sent yet",
                ));
            }
        };
        if now_ms.saturating_sub(given_ms) > CARD_MS {
            return Err(ActError::Impossible("the card is older than 72 hours"));
        }
        let sent: Value = serde_json::from_str(message.part(0)).unwrap_or_default();
        let update = CardUpdate { agent_id: app.agent_id(), code: &code, sent: &sent };
        done(app.update_card(&update.body(&change), &code).await)?;
        Ok(message.id)
    }

    /// The message, if the caller may see it.
    async fn own(&self, id: &str, caller: &Caller) -> Result<Message, ActError> {
        let message = self.store.message_by_reference(id).await?.ok_or(ActError::Unknown)?;
        let may = caller.allowed.is_empty() || caller.allowed.contains(&message.channel);
        may.then_some(message).ok_or(ActError::Unknown)
    }

    fn app_of(&self, message: &Message, robots: &'static str) -> Result<App, ActError> {
        match self.channels.load().get(&message.channel) {
            Some(SendChannel::App(app)) => Ok(app.clone()),
            Some(SendChannel::Robot(_)) => Err(ActError::Impossible(robots)),
            Some(SendChannel::Disabled) => Err(ActError::Impossible("the channel is switched off")),
            Some(SendChannel::ReceiveOnly) | None => Err(ActError::Impossible("the channel cannot send")),
        }
    }

    async fn is_recalled(&self, references: &[String]) -> Result<bool, StoreError> {
        let mut after = None;
        loop {
            let page = self.store.evidence(references, after.as_ref(), PAGE).await?;
            let said = |fact: &Fact| *fact == Fact::Status(Status::Recalled);
            if page.iter().any(|one| one.recipient.is_none() && said(&one.fact)) {
                return Ok(true);
            }
            if page.len() < PAGE {
                return Ok(false);
            }
            after = page.last().map(|one| one.id.clone());
        }
    }

    fn tell(&self, id: &MessageId) {
        // Lossy: the status is folded from the evidence whenever it is asked for.
        let _full = self.news.try_send(vec![id.to_string()]);
        self.dispatch.wake();
    }
}

/// Ids of a message that are not the platform's: ours, and its card's.
fn names(message: &Message) -> Vec<String> {
    let sent: Map<String, Value> = serde_json::from_str(message.part(0)).unwrap_or_default();
    let card = sent.get(&message.message_type).and_then(|card| card.get("task_id")).and_then(Value::as_str);
    [Some(message.id.as_str()), card].into_iter().flatten().map(str::to_owned).collect()
}

fn done(tried: Try) -> Result<(), ActError> {
    let text = tried.error.unwrap_or_default();
    match tried.outcome {
        Outcome::Accepted { .. } => Ok(()),
        Outcome::Lost => Err(ActError::Unsure(text)),
        Outcome::Refused | Outcome::Retry { .. } | Outcome::Wait { .. } | Outcome::Halt { .. } => {
            Err(ActError::Refused { code: tried.errcode, text })
        }
    }
}
