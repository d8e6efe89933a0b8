//! What deliveries go to: the kinds of target, and what each asks of the sender.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::DispatchSettings;
use super::queue::Order;
use super::web_target::WebTarget;
use crate::channel::gate::ChannelGate;
use crate::channel::wecom_app::App;
use crate::channel::wecom_robot::Robot;
use crate::domain::allowance::Allowance;
use crate::domain::outcome::{Outcome, Try};
use crate::domain::pace::PaceLimit;
use crate::domain::retry::RetryPolicy;
use crate::wecom::api::media::{self, MediaKind};

/// The ways out.
#[derive(Clone, Debug)]
pub enum TargetKind {
    /// A group robot: no deduplication, 20 a minute, in order.
    Robot(Robot),
    /// An app: the platform knows a repetition, and drops without a word what is too much for one member.
    App(App),
    /// A business system that gets events.
    Web(Arc<WebTarget>),
}

/// One configured way out.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in `deliveries`: the channel's.
    pub id: String,
    /// How it is reached.
    pub kind: TargetKind,
    /// When and how often a delivery is tried again.
    pub retry: RetryPolicy,
    /// How many may be under way at once. With 1, deliveries keep their order.
    pub concurrency: usize,
    /// How fast it may be sent to.
    pub pace: Option<PaceLimit>,
    /// How fast each member may be sent to; `None`: it has no members.
    pub members: Option<[PaceLimit; 2]>,
    /// The corp's accounts, by which the platform limits the people an app reaches in a day; 0: not known.
    pub accounts: u64,
    /// Whether it goes on; `None`: no channel.
    pub gate: Option<Arc<ChannelGate>>,
}

impl Target {
    /// A group robot under the channel name `id`.
    pub fn robot(id: impl Into<String>, robot: Robot) -> Self {
        let id = id.into();
        Self {
            gate: Some(Arc::new(ChannelGate::new(id.clone()))),
            id,
            kind: TargetKind::Robot(robot),
            retry: RetryPolicy::default(),
            concurrency: 1,
            pace: Some(Allowance::default().robot()),
            members: None,
            accounts: 0,
        }
    }

    /// An app under the channel name `id`, with `concurrency` requests at once.
    pub fn app(id: impl Into<String>, app: App, concurrency: usize) -> Self {
        let id = id.into();
        Self {
            gate: Some(Arc::new(ChannelGate::new(id.clone()))),
            id,
            kind: TargetKind::App(app),
            retry: RetryPolicy::default(),
            concurrency: concurrency.max(1),
            pace: None,
            members: Some(Allowance::default().member()),
            accounts: 0,
        }
    }

    /// An endpoint, or one address of it.
    pub fn web(id: impl Into<String>, web: WebTarget, concurrency: usize) -> Self {
        Self {
            id: id.into(),
            kind: TargetKind::Web(Arc::new(web)),
            retry: RetryPolicy::default(),
            concurrency,
            pace: None,
            members: None,
            accounts: 0,
            gate: None,
        }
    }

    /// The same where the platform takes this much.
    #[must_use]
    pub fn within(self, allowance: &Allowance) -> Self {
        Self {
            pace: self.pace.map(|_| allowance.robot()),
            members: self.members.map(|_| allowance.member()),
            ..self
        }
    }

    /// The same for a corp with so many accounts; 0: nobody knows how many.
    #[must_use]
    pub fn of_accounts(self, accounts: u64) -> Self {
        Self { accounts, ..self }
    }

    /// The endpoint behind it, if it is one.
    pub(super) fn web_target(&self) -> Option<&Arc<WebTarget>> {
        match &self.kind {
            TargetKind::Web(web) => Some(web),
            TargetKind::Robot(_) | TargetKind::App(_) => None,
        }
    }

    /// Whether nothing is to be sent to it for now.
    pub(super) fn is_halted(&self) -> bool {
        self.web_target().is_some_and(|web| web.is_halted())
    }

    /// When the next may leave as far as its failures tell, steady ms; `i64::MAX`: when the one on its way is back.
    pub(super) fn ready_at_ms(&self) -> i64 {
        match (self.web_target(), &self.gate) {
            (Some(web), _) => web.ready_at_ms(),
            (None, Some(gate)) => gate.ready_at_ms(),
            (None, None) => i64::MIN,
        }
    }

    /// Its name for people, if it is an endpoint that takes nothing at present.
    pub(super) fn down(&self) -> Option<String> {
        let web = self.web_target().filter(|web| web.is_down())?;
        Some(web.endpoint_id().to_string())
    }

