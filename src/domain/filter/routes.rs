//! From an event to the endpoints that want it: every filter at once, indexed by kind.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Filter, KindPattern, Subject, TEST_KINDS};
use crate::domain::endpoint::{Endpoint, OrderBy};
use crate::domain::event::Event;
use crate::ids::EndpointId;

/// What one endpoint wants.
#[derive(Clone, Debug)]
pub struct Route {
    /// Whose it is.
    pub endpoint: EndpointId,
    /// What a delivery of each event goes to.
    pub targets: Vec<String>,
    /// Which events.
    pub filter: Filter,
    /// By what its deliveries are kept in order.
    pub order: Option<OrderBy>,
    /// How long they wait before the first try.
    pub delay_ms: i64,
    /// Kinds that go before all others.
    pub urgent: Vec<KindPattern>,
}

/// One delivery that an event becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// What it goes to.
    pub target_id: String,
    /// How long it waits.
    pub delay_ms: i64,
    /// Above 0: before all others.
    pub priority: i64,
    /// What it has to keep its order within; `None`: nothing.
    pub order_key: Option<String>,
}

/// The priority of what is urgent.
const URGENT: i64 = 5;

impl Route {
    /// What `endpoint` wants; `None`: nothing, as it stands now.
    pub fn of(endpoint: &Endpoint) -> Option<Self> {
        endpoint.state.takes_events().then(|| Self {
            endpoint: endpoint.id.clone(),
            targets: endpoint.target_ids(),
            filter: endpoint.spec.filter.clone(),
            order: endpoint.spec.order.map(|order| order.by),
            delay_ms: endpoint.spec.delay_ms,
            urgent: endpoint.spec.urgent.clone(),
        })
    }

    /// The deliveries of an event that is wanted.
    pub fn deliveries(&self, event: &Event) -> impl Iterator<Item = Routed> + '_ {
        let is_urgent = self.urgent.iter().any(|kind| kind.matches(event.kind.as_str()));
        let order_key = self.order.map(|by| OrderKeyOf(by).key(event));
        self.targets.iter().map(move |target_id| Routed {
            target_id: target_id.clone(),
            delay_ms: self.delay_ms,
            priority: if is_urgent { URGENT } else { 0 },
            order_key: order_key.clone(),
        })
    }
}

/// Which part of an event keeps deliveries in order.
#[derive(Clone, Copy, Debug)]
pub struct OrderKeyOf(pub OrderBy);

impl OrderKeyOf {
    /// The key of `event`; events that have none keep one order among themselves.
    pub fn key(self, event: &Event) -> String {
        let found = match self.0 {
            OrderBy::User => &event.user_id,
            OrderBy::Chat => &event.chat_id,
            OrderBy::ExternalContact => &event.external_user_id,
            OrderBy::Everything => &None,
        };
        found.clone().unwrap_or_default()
    }
}

/// What every endpoint wants.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    list: Vec<Arc<Route>>,
    /// Places in `list` by exact kind, by branch (`message.`), and of those who want all.
    exact: HashMap<String, Vec<usize>>,
    branches: HashMap<String, Vec<usize>>,
    all: Vec<usize>,
}

