//! Bringing every sealed value to the key of now, off the hot path; then previous keys can be dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::seals::Seals;
use crate::store::{ResealPlace, Resealed, Store, StoreError};

/// How often it is looked whether rows are sealed with other keys.
const ROUND: Duration = Duration::from_mins(1);

/// The pause between two steps: others write meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResealState {
    /// Values that are not sealed as they would be now; `None` until they were counted.
    pub left: Option<u64>,
    /// Values written anew by this process.
    pub resealed: u64,
    /// Values that could not be opened in the last walk.
    pub unreadable: u64,
}

/// Writes sealed values anew. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resealing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    state: Mutex<ResealState>,
    keys_changed: Notify,
}

impl Resealing {
    /// Of the rows of `store`.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Shared { store, state: Mutex::default(), keys_changed: Notify::new() }))
    }

    /// How far it has come.
    pub fn state(&self) -> ResealState {
        *self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys from now on; if they are others than before, every row is looked at once more.
    ///
    /// # Errors
    /// As [`Store::exchange_keys`].
    pub async fn exchange_keys(&self, seals: &Seals) -> Result<(), StoreError> {
        let store = &self.0.store;
        if store.seals().current() == seals.current() && store.seals().ids() == seals.ids() {
            return Ok(());
        }
        store.exchange_keys(seals).await?;
        tracing::info!(key = seals.current(), "rows are sealed with other keys from now on");
        self.set(|state| state.left = None);
        self.0.keys_changed.notify_one();
        Ok(())
    }

    /// The key that seals now, and those that only open.
    pub fn keys(&self) -> (Option<String>, Vec<String>) {
        let seals = self.0.store.seals();
        let (current, ids) = (seals.current(), seals.ids());
        let previous = ids.into_iter().filter(|id| Some(id) != current.as_ref()).collect();
        (current, previous)
    }

    /// Walks over the rows at the start, after each change of the keys, and as long as rows are noted as sealed with
    /// other keys; until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut is_due = true;
            loop {
                match self.round(is_due).await {
                    Ok(is_done) => is_due = !is_done,
                    Err(error) => {
                        tracing::warn!(%error, "rows could not be sealed anew; they are tried again");
                    }
                }
                tokio::select! {
                    () = self.0.keys_changed.notified() => is_due = true,
                    () = sleep(ROUND) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Seals everything with the key of now; whether nothing is left.
    async fn round(&self, is_due: bool) -> Result<bool, StoreError> {
        let store = &self.0.store;
        store.note_key().await?;
        let (current, noted) = (store.seals().current(), store.noted_keys().await?);
        let others: Vec<String> = noted.into_iter().filter(|id| Some(id) != current.as_ref()).collect();
        if others.is_empty() && (!is_due || store.seals().ids().is_empty()) {
            return Ok(true);
        }
        let found = self.walk(true).await?;
        self.set(|state| state.left = Some(found.stale));
        let mut left = found.stale;
        if left > 0 {
            tracing::info!(left, "rows are sealed with the key of now");
            let done = self.walk(false).await?;
            // What other processes wrote with an old key meanwhile; nobody can do anything for what is damaged.
            left = self.walk(true).await?.stale.saturating_sub(done.damaged);
            self.set(|state| {
                state.left = Some(left);
                state.unreadable = done.damaged + done.unknown;
            });
        }
        let is_done = left == 0;
        if is_done && !others.is_empty() {
            store.forget_keys(&others).await?;
            tracing::info!(keys = others.join(", "), "no row is sealed with these keys any more");
        }
        Ok(is_done)
    }

    /// Goes over every value; what it did in all.
    async fn walk(&self, only_look: bool) -> Result<Resealed, StoreError> {
        let (mut place, mut done) = (ResealPlace::start(), Resealed::default());
        loop {
            let step = self.0.store.reseal(&place, only_look).await?;
            done.stale += step.stale;
            done.unknown += step.unknown;
            done.damaged += step.damaged;
            self.set(|state| {
                state.resealed += step.written;
                state.left = state.left.map(|left| left.saturating_sub(step.written));
            });
            match step.next {
                Some(next) => place = next,
                None => return Ok(done),
            }
            sleep(PAUSE).await;
        }
    }

    fn set(&self, change: impl FnOnce(&mut ResealState)) {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
