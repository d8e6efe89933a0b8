//! The addresses that the platform says it calls from, as last heard; `upkeep` keeps them fresh.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::http::peer::contains;

/// What is known of them. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct PlatformAddresses(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    enforced: bool,
    known: ArcSwap<Known>,
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The networks; empty until they were heard once.
    pub networks: Vec<IpNet>,
    /// When they were last heard, wall ms.
    pub heard_ms: Option<i64>,
    /// Why the last question had no answer.
    pub problem: Option<String>,
}

impl PlatformAddresses {
    /// Nothing heard yet; `enforced`: others may not send callbacks once it is.
    pub fn new(enforced: bool) -> Self {
        Self(Arc::new(Parts { enforced, known: ArcSwap::default() }))
    }

    /// Whether others are turned away.
    pub fn enforced(&self) -> bool {
        self.0.enforced
    }

    /// What is known now.
    pub fn known(&self) -> Arc<Known> {
        self.0.known.load_full()
    }

    /// Notes a list; an empty one is no list.
    pub fn hear(&self, networks: Vec<IpNet>, now_ms: i64) {
        if networks.is_empty() {
            return self.miss("the list is empty".to_owned());
        }
        self.0.known.store(Arc::new(Known { networks, heard_ms: Some(now_ms), problem: None }));
    }

    /// Notes that no list came; the last one stays in force.
    pub fn miss(&self, why: String) {
        let known = Known { problem: Some(why), ..Known::clone(&self.known()) };
        self.0.known.store(Arc::new(known));
    }

    /// Whether `address` is one of the platform's.
    pub(crate) fn hold(&self, address: IpAddr) -> bool {
        contains(&self.0.known.load().networks, address)
    }

    /// Whether a list is in force.
    pub(crate) fn in_force(&self) -> bool {
        self.0.enforced && !self.0.known.load().networks.is_empty()
    }
}

/// Two are equal if they are one: what is known changes by itself.
impl PartialEq for PlatformAddresses {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PlatformAddresses {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_good_list_stays() {
        let addresses = PlatformAddresses::new(true);
        let ours: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(!addresses.in_force() && !addresses.hold(ours));
        addresses.hear(vec!["192.0.2.0/24".parse().unwrap()], 5);
        assert!(addresses.in_force() && addresses.hold(ours));
        addresses.hear(Vec::new(), 6);
        addresses.miss("away".to_owned());
        let known = addresses.known();
        assert!(addresses.in_force() && addresses.hold(ours));
        assert_eq!((known.heard_ms, known.problem.as_deref()), (Some(5), Some("away")));
        let shown = PlatformAddresses::new(false);
        shown.hear(known.networks.clone(), 7);
        assert!(!shown.in_force() && shown.hold(ours), "shown, not enforced");
    }
}
