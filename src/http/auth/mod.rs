//! Who may call the API.
//!
//! A caller shows a key: one from the configuration, or one made with `wecom-gateway key new`, of which the store
//! holds the hash. Only where there is no key at all may a program on the same machine call without one
//! (`keyless.rs`). What a route asks for stands in the OpenAPI document and is enforced by the same function that
//! writes it there (`guard.rs`).

mod caller;
mod configured;
mod guard;
mod keyless;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use caller::Caller;
pub use configured::ConfiguredKey;
pub(crate) use guard::{SCHEME, guarded};

use crate::clock::Clock;
use crate::http::audit::Audit;
use crate::http::origin::Origin;
use crate::http::problem::Problem;
use crate::http::rate::AddressRate;
use crate::sabotage::{self, Protection};
use crate::store::{Role, Store, StoreError};

/// How long an answer of the store about a key is believed: a revoked key lives on no longer.
const BELIEVED_MS: i64 = 900;

/// Most keys remembered at once.
const REMEMBERED_MAX: usize = 1_024;

/// Longest `Authorization` value that is looked at.
const KEY_BYTES_MAX: usize = 512;

/// Every key there is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiKeys(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    configured: Vec<ConfiguredKey>,
    store: Store,
    audit: Audit,
    clock: Clock,
    wrong: AddressRate,
    believed: Mutex<Believed>,
}

/// What the store said lately.
#[derive(Debug, Default)]
struct Believed {
    /// By the SHA-256 of the key: the caller, and until when (steady ms).
    callers: HashMap<[u8; 32], (Caller, i64)>,
    /// Whether the store has keys, and until when.
    any: Option<(bool, i64)>,
}

impl ApiKeys {
    /// The keys of the configuration and of `store`; `wrong_per_minute` tries of an address before it is told to
    /// wait (0: never).
    pub fn new(
        configured: Vec<ConfiguredKey>,
        store: Store,
        audit: Audit,
        clock: Clock,
        wrong_per_minute: u32,
    ) -> Self {
        let wrong =
            AddressRate::new(wrong_per_minute, Duration::from_mins(1), wrong_per_minute, clock.clone());
        Self(Arc::new(Parts { configured, store, audit, clock, wrong, believed: Mutex::default() }))
    }

    /// Who is calling.
    pub(crate) async fn caller(&self, headers: &HeaderMap, origin: &Origin) -> Result<Caller, Problem> {
        if sabotage::off(Protection::ApiKey) {
            return Ok(Caller::local());
        }
        match presented(headers) {
            Some(key) => match self.known(&key).await? {
                Some(caller) => Ok(caller),
                None => Err(self.wrong(origin)),
            },
            None if keyless::is_local(headers, origin) && !self.any_key().await? => Ok(Caller::local()),
            None => {
                self.0.audit.note_repeated(origin, "anonymous", "api_key.missing", "");
                Err(Problem::unauthorized())
            }
        }
    }

    /// Whoever has `key`, if they may send, and the hash by which [`ApiKeys::caller_of_hash`] finds them again.
    pub(crate) async fn known_operator(&self, key: &str) -> Result<Option<(String, Caller)>, StoreError> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let caller = self.known(key).await?.filter(|caller| caller.role >= Role::Operator);
        Ok(caller.map(|caller| (hex(&hash), caller)))
    }

    /// Whoever has the key with this SHA-256 (hex), if it is still in use.
    pub(crate) async fn caller_of_hash(&self, hash: &str) -> Result<Option<Caller>, StoreError> {
        let configured = self.0.configured.iter().find(|known| hex(&known.hash) == hash);
        if let Some(known) = configured {
            return Ok(Some(known.caller.clone()));
        }
        let row = self.0.store.api_key_by_hash(hash).await?;
        Ok(row.filter(|row| row.revoked_ms.is_none()).map(Caller::from))
    }

    /// Notes a wrong credential that was shown in another way, and says what that is answered with.
    pub(crate) fn refuse(&self, origin: &Origin) -> Problem {
        self.wrong(origin)
    }

    /// The budget of wrong keys.
    pub(crate) fn wrong_rate(&self) -> &AddressRate {
        &self.0.wrong
    }

    /// Forgets the wrong tries of addresses that have waited long enough.
    pub(crate) fn forget_addresses(&self) {
        self.0.wrong.forget();
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// A right key always passes: it cannot be guessed, and an office behind one address is not to be locked out
    /// by one wrong script in it. The limit keeps the audit and the store from being flooded.
    fn wrong(&self, origin: &Origin) -> Problem {
        self.0.audit.note_repeated(origin, "anonymous", "api_key.refused", "");
        match self.0.wrong.take(origin.client) {
            Ok(()) => Problem::unauthorized(),
            Err(seconds) => Problem::too_many(seconds),
        }
    }

    async fn known(&self, key: &str) -> Result<Option<Caller>, StoreError> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let configured = self.0.configured.iter().find(|known| known.hash.ct_eq(&hash).into());
        if let Some(known) = configured {
            return Ok(Some(known.caller.clone()));
        }
        if let Some(caller) = self.believed(&hash) {
            return Ok(Some(caller));
        }
        let row = self.0.store.api_key_by_hash(&hex(&hash)).await?;
        let caller = row.filter(|row| row.revoked_ms.is_none()).map(Caller::from);
        if let Some(caller) = &caller {
            self.believe(hash, caller.clone());
        }
        Ok(caller)
    }

    fn believed(&self, hash: &[u8; 32]) -> Option<Caller> {
        let believed = self.0.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let (caller, until_ms) = believed.callers.get(hash)?;
        (self.0.clock.steady_ms() < *until_ms).then(|| caller.clone())
    }

    fn believe(&self, hash: [u8; 32], caller: Caller) {
        let now_ms = self.0.clock.steady_ms();
        let mut believed = self.0.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.callers.len() >= REMEMBERED_MAX {
            believed.callers.retain(|_, (_, until_ms)| now_ms < *until_ms);
        }
        if believed.callers.len() < REMEMBERED_MAX {
            believed.callers.insert(hash, (caller, now_ms + BELIEVED_MS));
        }
    }

    /// Whether nobody has made a key, here or in the configuration.
    pub(crate) async fn none_yet(&self) -> Result<bool, StoreError> {
        Ok(!self.any_key().await?)
    }

    /// Whether any key is in use, in the configuration or in the store.
    async fn any_key(&self) -> Result<bool, StoreError> {
        if !self.0.configured.is_empty() {
            return Ok(true);
        }
        let now_ms = self.0.clock.steady_ms();
        let known = self.0.believed.lock().unwrap_or_else(PoisonError::into_inner).any;
        if let Some((any, until_ms)) = known
            && now_ms < until_ms
        {
            return Ok(any);
        }
        let any = self.0.store.api_keys().await?.iter().any(|key| key.revoked_ms.is_none());
        let mut believed = self.0.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed.any = Some((any, now_ms + BELIEVED_MS));
        Ok(any)
    }
}

/// The key in `Authorization: Bearer <key>`; something else in that header counts as a wrong key.
fn presented(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?;
    let text = value.to_str().unwrap_or_default();
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    let fits = scheme.eq_ignore_ascii_case("bearer") && text.len() <= KEY_BYTES_MAX;
    Some(if fits { key.trim().to_owned() } else { String::new() })
}

/// Lower-case hex, as the store keeps hashes.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect()
}
