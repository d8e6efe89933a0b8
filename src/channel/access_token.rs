//! The access token of one app: fetched by one caller while the others wait, refreshed early, dropped when the
//! platform no longer takes it, and never asked for in a loop.
//!
//! A wrong secret asked about 2,000 times an hour gets the whole address blocked, so after a refusal nobody asks for a
//! minute, then two, up to a quarter of an hour; a new configuration asks at once. A token is dropped only if it is
//! still the one that failed: else two failures at once would kill each other's fresh token. Replicas with a Redis put
//! what one of them got on a shelf, where the others find it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use super::transport::Transport;
use super::verdict::judge;
use crate::clock::Clock;
use crate::domain::outcome::{Outcome, RetryCause, Try};
use crate::entropy::Entropy;
use crate::ephemeral::{Ephemeral, Shelf, Taken};
use crate::sabotage::{self, Protection};
use crate::secret::Secret;
use crate::wecom::api::token::FreshToken;

/// A token is fetched anew this long before it ends, or a tenth of its life if that is shorter.
const EARLY_MS_MAX: i64 = 300_000;

/// A token that says it ends sooner is used this long all the same.
const LIFE_MS_MIN: i64 = 60_000;

/// After the first refusal nobody asks for this long; it doubles with each further one.
const REFUSED_REST_MS: i64 = 60_000;

/// The longest of these rests.
const REFUSED_REST_MS_MAX: i64 = 900_000;

/// How long a failure to reach the platform is told to those who ask next.
const UNREACHED_MS: i64 = 1_000;

/// Who a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Where the API is, without a trailing `/`.
    pub base_url: String,
    /// The corp.
    pub corp_id: String,
    /// The app's secret.
    pub secret: Secret,
}

impl Credentials {
    fn url(&self) -> Secret {
        let encoded = |text: &str| {
            reqwest::Url::parse_with_params("http://x/", [("v", text)]).map_or_else(
                |_unlikely| String::new(),
                |url| url.query().unwrap_or_default().trim_start_matches("v=").to_owned(),
            )
        };
        Secret::new(format!(
            "{}/cgi-bin/gettoken?corpid={}&corpsecret={}",
            self.base_url,
            encoded(&self.corp_id),
            encoded(self.secret.expose())
        ))
    }
}

/// Of the time for one request: how long others leave the fetch to the one who began, and how long they wait before
/// they ask for themselves. Who wants a token has half that time altogether.
const FETCH_PART: u64 = 2;
const WAIT_PART: u64 = 8;

/// The token of one corp and secret.
#[derive(Debug)]
pub struct AccessToken {
    credentials: Credentials,
    /// Where replicas share it.
    shelf: Option<Shelf>,
    transport: Transport,
    clock: Clock,
    entropy: Entropy,
    state: AsyncMutex<State>,
    /// Why there is no token, for people.
    problem: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Held>,
    /// Until when nobody asks, steady ms, and what they are told instead.
    closed: Option<(i64, Try)>,
    refusals: u32,
    /// The last token that the platform no longer took.
    failed: Option<Secret>,
}

#[derive(Debug)]
struct Held {
    token: Secret,
    refresh_ms: i64,
}

impl AccessToken {
    /// A token that is fetched when it is first asked for.
    pub fn new(credentials: Credentials, transport: Transport, clock: Clock, entropy: Entropy) -> Self {
        Self {
            credentials,
            shelf: None,
            transport,
            clock,
            entropy,
            state: AsyncMutex::default(),
            problem: Mutex::default(),
        }
    }

    /// The same, shared with other replicas by `ephemeral`.
    #[must_use]
    pub fn shared_by(mut self, ephemeral: &Ephemeral) -> Self {
        let whom = [self.credentials.base_url.as_str(), self.credentials.corp_id.as_str()];
        self.shelf = ephemeral.shelf(&whom, &self.credentials.secret);
        self
    }

    /// Where the API is that takes it.
    pub fn base_url(&self) -> &str {
        &self.credentials.base_url
    }

    /// Whom it is for.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The token.
    ///
    /// # Errors
    /// What the try to send comes to that wanted it: nothing was sent.
    pub async fn get(&self) -> Result<Secret, Try> {
        // Whoever holds the lock fetches; all who come meanwhile wait here and find what it brought.
        let mut state = self.state.lock().await;
        let now_ms = self.clock.steady_ms();
        if let Some(held) = state.token.as_ref().filter(|held| now_ms < held.refresh_ms) {
            return Ok(held.token.clone());
        }
        if let Some((until_ms, told)) = &state.closed
            && now_ms < *until_ms
            && !sabotage::off(Protection::TokenBreaker)
        {
            let mut told = told.clone();
            let left_ms = until_ms.saturating_sub(now_ms);
            match &mut told.outcome {
                Outcome::Wait { rest_ms } => *rest_ms = left_ms,
                Outcome::Halt { rest_ms } => *rest_ms = Some(left_ms),
                _ => {}
            }
            return Err(told);
        }
        let Some(shared) = &self.shelf else {
            return self.fetch(&mut state, now_ms).await.map(|(token, _)| token);
        };
        let whole_ms = self.transport.attempt_timeout_ms();
        match shared.take(state.failed.as_ref(), whole_ms / WAIT_PART, whole_ms / FETCH_PART).await {
            Taken::Token(token, life_ms) => {
                let refresh_ms = self.clock.steady_ms().saturating_add(life_ms);
                *state = State { token: Some(Held { token: token.clone(), refresh_ms }), ..State::default() };
                self.say(None);
                Ok(token)
            }
            Taken::Fetch(mark) => {
                let fetched = self.fetch(&mut state, now_ms).await;
                if let Ok((token, refresh_ms)) = &fetched {
                    shared.put(token, refresh_ms.saturating_sub(self.clock.steady_ms())).await;
                }
                if let Some(mark) = mark {
                    shared.finish(mark).await;
                }
                fetched.map(|(token, _)| token)
            }
        }
    }