impl Routes {
    /// Indexes `routes`.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        let mut new = Self { list: routes.into_iter().collect(), ..Self::default() };
        for (place, route) in new.list.iter().enumerate() {
            for kind in &route.filter.kinds {
                let list = match kind {
                    KindPattern::All => &mut new.all,
                    KindPattern::Branch(branch) => new.branches.entry(branch.clone()).or_default(),
                    KindPattern::Exact(exact) => new.exact.entry(exact.clone()).or_default(),
                };
                list.push(place);
            }
        }
        new
    }

    /// The same, with what one endpoint wants exchanged: `None` takes it out.
    #[must_use]
    pub fn with(&self, endpoint: &EndpointId, route: Option<Route>) -> Self {
        let others = self.list.iter().filter(|route| route.endpoint != *endpoint).cloned();
        Self::new(others.chain(route.map(Arc::new)))
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether somebody may want events of `kind`.
    pub fn may_want(&self, kind: &str) -> bool {
        self.places(kind).next().is_some()
    }

    /// Everybody who wants `subject`, each once.
    pub fn wanting<'r>(&'r self, subject: &Subject<'_>) -> Vec<&'r Route> {
        let mut places: Vec<usize> = self.places(subject.kind()).collect();
        places.sort_unstable();
        places.dedup();
        let routes = places.into_iter().filter_map(|place| self.list.get(place));
        routes.map(Arc::as_ref).filter(|route| route.filter.matches_beside_kind(subject)).collect()
    }

    fn places(&self, kind: &str) -> impl Iterator<Item = usize> {
        let is_test = kind.starts_with(TEST_KINDS);
        let branches = kind.match_indices('.').filter_map(|(dot, _)| kind.get(..=dot));
        let in_branches = branches.filter_map(|branch| self.branches.get(branch)).flatten();
        let exact = self.exact.get(kind).into_iter().flatten();
        exact.chain(in_branches).chain(&self.all).copied().filter(move |_| !is_test)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventKind, Format};
    use serde_json::Value;

    fn route(number: u128, kinds: &[&str]) -> Arc<Route> {
        let kinds = kinds.iter().map(|kind| KindPattern::parse(kind).unwrap()).collect();
        Arc::new(Route {
            endpoint: EndpointId::from(number),
            targets: vec![EndpointId::from(number).to_string()],
            filter: Filter { kinds, ..Filter::default() },
            order: None,
            delay_ms: 0,
            urgent: vec![KindPattern::parse("event.*").unwrap()],
        })
    }

    fn wanting(routes: &Routes, kind: &str) -> Vec<EndpointId> {
        let event = Event::of_kind(EventKind::stored(kind.to_owned()), Format::Xml);
        let nothing = || Value::Null;
        let subject = Subject::new("s", &event, &nothing);
        routes.wanting(&subject).into_iter().map(|route| route.endpoint.clone()).collect()
    }

    #[test]
    fn everybody_who_wants_a_kind_is_found_once() {
        let routes = Routes::new([
            route(1, &["message.text", "message.*", "*"]),
            route(2, &["event.change_contact.*"]),
            route(3, &["message.image"]),
            route(4, &["*"]),
        ]);
        let ids = |numbers: &[u128]| numbers.iter().map(|n| EndpointId::from(*n)).collect::<Vec<_>>();
        assert_eq!(wanting(&routes, "message.text"), ids(&[1, 4]));
        assert_eq!(wanting(&routes, "message.image"), ids(&[1, 3, 4]));
        assert_eq!(wanting(&routes, "event.change_contact.create_user"), ids(&[1, 2, 4]));
        assert_eq!(wanting(&routes, "event.change_contact"), ids(&[1, 4]));
        assert_eq!(wanting(&routes, "test.ping"), ids(&[]), "a test is for one endpoint");
        let fewer = routes.with(&EndpointId::from(4), None).with(&EndpointId::from(1), None);
        assert_eq!(wanting(&fewer, "message.text"), ids(&[]));
        assert!(!fewer.may_want("message.text") && fewer.may_want("message.image"));
    }

    #[test]
    fn what_is_urgent_goes_first() {
        let event = |kind: &str| Event::of_kind(EventKind::stored(kind.to_owned()), Format::Xml);
        let route = route(1, &["*"]);
        let priority = |kind| route.deliveries(&event(kind)).map(|one| one.priority).collect::<Vec<_>>();
        assert_eq!((priority("event.click"), priority("message.text")), (vec![URGENT], vec![0]));
    }

    #[test]
    fn ten_thousand_endpoints_are_searched_by_kind() {
        let routes = Routes::new((0..10_000).map(|n| route(n, &[&format!("event.kind_{n}")])));
        assert_eq!(wanting(&routes, "event.kind_77"), [EndpointId::from(77)]);
        assert_eq!(routes.places("event.kind_77").count(), 1, "no other filter is looked at");
    }
}
