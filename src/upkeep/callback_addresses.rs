//! Asks the platform, again and again, from which addresses it calls.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::channel::transport::{Exchange, Transport};
use crate::clock::Clock;
use crate::http::platform_addresses::PlatformAddresses;
use crate::secret::Secret;
use crate::wecom::api::answer::ApiAnswer;
use crate::wecom::api::callback_ip;

/// The app that asks.
#[derive(Clone, Debug)]
pub struct AskingApp {
    /// Where the platform's API is.
    pub base_url: String,
    /// Its corp.
    pub corp_id: String,
    /// Its secret.
    pub secret: Secret,
}

/// Keeps the list fresh.
#[derive(Debug)]
pub struct CallbackAddresses {
    /// Who asks.
    pub app: AskingApp,
    /// Where the list goes.
    pub addresses: PlatformAddresses,
    /// How often it is asked for.
    pub every_ms: u64,
    /// After how long it is asked again when there was no answer.
    pub retry_ms: u64,
    /// The way out.
    pub transport: Transport,
    /// The time.
    pub clock: Clock,
}

impl CallbackAddresses {
    /// Asks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let heard = tokio::select! {
                () = stop.cancelled() => return,
                heard = self.ask() => heard,
            };
            let wait_ms = match heard {
                Ok(networks) => {
                    tracing::info!(networks = networks.len(), "the platform's addresses were heard");
                    self.addresses.hear(networks, self.clock.wall_ms());
                    self.every_ms
                }
                Err(why) => {
                    tracing::warn!(why, "the platform's addresses were not heard; the last ones stay");
                    self.addresses.miss(why);
                    self.retry_ms.min(self.every_ms)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    async fn ask(&self) -> Result<Vec<IpNet>, String> {
        let token = self.token().await?;
        let url = format!("{}/cgi-bin/getcallbackip?access_token={}", self.app.base_url, token.expose());
        let body = self.get(&Secret::new(url)).await?;
        callback_ip::parse(&body).map_err(|refused| refused.to_string())
    }

    async fn token(&self) -> Result<Secret, String> {
        let AskingApp { base_url, corp_id, secret } = &self.app;
        let url = format!("{base_url}/cgi-bin/gettoken?corpid={corp_id}&corpsecret={}", secret.expose());
        let body = self.get(&Secret::new(url)).await?;
        match ApiAnswer::parse(&body) {
            Ok(ApiAnswer { errcode: 0, .. }) => {}
            Ok(refused) => return Err(format!("no access token: the platform answers {}", refused.errcode)),
            Err(other) => return Err(format!("no access token: {other}")),
        }
        let answer: Value = serde_json::from_slice(&body).map_err(|_no_json| "no JSON".to_owned())?;
        let token = answer.get("access_token").and_then(Value::as_str);
        token.map(Secret::new).ok_or_else(|| "no access token in the answer".to_owned())
    }

    async fn get(&self, url: &Secret) -> Result<bytes::Bytes, String> {
        match self.transport.get(url).await {
            Exchange::Answered { http_status: 200, body, .. } => Ok(body),
            Exchange::Answered { http_status, .. } => Err(format!("the platform answers HTTP {http_status}")),
            Exchange::NotSent { why } | Exchange::Lost { why, .. } => Err(why),
        }
    }
}