    /// What holds up what on the way to it.
    pub(super) fn order(&self) -> Order {
        match self.web_target() {
            None => Order::Whole,
            Some(web) if web.order().is_some() => Order::Keys,
            Some(_) => Order::Free,
        }
    }

    /// Tries once: one request of a message.
    pub(super) async fn deliver(&self, body: &str) -> Try {
        match &self.kind {
            TargetKind::Robot(robot) => robot.deliver(body).await,
            TargetKind::App(app) => app.deliver(body).await,
            TargetKind::Web(_) => takes_no_messages(),
        }
    }

    /// Uploads a file, once; what it came to, and the platform's answer.
    pub(super) async fn upload(&self, kind: MediaKind, name: &str, content: &[u8]) -> (Try, Bytes) {
        let (content_type, form) = media::form(name, content);
        match &self.kind {
            TargetKind::Robot(robot) => robot.upload(kind, &content_type, form.into()).await,
            TargetKind::App(app) => app.upload(kind, &content_type, form.into()).await,
            TargetKind::Web(_) => (takes_no_messages(), Bytes::new()),
        }
    }

    /// Whether each member it sends to has a pace of their own.
    pub(super) fn paces_members(&self) -> bool {
        self.members.is_some()
    }

    /// How many deliveries memory holds; the table has the rest.
    pub(super) fn queue_max(&self, settings: &DispatchSettings) -> usize {
        // Those to one member must not hold up those to others.
        if self.paces_members() { settings.app_queue_rows_max } else { settings.queue_rows_max }
    }

    /// The longest that one try can take.
    pub(super) fn attempt_timeout_ms(&self) -> i64 {
        match &self.kind {
            TargetKind::Robot(robot) => i64::try_from(robot.attempt_timeout_ms()).unwrap_or(i64::MAX),
            TargetKind::App(app) => i64::try_from(app.attempt_timeout_ms()).unwrap_or(i64::MAX),
            TargetKind::Web(web) => web.attempt_timeout_ms(),
        }
    }
}

fn takes_no_messages() -> Try {
    Try {
        outcome: Outcome::Refused,
        http_status: None,
        errcode: None,
        error: Some("an endpoint takes no messages".to_owned()),
        answer: None,
        response_code: None,
    }
}

/// All configured targets; exchanged whole when the configuration changes.
#[derive(Clone, Debug, Default)]
pub struct Targets(HashMap<String, Arc<Target>>);

impl Targets {
    /// Gathers targets.
    ///
    /// # Errors
    /// Two of them have the same name, or are the same robot or app: WeCom counts the messages of each, and two
    /// channels would not know of each other's.
    pub fn build(targets: Vec<Target>) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut senders: HashMap<String, String> = HashMap::new();
        let mut out = HashMap::new();
        for target in targets {
            let (identity, what) = match &target.kind {
                TargetKind::Robot(robot) => (robot.address().fingerprint(), "robot"),
                TargetKind::App(app) => (app.identity(), "app"),
                TargetKind::Web(_) => (target.id.clone(), "endpoint"),
            };
            if let Some(other) = senders.insert(identity, target.id.clone()) {
                problems
                    .push(format!("channels {other} and {} are the same {what}; use one of them", target.id));
            }
            if let Some(twice) = out.insert(target.id.clone(), Arc::new(target)) {
                problems.push(format!("two channels have the name {}", twice.id));
            }
        }
        if problems.is_empty() { Ok(Self(out)) } else { Err(problems) }
    }

    /// The target named `id`, if it is configured.
    pub fn get(&self, id: &str) -> Option<Arc<Target>> {
        self.0.get(id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::transport::{Transport, TransportLimits};
    use crate::channel::wecom_robot::{BASE_URL_DEFAULT, RobotAddress};
    use crate::secret::Secret;

    fn robot(id: &str, key: &str) -> Target {
        let address = RobotAddress::parse(&Secret::new(key), BASE_URL_DEFAULT).unwrap();
        Target::robot(id, Robot::new(address, Transport::new(TransportLimits::default()).unwrap()))
    }

    #[test]
    fn one_robot_cannot_be_two_targets() {
        let targets = Targets::build(vec![robot("a", "k1"), robot("b", "k2")]).unwrap();
        assert!(targets.get("a").is_some() && targets.get("c").is_none());
        let problems = Targets::build(vec![robot("a", "k1"), robot("b", "k1")]).unwrap_err();
        assert_eq!(problems, ["channels a and b are the same robot; use one of them"]);
        assert_eq!(Targets::build(vec![robot("a", "k1"), robot("a", "k2")]).unwrap_err().len(), 1);
    }
}
