//! `dev listen`: brings the live events of a gateway to this machine.
//!
//! It reads the gateway's stream with an API key, posts each event, signed, to a local address, and prints a line for
//! each. A stream that breaks is taken up again where it was; what comes a second time is left out.

mod sse;

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::clock::Clock;
use crate::domain::endpoint::Dialect;
use crate::endpoint::guard::{Guard, GuardRules};
use crate::endpoint::http::{WebClient, WebRequest, WebSettings};
use crate::endpoint::payload::JSON;
use crate::endpoint::signing::{Signed, SigningKey, headers};
use crate::entropy::Entropy;
use crate::secret::Secret;
use sse::{Assembler, Message};

/// A stream that is silent for so long is broken: a gateway says something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How long to wait before the stream is taken up again, from the first time to the last.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Ids that are remembered, to know what comes a second time.
const REMEMBERED_MAX: usize = 100_000;

/// Longest time for one local request.
const LOCAL_TIMEOUT_MS: u64 = 10_000;

/// Whose events, and where to.
#[derive(Clone, Debug, Args)]
pub struct ListenArgs {
    /// The gateway's address
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub gateway: String,
    /// An API key with the role reader; none is needed for a gateway on this machine that has no keys
    #[arg(long, env = "GATEWAY_API_KEY", hide_env_values = true, default_value = "")]
    pub key: String,
    /// Where events are posted; without it they are only printed
    #[arg(long)]
    pub to: Option<String>,
    /// What posts are signed with; one is made and printed if not given
    #[arg(long, env = "GATEWAY_LISTEN_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// Only these: message.text, message.*, *
    #[arg(long)]
    pub kind: Option<String>,
    /// Only what came in through this channel
    #[arg(long)]
    pub source: Option<String>,
    /// Only events of this member
    #[arg(long)]
    pub user_id: Option<String>,
    /// Begin with what was accepted at this time (RFC 3339, or seconds since 1970)
    #[arg(long)]
    pub since: Option<String>,
    /// End after so many events
    #[arg(long)]
    pub count: Option<u64>,
}

