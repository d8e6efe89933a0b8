//! `dev post`: posts signed events to a receiver in a loop, without any store: what a business system can take, and
//! what the gateway's deliveries are measured beside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue, header};
use serde_json::json;

use super::say;
use crate::clock::Clock;
use crate::domain::endpoint::Dialect;
use crate::domain::outcome::Ending;
use crate::endpoint::guard::{Guard, GuardRules};
use crate::endpoint::http::{WebClient, WebRequest, WebSettings};
use crate::endpoint::payload::JSON;
use crate::endpoint::signing::{Signed, SigningKey, headers};
use crate::entropy::Entropy;
use crate::ids::{EventId, IdMaker};
use crate::secret::Secret;

/// Where to, and how much.
#[derive(Clone, Debug, Args)]
pub struct PostArgs {
    /// The receiver's address
    #[arg(long, default_value = "http://127.0.0.1:9200/")]
    pub url: String,
    /// What requests are signed with; one is made if not given
    #[arg(long)]
    pub secret: Option<String>,
    /// How many requests
    #[arg(long, default_value_t = 1_000)]
    pub count: u64,
    /// Requests under way at once
    #[arg(long, default_value_t = 8)]
    pub concurrency: usize,
    /// Bytes of text in each event
    #[arg(long, default_value_t = 300)]
    pub text_bytes: usize,
}

/// Posts, and prints a line of JSON.
pub async fn run(args: PostArgs) -> anyhow::Result<()> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let guard = Guard::new(GuardRules { development: true, ..GuardRules::default() });
    let client = WebClient::new(WebSettings::default(), guard).map_err(anyhow::Error::msg)?;
    let url = client.guard().url(&args.url).map_err(anyhow::Error::msg)?;
    let secret = args.secret.map_or_else(|| SigningKey::generate(&entropy), Secret::new);
    let key = Arc::new(SigningKey::parse(&secret).map_err(anyhow::Error::msg)?);
    let ids = IdMaker::new(clock.clone(), entropy);
    let text = "x".repeat(args.text_bytes);
    let (begun, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begun_us = clock.steady_us();
    let lanes = (0..args.concurrency.max(1)).map(|_| {
        let (client, url, key, ids, clock) =
            (client.clone(), url.clone(), Arc::clone(&key), ids.clone(), clock.clone());
        let (begun, taken, text, count) = (Arc::clone(&begun), Arc::clone(&taken), text.clone(), args.count);
        tokio::spawn(async move {
            while begun.fetch_add(1, Ordering::Relaxed) < count {
                let request = request(&url, &key, &ids.make(), &text, clock.wall_s());
                if client.post(request).await.outcome.ending() == Ending::Accepted {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await?;
    }
    let took_us = clock.steady_us().saturating_sub(begun_us).max(1);
    let taken = taken.load(Ordering::Relaxed);
    let per_s = u128::from(taken).saturating_mul(1_000_000) / u128::try_from(took_us)?;
    say(&json!({"posted": args.count, "taken": taken, "ms": took_us / 1_000, "per_second": u64::try_from(per_s)?}).to_string())?;
    Ok(())
}

fn request(url: &url::Url, key: &SigningKey, id: &EventId, text: &str, timestamp_s: i64) -> WebRequest {
    let body =
        json!({"id": id.as_str(), "type": "message.text", "version": 1, "data": {"body": {"Content": text}}});
    let body = Bytes::from(body.to_string());
    let signed = Signed { id: id.as_str(), kind: "message.text", timestamp_s, body: &body };
    let all = headers(Dialect::Standard, &[key], &signed);
    let mut sent: Vec<(HeaderName, HeaderValue)> = all
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?)))
        .collect();
    sent.push((header::CONTENT_TYPE, HeaderValue::from_static(JSON)));
    WebRequest { url: url.clone(), headers: sent, body, timeout_ms: 10_000 }
}
