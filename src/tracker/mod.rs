//! What became of a message: status, history and interactions, folded from the evidence whenever they are asked for.
//!
//! Nothing is cached that could be wrong: `messages.status` in the table is a copy for lists, brought up to date by
//! the follower (`follow.rs`) after each commit of new evidence, and again when a question shows that it is not.

mod backlog;
mod follow;
mod hooks;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::delivery::Attempt;
use crate::domain::evidence::{Evidence, Fact, REFERENCE_BYTES_MAX, TEXT_BYTES_MAX, cut};
use crate::domain::fold::{Folding, HistoryEntry, InteractionEntry, Timeline, Tracked};
use crate::domain::message::Message;
use crate::domain::status::Status;
use crate::ids::{EvidenceId, IdMaker, MessageId};
use crate::store::{Store, StoreError};

pub use hooks::{Hooks, InteractionHook, StatusHook};

/// Most entries in one page of a history.
pub const ENTRIES_MAX: usize = 1_000;

/// Longest name of a reporter that is kept, in bytes.
const REPORTER_BYTES_MAX: usize = 64;

/// Evidence read at a time.
const PAGE: usize = 1_000;

/// References that may wait for the follower; what does not fit is found when it is asked for.
const NEWS_MAX: usize = 4_096;

/// A page of a list, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// What to ask the next page with; `None`: this was the last.
    pub next: Option<EvidenceId>,
}

/// What another system says about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What is reported.
    pub status: Status,
    /// Of whom; `None`: of the whole message.
    pub user_id: Option<String>,
    /// An error code, with a failure.
    pub code: Option<i64>,
    /// An error text, with a failure.
    pub text: Option<String>,
    /// Who says so: the name of the API key.
    pub reporter: String,
}

/// Answers what became of messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tracker {
    store: Store,
    clock: Clock,
    ids: IdMaker,
    news: mpsc::Sender<Vec<String>>,
    stop: CancellationToken,
    follower: TaskTracker,
}

impl Tracker {
    /// Starts the follower; `hooks` are called from it.
    pub fn start(store: Store, clock: Clock, ids: IdMaker, hooks: Hooks) -> Self {
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let (stop, follower) = (CancellationToken::new(), TaskTracker::new());
        let tracker = Self { store, clock, ids, news, stop, follower };
        tracker.follower.spawn(follow::run(tracker.clone(), heard, Arc::new(hooks)));
        tracker.follower.close();
        tracker
    }

    /// Where references of new evidence are announced after its commit. Lossy: use `try_send`.
    pub fn news(&self) -> mpsc::Sender<Vec<String>> {
        self.news.clone()
    }

    /// The status of a message, by our id, the platform's msgid, a task id, or an id that only others know. `None`
    /// if nothing is known of it, or nothing the caller may see. `allowed`: the channels they may; empty: all.
    pub async fn status(&self, id: &str, allowed: &[String]) -> Result<Option<Tracked>, StoreError> {
        let Some(subject) = self.find(id, allowed).await? else { return Ok(None) };
        let mut folding = Folding::new(subject.message.as_ref());
        let mut any = subject.message.is_some();
        let mut pages = Pages::of(&subject, allowed);
        while let Some(page) = pages.next(&self.store).await? {
            any |= !page.is_empty();
            for one in &page {
                folding.add(one);
            }
        }
        if !any {
            return Ok(None);
        }
        let tracked = folding.finish(id);
        if subject.message.as_ref().is_some_and(|message| message.status != tracked.status) {
            let _full = self.news.try_send(subject.references);
        }
        Ok(Some(tracked))
    }

    /// How the last attempt at a message ended that is still to be sent; `None`: it was not tried, or got through.
    pub async fn last_failure(&self, tracked: &Tracked) -> Result<Option<Attempt>, StoreError> {
        let Some(id) = MessageId::parse(&tracked.message_id).filter(|_| tracked.status == Status::Pending)
        else {
            return Ok(None);
        };
        let last = self.store.last_attempt(&id).await?;
        Ok(last.filter(|attempt| attempt.error.is_some()))
    }

    /// Every change of a message's status, oldest first, from behind `after`; see [`Tracker::status`] for the rest.
    pub async fn history(
        &self,
        id: &str,
        allowed: &[String],
        after: Option<&EvidenceId>,
        limit: usize,
    ) -> Result<Option<Entries<HistoryEntry>>, StoreError> {
        let Some(subject) = self.find(id, allowed).await? else { return Ok(None) };
        let mut timeline = Timeline::new(subject.shown_id());
        self.list(&subject, allowed, limit, None, |one| {
            // What stands before `after` is read too: whether a later fact repeats it depends on it.
            timeline.add(one).filter(|entry| after.is_none_or(|after| entry.evidence_id > *after))
        })
        .await
    }

