//! Tells people, through robots of their group chats, what needs them.
//!
//! What is looked at is a list of [`Probe`]s; a part of the gateway that knows of something else adds one. Troubles
//! are a replica's own: told when they begin, change and end, and again while they last. Totals belong to all
//! replicas: when one rises, one replica tells it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::alert_robot::AlertRobot;
use crate::channel::transport::Transport;
use crate::clock::Clock;
use crate::store::Store;

/// Whom to tell, and how often to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSettings {
    /// Who is told.
    pub robots: Vec<AlertRobot>,
    /// How often is looked.
    pub look_every_ms: u64,
    /// After how long a trouble that lasts is told again.
    pub repeat_after_ms: u64,
    /// Most texts that wait for one robot; older ones make way.
    pub waiting_max: usize,
    /// Tries of one text, one at each look.
    pub tries_max: u32,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            robots: Vec::new(),
            look_every_ms: 10_000,
            repeat_after_ms: 3_600_000,
            waiting_max: 20,
            tries_max: 30,
        }
    }
}

/// What a probe finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing is wrong.
    Fine,
    /// Something is wrong with this replica: a sentence. Another sentence is another trouble, so it names what is
    /// wrong, without figures that change.
    Trouble(String),
}

/// One thing that can be wrong with this replica.
pub struct Probe {
    name: &'static str,
    look: Box<dyn Fn() -> Finding + Send + Sync>,
}

