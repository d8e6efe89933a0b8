//! Tokens of the drop-in API: signed with the app's secret, so that every replica knows those of the others.
//!
//! A token says for whom it is and until when, and nothing secret: with a changed secret, or a revoked API key, it is
//! no longer taken.

use axum::extract::{Query, State};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Compat;
use super::answer::QyAnswer;
use crate::channel::wecom_app::App;
use crate::http::origin::Origin;
use crate::store::Role;

/// How long a token lives, as the platform's do.
const LIFE_S: i64 = 7_200;

/// What a token says.
#[derive(Debug, Deserialize, Serialize)]
struct Claim {
    /// The corp.
    corp: String,
    /// The channel whose secret was shown; `None`: an API key was.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// The SHA-256 of that API key, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// When it ends, Unix seconds.
    until_s: i64,
}

/// Whom a token lets in.
#[derive(Debug)]
pub(super) struct Bearer {
    /// For the audit and for idempotency.
    pub(super) actor: String,
    /// The apps it may use, by channel name.
    pub(super) apps: Vec<(String, App)>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    #[serde(default)]
    corpid: String,
    #[serde(default)]
    corpsecret: String,
}

/// `GET /cgi-bin/gettoken`.
pub(super) async fn give(State(compat): State<Compat>, origin: Origin, Query(pair): Query<Pair>) -> QyAnswer {
    match compat.claim(&pair, &origin).await {
        Ok(claim) => match compat.sign(&claim) {
            Some(token) => QyAnswer::ok().with("access_token", token).with("expires_in", LIFE_S),
            None => QyAnswer::error(40013, "invalid corpid"),
        },
        Err(answer) => answer,
    }
}

impl Compat {
    async fn claim(&self, pair: &Pair, origin: &Origin) -> Result<Claim, QyAnswer> {
        if pair.corpid.is_empty() {
            return Err(QyAnswer::error(41002, "corpid missing"));
        }
        if pair.corpsecret.is_empty() {
            return Err(QyAnswer::error(41004, "corpsecret missing"));
        }
        let until_s = self.clock.wall_s().saturating_add(LIFE_S);
        let apps = self.messages.apps_of(&pair.corpid);
        let own = apps.iter().find(|(_, app)| app.token_of().credentials().secret.matches(&pair.corpsecret));
        if let Some((channel, _)) = own {
            return Ok(Claim {
                corp: pair.corpid.clone(),
                channel: Some(channel.clone()),
                key: None,
                until_s,
            });
        }
        match self.keys.known_operator(&pair.corpsecret).await {
            Ok(Some((key, caller))) if apps.iter().any(|(name, _)| caller.may_see(name)) => {
                Ok(Claim { corp: pair.corpid.clone(), channel: None, key: Some(key), until_s })
            }
            Ok(_) => {
                let is_flood = self.keys.refuse(origin).status().as_u16() == 429;
                Err(if is_flood {
                    QyAnswer::error(45009, "api freq out of limit")
                } else {
                    QyAnswer::error(40001, "invalid credential")
                })
            }
            Err(error) => Err(crate::http::problem::Problem::from(error).into()),
        }
    }

    /// The apps that `token` lets its bearer use.
    pub(super) async fn bearer(&self, token: &str) -> Result<Bearer, QyAnswer> {
        if token.is_empty() {
            return Err(QyAnswer::error(41001, "access_token missing"));
        }
        let invalid = || QyAnswer::error(40014, "invalid access_token");
        let (text, mac) = token.split_once('.').ok_or_else(invalid)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_not_base64| invalid())?;
        let claim: Claim = serde_json::from_slice(&bytes).map_err(|_not_json| invalid())?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).map_err(|_not_base64| invalid())?;
        self.mac(&claim.corp, text).ok_or_else(invalid)?.verify_slice(&mac).map_err(|_differs| invalid())?;
        if claim.until_s <= self.clock.wall_s() {
            return Err(QyAnswer::error(42001, "access_token expired"));
        }
        let mut apps = self.messages.apps_of(&claim.corp);
        if let Some(channel) = &claim.channel {
            apps.retain(|(name, _)| name == channel);
            return Ok(Bearer { actor: format!("channel:{channel}"), apps });
        }
        let hash = claim.key.as_deref().ok_or_else(invalid)?;
        let caller = match self.keys.caller_of_hash(hash).await {
            Ok(caller) => caller.filter(|caller| caller.role >= Role::Operator).ok_or_else(invalid)?,
            Err(error) => return Err(crate::http::problem::Problem::from(error).into()),
        };
        apps.retain(|(name, _)| caller.may_see(name));
        Ok(Bearer { actor: caller.actor, apps })
    }

    fn sign(&self, claim: &Claim) -> Option<String> {
        let text = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(claim).ok()?);
        let mac = self.mac(&claim.corp, &text)?.finalize().into_bytes();
        Some(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac)))
    }

    /// The MAC over a claim, under the secrets of all apps of its corp: a change of any ends the tokens of all.
    fn mac(&self, corp: &str, text: &str) -> Option<Hmac<Sha256>> {
        let apps = self.messages.apps_of(corp);
        let secrets: Vec<String> =
            apps.iter().map(|(_, app)| app.token_of().credentials().secret.expose().to_owned()).collect();
        if secrets.is_empty() {
            return None;
        }
        let key = format!("wecom-gateway drop-in token\n{}", secrets.join("\n"));
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    }
}
