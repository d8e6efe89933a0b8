//! Making, changing, switching and removing endpoints; exchanging their secrets; sending them a test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::keyring::{self, Keyring};
use super::{ForwardError, Forwarding};
use crate::domain::endpoint::{
    Endpoint, EndpointKind, EndpointOrigin, EndpointSpec, EndpointState, PayloadForm, SpecError,
    payload_version,
};
use crate::domain::event::{Event, EventKind, Format};
use crate::domain::filter::Routed;
use crate::endpoint::signing::SigningKey;
use crate::endpoint::stream;
use crate::ids::{EndpointId, EventId};
use crate::secret::Secret;
use crate::store::{EndpointChange, EndpointRow, Engine, NewEvent, SETTLED_MS};
use crate::wecom::dedup;

/// An endpoint that was made, or got a new secret.
#[derive(Debug)]
pub struct Made {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its secret: shown now and never again. Empty: it has none.
    pub secret: Secret,
    /// What receivers check with, where that is not the secret.
    pub public_key: Option<String>,
}

/// The source of test events.
const TEST_SOURCE: &str = "gateway";

/// The kind of test events.
const TEST_KIND: [&str; 2] = ["test", "ping"];

/// Tests go before everything else.
const TEST_PRIORITY: i64 = 9;

const IN_FILE: &str = "the endpoint stands in the configuration file; change it there";

/// Longest time that two secrets sign.
const OVERLAP_S_MAX: i64 = 30 * 86_400;

/// Usual time that two secrets sign.
const OVERLAP_S: i64 = 86_400;