/// Listens until interrupted, or until it has had enough.
pub(super) async fn run(args: ListenArgs) -> anyhow::Result<()> {
    let said = |line: &str| super::say(line).map_err(anyhow::Error::from);
    let listener = Listener::new(&args, Clock::system(), &Entropy::system())?;
    said(&listener.greeting())?;
    tokio::select! {
        ended = listener.listen(args.count, said) => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

/// A listener in preparation.
pub struct Listener {
    stream: Url,
    authorization: Option<HeaderValue>,
    client: reqwest::Client,
    local: Option<Local>,
    secret: Secret,
    is_own_secret: bool,
    clock: Clock,
}

/// The local side.
struct Local {
    url: Url,
    client: WebClient,
    key: SigningKey,
}

/// Why a stream ended.
enum End {
    /// Enough events came.
    Enough,
    /// It broke, and can be taken up again.
    Broken(String),
}

/// Where the listener is.
#[derive(Default)]
struct Progress {
    cursor: Option<String>,
    count: u64,
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Listener {
    /// Checks the arguments.
    ///
    /// # Errors
    /// An address, a key or a secret that cannot be used.
    pub fn new(args: &ListenArgs, clock: Clock, entropy: &Entropy) -> anyhow::Result<Self> {
        let mut stream = Url::parse(&args.gateway).context("--gateway is not an address")?;
        stream
            .path_segments_mut()
            .map_err(|()| anyhow::anyhow!("--gateway is not an address"))?
            .pop_if_empty()
            .extend(["api", "v1", "events", "stream"]);
        let filters = [
            ("kind", &args.kind),
            ("source", &args.source),
            ("user_id", &args.user_id),
            ("since", &args.since),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                stream.query_pairs_mut().append_pair(name, value);
            }
        }
        let authorization = match args.key.as_str() {
            "" => None,
            key => {
                let mut value = HeaderValue::try_from(format!("Bearer {key}")).context("--key")?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let secret = args.secret.clone().map_or_else(|| SigningKey::generate(entropy), Secret::new);
        let local = match &args.to {
            None => None,
            Some(to) => {
                let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
                let client = WebClient::new(WebSettings::default(), guard).map_err(anyhow::Error::msg)?;
                let url = client.guard().url(to).map_err(|why| anyhow::anyhow!("--to {why}"))?;
                let key = SigningKey::parse(&secret).map_err(|why| anyhow::anyhow!("--secret {why}"))?;
                Some(Local { url, client, key })
            }
        };
        // Fails only if somebody installed one before, and then TLS works too.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        // A gateway's answer is not waited for longer than for a stream's next word.
        let client = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5)).build()?;
        let is_own_secret = args.secret.is_none();
        Ok(Self { stream, authorization, client, local, secret, is_own_secret, clock })
    }

    /// What the listener is about to do.
    pub fn greeting(&self) -> String {
        let host = self.stream.origin().ascii_serialization();
        match &self.local {
            None => format!("listening to {host}"),
            Some(local) if self.is_own_secret => {
                format!("listening to {host}, posting to {}, signed with {}", local.url, self.secret.expose())
            }
            Some(local) => format!("listening to {host}, posting to {}", local.url),
        }
    }

    /// Listens until `count` events came; each line goes to `said`.
    ///
    /// # Errors
    /// The gateway refuses, or nobody takes the lines.
    pub async fn listen(
        &self,
        count: Option<u64>,
        mut said: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut progress, mut pause) = (Progress::default(), PAUSE_MIN);
        let mut is_cut = false;
        loop {
            let before = progress.cursor.clone();
            match self.follow(&mut progress, count, &mut said, &mut is_cut).await? {
                End::Enough => return Ok(()),
                End::Broken(why) => {
                    if progress.cursor != before {
                        pause = PAUSE_MIN;
                    }
                    if !std::mem::replace(&mut is_cut, true) && !why.is_empty() {
                        said(&format!("the stream broke off, it will be taken up again: {why}"))?;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Follows one stream to its end.
    async fn follow(
        &self,
        progress: &mut Progress,
        count: Option<u64>,
        said: &mut impl FnMut(&str) -> anyhow::Result<()>,
        is_cut: &mut bool,
    ) -> anyhow::Result<End> {
        let mut request = self.client.get(self.stream.clone());
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        if let Some(cursor) = &progress.cursor {
            request = request.header("Last-Event-ID", cursor.as_str());
        }
        let mut answer = match timeout(SILENCE, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Ok(End::Broken(error.without_url().to_string())),
            Err(_elapsed) => return Ok(End::Broken("no answer".to_owned())),
        };
        let status = answer.status();
        if status.is_client_error() && status != reqwest::StatusCode::TOO_MANY_REQUESTS {
            let text = answer.text().await.unwrap_or_default();
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            bail!(
                "the gateway answered {status}: {}",
                problem.get("detail").and_then(Value::as_str).unwrap_or(&text)
            );
        }
        if !status.is_success() {
            return Ok(End::Broken(format!("the gateway answered {status}")));
        }
        if std::mem::take(is_cut) {
            said("the stream goes on")?;
        }
        let mut assembler = Assembler::default();
        loop {
            let piece = match timeout(SILENCE, answer.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                // A stream ends from time to time.
                Ok(Ok(None)) => return Ok(End::Broken(String::new())),
                Ok(Err(error)) => return Ok(End::Broken(error.without_url().to_string())),
                Err(_elapsed) => return Ok(End::Broken("it fell silent".to_owned())),
            };
            let messages = assembler.feed(&piece).context("the gateway sends something else than events")?;
            for message in messages {
                self.take(message, progress, said).await?;
                if count.is_some_and(|count| progress.count >= count) {
                    return Ok(End::Enough);
                }
            }
        }
    }

    async fn take(
        &self,
        message: Message,
        progress: &mut Progress,
        said: &mut impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if let Some(data) = message.data {
            let event: Value = serde_json::from_str(&data).context("an event is no JSON")?;
            let id = word(&event, "/id").to_owned();
            if progress.is_new(&id) {
                let outcome = self.post(&id, &event, data).await;
                let (kind, user) = (word(&event, "/type"), word(&event, "/data/user_id"));
                said(&format!("{} {id} {kind} {user} {outcome}", word(&event, "/timestamp")))?;
                progress.count += 1;
            }
        }
        // Only now: what was not posted is to come again.
        if let Some(id) = message.id {
            progress.cursor = Some(id);
        }
        Ok(())
    }

    /// Posts one event; what came of it.
    async fn post(&self, id: &str, event: &Value, data: String) -> String {
        let Some(local) = &self.local else { return String::new() };
        let kind = word(event, "/type");
        let body = Bytes::from(data);
        let signed = Signed { id, kind, timestamp_s: self.clock.wall_s(), body: &body };
        let mut all = headers(Dialect::Standard, &[&local.key], &signed);
        all.push(("x-webhook-event", kind.to_owned()));
        let mut sent: Vec<(HeaderName, HeaderValue)> = all
            .into_iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
            })
            .collect();
        sent.push((header::CONTENT_TYPE, HeaderValue::from_static(JSON)));
        let request =
            WebRequest { url: local.url.clone(), headers: sent, body, timeout_ms: LOCAL_TIMEOUT_MS };
        let begun_ms = self.clock.steady_ms();
        let tried = local.client.post(request).await;
        let took_ms = self.clock.steady_ms().saturating_sub(begun_ms);
        match (tried.http_status, tried.error) {
            (Some(status), _) => format!("-> {status} in {took_ms} ms"),
            (None, error) => format!("-> {} in {took_ms} ms", error.unwrap_or_default()),
        }
    }
}

/// The text at `path`.
fn word<'v>(event: &'v Value, path: &str) -> &'v str {
    event.pointer(path).and_then(Value::as_str).unwrap_or("-")
}

impl Progress {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
