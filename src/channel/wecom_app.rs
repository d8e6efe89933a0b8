//! An app of a corp: messages to people, departments and tags, each with an answer that names who was not reached.
//!
//! The platform knows a repetition by the bytes of the request (`enable_duplicate_check`), so a request whose answer
//! was lost is sent again as it was. A token that is no longer taken is exchanged once within an attempt.
//! Protocol: developer.work.weixin.qq.com/document/path/90236 (发送应用消息).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::access_token::AccessToken;
use super::transport::{Exchange, Transport};
use super::verdict::{REST_MS, Verdict, judge, where_a_grant_of_its_own_is_needed, where_nothing_is_checked};
use crate::clock::Clock;
use crate::domain::evidence::{TEXT_BYTES_MAX, cut};
use crate::domain::outcome::{Outcome, RefusedRecipient, RetryCause, Try};
use crate::secret::Secret;
use crate::wecom::api::media::MediaKind;
use crate::wecom::api::sent::SentAnswer;
use crate::wecom::errcode::ErrcodeClass;

/// How long the app rests after 45009: the block may be of a minute, of an hour or of the day, and nothing says which.
const RESTS_MS: [i64; 3] = [REST_MS, 300_000, 3_600_000];

/// The longest text of an answer in which secrets are looked for.
const MSGID_BYTES_MAX: usize = 256;

/// An app that can be sent through. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    agent_id: u64,
    token: Arc<AccessToken>,
    transport: Transport,
    clock: Clock,
    /// Answers in a row that said "too many calls".
    limited: Arc<AtomicU32>,
}

impl App {
    /// The app `agent_id`, whose calls `token` opens.
    pub fn new(agent_id: u64, token: Arc<AccessToken>, transport: Transport, clock: Clock) -> Self {
        Self { agent_id, token, transport, clock, limited: Arc::default() }
    }

    /// Its number.
    pub fn agent_id(&self) -> u64 {
        self.agent_id
    }

    /// The token it uses.
    pub fn token_of(&self) -> Arc<AccessToken> {
        Arc::clone(&self.token)
    }

    /// What tells it from other apps.
    pub fn identity(&self) -> String {
        let credentials = self.token.credentials();
        format!("{} {} {}", credentials.base_url, credentials.corp_id, self.agent_id)
    }

    /// The longest that one try can take: a token that is taken no more costs a second fetch and a second request.
    pub fn attempt_timeout_ms(&self) -> u64 {
        self.transport.attempt_timeout_ms().saturating_mul(2)
    }

    /// Sends one message: `body` is what `message/send` takes, or for a group chat `appchat/send`.
    pub async fn deliver(&self, body: &str) -> Try {
        let asked = Asked::of(body);
        let is_for_chat = asked.chatid.is_some();
        let method = if is_for_chat { "appchat/send" } else { "message/send" };
        let verdict = self.call(method, body).await;
        let mut tried = verdict.tried;
        if is_for_chat {
            tried = where_nothing_is_checked(tried);
        }
        if asked.needs_a_grant_of_its_own() {
            tried = where_a_grant_of_its_own_is_needed(tried);
        }
        if matches!(tried.outcome, Outcome::Accepted { .. }) {
            let answer = SentAnswer::parse(&verdict.body);
            tried.outcome = accepted(&answer);
            if let Some(code) = &answer.response_code {
                tried.answer = tried.answer.map(|text| text.replace(code.expose(), "***"));
            }
            tried.response_code = answer.response_code;
        }
        tried
    }

    /// Recalls the message that the platform knows as `msgid`.
    pub async fn recall(&self, msgid: &str) -> Try {
        let body = serde_json::json!({ "msgid": msgid }).to_string();
        self.call("message/recall", &body).await.tried
    }

    /// Changes a card; `body` holds `code`.
    pub async fn update_card(&self, body: &str, code: &Secret) -> Try {
        let mut tried = self.call("message/update_template_card", body).await.tried;
        tried.error = tried.error.map(|text| text.replace(code.expose(), "***"));
        tried
    }

    /// Makes or changes a group chat (`appchat/create`, `appchat/update`) by `body`, or asks for one without
    /// (`appchat/get?chatid=…`). The platform's answer.
    pub async fn chat(&self, method: &str, body: Option<&str>) -> (Try, Bytes) {
        let verdict = self.exchange(method, |url| {
            let (transport, body) = (self.transport.clone(), body.map(ToOwned::to_owned));
            async move {
                match body {
                    Some(body) => transport.post_json(&url, body).await,
                    None => transport.get(&url).await,
                }
            }
        });
        let verdict = verdict.await;
        (verdict.tried, verdict.body)
    }

    /// Uploads a file: `body` is a form (`content_type` says which) with the file under `media`. The platform's answer.
    pub async fn upload(&self, kind: MediaKind, content_type: &str, body: Bytes) -> (Try, Bytes) {
        let method = format!("media/upload?type={}", kind.as_str());
        let verdict = self.exchange(&method, |url| {
            let (transport, body) = (self.transport.clone(), body.clone());
            async move { transport.post(&url, content_type, body).await }
        });
        let verdict = verdict.await;
        (verdict.tried, verdict.body)
    }

