//! Access tokens that replicas share: one asks the platform, the others find what it got.
//!
//! A token lies sealed with a key that is made of the app's secret: who can open it could have asked for it. How
//! long it may be used is the life of its key in Redis, so no clocks are compared.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::link::{Away, Link};
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::vault::Vault;

/// What the key is for that seals tokens.
const PURPOSE: &[u8] = b"wecom-gateway: access tokens shared by replicas";

/// Between two looks for what another replica is fetching.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Deletes a key if it still holds what the caller thinks.
const DELETE_IF: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The place of one app's token.
#[derive(Debug)]
pub struct Shelf {
    link: Arc<Link>,
    vault: Vault,
    key: String,
    entropy: Entropy,
}

/// What was found on the shelf.
#[derive(Debug)]
pub enum Taken {
    /// A token, and how long it may be used, ms.
    Token(Secret, i64),
    /// None, and it is for the caller to fetch one; the mark tells others to wait.
    Fetch(Option<Mark>),
}

/// Tells other replicas that a token is being fetched.
#[derive(Debug)]
pub struct Mark(String);

impl Shelf {
    pub(super) fn new(link: Arc<Link>, whom: &[&str], secret: &Secret, entropy: &Entropy) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).ok()?;
        mac.update(PURPOSE);
        for part in whom {
            mac.update(&[0]);
            mac.update(part.as_bytes());
        }
        let name = mac.finalize().into_bytes().iter().take(16).fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            let _infallible = write!(text, "{byte:02x}");
            text
        });
        let key = link.key(&format!("token:{name}"));
        Some(Self {
            vault: Vault::for_purpose(secret, PURPOSE, entropy.clone())?,
            link,
            key,
            entropy: entropy.clone(),
        })
    }

    /// The token that lies there, unless it is `unusable`; else the duty to fetch one, which others leave to
    /// the caller for `fetch_ms`. Waits at most `patience_ms` for another replica that is fetching.
    pub async fn take(&self, unusable: Option<&Secret>, patience_ms: u64, fetch_ms: u64) -> Taken {
        let looks = patience_ms / u64::try_from(LOOK_AGAIN.as_millis()).unwrap_or(1).max(1);
        for _ in 0..=looks {
            match self.look(unusable, fetch_ms).await {
                Ok(Some(taken)) => return taken,
                Ok(None) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(Away) => break,
            }
        }
        Taken::Fetch(None)
    }

    /// Puts `token` there, to be used for `life_ms`.
    pub async fn put(&self, token: &Secret, life_ms: i64) {
        let Some(sealed) = self.vault.seal(&self.key, token) else { return };
        let mut put = redis::cmd("SET");
        put.arg(&self.key).arg(sealed).arg("PX").arg(life_ms.max(1));
        let _without = self.link.ask::<redis::Value>(&put).await;
    }

    /// Takes away the mark of a fetch that is over.
    pub async fn finish(&self, mark: Mark) {
        self.delete_if(&self.mark_key(), &mark.0).await;
    }

    /// Takes `failed` away, if it still lies there: somebody may have put a fresh one.
    pub async fn discard(&self, failed: &Secret) {
        let mut get = redis::cmd("GET");
        get.arg(&self.key);
        let Ok(Some(sealed)) = self.link.ask::<Option<String>>(&get).await else { return };
        if self.vault.open(&self.key, &sealed).is_ok_and(|token| token == *failed) {
            self.delete_if(&self.key, &sealed).await;
        }
    }

    /// One look; `None`: another replica is fetching.
    async fn look(&self, unusable: Option<&Secret>, fetch_ms: u64) -> Result<Option<Taken>, Away> {
        if let Some(found) = self.find(unusable).await? {
            return Ok(Some(found));
        }
        let mark = format!("{:032x}", u128::from_le_bytes(self.entropy.bytes()));
        let mut claim = redis::cmd("SET");
        claim.arg(self.mark_key()).arg(&mark).arg("NX").arg("PX").arg(fetch_ms.max(1));
        if self.link.ask::<Option<String>>(&claim).await?.is_none() {
            return Ok(None);
        }
        let mark = Mark(mark);
        // Between the look and the claim another may have finished.
        if let Some(found) = self.find(unusable).await? {
            self.finish(mark).await;
            return Ok(Some(found));
        }
        Ok(Some(Taken::Fetch(Some(mark))))
    }

    async fn find(&self, unusable: Option<&Secret>) -> Result<Option<Taken>, Away> {
        let mut get = redis::cmd("GET");
        get.arg(&self.key);
        let Some(sealed) = self.link.ask::<Option<String>>(&get).await? else { return Ok(None) };
        let mut life = redis::cmd("PTTL");
        life.arg(&self.key);
        let life_ms: i64 = self.link.ask(&life).await?;
        let opened = self.vault.open(&self.key, &sealed).ok();
        let usable = opened.filter(|token| life_ms > 0 && unusable != Some(token));
        Ok(usable.map(|token| Taken::Token(token, life_ms)))
    }

    async fn delete_if(&self, key: &str, value: &str) {
        let mut delete = redis::cmd("EVAL");
        delete.arg(DELETE_IF).arg(1).arg(key).arg(value);
        let _without = self.link.ask::<i64>(&delete).await;
    }

    fn mark_key(&self) -> String {
        format!("{}:fetching", self.key)
    }
}