impl Probe {
    /// A thing called `name` in alerts, looked at by `look`, which must not wait.
    pub fn new(name: &'static str, look: impl Fn() -> Finding + Send + Sync + 'static) -> Self {
        Self { name, look: Box::new(look) }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Looks and tells.
#[derive(Debug)]
pub struct Alerts {
    /// Whom to tell, and how often to look.
    pub settings: AlertSettings,
    /// What can be wrong with this replica.
    pub probes: Vec<Probe>,
    /// What all replicas see.
    pub store: Store,
    /// The way out.
    pub transport: Transport,
    /// The time.
    pub clock: Clock,
    /// What the gateway and this replica are called.
    pub called: String,
}

impl Alerts {
    /// Looks until `stop`. Without robots there is nothing to do.
    pub async fn run(self, stop: CancellationToken) {
        if self.settings.robots.is_empty() {
            return;
        }
        let mut ticks = interval(Duration::from_millis(self.settings.look_every_ms.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut troubles = Troubles::default();
        let AlertSettings { waiting_max, tries_max, .. } = self.settings;
        let outbox = |robot| Outbox::new(robot, waiting_max, tries_max);
        let mut outboxes: Vec<Outbox> = self.settings.robots.iter().cloned().map(outbox).collect();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let mut texts = self.totals().await;
            for probe in &self.probes {
                let repeat_ms = i64::try_from(self.settings.repeat_after_ms).unwrap_or(i64::MAX);
                texts.extend(troubles.told(probe.name, (probe.look)(), self.clock.steady_ms(), repeat_ms));
            }
            for text in &texts {
                tracing::warn!(alert = text, "alert");
            }
            for outbox in &mut outboxes {
                outbox.add(&self.called, &texts);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = outbox.send(&self.transport, &self.clock) => {}
                }
            }
        }
    }

    /// Totals that rose. Without the database nothing is known of them; that is a trouble by itself.
    async fn totals(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if let Ok(dead) = self.store.dead_deliveries().await
            && self.store.alert_total_rose("dead_deliveries", dead).await.unwrap_or(false)
        {
            texts.push(format!(
                "dead letters: {dead} deliveries were given up; GET /api/v1/deliveries?state=dead"
            ));
        }
        texts
    }
}

/// Troubles that last.
#[derive(Debug, Default)]
struct Troubles(HashMap<&'static str, (i64, String)>);

impl Troubles {
    /// What is to be told about `name`, found at `now_ms` (steady).
    fn told(&mut self, name: &'static str, finding: Finding, now_ms: i64, repeat_ms: i64) -> Option<String> {
        match (finding, self.0.get(name)) {
            (Finding::Fine, None) => None,
            (Finding::Fine, Some(_)) => {
                self.0.remove(name);
                Some(format!("{name}: it is over"))
            }
            (Finding::Trouble(text), Some((told_ms, told)))
                if text == *told && now_ms.saturating_sub(*told_ms) < repeat_ms =>
            {
                None
            }
            (Finding::Trouble(text), _) => {
                let told = format!("{name}: {text}");
                self.0.insert(name, (now_ms, text));
                Some(told)
            }
        }
    }
}

/// What one robot has not been told yet.
#[derive(Debug)]
struct Outbox {
    robot: AlertRobot,
    waiting: VecDeque<String>,
    waiting_max: usize,
    tries: u32,
    tries_max: u32,
}

impl Outbox {
    fn new(robot: AlertRobot, waiting_max: usize, tries_max: u32) -> Self {
        Self { robot, waiting: VecDeque::new(), waiting_max, tries: 0, tries_max }
    }

    fn add(&mut self, called: &str, texts: &[String]) {
        for text in texts {
            if self.waiting.len() >= self.waiting_max {
                self.waiting.pop_front();
            }
            self.waiting.push_back(format!("[{called}] {text}"));
        }
    }

    /// Sends what waits, in order, up to the first that is not taken.
    async fn send(&mut self, transport: &Transport, clock: &Clock) {
        while let Some(text) = self.waiting.front() {
            let told = self.robot.tell(transport, text, clock.wall_ms()).await;
            if let Err(why) = told {
                self.tries += 1;
                tracing::warn!(
                    robot = self.robot.kind.as_str(),
                    why,
                    tries = self.tries,
                    "an alert was not taken"
                );
                if self.tries < self.tries_max {
                    return;
                }
            }
            self.waiting.pop_front();
            self.tries = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_at_its_beginning_at_its_end_and_sometimes_in_between() {
        let mut troubles = Troubles::default();
        let mut told = |trouble: bool, now_ms| {
            let finding = if trouble { Finding::Trouble("away".to_owned()) } else { Finding::Fine };
            troubles.told("database", finding, now_ms, 100)
        };
        assert_eq!(told(false, 0), None);
        assert_eq!(told(true, 1).as_deref(), Some("database: away"));
        assert_eq!(told(true, 100), None);
        assert_eq!(told(true, 101).as_deref(), Some("database: away"));
        assert_eq!(told(false, 102).as_deref(), Some("database: it is over"));
        assert_eq!(told(false, 103), None);
        let mut of =
            |text: &str, now_ms| troubles.told("endpoint", Finding::Trouble(text.to_owned()), now_ms, 100);
        assert_eq!(of("a", 200).as_deref(), Some("endpoint: a"));
        assert_eq!(of("a, b", 201).as_deref(), Some("endpoint: a, b"), "another trouble is told at once");
        assert_eq!(of("a, b", 202), None);
    }

    #[tokio::test]
    async fn of_too_many_texts_the_newest_wait_and_each_is_tried_so_often() {
        use crate::channel::transport::TransportLimits;
        use crate::secret::Secret;
        use crate::upkeep::alert_robot::RobotKind;

        // Nobody listens at port 1.
        let url = Secret::new("http://127.0.0.1:1/cgi-bin/webhook/send?key=k");
        let robot = AlertRobot { kind: RobotKind::WeCom, url, secret: Secret::new("") };
        let mut outbox = Outbox::new(robot, 2, 3);
        outbox.add("gateway", &["one", "two", "three"].map(ToOwned::to_owned));
        assert_eq!(outbox.waiting, ["[gateway] two", "[gateway] three"]);
        let transport = Transport::new(TransportLimits::default()).unwrap();
        for (tries, waiting) in [(1, 2), (2, 2), (1, 1), (2, 1), (0, 0)] {
            outbox.send(&transport, &Clock::system()).await;
            assert_eq!((outbox.tries, outbox.waiting.len()), (tries, waiting));
        }
    }
}
