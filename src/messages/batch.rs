//! Many messages at once: all of them are kept, in one transaction, or none.

use serde_json::Value;

use super::limits::SendLimits;
use super::request::wrong;
use super::{Accepted, Caller, Messages, SendError};

impl Messages {
    /// Accepts all of `requests`, each as [`Messages::send`] takes it and perhaps with an `idempotency_key`; the answers
    /// stand in the same order.
    pub async fn send_all(&self, requests: Vec<Value>, caller: &Caller) -> Result<Vec<Accepted>, SendError> {
        let SendLimits { batch_messages_max, batch_recipients_max, .. } = self.limits;
        if requests.is_empty() || requests.len() > batch_messages_max {
            let allowed = format!("1 to {batch_messages_max} messages");
            return Err(wrong("messages", allowed, format!("{} messages", requests.len())).into());
        }
        let mut new = Vec::with_capacity(requests.len());
        let mut recipients = 0;
        for (at, mut request) in requests.into_iter().enumerate() {
            let of_batch = |error: SendError| SendError::OfBatch(at, Box::new(error));
            let key = match request.as_object_mut().and_then(|request| request.remove("idempotency_key")) {
                None => None,
                Some(Value::String(key)) => Some(key),
                Some(_) => {
                    return Err(of_batch(wrong("idempotency_key", "a string", "something else").into()));
                }
            };
            let one = self.prepare(request, caller, key.as_deref()).map_err(of_batch)?;
            self.check_file(&one.message).await.map_err(of_batch)?;
            recipients += one.message.recipients.len();
            if recipients > batch_recipients_max {
                let allowed = format!("at most {batch_recipients_max} recipients in all");
                return Err(wrong("messages", allowed, "more").into());
            }
            new.push(one);
        }
        self.add(new).await
    }
}
