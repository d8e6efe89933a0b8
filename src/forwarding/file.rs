//! Endpoints of the configuration file: brought into the table at the start and at each reload.

use sha2::{Digest, Sha256};

use super::keyring::Keyring;
use super::{ForwardError, Forwarding};
use crate::domain::endpoint::{Endpoint, EndpointOrigin, EndpointSpec, EndpointState, PAYLOAD_VERSION};
use crate::ids::EndpointId;
use crate::secret::Secret;
use crate::store::{EndpointChange, EndpointRow};

const FIXED_VERSION: &str = "the `version` of an endpoint of the file is fixed when it first stands there; give the endpoint another name";

/// One endpoint of the file.
#[derive(Clone, Debug)]
pub struct FileEndpoint {
    /// What is asked for.
    pub spec: EndpointSpec,
    /// The secret in use, and perhaps the one before it.
    pub secrets: Vec<Secret>,
    /// Whether it gets events.
    pub active: bool,
    /// The form of its payloads, if one was asked for.
    pub version: Option<i64>,
}

impl Forwarding {
    /// Makes the table say what the file says, and nothing else of what a file once said.
    ///
    /// # Errors
    /// The rows cannot be read or written.
    pub async fn sync_file(&self, endpoints: Vec<FileEndpoint>) -> Result<(), ForwardError> {
        let rows = self.0.store.endpoints().await?;
        let wanted: Vec<(EndpointId, FileEndpoint)> =
            endpoints.into_iter().map(|one| (id_of(&one.spec.name), one)).collect();
        for row in rows.iter().filter(|row| row.endpoint.origin == EndpointOrigin::File) {
            if !wanted.iter().any(|(id, _)| *id == row.endpoint.id) {
                self.0.store.remove_endpoint(&row.endpoint.id).await?;
            }
        }
        for (id, one) in wanted {
            let known = rows.iter().find(|row| row.endpoint.id == id);
            self.sync_one(id, one, known).await?;
        }
        self.refresh().await
    }

    async fn sync_one(
        &self,
        id: EndpointId,
        one: FileEndpoint,
        known: Option<&EndpointRow>,
    ) -> Result<(), ForwardError> {
        let state = if one.active { EndpointState::Active } else { EndpointState::Inactive };
        let keyring = Keyring(one.secrets.into_iter().map(|secret| (secret, None)).collect());
        let now_ms = self.0.clock.wall_ms();
        let Some(known) = known else {
            let endpoint = Endpoint {
                id: id.clone(),
                spec: one.spec,
                origin: EndpointOrigin::File,
                state,
                reason: None,
                payload_version: one.version.unwrap_or(PAYLOAD_VERSION),
                revision: 1,
                created_ms: now_ms,
                updated_ms: now_ms,
            };
            let row = EndpointRow { secrets: self.0.seal(&id, &keyring)?, endpoint };
            // Another replica with the same file may have been as fast.
            return match self.0.store.add_endpoint(&row, self.0.endpoints_max).await {
                Ok(EndpointChange::Full) => {
                    Err(ForwardError::Conflict("there are as many endpoints as there may be"))
                }
                Ok(_) | Err(crate::store::StoreError::Conflict) => Ok(()),
                Err(error) => Err(error.into()),
            };
        };
        if one.version.is_some_and(|asked| asked != known.endpoint.payload_version) {
            return Err(ForwardError::Conflict(FIXED_VERSION));
        }
        let same_secrets = self.0.open(&id, &known.secrets).is_ok_and(|old| old.0 == keyring.0);
        if same_secrets && known.endpoint.spec == one.spec && known.endpoint.state == state {
            return Ok(());
        }
        let mut row = known.clone();
        row.secrets = self.0.seal(&id, &keyring)?;
        row.endpoint.spec = one.spec;
        row.endpoint.state = state;
        row.endpoint.reason = None;
        row.endpoint.revision = row.endpoint.revision.saturating_add(1);
        row.endpoint.updated_ms = now_ms;
        self.0.store.change_endpoint(&row).await?;
        Ok(())
    }
}

/// The id of the endpoint called `name` in the file: the same at every start and on every replica.
fn id_of(name: &str) -> EndpointId {
    let digest: [u8; 32] = Sha256::digest(["endpoint of the file: ", name].concat().as_bytes()).into();
    let first = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    EndpointId::from(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_id() {
        assert_eq!(id_of("orders"), id_of("orders"));
        assert_ne!(id_of("orders"), id_of("order"));
        assert!(EndpointId::parse(id_of("orders").as_str()).is_some());
    }
}