    /// What people did with a message, oldest first, from behind `after`; see [`Tracker::status`] for the rest.
    pub async fn interactions(
        &self,
        id: &str,
        allowed: &[String],
        after: Option<&EvidenceId>,
        limit: usize,
    ) -> Result<Option<Entries<InteractionEntry>>, StoreError> {
        let Some(subject) = self.find(id, allowed).await? else { return Ok(None) };
        let shown = subject.shown_id();
        self.list(&subject, allowed, limit, after, |one| InteractionEntry::read(&shown, one)).await
    }

    /// Takes what another system says about a message; the status that follows. A message that is not ours becomes
    /// known by it. `None` if the caller may not see it.
    pub async fn report(
        &self,
        id: &str,
        allowed: &[String],
        report: Report,
    ) -> Result<Option<Tracked>, StoreError> {
        let Some(subject) = self.find(id, allowed).await? else { return Ok(None) };
        if subject.message.is_none() && !allowed.is_empty() {
            return Ok(None);
        }
        let reference = subject.shown_id();
        let evidence = Evidence {
            id: self.ids.make(),
            reference: reference.clone(),
            generation: subject.message.as_ref().map_or(0, |message| message.generation),
            recipient: report.user_id.filter(|person| !person.is_empty()),
            fact: Fact::Status(report.status),
            code: report.code,
            text: report.text.map(|text| cut(&text, TEXT_BYTES_MAX).to_owned()),
            source: cut(&report.reporter, REPORTER_BYTES_MAX).to_owned(),
            event_id: None,
            at_ms: self.clock.wall_ms(),
        };
        self.store.add_evidence(&[evidence]).await?;
        let _full = self.news.try_send(vec![reference]);
        self.status(id, allowed).await
    }

    /// Lets the follower finish what it has heard.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.follower.wait().await;
    }

    /// What `id` names; `None` if it can name nothing, or nothing the caller may see.
    async fn find(&self, id: &str, allowed: &[String]) -> Result<Option<Subject>, StoreError> {
        if id.is_empty() || id.len() > REFERENCE_BYTES_MAX {
            return Ok(None);
        }
        let Some(message) = self.store.message_by_reference(id).await? else {
            let references = vec![id.to_owned()];
            return Ok(Some(Subject { message: None, references }));
        };
        if !allowed.is_empty() && !allowed.contains(&message.channel) {
            return Ok(None);
        }
        let references = self.store.references(&message.id).await?;
        Ok(Some(Subject { message: Some(message), references }))
    }

    async fn list<T>(
        &self,
        subject: &Subject,
        allowed: &[String],
        limit: usize,
        after: Option<&EvidenceId>,
        mut read: impl FnMut(&Evidence) -> Option<T>,
    ) -> Result<Option<Entries<T>>, StoreError> {
        let limit = limit.clamp(1, ENTRIES_MAX);
        let mut any = subject.message.is_some();
        let mut entries = Vec::new();
        let mut last = None;
        let mut pages = Pages { after: after.cloned(), ..Pages::of(subject, allowed) };
        while let Some(page) = pages.next(&self.store).await? {
            any |= !page.is_empty();
            for one in &page {
                let Some(entry) = read(one) else { continue };
                if entries.len() == limit {
                    return Ok(Some(Entries { entries, next: last }));
                }
                entries.push(entry);
                last = Some(one.id.clone());
            }
        }
        Ok((any || after.is_some()).then_some(Entries { entries, next: None }))
    }
}

/// What a question is about.
struct Subject {
    message: Option<Message>,
    /// Every id under which evidence may stand; the first is the one shown.
    references: Vec<String>,
}

impl Subject {
    fn shown_id(&self) -> String {
        match &self.message {
            Some(message) => message.id.to_string(),
            None => self.references.first().cloned().unwrap_or_default(),
        }
    }
}

/// The evidence of a subject, page by page.
struct Pages<'a> {
    references: &'a [String],
    /// Whose word counts; empty: everybody's. Evidence of an own message counts whoever gave it.
    sources: &'a [String],
    after: Option<EvidenceId>,
    done: bool,
}

impl<'a> Pages<'a> {
    fn of(subject: &'a Subject, allowed: &'a [String]) -> Self {
        let sources = if subject.message.is_some() { &[] } else { allowed };
        Self { references: &subject.references, sources, after: None, done: false }
    }

    async fn next(&mut self, store: &Store) -> Result<Option<Vec<Evidence>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let mut page = store.evidence(self.references, self.after.as_ref(), PAGE).await?;
        self.done = page.len() < PAGE;
        self.after = page.last().map(|one| one.id.clone());
        page.retain(|one| self.sources.is_empty() || self.sources.contains(&one.source));
        Ok(Some(page))
    }
}