    /// The platform no longer takes `failed`.
    pub async fn invalidate(&self, failed: &Secret) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|held| held.token == *failed) {
            state.token = None;
            state.failed = Some(failed.clone());
            if let Some(shelf) = &self.shelf {
                shelf.discard(failed).await;
            }
        }
    }

    /// Why there is no token; `None`: nothing is known to be wrong.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `text` without the secret, should somebody have echoed it.
    pub fn redact(&self, text: &str) -> String {
        text.replace(self.credentials.secret.expose(), "***")
    }

    /// Asks the platform; the token, and until when it is used (steady ms).
    async fn fetch(&self, state: &mut State, asked_ms: i64) -> Result<(Secret, i64), Try> {
        let mut verdict = judge(self.transport.get(&self.credentials.url()).await);
        // It holds the token, or may hold the secret.
        verdict.tried.answer = None;
        let tried = verdict.tried;
        let fresh = match &tried.outcome {
            Outcome::Accepted { .. } => FreshToken::parse(&verdict.body).ok(),
            _ => None,
        };
        let Some(fresh) = fresh else { return Err(self.failed(state, tried)) };
        // A life of nothing would be a fetch for each message.
        let life_ms = fresh.expires_s.saturating_mul(1_000).max(LIFE_MS_MIN);
        let early_ms = (life_ms / 10).min(EARLY_MS_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a share of at most five minutes in ms")]
        #[expect(clippy::cast_precision_loss, reason = "jitter")]
        let jitter_ms = (early_ms as f64 * self.entropy.unit() / 2.0) as i64;
        let refresh_ms = asked_ms.saturating_add(life_ms).saturating_sub(early_ms + jitter_ms);
        *state = State { token: Some(Held { token: fresh.token.clone(), refresh_ms }), ..State::default() };
        self.say(None);
        Ok((fresh.token, refresh_ms))
    }

    /// No token: what that means for the message that wanted one.
    fn failed(&self, state: &mut State, mut tried: Try) -> Try {
        let now_ms = self.clock.steady_ms();
        let why = tried.error.take().unwrap_or_else(|| "the answer has no token".to_owned());
        tried.error = Some(self.redact(&format!("no access token: {why}")));
        let rest_ms = match tried.outcome {
            Outcome::Refused | Outcome::Halt { .. } => {
                state.refusals = state.refusals.saturating_add(1);
                let doubled = REFUSED_REST_MS.saturating_mul(1 << (state.refusals - 1).min(10));
                let rest_ms = doubled.min(REFUSED_REST_MS_MAX);
                tried.outcome = Outcome::Halt { rest_ms: Some(rest_ms) };
                self.say(tried.error.clone());
                tracing::error!(
                    corp_id = self.credentials.corp_id,
                    error = tried.error.as_deref().unwrap_or_default(),
                    rest_s = rest_ms / 1_000,
                    "WeCom gives no access token; nothing is sent until it does"
                );
                rest_ms
            }
            Outcome::Wait { rest_ms } => rest_ms,
            _ => {
                // Whatever became of this request, the message has not left.
                tried.outcome = Outcome::Retry { cause: RetryCause::NotSent, after_ms: None };
                UNREACHED_MS
            }
        };
        state.closed = Some((now_ms.saturating_add(rest_ms), tried.clone()));
        tried
    }

    fn say(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// The tokens of all apps: one for each corp and secret, kept when the configuration is read again. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TokenDesk {
    tokens: Arc<Mutex<HashMap<String, Arc<AccessToken>>>>,
    ephemeral: Option<Ephemeral>,
}

impl TokenDesk {
    /// A desk whose tokens are shared with other replicas by `ephemeral`.
    pub fn shared_by(ephemeral: Ephemeral) -> Self {
        Self { tokens: Arc::default(), ephemeral: Some(ephemeral) }
    }

    /// The token of `credentials`. One that could not be had is begun anew: somebody may have mended what was wrong.
    pub fn token(
        &self,
        credentials: &Credentials,
        transport: &Transport,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Arc<AccessToken> {
        let name =
            format!("{} {} {}", credentials.base_url, credentials.corp_id, credentials.secret.fingerprint());
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(&name).filter(|token| token.problem().is_none()) {
            return Arc::clone(token);
        }
        let token = AccessToken::new(credentials.clone(), transport.clone(), clock.clone(), entropy.clone());
        let token = Arc::new(match &self.ephemeral {
            Some(ephemeral) => token.shared_by(ephemeral),
            None => token,
        });
        tokens.insert(name, Arc::clone(&token));
        token
    }
}
