//! The deliveries that events become, in the events' own transaction.
//!
//! What endpoints want is held in memory. On SQLite this process alone changes it, in the writer's own order: what is
//! committed after an endpoint is routed to it. On MySQL a row counts the changes; each group's transaction reads it
//! and loads the endpoints anew when it has moved. While nobody wants anything the row is read beside the groups
//! (see [`Store::watch_endpoints`]), so that a group stays one statement; whoever adds an endpoint waits until that
//! has been seen everywhere.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use serde_json::Value;
use sqlx::{AnyConnection, Executor};

use super::deliveries::insert_deliveries;
use super::endpoints::{ENDPOINTS_VERSION, select_endpoints};
use super::order::{OrderRow, insert_order};
use super::read::Columns;
use super::{Engine, NewEvent, Store, StoreError, StoredEvent};
use crate::clock::Clock;
use crate::domain::delivery::{Cargo, Delivery, DeliveryState};
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Format;
use crate::domain::filter::{Route, Routed, Routes, Subject};
use crate::ids::{EndpointId, IdMaker};
use crate::sabotage::{self, Protection};

/// How long the row of the version is believed while nobody wants anything.
const BELIEVED_MS: i64 = 400;

/// How long whoever adds an endpoint waits until every replica has seen it. MySQL only.
pub const SETTLED_MS: u64 = 1_000;

/// So much earlier is due what is urgent: the queue in the table is read by due times.
const URGENT_LEAD_MS: i64 = 365 * 86_400_000;

/// A version that no row has: everything has to be loaded.
const UNKNOWN: i64 = i64::MIN;

/// A delivery that was just committed, and what it carries.
#[derive(Clone, Debug)]
pub struct FreshDelivery {
    /// The row.
    pub delivery: Delivery,
    /// The event.
    pub event: Arc<StoredEvent>,
    /// What it keeps its order within.
    pub order_key: Option<String>,
}

/// Turns a plaintext into JSON.
pub type ReadBody = fn(&[u8], Format) -> Value;

/// Takes deliveries that were just committed. Must not block.
pub type TakeFresh = dyn Fn(Vec<FreshDelivery>) + Send + Sync;

/// What endpoints want, and who is told of deliveries.
pub(super) struct Routing {
    engine: Engine,
    clock: Clock,
    ids: IdMaker,
    routes: ArcSwap<Routes>,
    version: AtomicI64,
    checked_ms: AtomicI64,
    /// Set once, by [`Store::forward`].
    out: OnceLock<(ReadBody, Box<TakeFresh>)>,
}

impl std::fmt::Debug for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routing").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Store {
    /// From now on bodies are read with `read_body`, where a filter asks for them, and `take` gets what was committed.
    /// Only the first call counts.
    pub fn forward(&self, read_body: ReadBody, take: Box<TakeFresh>) {
        let _only_the_first = self.inner.routing.out.set((read_body, take));
    }

    /// What endpoints want, as this process knows it.
    pub fn routes(&self) -> Arc<Routes> {
        self.inner.routing.routes.load_full()
    }

    /// Looks whether endpoints were changed by another replica. To be called several times a second on MySQL; says
    /// whether they were.
    pub async fn watch_endpoints(&self) -> Result<bool, StoreError> {
        let routing = &self.inner.routing;
        let begun_ms = self.inner.clock.steady_ms();
        let version = self.endpoints_version().await?;
        if version == routing.version.load(Ordering::Acquire) {
            routing.checked_ms.store(begun_ms, Ordering::Release);
            return Ok(false);
        }
        let endpoints = self.endpoints().await?;
        routing.replace(endpoints.iter().map(|row| &row.endpoint), version);
        routing.checked_ms.store(begun_ms, Ordering::Release);
        Ok(true)
    }
}

impl Routing {
    pub(super) fn new(engine: Engine, clock: Clock, ids: IdMaker) -> Self {
        Self {
            engine,
            clock,
            ids,
            routes: ArcSwap::default(),
            version: AtomicI64::new(UNKNOWN),
            checked_ms: AtomicI64::new(i64::MIN),
            out: OnceLock::new(),
        }
    }

    /// Brings memory up to the table.
    pub(super) async fn load(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let version = select_version(conn).await?;
        let endpoints = select_endpoints(conn).await?;
        self.replace(endpoints.iter().map(|row| &row.endpoint), version);
        Ok(())
    }

