//! Evidence → status: what is true of a message now, whatever the order in which it became known.
//!
//! Per recipient the highest rank holds; a resend starts a new generation, in which only `delivered` and `read` of
//! the earlier ones still count; `recalled` covers `sent`, `delivered` and `read`. The message is `failed` if all
//! failed, else it stands where the last of the others stands. A reference without a message of ours folds too: what
//! other systems report on, they must have sent.

mod said;
mod standing;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::domain::evidence::Evidence;
use crate::domain::message::Message;
use crate::domain::status::Status;

use said::{Mark, Said};
use standing::Standing;
pub use timeline::{HistoryEntry, InteractionEntry, Timeline, history, interactions};

/// The status of a message, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// Our id, or the reference asked for when no message of ours has it.
    pub message_id: String,
    /// Where the message stands.
    pub status: Status,
    /// Since when, wall time in ms.
    pub timestamp_ms: i64,
    /// The person it is about, if it is exactly one.
    pub user_id: Option<String>,
    /// Why it is `failed`, `uncertain` or `expired`.
    pub error_message: Option<String>,
    /// The recipients whose status is not the message's base status (see `details.base`).
    pub recipients: Vec<RecipientStatus>,
    /// `base`: the status of all who are not in `recipients`; `counts`: people by status; `partial`: some failed, not
    /// all; `recipients_listed`: whether it is known whom the message is for; `sent_by_gateway`: whether the message
    /// is ours; `code`: of a failure; `earlier`: what `recalled` covers; and what the message itself says.
    pub details: Map<String, Value>,
}

/// Where one recipient stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientStatus {
    /// The person, spelled as the sender did.
    pub user_id: String,
    /// Where they stand.
    pub status: Status,
    /// Since when, wall time in ms.
    pub timestamp_ms: i64,
    /// The platform's errcode or a reporter's code, with a failure.
    pub code: Option<i64>,
    /// Its text.
    pub error_message: Option<String>,
    /// What `recalled` covers.
    pub earlier: Option<Status>,
}

/// Folds all `evidence` of one message at once; see [`Folding`] for evidence that comes in pages.
pub fn fold(message: Option<&Message>, reference: &str, evidence: &[Evidence]) -> Tracked {
    let mut folding = Folding::new(message);
    for one in evidence {
        folding.add(one);
    }
    folding.finish(reference)
}

/// A fold in progress. Memory grows with the people spoken of, not with the evidence.
#[derive(Debug)]
pub struct Folding<'a> {
    message: Option<&'a Message>,
    whole: Said,
    people: HashMap<String, Said>,
    first_ms: Option<i64>,
}

impl<'a> Folding<'a> {
    /// Starts with what the message itself says: that it is `pending`.
    pub fn new(message: Option<&'a Message>) -> Self {
        let mut whole = Said::default();
        if let Some(message) = message {
            whole.note(message.generation, Status::Pending, Mark::implied(message.created_ms));
        }
        Self { message, whole, people: HashMap::new(), first_ms: None }
    }

    /// Adds one piece; repeats change nothing.
    pub fn add(&mut self, evidence: &Evidence) {
        self.first_ms = Some(self.first_ms.map_or(evidence.at_ms, |first| first.min(evidence.at_ms)));
        let Some(status) = said::stated(evidence) else { return };
        let mark = Mark {
            at_ms: evidence.at_ms,
            id: Some(evidence.id.clone()),
            code: evidence.code,
            text: evidence.text.clone(),
        };
        let subject = match &evidence.recipient {
            None => &mut self.whole,
            Some(person) => match self.people.get_mut(person) {
                Some(said) => said,
                None => self.people.entry(person.clone()).or_default(),
            },
        };
        subject.note(evidence.generation, status, mark);
    }

    /// The status that follows.
    pub fn finish(self, reference: &str) -> Tracked {
        let listed: &[String] = self.message.map_or(&[], |message| &message.recipients);
        let mut whole = self.whole;
        let base_generation = whole.generation().unwrap_or(0);
        let spoken = whole.counted(base_generation).any(|(status, _)| status != Status::Recalled);
        if !spoken {
            // Nobody reports on what was never sent.
            whole.note(base_generation, Status::Sent, Mark::implied(self.first_ms.unwrap_or(0)));
        }
        let base = Standing::of(&Said::default(), &whole, base_generation);
        let people: BTreeMap<String, Standing> = one_name_each(self.people, listed)
            .into_iter()
            .map(|(person, said)| (person, Standing::of(&said, &whole, base_generation)))
            .collect();
        let crowd = Crowd { base: &base, base_is_said: spoken, people: &people, listed };
        let members = crowd.members();
        let status = lowest(members.iter().map(|(standing, _)| standing.shown));
        let decisive = || members.iter().map(|(standing, _)| *standing).filter(|s| counts_for(s, status));
        Tracked {
            message_id: self.message.map_or_else(|| reference.to_owned(), |message| message.id.to_string()),
            status,
            timestamp_ms: decisive().map(|standing| standing.since(status)).max().unwrap_or(0),
            user_id: crowd.only_person(),
            error_message: decisive().find_map(|standing| standing.reason(status)?.text.clone()),
            recipients: differing(&people, base.shown),
            details: details(self.message, &base, &crowd, &members, status),
        }
    }
}