impl Forwarding {
    /// Makes an endpoint. When this returns, every event that is committed from then on is routed to it.
    ///
    /// # Errors
    /// A field is wrong, or there are too many.
    pub async fn create(&self, request: Value) -> Result<Made, ForwardError> {
        let mut fields = object(request)?;
        let active = flag(&mut fields, "active")?.unwrap_or(true);
        let secret = secret(&mut fields)?;
        let version = fields.remove("version");
        let spec = EndpointSpec::parse(&Value::Object(fields))?;
        let payload_version = payload_version(version.as_ref(), &spec)?;
        self.check_addresses(&spec)?;
        let (keyring, public_key) = self.keyring(&spec, secret)?;
        let (now_ms, id) = (self.0.clock.wall_ms(), self.0.ids.make::<EndpointId>());
        let endpoint = Endpoint {
            id: id.clone(),
            spec,
            origin: EndpointOrigin::Api,
            state: if active { EndpointState::Active } else { EndpointState::Inactive },
            reason: None,
            payload_version,
            revision: 1,
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        let secrets = self.0.seal(&id, &keyring)?;
        let row = EndpointRow { endpoint, secrets };
        match self.0.store.add_endpoint(&row, self.0.endpoints_max).await? {
            EndpointChange::Done => {}
            EndpointChange::Full => {
                return Err(ForwardError::Conflict("there are as many endpoints as there may be"));
            }
            EndpointChange::Moved => return Err(ForwardError::Conflict("the endpoint could not be added")),
        }
        self.spread(&row).await;
        let secret = keyring.newest();
        Ok(Made { endpoint: row.endpoint, secret, public_key })
    }

    /// The secret of a new endpoint, made if it signs and has none; and what receivers check with.
    fn keyring(
        &self,
        spec: &EndpointSpec,
        secret: Option<Secret>,
    ) -> Result<(Keyring, Option<String>), SpecError> {
        let secret = match secret {
            None if spec.kind.is_http() => SigningKey::generate(&self.0.entropy),
            None if !spec.kind.user().is_empty() => {
                return Err(SpecError::new("secret", "is missing: a `user` has one"));
            }
            None => return Ok((Keyring::default(), None)),
            Some(secret) => secret,
        };
        let key = keyring::check_for(spec, &secret)?;
        Ok((Keyring::of(secret), key.and_then(|key| key.public())))
    }

    /// Changes the fields that `request` names.
    ///
    /// # Errors
    /// A field is wrong; the endpoint stands in the file.
    pub async fn change(&self, id: &EndpointId, request: Value) -> Result<Endpoint, ForwardError> {
        let mut fields = object(request)?;
        let active = flag(&mut fields, "active")?;
        if fields.contains_key("secret") {
            return Err(SpecError::new("secret", "is exchanged with POST …/secret").into());
        }
        let row = self.of_api(id).await?;
        let pinned = row.endpoint.payload_version;
        if fields.remove("version").is_some_and(|asked| asked != pinned) {
            return Err(
                SpecError::new("version", "is fixed when an endpoint is made; make another one").into()
            );
        }
        let Value::Object(mut spec) = row.endpoint.spec.to_json() else {
            return Err(ForwardError::Conflict("the endpoint cannot be read"));
        };
        if fields.contains_key("url") {
            spec.remove("targets");
        }
        if fields.get("kind").is_some_and(|kind| *kind != row.endpoint.spec.kind.as_str()) {
            return Err(SpecError::new("kind", "cannot be changed; make another endpoint").into());
        }
        for (name, value) in fields {
            // A name that nobody knows is refused by the reading below.
            spec.insert(name, value);
        }
        let spec = EndpointSpec::parse(&Value::Object(spec))?;
        if pinned > 1 && spec.payload != PayloadForm::Json {
            return Err(SpecError::new("payload", "must be `json` for a version above 1").into());
        }
        self.check_addresses(&spec)?;
        let keyring = self.0.open(id, &row.secrets)?;
        for (secret, _) in &keyring.0 {
            keyring::check_for(&spec, secret)?;
        }
        if spec.order != row.endpoint.spec.order && self.has_unfinished(&row.endpoint).await? {
            return Err(SpecError::new("order", "cannot be changed while deliveries wait").into());
        }
        let state = match (active, row.endpoint.state) {
            (Some(true), EndpointState::Inactive | EndpointState::Disabled) => EndpointState::Active,
            (Some(false), _) => EndpointState::Inactive,
            (_, state) => state,
        };
        self.put(row, |endpoint| {
            endpoint.spec = spec;
            endpoint.state = state;
        })
        .await
    }

    /// Switches an endpoint; also one of the file, until the gateway is started again.
    ///
    /// # Errors
    /// There is none with this id.
    pub async fn switch(&self, id: &EndpointId, state: EndpointState) -> Result<Endpoint, ForwardError> {
        let row = self.0.store.endpoint(id).await?.ok_or(ForwardError::NotFound)?;
        self.put(row, |endpoint| endpoint.state = state).await
    }

    /// Takes an endpoint away; what waits for it is taken back.
    ///
    /// # Errors
    /// There is none with this id; it stands in the file.
    pub async fn remove(&self, id: &EndpointId) -> Result<(), ForwardError> {
        let row = self.of_api(id).await?;
        if self.0.store.remove_endpoint(id).await? != EndpointChange::Done {
            return Err(ForwardError::NotFound);
        }
        self.apply(id, None).await;
        let (store, targets) = (self.0.store.clone(), row.endpoint.target_ids());
        // What is not done before the process ends is done by the next look for leftovers.
        tokio::spawn(async move {
            for target in targets {
                while store.cancel_unfinished(&target).await.unwrap_or(0) > 0 {}
            }
        });
        Ok(())
    }

    /// Gives an endpoint a new secret; the one before it signs as well for `overlap_s` seconds.
    ///
    /// # Errors
    /// A field is wrong; the endpoint stands in the file.
    pub async fn rotate(&self, id: &EndpointId, request: Value) -> Result<Made, ForwardError> {
        let mut fields = object(request)?;
        let given = secret(&mut fields)?;
        let overlap_s = match fields.remove("overlap_s") {
            None | Some(Value::Null) => OVERLAP_S,
            Some(value) => {
                value.as_i64().filter(|seconds| (0..=OVERLAP_S_MAX).contains(seconds)).ok_or_else(|| {
                    SpecError::new("overlap_s", format!("must be a whole number from 0 to {OVERLAP_S_MAX}"))
                })?
            }
        };
        nothing_more(&fields)?;
        let mut row = self.of_api(id).await?;
        let spec = &row.endpoint.spec;
        let secret = match given {
            None if !spec.kind.is_http() => {
                return Err(SpecError::new("secret", "is missing: the broker says what it is").into());
            }
            given => given.unwrap_or_else(|| SigningKey::generate(&self.0.entropy)),
        };
        let key = keyring::check_for(spec, &secret)?;
        let now_ms = self.0.clock.wall_ms();
        let until_ms = now_ms.saturating_add(overlap_s.saturating_mul(1_000));
        let keyring = self.0.open(id, &row.secrets)?.rotated(secret.clone(), now_ms, until_ms);
        row.secrets = self.0.seal(id, &keyring)?;
        let endpoint = self.put(row, |_| {}).await?;
        Ok(Made { endpoint, secret, public_key: key.and_then(|key| key.public()) })
    }

    /// Sends an endpoint a test event, before everything that waits for it; the event's id.
    ///
    /// # Errors
    /// There is none with this id, or it does not send now.
    pub async fn test(&self, id: &EndpointId) -> Result<EventId, ForwardError> {
        let row = self.0.store.endpoint(id).await?.ok_or(ForwardError::NotFound)?;
        if !row.endpoint.state.sends() {
            return Err(ForwardError::Conflict("the endpoint is not active"));
        }
        let event_id = self.0.ids.make::<EventId>();
        let now_ms = self.0.clock.wall_ms();
        let payload = Bytes::from(serde_json::json!({"message": "a test of wecom-gateway"}).to_string());
        let new = NewEvent {
            id: event_id.clone(),
            source: TEST_SOURCE.into(),
            dedup_key: dedup::key_of_identity(TEST_SOURCE, None, event_id.as_str().as_bytes()),
            event: Event::of_kind(EventKind::from_parts(&TEST_KIND), Format::Json),
            payload,
            accepted_ms: now_ms,
            evidence: Vec::new(),
        };
        let busy = |_refused| ForwardError::Store(crate::store::StoreError::Busy);
        self.0.intake.accept(vec![new]).await.map_err(busy)?;
        let event = self.0.store.event(&event_id).await?.ok_or(ForwardError::NotFound)?;
        let routed = row.endpoint.target_ids().into_iter().map(|target_id| Routed {
            target_id,
            delay_ms: 0,
            priority: TEST_PRIORITY,
            order_key: row.endpoint.spec.order.map(|_| event_id.to_string()),
        });
        let fresh = self.0.store.deliver_again(&Arc::new(event), routed.collect(), 0).await?;
        self.0.dispatch.offer_events(fresh);
        Ok(event_id)
    }

    /// Checks what is for this gateway to say: its build, and whom it may call.
    fn check_addresses(&self, spec: &EndpointSpec) -> Result<(), SpecError> {
        stream::is_built_in(&spec.kind).map_err(|why| SpecError::new("kind", why))?;
        if matches!(spec.kind, EndpointKind::MongoDb { .. }) {
            return Err(SpecError::new("kind", "of an archive can only stand in the configuration file"));
        }
        for (at, target) in spec.targets.iter().enumerate() {
            let field = if spec.targets.len() == 1 { "url".to_owned() } else { format!("targets[{at}].url") };
            let checked = self.0.client.guard().check_address(&spec.kind, &target.url);
            checked.map_err(|why| SpecError::new(field, why))?;
        }
        Ok(())
    }

    async fn of_api(&self, id: &EndpointId) -> Result<EndpointRow, ForwardError> {
        let row = self.0.store.endpoint(id).await?.ok_or(ForwardError::NotFound)?;
        match row.endpoint.origin {
            EndpointOrigin::Api => Ok(row),
            EndpointOrigin::File => Err(ForwardError::Conflict(IN_FILE)),
        }
    }

    async fn has_unfinished(&self, endpoint: &Endpoint) -> Result<bool, ForwardError> {
        for target in endpoint.target_ids() {
            if self.0.store.next_due(&target).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes `row` with what `change` does to it.
    pub(super) async fn put(
        &self,
        mut row: EndpointRow,
        change: impl FnOnce(&mut Endpoint),
    ) -> Result<Endpoint, ForwardError> {
        change(&mut row.endpoint);
        if row.endpoint.state != EndpointState::Disabled {
            row.endpoint.reason = None;
        }
        row.endpoint.revision = row.endpoint.revision.saturating_add(1);
        row.endpoint.updated_ms = self.0.clock.wall_ms();
        if self.0.store.change_endpoint(&row).await? != EndpointChange::Done {
            return Err(ForwardError::Conflict("the endpoint was changed by somebody else meanwhile"));
        }
        self.spread(&row).await;
        Ok(row.endpoint)
    }

    /// Brings a change to the sender, and waits until every replica routes by it.
    async fn spread(&self, row: &EndpointRow) {
        self.apply(&row.endpoint.id, Some(row)).await;
        if self.0.store.engine() == Engine::MySql {
            tokio::time::sleep(Duration::from_millis(SETTLED_MS)).await;
        }
    }
}

fn object(request: Value) -> Result<Map<String, Value>, SpecError> {
    match request {
        Value::Object(fields) => Ok(fields),
        _ => Err(SpecError::new("body", "must be an object")),
    }
}

fn flag(fields: &mut Map<String, Value>, name: &str) -> Result<Option<bool>, SpecError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(_) => Err(SpecError::new(name, "must be true or false")),
    }
}

fn secret(fields: &mut Map<String, Value>) -> Result<Option<Secret>, SpecError> {
    match fields.remove("secret") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Secret::new(text))),
        Some(_) => Err(SpecError::new("secret", "must be a text")),
    }
}

pub(super) fn nothing_more(fields: &Map<String, Value>) -> Result<(), SpecError> {
    match fields.keys().next() {
        Some(name) => Err(SpecError::new(name.clone(), "is not a field that is known here")),
        None => Ok(()),
    }
}
