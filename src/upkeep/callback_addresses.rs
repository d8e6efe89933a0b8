//! Asks the platform, again and again, from which addresses it calls.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::channel::access_token::AccessToken;
use crate::channel::transport::{Exchange, Transport};
use crate::clock::Clock;
use crate::http::platform_addresses::PlatformAddresses;
use crate::secret::Secret;
use crate::wecom::api::callback_ip::{self, Refused};
use crate::wecom::errcode::{ErrcodeClass, lookup};

/// Keeps the list fresh.
#[derive(Debug)]
pub struct CallbackAddresses {
    /// The token of the app that asks: the one it sends with.
    pub token: Arc<AccessToken>,
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
        let (answer, token) = self.ask_once().await?;
        match answer {
            // The token ended before its time: once more with the next one.
            Err(Refused::Code(code)) if lookup(code).class == ErrcodeClass::RefreshToken => {
                self.token.invalidate(&token).await;
                self.ask_once().await?.0.map_err(|refused| refused.to_string())
            }
            answer => answer.map_err(|refused| refused.to_string()),
        }
    }

    /// The platform's answer, and the token it was asked with.
    async fn ask_once(&self) -> Result<(Result<Vec<IpNet>, Refused>, Secret), String> {
        let token = self.token.get().await.map_err(|tried| match tried.errcode {
            Some(code) => format!("no access token: the platform answers {code}"),
            None => format!("no access token: {}", tried.error.unwrap_or_default()),
        })?;
        let base_url = self.token.base_url();
        let url = format!("{base_url}/cgi-bin/getcallbackip?access_token={}", token.expose());
        let body = self.get(&Secret::new(url)).await?;
        Ok((callback_ip::parse(&body), token))
    }

    async fn get(&self, url: &Secret) -> Result<bytes::Bytes, String> {
        match self.transport.get(url).await {
            Exchange::Answered { http_status: 200, body, .. } => Ok(body),
            Exchange::Answered { http_status, .. } => Err(format!("the platform answers HTTP {http_status}")),
            Exchange::NotSent { why } | Exchange::Lost { why, .. } => Err(why),
        }
    }
}
