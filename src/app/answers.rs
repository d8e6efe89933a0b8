//! How sources answer, and who else gets their callbacks: from the configuration to the parts that do it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{ChannelConfig, Config};
use crate::endpoint::guard::Guard;
use crate::endpoint::http::WebClient;
use crate::endpoint::signing::SigningKey;
use crate::entropy::Entropy;
use crate::replies::{Ask, Replies, RepliesBySource, SourceReplies};
use crate::shadow::{Old, Shadow, ShadowsBySource};
use crate::store::Store;

/// What answers callbacks, and calls whom it needs to.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) client: WebClient,
    pub(super) replies: Replies,
    pub(super) shadow: Shadow,
}

/// What is made of the channels for it, exchanged together.
pub(super) struct Answers {
    replies: RepliesBySource,
    shadows: ShadowsBySource,
}

impl Answering {
    /// Answers as `config` says.
    pub(super) fn new(
        config: &Config,
        store: &Store,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<Self, String> {
        let client = WebClient::new(config.outbound.web.clone(), Guard::new(config.guard_rules()))?;
        let Answers { replies, shadows } = build(config, &client)?;
        let limits = &config.limits;
        Ok(Self {
            replies: Replies::new(
                replies,
                client.clone(),
                limits.reply,
                store.clone(),
                clock.clone(),
                entropy.clone(),
            ),
            shadow: Shadow::new(shadows, client.clone(), limits.shadow, clock.clone()),
            client,
        })
    }

    /// What a new configuration says; nothing is exchanged yet.
    pub(super) fn prepare(&self, config: &Config) -> Result<Answers, String> {
        build(config, &self.client)
    }

    /// From now on answers in this way.
    pub(super) fn reload(&self, answers: Answers) {
        self.replies.reload(answers.replies);
        self.shadow.reload(answers.shadows);
    }
}

/// Builds both; the error has every problem, a line each.
fn build(config: &Config, client: &WebClient) -> Result<Answers, String> {
    let mut answers = Answers { replies: HashMap::new(), shadows: HashMap::new() };
    let mut problems = Vec::new();
    for channel in config.channels.iter().filter(|channel| channel.enabled) {
        if let Err(problem) = add(channel, client, &mut answers) {
            problems.push(format!("channel {}: {problem}", channel.name));
        }
    }
    if problems.is_empty() { Ok(answers) } else { Err(problems.join("\n")) }
}

fn add(channel: &ChannelConfig, client: &WebClient, answers: &mut Answers) -> Result<(), String> {
    let own = &channel.replies;
    let mut ask = None;
    if let Some(wanted) = &own.ask {
        ask = Some(Arc::new(Ask {
            url: client.guard().url(&wanted.url)?,
            key: SigningKey::parse(&wanted.secret)?,
            kinds: wanted.kinds.clone(),
            timeout_ms: wanted.timeout_ms,
        }));
    }
    if ask.is_some() || !own.rules.is_empty() {
        answers.replies.insert(channel.name.clone(), SourceReplies { rules: own.rules.clone(), ask });
    }
    if let Some(shadow) = &channel.shadow {
        let url = client.guard().url(&shadow.url)?;
        let old = Old { url, mode: shadow.mode, timeout_ms: shadow.timeout_ms };
        answers.shadows.insert(channel.name.clone(), Arc::new(old));
    }
    Ok(())
}