/// Whose status makes the message's: of a message that is `failed` everybody's, else that of those who are not.
fn counts_for(standing: &Standing, status: Status) -> bool {
    status == Status::Failed || standing.shown != Status::Failed
}

/// `failed` if all failed, else the lowest rank among those who did not.
fn lowest(shown: impl Iterator<Item = Status>) -> Status {
    shown.filter(|status| *status != Status::Failed).min().unwrap_or(Status::Failed)
}

/// The people a message is for, as far as they are known.
struct Crowd<'a> {
    base: &'a Standing,
    /// Whether evidence or the message itself gives the base, and not only our assumption.
    base_is_said: bool,
    people: &'a BTreeMap<String, Standing>,
    listed: &'a [String],
}

impl Crowd<'_> {
    /// The standings that make the message's status, each with the number of people in it.
    ///
    /// With a list, exactly those listed. Without one (a chat, `@all`, a party, a tag), those heard of; the rest
    /// stand at the base, which decides only while nobody heard of was reached.
    fn members(&self) -> Vec<(&Standing, usize)> {
        let mut members: Vec<(&Standing, usize)> = Vec::new();
        if self.listed.is_empty() {
            members.extend(self.people.values().map(|standing| (standing, 1)));
            let reached = members.iter().any(|(standing, _)| standing.shown != Status::Failed);
            if members.is_empty() || (!reached && self.base_is_said) {
                members.push((self.base, 0));
            }
            return members;
        }
        members.extend(self.listed.iter().filter_map(|person| Some((self.people.get(person)?, 1))));
        let silent = self.listed.len() - members.len();
        if silent > 0 {
            members.push((self.base, silent));
        }
        members
    }

    fn only_person(&self) -> Option<String> {
        match (self.listed, self.people.len()) {
            ([person], _) => Some(person.clone()),
            ([], 1) => self.people.keys().next().cloned(),
            _ => None,
        }
    }
}

/// The platform returns user ids in lower case, whatever case they were sent in: a lower-case name stands for the
/// one name that differs from it only in case.
fn one_name_each(people: HashMap<String, Said>, listed: &[String]) -> BTreeMap<String, Said> {
    let mut spelled: HashMap<String, Vec<&str>> = HashMap::new();
    for name in listed.iter().chain(people.keys()) {
        let lower = name.to_lowercase();
        if lower != *name {
            let spellings = spelled.entry(lower).or_default();
            if !spellings.contains(&name.as_str()) {
                spellings.push(name);
            }
        }
    }
    let proper: HashMap<String, String> = spelled
        .into_iter()
        .filter_map(|(lower, spellings)| match spellings.as_slice() {
            [one] if !listed.contains(&lower) => Some((lower, (*one).to_owned())),
            _ => None,
        })
        .collect();
    let mut out: BTreeMap<String, Said> = BTreeMap::new();
    for (name, said) in people {
        let name = proper.get(&name).cloned().unwrap_or(name);
        out.entry(name).or_default().merge(said);
    }
    out
}

fn differing(people: &BTreeMap<String, Standing>, base: Status) -> Vec<RecipientStatus> {
    people
        .iter()
        .filter(|(_, standing)| standing.shown != base)
        .map(|(person, standing)| {
            let reason = standing.reason(standing.shown);
            RecipientStatus {
                user_id: person.clone(),
                status: standing.shown,
                timestamp_ms: standing.since(standing.shown),
                code: reason.and_then(|mark| mark.code),
                error_message: reason.and_then(|mark| mark.text.clone()),
                earlier: standing.covered(),
            }
        })
        .collect()
}

fn details(
    message: Option<&Message>,
    base: &Standing,
    crowd: &Crowd<'_>,
    members: &[(&Standing, usize)],
    status: Status,
) -> Map<String, Value> {
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    for (standing, people) in members.iter().filter(|(_, people)| *people > 0) {
        *counts.entry(standing.shown).or_default() += people;
    }
    let failed = members.iter().any(|(standing, _)| standing.shown == Status::Failed);
    let counts: Map<String, Value> =
        counts.into_iter().map(|(status, people)| (status.as_str().to_owned(), json!(people))).collect();
    let mut details = Map::new();
    let mut put = |key: &str, value: Value| details.insert(key.to_owned(), value);
    put("base", json!(base.shown.as_str()));
    put("counts", Value::Object(counts));
    put("partial", json!(failed && status != Status::Failed));
    put("recipients_listed", json!(!crowd.listed.is_empty()));
    put("sent_by_gateway", json!(message.is_some()));
    if let Some(message) = message {
        put("channel", json!(message.channel));
        put("msgtype", json!(message.message_type));
        if message.generation > 0 {
            put("generation", json!(message.generation));
        }
    }
    if status == Status::Recalled {
        let earlier = members.iter().map(|(standing, _)| standing.beneath);
        put("earlier", json!(lowest(earlier).as_str()));
    }
    let code = members
        .iter()
        .filter(|(standing, _)| counts_for(standing, status))
        .find_map(|(standing, _)| standing.reason(status)?.code);
    if let Some(code) = code {
        put("code", json!(code));
    }
    details
}
