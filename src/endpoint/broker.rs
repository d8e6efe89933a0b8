//! What every way to a broker needs: where it is, who we are there, and how it may be reached.

use std::time::Duration;

use super::broker_address::BrokerAddress;
use super::guard::Guard;
use super::http::WebSettings;
use crate::secret::Secret;

/// One broker.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) address: BrokerAddress,
    /// Its host, as names are resolved and as people read it.
    pub(super) host: String,
    pub(super) user: String,
    pub(super) secret: Option<Secret>,
    pub(super) guard: Guard,
    pub(super) connect_timeout: Duration,
    pub(super) extra_roots: Vec<u8>,
}

impl Broker {
    /// The broker at `address`, behind `guard`.
    pub(super) fn new(
        address: BrokerAddress,
        (user, secret): (&str, Option<Secret>),
        guard: &Guard,
        settings: &WebSettings,
    ) -> Self {
        Self {
            host: address.host_text(),
            address,
            user: user.to_owned(),
            secret,
            guard: guard.clone(),
            connect_timeout: Duration::from_millis(settings.connect_timeout_ms),
            extra_roots: settings.extra_roots.clone(),
        }
    }
}