    fn replace<'e>(&self, endpoints: impl Iterator<Item = &'e Endpoint>, version: i64) {
        self.routes.store(Arc::new(Routes::new(endpoints.filter_map(Route::of).map(Arc::new))));
        self.version.store(version, Ordering::Release);
    }

    /// One endpoint was changed by this process: `None`, removed.
    pub(super) fn changed(&self, id: &EndpointId, endpoint: Option<&Endpoint>) {
        match self.engine {
            Engine::Sqlite => {
                let route = endpoint.and_then(Route::of);
                self.routes.store(Arc::new(self.routes.load().with(id, route)));
            }
            // Others may have changed some as well: the next group loads them all.
            Engine::MySql => self.version.store(UNKNOWN, Ordering::Release),
        }
    }

    /// Whether events can be recorded without a look at endpoints: nobody wants any, and that is known for certain.
    pub(super) fn is_idle(&self) -> bool {
        let is_fresh = || {
            let age_ms = self.clock.steady_ms().saturating_sub(self.checked_ms.load(Ordering::Acquire));
            self.version.load(Ordering::Acquire) != UNKNOWN && age_ms <= BELIEVED_MS
        };
        self.routes.load().is_empty() && (self.engine == Engine::Sqlite || is_fresh())
    }

    /// Adds the deliveries of `events`, which stand in the order of their acceptance.
    pub(super) async fn route(
        &self,
        conn: &mut AnyConnection,
        events: &[&NewEvent],
    ) -> Result<Vec<FreshDelivery>, StoreError> {
        if self.engine == Engine::MySql && select_version(conn).await? != self.version.load(Ordering::Acquire)
        {
            self.load(conn).await?;
        }
        let routes = self.routes.load();
        // Negative control: what the process does not live to send is lost.
        if routes.is_empty() || sabotage::off(Protection::RoutedInTransaction) {
            return Ok(Vec::new());
        }
        let now_ms = self.clock.steady_ms();
        let fresh: Vec<FreshDelivery> =
            events.iter().flat_map(|event| self.deliveries(&routes, event, now_ms)).collect();
        insert_fresh(conn, &fresh).await?;
        Ok(fresh)
    }

    fn deliveries(&self, routes: &Routes, new: &NewEvent, now_ms: i64) -> Vec<FreshDelivery> {
        if !routes.may_want(new.event.kind.as_str()) {
            return Vec::new();
        }
        let read = || self.out.get().map_or(Value::Null, |(read, _)| read(&new.payload, new.event.format));
        let subject = Subject::new(&new.source, &new.event, &read);
        let wanting = routes.wanting(&subject);
        if wanting.is_empty() {
            return Vec::new();
        }
        let event = Arc::new(StoredEvent::of_new(new));
        let all = wanting.into_iter().flat_map(|route| route.deliveries(&new.event));
        all.map(|routed| fresh(&self.ids, &event, routed, 0, now_ms, new.accepted_ms)).collect()
    }

    /// Hands over what was just committed.
    pub(super) fn tell(&self, fresh: Vec<FreshDelivery>) {
        if !fresh.is_empty()
            && let Some((_, take)) = self.out.get()
        {
            take(fresh);
        }
    }
}

/// The delivery of `event` as routed, in `run`.
pub(super) fn fresh(
    ids: &IdMaker,
    event: &Arc<StoredEvent>,
    routed: Routed,
    run: i64,
    now_steady_ms: i64,
    now_wall_ms: i64,
) -> FreshDelivery {
    let lead_ms = if routed.priority > 0 { URGENT_LEAD_MS } else { 0 };
    let delivery = Delivery {
        id: ids.make(),
        target_id: routed.target_id,
        cargo: Cargo::Event(event.id.clone()),
        run,
        priority: routed.priority,
        attempts: 0,
        state: DeliveryState::Queued,
        due_ms: Some(now_steady_ms.saturating_add(routed.delay_ms).saturating_sub(lead_ms)),
        started_ms: None,
        expires_ms: None,
        created_ms: now_wall_ms,
    };
    FreshDelivery { delivery, event: Arc::clone(event), order_key: routed.order_key }
}

/// Adds rows with their places in the order, inside a transaction.
pub(super) async fn insert_fresh(
    conn: &mut AnyConnection,
    fresh: &[FreshDelivery],
) -> Result<(), StoreError> {
    let rows: Vec<&Delivery> = fresh.iter().map(|one| &one.delivery).collect();
    insert_deliveries(conn, &rows).await?;
    let order: Vec<OrderRow<'_>> = fresh.iter().filter_map(OrderRow::of).collect();
    insert_order(conn, &order).await
}

/// How often endpoints were changed.
pub(super) async fn select_version(conn: &mut AnyConnection) -> Result<i64, StoreError> {
    let query = sqlx::query("SELECT value FROM versions WHERE name = ?");
    match conn.fetch_optional(query.bind(ENDPOINTS_VERSION)).await? {
        Some(row) => Columns::of(&row).take(),
        None => Ok(0),
    }
}
