//! Tracked links: made when a message is taken, followed when somebody opens one.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Messages;
use crate::domain::evidence::{Evidence, Fact, InteractionKind};
use crate::entropy::Entropy;
use crate::ids::MessageId;
use crate::store::{StoreError, TrackedLink};
use crate::wecom::api::links::exchange;

/// The path below which tracked links lie.
const PATH: &str = "/l/";

/// Characters of a token: 22 that nobody can guess, and 8 that tell where it leads.
const RANDOM_CHARS: usize = 22;
const TOKEN_CHARS: usize = RANDOM_CHARS + 8;

/// Makes links. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LinkMaker {
    /// The gateway's address as people see it, without a trailing `/`; empty: none is known.
    pub public_url: String,
    /// Chance.
    pub entropy: Entropy,
}

impl LinkMaker {
    /// Exchanges the addresses in `content` for tracked ones; token and target of each. `None`: nobody knows our own
    /// address.
    pub(super) fn track(&self, content: &mut Map<String, Value>) -> Option<Vec<(String, String)>> {
        if self.public_url.is_empty() {
            return None;
        }
        let mut made = Vec::new();
        exchange(content, &mut |url| {
            let random = BASE64_URL_SAFE_NO_PAD.encode(self.entropy.bytes::<16>());
            let leads =
                BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(url.as_bytes()).get(..6).unwrap_or_default());
            let token = random + &leads;
            let link = [&self.public_url, PATH, &token].concat();
            made.push((token, url.to_owned()));
            link
        });
        Some(made)
    }
}

/// A body without what chance put into its links: two requests with the same content are the same then.
pub(super) fn without_chance(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find(PATH) {
        let (before, after) = rest.split_at(at + PATH.len());
        let is_token = after.get(..TOKEN_CHARS).is_some_and(is_token);
        out.push_str(before);
        rest = if is_token { after.get(RANDOM_CHARS..).unwrap_or_default() } else { after };
    }
    out.push_str(rest);
    out
}

fn is_token(text: &str) -> bool {
    text.len() == TOKEN_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl Messages {
    /// Where `token` leads; `None`: nowhere. With `opened`, somebody opened it, which becomes evidence: of the one who
    /// alone got the link that they read the message, else of nobody in particular.
    pub async fn follow(&self, token: &str, opened: bool) -> Result<Option<String>, StoreError> {
        if !is_token(token) {
            return Ok(None);
        }
        let Some(link) = self.store.link(token).await? else { return Ok(None) };
        if opened && let Some(message) = self.store.message(&link.message_id).await? {
            let evidence = Evidence {
                id: self.ids.make(),
                reference: message.id.to_string(),
                generation: message.generation,
                recipient: link.recipient.clone(),
                fact: Fact::Interaction(InteractionKind::Click),
                code: None,
                text: Some(link.url.clone()),
                source: message.channel.clone(),
                event_id: None,
                at_ms: self.clock.wall_ms(),
            };
            self.store.add_evidence(&[evidence]).await?;
            // Lossy: the status is folded from the evidence whenever it is asked for.
            let _full = self.news.try_send(vec![message.id.to_string()]);
        }
        Ok(Some(link.url))
    }
}

/// The rows of a message's links.
pub(super) fn rows(
    made: Vec<(String, String)>,
    message_id: &MessageId,
    recipients: &[String],
) -> Vec<TrackedLink> {
    let alone = match recipients {
        [one] if !one.starts_with("chat:") => Some(one.clone()),
        _ => None,
    };
    let row =
        |(token, url)| TrackedLink { token, message_id: message_id.clone(), recipient: alone.clone(), url };
    made.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_differ_and_a_repeated_request_is_known_all_the_same() {
        let maker = LinkMaker { public_url: "https://gw".to_owned(), entropy: Entropy::seeded(1) };
        let body = |url: &str| {
            let message = json!({"msgtype": "textcard", "textcard": {"url": url}});
            let mut content = message.as_object().unwrap().clone();
            let made = maker.track(&mut content).unwrap();
            assert!(made.len() == 1 && is_token(&made[0].0) && made[0].1 == url);
            Value::Object(content).to_string()
        };
        let (one, same, other) = (body("https://a"), body("https://a"), body("https://b"));
        assert_ne!(one, same);
        assert_eq!(without_chance(&one), without_chance(&same));
        assert_ne!(without_chance(&one), without_chance(&other), "another target is another message");
        assert_eq!(without_chance("https://x/l/short"), "https://x/l/short");
        let nowhere = LinkMaker { public_url: String::new(), entropy: Entropy::seeded(1) };
        assert_eq!(nowhere.track(&mut Map::new()), None);
    }
}
