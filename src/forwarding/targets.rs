//! From rows to the sender's targets.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use super::{ForwardError, Forwarding, Parts};
use crate::dispatch::{Target, WebTarget};
use crate::ids::EndpointId;
use crate::store::EndpointRow;

impl Forwarding {
    /// Builds the targets of every endpoint that has changed, and gives them all to the sender.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub async fn refresh(&self) -> Result<(), ForwardError> {
        let _one_at_a_time = self.0.refreshing.lock().await;
        let rows = self.0.store.endpoints().await?;
        let targets: HashMap<String, Arc<Target>> = {
            let mut built = self.0.built.lock().unwrap_or_else(PoisonError::into_inner);
            let mut kept = HashMap::with_capacity(rows.len());
            for row in rows {
                let known = built.remove(&row.endpoint.id);
                let known = known.filter(|(revision, _)| *revision == row.endpoint.revision);
                let revision = row.endpoint.revision;
                let targets = known.map_or_else(|| self.0.build(&row), |(_, targets)| targets);
                kept.insert(row.endpoint.id, (revision, targets));
            }
            *built = kept;
            built.values().flat_map(|(_, targets)| targets.iter().cloned()).collect()
        };
        self.0.dispatch.set_endpoints(targets);
        Ok(())
    }
}

impl Forwarding {
    /// Brings one endpoint to the sender: `None`, it is no more.
    pub(super) async fn apply(&self, id: &EndpointId, row: Option<&EndpointRow>) {
        let _one_at_a_time = self.0.refreshing.lock().await;
        let new = row.map(|row| self.0.build(row)).unwrap_or_default();
        let old = {
            let mut built = self.0.built.lock().unwrap_or_else(PoisonError::into_inner);
            match row {
                Some(row) => built.insert(id.clone(), (row.endpoint.revision, new.clone())),
                None => built.remove(id),
            }
        };
        let old: Vec<String> =
            old.into_iter().flat_map(|(_, targets)| targets).map(|(target_id, _)| target_id).collect();
        self.0.dispatch.exchange_endpoints(&old, new);
    }
}

impl Parts {
    /// The targets of one endpoint. One that cannot be used has none, and a line in the log says why: its deliveries
    /// wait.
    fn build(&self, row: &EndpointRow) -> Vec<(String, Arc<Target>)> {
        let endpoint = &row.endpoint;
        let keyring = match self.open(&endpoint.id, &row.secrets) {
            Ok(keyring) => keyring,
            Err(error) => {
                tracing::error!(endpoint = %endpoint.id, %error, "an endpoint cannot be delivered to");
                return Vec::new();
            }
        };
        match WebTarget::of(endpoint, &keyring.0, &self.client) {
            Ok(targets) => targets
                .into_iter()
                .map(|(id, web)| (id.clone(), Arc::new(Target::web(id, web, endpoint.spec.concurrency))))
                .collect(),
            Err(error) => {
                tracing::error!(endpoint = %endpoint.id, error, "an endpoint's address may not be called");
                Vec::new()
            }
        }
    }
}
