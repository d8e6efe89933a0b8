//! Sealed callbacks of apps and robots: which of the sources at an address explains this one.

use std::sync::Arc;

use bytes::Bytes;

use crate::sabotage::{self, Protection};
use crate::source::settings::{SealedKeys, WecomSource};
use crate::source::{Accepted, AcceptedEvent, Answer, RawCallback, Refused, ReplyKeys};
use crate::wecom::callback::{Opened, SealedCallback};
use crate::wecom::event;
use crate::wecom::keys::{EncodingAesKey, Token};
use crate::wecom::refusal::{Refusal, Step, quote};

/// Agent ids from here on are built-in apps of the platform (approval, message archive); what they cause is sent
/// to the apps that asked for it.
const FIRST_BUILT_IN_AGENT: u64 = 2_000_000;

/// Answers a URL check. Sources that share their keys give the same answer.
pub(super) fn handshake(sources: &[&WecomSource], raw: &RawCallback<'_>) -> Result<Bytes, Refused> {
    let check = SealedCallback::read_url_check(raw.query, &raw.limits)
        .map_err(|refusal| refused(sources, refusal))?;
    Ok(open_all(sources, &check, None)?.opened.message)
}

/// Verifies a delivery and reads it.
pub(super) fn receive(
    sources: &[&WecomSource],
    raw: &RawCallback<'_>,
    now_s: i64,
) -> Result<Accepted, Refused> {
    let callback = SealedCallback::read(raw.query, raw.body, &raw.limits)
        .map_err(|refusal| refused(sources, refusal))?;
    let Fit { sources, opened, pair } = open_all(sources, &callback, Some(now_s))?;
    let reading = event::reading(&opened.message, &raw.limits);
    let source =
        choose(&sources, reading.event.agent_id.as_deref()).map_err(|refusal| refused(&sources, refusal))?;
    let answer = if event::is_command(&reading.event) {
        Answer::Success
    } else {
        let nonce = callback.nonce().to_owned();
        Answer::Passive(ReplyKeys { pair, receive_id: opened.receive_id, nonce, limits: raw.limits })
    };
    let event = AcceptedEvent::of_reading(&source.name, reading, opened.message);
    Ok(Accepted { source: Arc::clone(&source.name), events: vec![event], answer })
}

/// The sources that verify and open a callback, at least one, and what the first of them read.
struct Fit<'s> {
    sources: Vec<&'s WecomSource>,
    opened: Opened,
    /// With which keys.
    pair: Arc<(Token, EncodingAesKey)>,
}

/// Tries every source; if none opens the callback, tells the refusal that came furthest.
fn open_all<'s>(
    sources: &[&'s WecomSource],
    callback: &SealedCallback<'_>,
    now_s: Option<i64>,
) -> Result<Fit<'s>, Refused> {
    let mut fit: Option<Fit<'s>> = None;
    let mut furthest: Option<(&WecomSource, Refusal)> = None;
    for source in sources {
        let Some(keys) = &source.sealed else { continue };
        match open(keys, callback, now_s) {
            Ok((opened, pair)) => {
                fit.get_or_insert(Fit { sources: Vec::new(), opened, pair }).sources.push(source);
            }
            Err(refusal) if furthest.as_ref().is_none_or(|(_, other)| refusal.step > other.step) => {
                furthest = Some((source, refusal));
            }
            Err(_) => {}
        }
    }
    match (fit, furthest) {
        (Some(fit), _) => Ok(fit),
        // Without a right signature nothing says which of several sources was meant.
        (None, Some((_, refusal))) if refusal.step <= Step::Signature => Err(refused(sources, refusal)),
        (None, Some((source, refusal))) => Err(Refused::new(Some(Arc::clone(&source.name)), refusal)),
        (None, None) => {
            let detail = "a sealed callback, but no source here has a Token and an EncodingAESKey";
            Err(refused(sources, Refusal::new(Step::Signature, detail)))
        }
    }
}

/// Tries the keys in force, then the previous ones; of two refusals the one that came further is told.
fn open(
    keys: &SealedKeys,
    callback: &SealedCallback<'_>,
    now_s: Option<i64>,
) -> Result<(Opened, Arc<(Token, EncodingAesKey)>), Refusal> {
    let mut furthest = None;
    for pair in &keys.pairs {
        let (token, key) = &**pair;
        let outcome = callback.verify(token).and_then(|verified| {
            check_window(callback.timestamp_s(), now_s, keys.window_ms)?;
            verified.decrypt(key, &keys.receive_ids)
        });
        match outcome {
            Ok(opened) => return Ok((opened, Arc::clone(pair))),
            Err(refusal) if furthest.as_ref().is_none_or(|other: &Refusal| refusal.step > other.step) => {
                furthest = Some(refusal);
            }
            Err(_) => {}
        }
    }
    Err(furthest.unwrap_or_else(|| Refusal::new(Step::Signature, "this source has no keys")))
}

/// Refuses a signed timestamp that is too far from now, on either side.
pub(super) fn check_window(timestamp_s: i64, now_s: Option<i64>, window_ms: i64) -> Result<(), Refusal> {
    let Some(now_s) = now_s else { return Ok(()) };
    let off_s = now_s.saturating_sub(timestamp_s);
    if off_s.saturating_abs().saturating_mul(1000) <= window_ms || sabotage::off(Protection::ReplayWindow) {
        return Ok(());
    }
    let side = if off_s > 0 { "behind" } else { "ahead of" };
    Err(Refusal::new(
        Step::Timestamp,
        format!(
            "the timestamp is {} s {side} this machine's clock, allowed are {} s",
            off_s.saturating_abs(),
            window_ms / 1000
        ),
    ))
}

/// The source a callback is for, among those that opened it: a single one unless the callback names another app;
/// of several the one whose `AgentID` it names, or else the only one that has none.
fn choose<'s>(fitting: &[&'s WecomSource], found: Option<&str>) -> Result<&'s WecomSource, Refusal> {
    let quoted = || found.map_or_else(|| "no AgentID".to_owned(), |id| format!("AgentID {}", quote(id)));
    if let [source] = fitting {
        return match (source.agent_id.as_deref(), found) {
            (Some(own), Some(other)) if own != other && !is_built_in(other) => {
                let detail = format!("the message is for {}, this source is {own}", quoted());
                Err(Refusal::new(Step::Agent, detail))
            }
            _ => Ok(source),
        };
    }
    let is_named = found.is_some() && fitting.iter().any(|source| source.agent_id.as_deref() == found);
    let wanted = found.filter(|_| is_named);
    let mut chosen = fitting.iter().filter(|source| source.agent_id.as_deref() == wanted);
    if let (Some(source), None) = (chosen.next(), chosen.next()) {
        return Ok(source);
    }
    let all: Vec<&str> = fitting.iter().map(|source| source.name.as_ref()).collect();
    Err(Refusal::new(
        Step::Ambiguous,
        format!("the callback has {} and fits {}", quoted(), all.join(" and ")),
    ))
}

fn is_built_in(agent_id: &str) -> bool {
    agent_id.parse::<u64>().is_ok_and(|number| number >= FIRST_BUILT_IN_AGENT)
}

/// Refused before one source was found; if there is only one, it was meant.
pub(super) fn refused(sources: &[&WecomSource], refusal: Refusal) -> Refused {
    let only = if let [source] = sources { Some(Arc::clone(&source.name)) } else { None };
    Refused::new(only, refusal)
}
