//! Endpoints as people handle them: made, changed, switched, taken away; and brought to the sender.
//!
//! The table is what counts. After each change here, and on MySQL whenever another replica has changed something, the
//! targets of the sender are built anew from it. An endpoint of the configuration file is a row like any other, which
//! the file has the last word about.

mod changes;
mod dry_run;
mod file;
mod keyring;
mod replay;
mod targets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use changes::Made;
pub use file::FileEndpoint;
pub use replay::{Asked, Preview};

use crate::clock::Clock;
use crate::dispatch::{Dispatch, Target};
use crate::domain::endpoint::{SpecError, endpoint_of};
use crate::endpoint::http::WebClient;
use crate::entropy::Entropy;
use crate::ids::{EndpointId, IdMaker};
use crate::intake::Intake;
use crate::store::{ByHand, Engine, Store, StoreError};
use crate::vault::Vault;
use crate::wecom::event::body_json;

/// Between two looks for changes by other replicas.
const WATCH: Duration = Duration::from_millis(150);

/// Between two looks for replays, where none was seen.
const REPLAY_TICKS: u32 = 4;

/// Between two looks for deliveries of endpoints that are no more.
const TIDY_TICKS: u32 = 400;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] SpecError),
    /// There is no such endpoint, event or delivery.
    #[error("there is nothing with this id")]
    NotFound,
    /// It does not stand so that this could be done.
    #[error("{0}")]
    Conflict(&'static str),
    /// Not now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ForwardError {
    /// Whether the database is away.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable(_) | StoreError::Busy))
    }
}

/// Handles endpoints. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forwarding(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    dispatch: Dispatch,
    intake: Intake,
    client: WebClient,
    /// `None`: there is no master key, so no secrets can be kept.
    vault: Option<Vault>,
    clock: Clock,
    ids: IdMaker,
    entropy: Entropy,
    endpoints_max: usize,
    built: Mutex<Built>,
    /// One change of the sender's targets at a time.
    refreshing: tokio::sync::Mutex<()>,
}

/// The targets of endpoints by id, with the revision they were built of.
type Built = HashMap<EndpointId, (i64, Vec<(String, Arc<Target>)>)>;

/// What endpoints are handled with.
#[derive(Debug)]
pub struct ForwardingParts {
    /// The rows.
    pub store: Store,
    /// The sender.
    pub dispatch: Dispatch,
    /// Takes test events.
    pub intake: Intake,
    /// Calls business systems.
    pub client: WebClient,
    /// Seals their secrets.
    pub vault: Option<Vault>,
    /// Time.
    pub clock: Clock,
    /// Ids of endpoints.
    pub ids: IdMaker,
    /// Makes secrets.
    pub entropy: Entropy,
    /// Most endpoints.
    pub endpoints_max: usize,
}

impl Forwarding {
    /// Takes over; from now on what is committed goes to the sender at once.
    pub fn new(parts: ForwardingParts) -> Self {
        let dispatch = parts.dispatch.clone();
        parts.store.forward(body_json, Box::new(move |fresh| dispatch.offer_events(fresh)));
        let ForwardingParts { store, dispatch, intake, client, vault, clock, ids, entropy, endpoints_max } =
            parts;
        let (built, refreshing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Parts {
            store,
            dispatch,
            intake,
            client,
            vault,
            clock,
            ids,
            entropy,
            endpoints_max,
            built,
            refreshing,
        }))
    }

    /// Follows changes by others until `stop`.
    pub async fn run(self, mut late: Option<Vec<FileEndpoint>>, stop: CancellationToken) {
        let (mut ticks, mut replays) = (0_u32, true);
        let mut said = false;
        loop {
            match self.look(&mut late, ticks, replays).await {
                Ok(running) => (said, replays) = (false, running),
                Err(error) if !said => {
                    tracing::warn!(%error, "endpoints cannot be read; the old ones stay");
                    said = true;
                }
                Err(_) => {}
            }
            ticks = ticks.wrapping_add(1);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(WATCH) => {}
            }
        }
    }

    /// One look; whether replays are running.
    async fn look(
        &self,
        late: &mut Option<Vec<FileEndpoint>>,
        ticks: u32,
        replays: bool,
    ) -> Result<bool, ForwardError> {
        if let Some(of_file) = late {
            self.sync_file(of_file.clone()).await?;
            *late = None;
        }
        if self.0.store.engine() == Engine::MySql && self.0.store.watch_endpoints().await? {
            self.refresh().await?;
        }
        if ticks.is_multiple_of(TIDY_TICKS) {
            self.tidy().await?;
        }
        if replays || ticks.is_multiple_of(REPLAY_TICKS) { self.step_replays().await } else { Ok(false) }
    }

    /// Takes back what waits for endpoints, or addresses of theirs, that are no more.
    async fn tidy(&self) -> Result<(), ForwardError> {
        let wanted = self.0.store.delivery_targets().await?;
        let gone = {
            let built = self.0.built.lock().unwrap_or_else(PoisonError::into_inner);
            let is_there =
                |target: &String| built.values().flat_map(|(_, all)| all).any(|(id, _)| id == target);
            let of_endpoint = wanted.into_iter().filter(|target| endpoint_of(target).is_some());
            of_endpoint.filter(|target| !is_there(target)).collect::<Vec<_>>()
        };
        for target in gone {
            let Some(id) = endpoint_of(&target) else { continue };
            // What could not be built is still there.
            let row = self.0.store.endpoint(&id).await?;
            if row.is_none_or(|row| !row.endpoint.target_ids().contains(&target))
                && self.0.dispatch.owns(&target)
            {
                while self.0.store.cancel_unfinished(&target).await? > 0 {}
                tracing::info!(target, "what waited for an address that is no more was taken back");
            }
        }
        Ok(())
    }

    /// Does `what` to one delivery.
    ///
    /// # Errors
    /// It cannot be done to it.
    pub async fn by_hand(&self, what: ByHand, id: &crate::ids::DeliveryId) -> Result<(), ForwardError> {
        let store = &self.0.store;
        let delivery = store.delivery(id).await?.ok_or(ForwardError::NotFound)?;
        if !store.by_hand(what, id).await? {
            return Err(ForwardError::Conflict("the delivery does not stand so that this could be done"));
        }
        self.0.dispatch.look(&delivery.target_id);
        Ok(())
    }

    /// Does `what` to every dead letter of an endpoint; how many there were.
    ///
    /// # Errors
    /// There is no such endpoint.
    pub async fn by_hand_to_dead(&self, what: ByHand, id: &EndpointId) -> Result<usize, ForwardError> {
        let row = self.0.store.endpoint(id).await?.ok_or(ForwardError::NotFound)?;
        let targets = row.endpoint.target_ids();
        let mut all = 0;
        loop {
            let done = self.0.store.by_hand_to_dead(what, &targets).await?;
            all += done;
            for target in &targets {
                self.0.dispatch.look(target);
            }
            if done == 0 {
                return Ok(all);
            }
        }
    }
}
