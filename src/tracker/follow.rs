//! The follower: hears which references have new evidence, brings `messages.status` up to date, calls the hooks.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::backlog::Backlog;
use super::hooks::Hooks;
use super::{Pages, Subject, Tracker};
use crate::domain::fold::{Folding, InteractionEntry, Timeline};
use crate::domain::status::Status;
use crate::ids::EvidenceId;
use crate::store::StoreError;

/// References taken at a time; equal ones are looked at once.
const BATCH_MAX: usize = 256;

/// Evidence older than this is not announced to hooks: it was before.
const FRESH_MS: i64 = 60_000;

/// Announced evidence that is remembered.
const ANNOUNCED_MAX: usize = 65_536;

/// Runs until the tracker stops and nothing more is heard.
pub(super) async fn run(tracker: Tracker, mut heard: mpsc::Receiver<Vec<String>>, hooks: Arc<Hooks>) {
    let stop = tracker.stop.clone();
    let mut follower = Follower { tracker, hooks, announced: Announced::default() };
    let mut backlog = Backlog::new();
    loop {
        let mut batch = Vec::new();
        if backlog.is_done() {
            tokio::select! {
                biased;
                _ = heard.recv_many(&mut batch, BATCH_MAX) => {}
                () = stop.cancelled() => return,
            }
        } else if let Ok(news) = heard.try_recv() {
            batch.push(news);
        } else if stop.is_cancelled() {
            return;
        } else {
            follower.step(&mut backlog).await;
        }
        let references: HashSet<String> = batch.into_iter().flatten().collect();
        follower.look_at_all(&references).await;
    }
}

struct Follower {
    tracker: Tracker,
    hooks: Arc<Hooks>,
    announced: Announced,
}

impl Follower {
    /// Looks at some of what the last process may have left.
    async fn step(&mut self, backlog: &mut Backlog) {
        match backlog.step(&self.tracker.store).await {
            Ok(references) => self.look_at_all(&references).await,
            Err(error) => {
                tracing::warn!(%error, "statuses in lists may be old until they are asked for");
                *backlog = Backlog::none();
            }
        }
    }

    async fn look_at_all(&mut self, references: &HashSet<String>) {
        let mut seen = HashSet::new();
        for reference in references {
            if let Err(error) = self.look_at(reference, &mut seen).await {
                tracing::warn!(%error, "the status of a message was not brought up to date");
            }
        }
    }

    async fn look_at(&mut self, reference: &str, seen: &mut HashSet<String>) -> Result<(), StoreError> {
        let Some(subject) = self.tracker.find(reference, &[]).await? else { return Ok(()) };
        let shown_id = subject.shown_id();
        if !seen.insert(shown_id.clone()) {
            return Ok(());
        }
        let now_ms = self.tracker.clock.wall_ms();
        let mut folding = Folding::new(subject.message.as_ref());
        let mut timeline = Timeline::new(shown_id.clone());
        let (mut changes, mut interactions) = (Vec::new(), Vec::new());
        let mut pages = Pages::of(&subject, &[]);
        while let Some(page) = pages.next(&self.tracker.store).await? {
            for one in &page {
                folding.add(one);
                let change = timeline.add(one);
                if one.at_ms >= now_ms.saturating_sub(FRESH_MS) && self.announced.is_first(&one.id) {
                    changes.extend(change);
                    interactions.extend(InteractionEntry::read(&shown_id, one));
                }
            }
        }
        let tracked = folding.finish(&shown_id);
        self.write(&subject, tracked.status, now_ms).await?;
        for change in &changes {
            self.hooks.status(change, &tracked);
        }
        for interaction in &interactions {
            self.hooks.interaction(interaction);
        }
        Ok(())
    }

    async fn write(&self, subject: &Subject, status: Status, now_ms: i64) -> Result<(), StoreError> {
        match &subject.message {
            Some(message) if message.status != status => {
                self.tracker.store.set_message_status(&[(message.id.clone(), status, now_ms)]).await
            }
            _ => Ok(()),
        }
    }
}

/// Evidence whose hooks were called; forgets the oldest.
#[derive(Default)]
struct Announced {
    ids: HashSet<EvidenceId>,
    order: VecDeque<EvidenceId>,
}

impl Announced {
    fn is_first(&mut self, id: &EvidenceId) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > ANNOUNCED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_evidence_is_remembered_up_to_a_limit() {
        let mut announced = Announced::default();
        for number in 0..=ANNOUNCED_MAX {
            assert!(announced.is_first(&EvidenceId::from(number as u128)));
        }
        assert_eq!(announced.ids.len(), ANNOUNCED_MAX);
        assert!(!announced.is_first(&EvidenceId::from(1)));
        assert!(announced.is_first(&EvidenceId::from(0)), "the oldest was forgotten");
    }
}
