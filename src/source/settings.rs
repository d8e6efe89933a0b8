//! From configured values to a source that can verify.

use std::sync::Arc;

use crate::sabotage::{self, Protection};
use crate::secret::Secret;
use crate::wecom::keys::{EncodingAesKey, KeyError, ReceiveIds, Token};

/// How far the timestamp of a sealed callback may be off unless configured: 26 hours, in ms. Deduplication
/// remembers longer, so a replay is either refused or recognised.
pub const WINDOW_MS: i64 = 26 * 3_600_000;

/// The same for signed plain JSON: 300 s.
pub const PLAIN_WINDOW_MS: i64 = 300_000;

/// `receive_ids` with this in it accepts every receive id.
const ANY_RECEIVE_ID: &str = "*";

/// One app or robot of WeCom in its role of calling us.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The channel's name.
    pub name: String,
    /// The last part of its address.
    pub handler: String,
    /// Whether its callbacks are taken.
    pub enabled: bool,
    /// How sealed callbacks are opened; `None`: there are none.
    pub sealed: Option<SealedSettings>,
    /// The app's number; callbacks of another self-built app are refused. `None`: not compared.
    pub agent_id: Option<String>,
    /// The secret of PMC's signed plain JSON; empty: there is none.
    pub plain_secret: Secret,
    /// How far the timestamp of signed plain JSON may be off, in ms.
    pub plain_window_ms: i64,
}

/// How sealed callbacks of a source are opened.
#[derive(Clone, Debug)]
pub struct SealedSettings {
    /// The keys in force.
    pub keys: CallbackKeys,
    /// The keys before them, accepted too while they are exchanged. An empty half is the one in force.
    pub previous: Option<CallbackKeys>,
    /// What may stand behind a message: corp or suite ids, `""` for robots, `*` for anything.
    pub receive_ids: Vec<String>,
    /// How far the timestamp of a delivery may be off, in ms.
    pub window_ms: i64,
}

/// Token and `EncodingAESKey` as configured.
#[derive(Clone, Debug)]
pub struct CallbackKeys {
    /// Signs.
    pub token: Secret,
    /// Encrypts.
    pub encoding_aes_key: Secret,
}

/// A source that can verify.
#[derive(Clone)]
pub(super) struct WecomSource {
    pub(super) name: Arc<str>,
    pub(super) enabled: bool,
    pub(super) sealed: Option<SealedKeys>,
    pub(super) agent_id: Option<String>,
    pub(super) plain: Option<PlainKeys>,
}

/// What opens sealed callbacks.
#[derive(Clone)]
pub(super) struct SealedKeys {
    /// The keys in force, then the previous ones.
    pub(super) pairs: Vec<Arc<(Token, EncodingAesKey)>>,
    pub(super) receive_ids: ReceiveIds,
    pub(super) window_ms: i64,
}

/// What proves signed plain JSON.
#[derive(Clone)]
pub(super) struct PlainKeys {
    pub(super) secret: Secret,
    /// The robot's Token; may be empty.
    pub(super) token: Secret,
    pub(super) window_ms: i64,
}

impl WecomSource {
    /// Checks the keys. A source that is switched off may lack them.
    pub(super) fn build(settings: SourceSettings) -> Result<Self, Vec<String>> {
        let SourceSettings { name, enabled, sealed, agent_id, plain_secret, plain_window_ms, .. } = settings;
        let token = sealed.as_ref().map(|sealed| sealed.keys.token.clone()).unwrap_or_default();
        let plain = (!plain_secret.is_empty()).then_some(PlainKeys {
            secret: plain_secret,
            token,
            window_ms: plain_window_ms,
        });
        let sealed = match sealed.map(SealedKeys::build).transpose() {
            Ok(sealed) => sealed,
            Err(_) if !enabled => None,
            Err(problems) => {
                return Err(problems.iter().map(|problem| format!("channel {name}: {problem}")).collect());
            }
        };
        let agent_id = agent_id.filter(|id| !id.is_empty());
        Ok(Self { name: name.into(), enabled, sealed, agent_id, plain })
    }

    /// Whether there is any way to call it; one that is switched off keeps its address, and refuses there.
    pub(super) fn can_be_called(&self) -> bool {
        !self.enabled || self.sealed.is_some() || self.plain.is_some()
    }
}

impl SealedKeys {
    fn build(settings: SealedSettings) -> Result<Self, Vec<KeyError>> {
        let SealedSettings { keys, previous, receive_ids, window_ms } = settings;
        let current = parse(&keys);
        let previous = previous.filter(|_| !sabotage::off(Protection::PreviousKeys)).map(|before| {
            let half = |before: Secret, now: &Secret| if before.is_empty() { now.clone() } else { before };
            parse(&CallbackKeys {
                token: half(before.token, &keys.token),
                encoding_aes_key: half(before.encoding_aes_key, &keys.encoding_aes_key),
            })
        });
        let mut pairs = Vec::new();
        let mut problems = Vec::new();
        for pair in std::iter::once(current).chain(previous) {
            match pair {
                Ok(pair) => pairs.push(Arc::new(pair)),
                Err(found) => problems.extend(found),
            }
        }
        let receive_ids = if receive_ids.iter().any(|id| id == ANY_RECEIVE_ID) {
            ReceiveIds::any()
        } else {
            ReceiveIds::new(receive_ids)
        };
        if problems.is_empty() { Ok(Self { pairs, receive_ids, window_ms }) } else { Err(problems) }
    }
}

fn parse(keys: &CallbackKeys) -> Result<(Token, EncodingAesKey), Vec<KeyError>> {
    match (Token::parse(keys.token.expose()), EncodingAesKey::parse(keys.encoding_aes_key.expose())) {
        (Ok(token), Ok(key)) => Ok((token, key)),
        (token, key) => Err(token.err().into_iter().chain(key.err()).collect()),
    }
}

/// Pairs of sources at one address that no callback could tell apart.
pub(super) fn indistinguishable(handler: &str, sources: &[WecomSource]) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, one) in sources.iter().enumerate() {
        for other in sources.iter().skip(at + 1) {
            if one.enabled && other.enabled && one.looks_like(other) {
                problems.push(format!(
                    "channels {} and {} share the handler `{handler}`, keys, receive ids and AgentID: no callback could \
                     tell them apart",
                    one.name, other.name
                ));
            }
        }
    }
    problems
}

impl WecomSource {
    /// Whether every callback that fits one fits the other.
    fn looks_like(&self, other: &Self) -> bool {
        let sealed = match (&self.sealed, &other.sealed) {
            (Some(mine), Some(theirs)) => {
                mine.pairs.iter().any(|pair| theirs.pairs.contains(pair))
                    && mine.receive_ids.overlaps(&theirs.receive_ids)
                    && self.agent_id == other.agent_id
            }
            _ => false,
        };
        let plain = match (&self.plain, &other.plain) {
            (Some(mine), Some(theirs)) => mine.secret == theirs.secret && mine.token == theirs.token,
            _ => false,
        };
        sealed || plain
    }
}
