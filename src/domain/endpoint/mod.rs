//! A business system that gets events: what is asked for, and where it stands.

mod fields;
mod kind;
mod schedule;
mod spec;
pub mod wechatpadpro;

pub use fields::{SpecError, is_word};
pub use kind::{EndpointKind, subject_of};
pub use schedule::{ScheduleName, after_try};
pub use spec::{
    Dialect, EndpointSpec, HEADERS_MAX, OnDead, OrderBy, OrderSpec, PayloadForm, SECRETS_MAX, Strategy,
    TARGETS_MAX, WebTarget,
};

use crate::ids::EndpointId;

/// Most endpoints of one gateway, unless its configuration says otherwise.
pub const ENDPOINTS_MAX: usize = 10_000;

/// The form of payloads that an endpoint gets, for as long as it lives, unless another was asked for when it was made.
pub const PAYLOAD_VERSION: i64 = 1;

/// The newest form of payloads.
pub const PAYLOAD_VERSION_NEWEST: i64 = 2;

/// Which form of payloads was asked for; the usual one if none was.
///
/// # Errors
/// There is no such form, or the payload has none.
pub fn payload_version(asked: Option<&serde_json::Value>, spec: &EndpointSpec) -> Result<i64, SpecError> {
    let version = match asked {
        None | Some(serde_json::Value::Null) => return Ok(PAYLOAD_VERSION),
        Some(asked) => asked.as_i64().filter(|version| (1..=PAYLOAD_VERSION_NEWEST).contains(version)),
    };
    match version {
        None => {
            Err(SpecError::new("version", format!("must be a number from 1 to {PAYLOAD_VERSION_NEWEST}")))
        }
        Some(version) if version > 1 && spec.payload != PayloadForm::Json => {
            Err(SpecError::new("version", "above 1 goes together with the payload `json` only"))
        }
        Some(version) => Ok(version),
    }
}

/// Whether an endpoint gets events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Events become deliveries, deliveries are sent.
    Active,
    /// Events become deliveries, which wait.
    Paused,
    /// Events pass it by; what waits goes on waiting.
    Inactive,
    /// As inactive, because the other side said that it is gone.
    Disabled,
}

impl EndpointState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Inactive, Self::Disabled];

    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Inactive => "inactive",
            Self::Disabled => "disabled",
        }
    }

    /// Reads [`EndpointState::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether new events become deliveries.
    pub fn takes_events(self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }

    /// Whether deliveries are sent.
    pub fn sends(self) -> bool {
        self == Self::Active
    }
}

/// Who keeps an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointOrigin {
    /// Made and changed through the API.
    Api,
    /// Stands in the configuration file, which has the last word.
    File,
}

impl EndpointOrigin {
    /// The word in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::File => "file",
        }
    }

    /// Reads [`EndpointOrigin::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Api, Self::File].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// An endpoint as stored, without its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Our id.
    pub id: EndpointId,
    /// What was asked for.
    pub spec: EndpointSpec,
    /// Who keeps it.
    pub origin: EndpointOrigin,
    /// Whether it gets events.
    pub state: EndpointState,
    /// Why it is disabled.
    pub reason: Option<String>,
    /// The form of its payloads, fixed when it was made.
    pub payload_version: i64,
    /// Rises with each change.
    pub revision: i64,
    /// When it was made, wall ms.
    pub created_ms: i64,
    /// When it was last changed, wall ms.
    pub updated_ms: i64,
}

impl Endpoint {
    /// What its deliveries go to: itself, or each of its addresses where every one gets every event.
    pub fn target_ids(&self) -> Vec<String> {
        let addresses = self.spec.targets.len();
        if self.spec.strategy == Strategy::All && addresses > 1 {
            (1..=addresses).map(|place| format!("{}.{place}", self.id)).collect()
        } else {
            vec![self.id.to_string()]
        }
    }
}

/// The endpoint that a target of a delivery belongs to; `None`: it is a channel.
pub fn endpoint_of(target_id: &str) -> Option<EndpointId> {
    EndpointId::parse(target_id.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_knows_its_endpoint() {
        let id = EndpointId::from(7);
        assert_eq!(endpoint_of(id.as_str()), Some(id.clone()));
        assert_eq!(endpoint_of(&format!("{id}.2")), Some(id));
        assert_eq!(endpoint_of("wechat_bot"), None);
        assert_eq!(endpoint_of("wechat.bot"), None);
    }

    #[test]
    fn words_read_back() {
        for state in EndpointState::ALL {
            assert_eq!(EndpointState::parse(state.as_str()), Some(state));
        }
        assert_eq!(EndpointState::parse("gone"), None);
        assert_eq!(EndpointOrigin::parse("file"), Some(EndpointOrigin::File));
    }
}
