//! An endpoint as the sender sees it: its addresses and secrets, and what holds it back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outlet::{Outlet, Secrets, Sending};
use crate::domain::balance::{Balance, counts_for};
use crate::domain::breaker::Breaker;
use crate::domain::endpoint::{Endpoint, EndpointState, OrderSpec, Strategy};
use crate::domain::outcome::{Ending, Try};
use crate::domain::rate::Rate;
use crate::domain::retry::Schedule;
use crate::endpoint::http::WebClient;
use crate::endpoint::payload::{self, Body, Content};
use crate::ids::EndpointId;
use crate::store::StoredEvent;

/// One endpoint, or one address of an endpoint all of whose addresses get every event.
#[derive(Debug)]
pub struct WebTarget {
    endpoint: Endpoint,
    outlets: Vec<Outlet>,
    schedule: Schedule,
    halted: AtomicBool,
    /// Requests that are not answered yet.
    under_way: AtomicUsize,
    gate: Mutex<Gate>,
}

/// A request that is not answered yet; one less when it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<WebTarget>);

impl UnderWay {
    /// To whom.
    pub(super) fn target(&self) -> &Arc<WebTarget> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What holds it back.
#[derive(Debug)]
struct Gate {
    rate: Rate,
    breaker: Breaker,
    balance: Balance,
}

impl WebTarget {
    /// The targets of `endpoint`, by their ids.
    ///
    /// # Errors
    /// An address that may not be called, with what is wrong.
    pub fn of(
        endpoint: &Endpoint,
        secrets: &Secrets,
        client: &WebClient,
    ) -> Result<Vec<(String, Self)>, String> {
        let spec = &endpoint.spec;
        let mut outlets = Outlet::all(spec, secrets, client)?;
        let weights: Vec<u32> = spec.targets.iter().map(|target| target.weight).collect();
        let ids = endpoint.target_ids();
        let each_its_own = ids.len() > 1;
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let all = outlets.len();
            let outlets = outlets.drain(..if each_its_own { all.min(1) } else { all }).collect();
            let strategy = if each_its_own { Strategy::All } else { spec.strategy };
            let target = Self {
                endpoint: endpoint.clone(),
                outlets,
                schedule: spec.schedule(),
                halted: AtomicBool::new(!endpoint.state.sends()),
                under_way: AtomicUsize::new(0),
                gate: Mutex::new(Gate {
                    rate: Rate::new(spec.rate_per_s),
                    breaker: Breaker::default(),
                    balance: Balance::new(strategy, if each_its_own { &[1] } else { &weights }),
                }),
            };
            out.push((id, target));
        }
        Ok(out)
    }

    /// Whose it is.
    pub(super) fn endpoint_id(&self) -> &EndpointId {
        &self.endpoint.id
    }

    /// Whether it is the only address of its endpoint.
    pub(super) fn is_alone(&self) -> bool {
        self.endpoint.spec.targets.len() == 1
    }

    /// Whether nothing is to be sent.
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Nothing is to be sent any more.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Whether it is left alone because it fails, or was switched off because it said that it is gone.
    pub(super) fn is_down(&self) -> bool {
        self.endpoint.state == EndpointState::Disabled || (!self.is_halted() && self.gate().breaker.is_open())
    }

    /// The order it wants.
    pub(super) fn order(&self) -> Option<OrderSpec> {
        self.endpoint.spec.order
    }

    /// When a failed try is repeated.
    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The longest that one try can take.
    pub(super) fn attempt_timeout_ms(&self) -> i64 {
        self.endpoint.spec.timeout_ms
    }

    /// When the next request may leave, steady ms; `i64::MAX`: when the one on its way is back.
    pub(super) fn ready_at_ms(&self) -> i64 {
        let gate = self.gate();
        let rate_ms = gate.rate.ready_at_us().div_euclid(1_000).saturating_add(1);
        let rate_ms = if gate.rate.ready_at_us() == i64::MIN { i64::MIN } else { rate_ms };
        gate.breaker.ready_at().max(rate_ms)
    }

    /// A request is about to leave at `now_us` (steady).
    pub(super) fn begin(self: &Arc<Self>, now_us: i64) -> UnderWay {
        let mut gate = self.gate();
        gate.rate.take(now_us);
        gate.breaker.begin();
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(self))
    }

    /// Requests that are not answered yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// It did not leave.
    pub(super) fn cancelled(&self) {
        self.gate().breaker.cancelled();
    }

    /// How many addresses take turns.
    pub(super) fn turns(&self) -> usize {
        self.gate().balance.turns()
    }

    /// The place of the next address.
    pub(super) fn next_place(&self, now_ms: i64, unit: f64) -> usize {
        self.gate().balance.next(now_ms, unit)
    }

    /// The request to `place`, the `tried`th try of its delivery, was answered at `now_ms`.
    pub(super) fn ended(&self, place: usize, tried: usize, ending: Ending, now_ms: i64) {
        let mut gate = self.gate();
        let succeeded = ending == Ending::Accepted;
        gate.balance.ended(place, succeeded, now_ms);
        let turns = gate.balance.turns();
        if succeeded {
            gate.breaker.succeeded();
        } else if counts_for(&gate.breaker, tried, turns) {
            gate.breaker.failed(now_ms);
        }
    }

    /// Whether what is sent differs from what is stored, and has to be kept for later tries.
    pub(super) fn keeps_bodies(&self) -> bool {
        !self.endpoint.spec.mask.is_empty()
    }

    /// The body of `event`.
    pub(super) fn body(&self, event: &StoredEvent) -> Body {
        let spec = &self.endpoint.spec;
        payload::body(&content(event), spec.payload, self.endpoint.payload_version, &spec.mask)
    }

    /// Sends an event to the address at its place.
    pub(super) async fn send(&self, sending: Sending<'_>) -> Try {
        let Some(outlet) = self.outlets.get(sending.place) else { return no_address() };
        let mut tried = outlet.send(&self.endpoint, &sending).await;
        if self.outlets.len() > 1 {
            tried.error = tried.error.map(|error| format!("{}: {error}", outlet.host()));
        }
        tried
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Every change is one call, so a panic elsewhere has not spoiled it.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_address() -> Try {
    Try {
        outcome: crate::domain::outcome::Outcome::Refused,
        http_status: None,
        errcode: None,
        error: Some("the endpoint has no address".to_owned()),
        answer: None,
        response_code: None,
    }
}

/// What a stored event tells others.
pub fn content(event: &StoredEvent) -> Content<'_> {
    Content {
        id: event.id.as_str(),
        kind: event.kind.as_str(),
        source: &event.source,
        accepted_ms: event.accepted_ms,
        format: event.format,
        corp_id: event.corp_id.as_deref(),
        user_id: event.user_id.as_deref(),
        external_user_id: event.external_user_id.as_deref(),
        chat_id: event.chat_id.as_deref(),
        plaintext: &event.payload,
    }
}