    /// One call of the API with a JSON body.
    async fn call(&self, method: &str, body: &str) -> Verdict {
        self.exchange(method, |url| {
            let (transport, body) = (self.transport.clone(), body.to_owned());
            async move { transport.post_json(&url, body).await }
        })
        .await
    }

    /// One call of the API, with a fresh token if the platform takes the old one no more.
    async fn exchange<F: Future<Output = Exchange>>(
        &self,
        method: &str,
        post: impl Fn(Secret) -> F,
    ) -> Verdict {
        let began_ms = self.clock.steady_ms();
        let whole_ms = self.transport.attempt_timeout_ms();
        let mut verdict = Verdict::from(unsent("not tried".to_owned()));
        for post_ms in [whole_ms, whole_ms / 2] {
            let token = match within(whole_ms / 2, self.token.get()).await {
                Some(Ok(token)) => token,
                Some(Err(tried)) => return tried.into(),
                None => {
                    return unsent("no access token: the platform did not answer in time".to_owned()).into();
                }
            };
            let url = self.url(method, &token);
            let exchange = within(post_ms, post(url)).await;
            let late = || Exchange::Lost { http_status: None, why: "no answer in time".to_owned() };
            verdict = self.cleaned(judge(exchange.unwrap_or_else(late)), &token);
            if verdict.class != Some(ErrcodeClass::RefreshToken) {
                return self.rested(verdict);
            }
            self.token.invalidate(&token).await;
            let spent_ms = self.clock.steady_ms().saturating_sub(began_ms);
            if u64::try_from(spent_ms).is_ok_and(|spent_ms| spent_ms > whole_ms) {
                break;
            }
        }
        // The second token was refused as well: not a matter of its age.
        verdict.tried.outcome = Outcome::Retry { cause: RetryCause::Busy, after_ms: None };
        verdict
    }

    fn url(&self, method: &str, token: &Secret) -> Secret {
        let base = self.token.base_url();
        let mark = if method.contains('?') { '&' } else { '?' };
        Secret::new(format!("{base}/cgi-bin/{method}{mark}access_token={}", token.expose()))
    }

    /// Without the token or the secret, should somebody have echoed them.
    fn cleaned(&self, mut verdict: Verdict, token: &Secret) -> Verdict {
        let clean = |text: String| self.token.redact(&text.replace(token.expose(), "***"));
        verdict.tried.error = verdict.tried.error.map(|text| cut(&clean(text), TEXT_BYTES_MAX).to_owned());
        verdict.tried.answer = verdict.tried.answer.map(clean);
        verdict
    }

    /// Longer rests while the platform goes on saying "too many".
    fn rested(&self, mut verdict: Verdict) -> Verdict {
        match &mut verdict.tried.outcome {
            Outcome::Wait { rest_ms } if *rest_ms == REST_MS => {
                let before = self.limited.fetch_add(1, Ordering::Relaxed);
                let at = usize::try_from(before).unwrap_or(usize::MAX).min(RESTS_MS.len() - 1);
                *rest_ms = RESTS_MS.get(at).copied().unwrap_or(REST_MS);
            }
            Outcome::Accepted { .. } => self.limited.store(0, Ordering::Relaxed),
            _ => {}
        }
        verdict
    }
}

async fn within<T>(limit_ms: u64, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(limit_ms), work).await.ok()
}

fn unsent(why: String) -> Try {
    Try {
        outcome: Outcome::Retry { cause: RetryCause::NotSent, after_ms: None },
        http_status: None,
        errcode: None,
        error: Some(why),
        answer: None,
        response_code: None,
    }
}

/// What of a message decides how its answer is read.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Asked {
    chatid: Option<serde::de::IgnoredAny>,
    msgtype: String,
}

impl Asked {
    fn of(body: &str) -> Self {
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Group chats want an app that all may see, notices of mini programs one that is bound to theirs.
    fn needs_a_grant_of_its_own(&self) -> bool {
        self.chatid.is_some() || self.msgtype == "miniprogram_notice"
    }
}

/// Errcode 0 does not say that everybody got it.
fn accepted(answer: &SentAnswer) -> Outcome {
    let refused = answer.missed.iter().map(|missed| RefusedRecipient {
        recipient: missed.list.recipient(&missed.id),
        code: missed.list.errcode(),
        text: missed.list.meaning().to_owned(),
    });
    let msgid = answer.msgid.clone().filter(|msgid| msgid.len() <= MSGID_BYTES_MAX);
    Outcome::Accepted { references: msgid.into_iter().collect(), refused: refused.collect() }
}

impl From<Try> for Verdict {
    fn from(tried: Try) -> Self {
        Self { tried, class: None, body: bytes::Bytes::new() }
    }
}
