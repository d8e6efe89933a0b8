//! What the fake platform has counted, bounds on it over HTTP, and its clock.
//!
//! `GET /_fake/figures` shows the counts; `GET /_fake/assert?doubled=0&limited=0` answers 200 if each named one is at
//! most that (with `_min` behind its name: at least), else 409 and which are not. `POST /_fake/clock` moves the time
//! that limits, tokens and files are judged by.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::world::World;

/// The window in which requests to a robot are counted.
const MINUTE_MS: i64 = 60_000;

/// Its routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_fake/figures", get(figures))
        .route("/_fake/assert", get(assert))
        .route("/_fake/clock", get(clock).post(advance))
}

/// Every count, by name.
pub(super) fn of(world: &World) -> BTreeMap<&'static str, u64> {
    let calls = world.apps.calls(None);
    let answered = |method: &str, codes: &[i64]| {
        let met = |call: &&super::AppCall| {
            (method.is_empty() || call.method == method) && codes.contains(&call.errcode)
        };
        calls.iter().filter(met).count()
    };
    let requests = world.requests(None);
    let robots: HashSet<&str> = requests.iter().map(|request| request.key.as_str()).collect();
    let peak = robots.into_iter().map(|key| peak_per_minute(world, key)).max().unwrap_or(0);
    let limited = requests.iter().filter(|request| request.errcode == 45009).count();
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let shown = world.apps.shown(None);
    for one in &shown {
        *seen.entry((one.user.clone(), one.request.clone())).or_default() += 1;
    }
    let doubled: usize = seen.values().map(|times| times - 1).sum();
    let figures = [
        ("token_calls", calls.iter().filter(|call| call.method == "gettoken").count()),
        ("wrong_secrets", answered("gettoken", &[40001, 40013])),
        ("dead_tokens", answered("", &[40014, 42001])),
        ("sends", calls.iter().filter(|call| call.method == "message/send").count()),
        ("limited", limited + answered("", &[45009])),
        ("robot_requests", requests.len()),
        ("robot_peak_per_minute", peak),
        ("shown", shown.len() + requests.iter().filter(|request| request.shown).count()),
        ("doubled", doubled),
    ];
    let mut out: BTreeMap<&'static str, u64> =
        figures.into_iter().map(|(name, count)| (name, count as u64)).collect();
    out.insert("dropped", world.apps.dropped());
    out
}

/// The most requests that one robot got within a minute, whatever they were answered.
fn peak_per_minute(world: &World, key: &str) -> usize {
    let times: Vec<i64> = world.requests(Some(key)).into_iter().map(|request| request.at_ms).collect();
    let within = |(at, begun_ms): (usize, &i64)| {
        times.iter().skip(at).take_while(|at_ms| **at_ms < begun_ms + MINUTE_MS).count()
    };
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

/// Bounds that do not hold, in words; an unknown name is one.
fn broken(figures: &BTreeMap<&'static str, u64>, bounds: &BTreeMap<String, u64>) -> Vec<String> {
    let check = |(bound, limit): (&String, &u64)| {
        let (name, is_least) =
            bound.strip_suffix("_min").map_or((bound.as_str(), false), |name| (name, true));
        match figures.get(name) {
            None => Some(format!("{name} is not counted")),
            Some(found) if is_least && found < limit => Some(format!("{name} is {found}, at least {limit}")),
            Some(found) if !is_least && found > limit => Some(format!("{name} is {found}, at most {limit}")),
            Some(_) => None,
        }
    };
    bounds.iter().filter_map(check).collect()
}

async fn figures(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!(of(&shared.world())))
}

async fn assert(
    State(shared): State<Arc<Shared>>,
    Query(bounds): Query<BTreeMap<String, u64>>,
) -> (StatusCode, Json<Value>) {
    let figures = of(&shared.world());
    let broken = broken(&figures, &bounds);
    let status = if broken.is_empty() { StatusCode::OK } else { StatusCode::CONFLICT };
    (status, Json(json!({"holds": broken.is_empty(), "broken": broken, "figures": figures})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u32,
}

async fn clock(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({"now_ms": shared.now_ms()}))
}

async fn advance(State(shared): State<Arc<Shared>>, Json(by): Json<Advance>) -> Json<Value> {
    shared.ahead_ms.fetch_add(i64::from(by.advance_ms), Ordering::Relaxed);
    clock(State(shared)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_at_their_edge_and_not_beyond() {
        let figures = BTreeMap::from([("doubled", 2), ("shown", 5)]);
        let broken = |bound: &str, limit: u64| broken(&figures, &BTreeMap::from([(bound.to_owned(), limit)]));
        assert!(broken("doubled", 2).is_empty() && broken("shown_min", 5).is_empty());
        assert_eq!(broken("doubled", 1), ["doubled is 2, at most 1"]);
        assert_eq!(broken("shown_min", 6), ["shown is 5, at least 6"]);
        assert_eq!(broken("sown", 0), ["sown is not counted"]);
    }

    #[test]
    fn requests_are_counted_in_any_minute() {
        let mut world = World::default();
        world.add_robot("k");
        for at_ms in [0, 59_999, 60_000, 60_001, 200_000] {
            world.send("k", br#"{"msgtype":"text","text":{"content":"x"}}"#, at_ms, None);
        }
        let figures = of(&world);
        assert_eq!((figures["robot_peak_per_minute"], figures["shown"], figures["limited"]), (3, 5, 0));
    }

    #[test]
    fn who_has_one_request_twice_was_sent_it_twice() {
        let mut world = World::default();
        let (token, _) = world.apps.token("ww1", "s", 0).unwrap();
        let body = |words: &str| {
            format!(r#"{{"touser":"ann|bob","msgtype":"text","agentid":7,"text":{{"content":"{words}"}}}}"#)
        };
        for words in ["a", "b", "a"] {
            world.apps.call("message/send", &token, body(words).as_bytes(), 0, None);
        }
        assert_eq!(of(&world)["doubled"], 2, "one each for ann and bob");
        assert_eq!((of(&world)["token_calls"], of(&world)["sends"]), (1, 3));
    }
}
