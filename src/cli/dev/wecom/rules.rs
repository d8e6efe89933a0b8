//! What an administrator sets for an app of the fake platform: who may see it, which addresses it is called from, and
//! whether it is on.
//!
//! `PUT /_fake/apps/{agent_id}` with `{"visible": ["ann", "party:2"], "trusted": ["203.0.113.7"], "enabled": true}`
//! sets them (what is left out is not limited), `GET /_fake/apps` shows them, `DELETE /_fake/apps/{agent_id}` takes
//! them away, `PUT /_fake/peer` with `{"address": "203.0.113.7"}` says where calls come from. Sources: documents 90236
//! and 90248 and the table of error codes 90313 at developer.work.weixin.qq.com.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::world::ApiReply;

/// Where calls come from unless it was said otherwise.
const PEER_DEFAULT: &str = "127.0.0.1";

/// The rules of one app; what is `None` is not limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppRules {
    /// Who may see it: user ids, `party:N`, `tag:N`.
    pub visible: Option<BTreeSet<String>>,
    /// From where it may be called.
    pub trusted: Option<BTreeSet<String>>,
    /// Whether it is on.
    pub enabled: bool,
}

impl Default for AppRules {
    fn default() -> Self {
        Self { visible: None, trusted: None, enabled: true }
    }
}

/// The rules of all apps, and where calls come from.
#[derive(Debug, Default)]
pub(super) struct Rules {
    apps: BTreeMap<u64, AppRules>,
    peer: Option<String>,
}

impl Rules {
    pub(super) fn set(&mut self, agent_id: u64, mut rules: AppRules) {
        rules.visible = rules.visible.map(|ids| ids.into_iter().map(|id| id.to_lowercase()).collect());
        self.apps.insert(agent_id, rules);
    }

    pub(super) fn come_from(&mut self, address: &str) {
        self.peer = Some(address.to_owned());
    }

    /// Those of the app that a call names; a call that names none is the only app's.
    fn of(&self, agent_id: Option<u64>) -> Option<&AppRules> {
        match agent_id {
            Some(agent_id) => self.apps.get(&agent_id),
            None if self.apps.len() == 1 => self.apps.values().next(),
            None => None,
        }
    }

    /// Whether a call of the app is looked at.
    pub(super) fn admit(&self, agent_id: Option<u64>) -> Result<(), ApiReply> {
        let Some(rules) = self.of(agent_id) else { return Ok(()) };
        let peer = self.peer.as_deref().unwrap_or(PEER_DEFAULT);
        if rules.trusted.as_ref().is_some_and(|trusted| !trusted.contains(peer)) {
            return Err(ApiReply::error_from(60020, "not allow to access from your ip", peer));
        }
        if rules.enabled { Ok(()) } else { Err(ApiReply::error(50003, "app is disabled")) }
    }

    /// Whether the app may be sent through to `name`: a user id, `party:N` or `tag:N` in lower case.
    pub(super) fn shows(&self, agent_id: u64, name: &str) -> bool {
        let visible = self.apps.get(&agent_id).and_then(|rules| rules.visible.as_ref());
        visible.is_none_or(|visible| name == "@all" || visible.contains(name))
    }

    /// Group chats are for an app that everybody sees.
    pub(super) fn may_chat(&self) -> Result<(), ApiReply> {
        match self.of(None) {
            Some(AppRules { visible: Some(_), .. }) => Err(ApiReply::error(48002, "api forbidden")),
            _ => Ok(()),
        }
    }
}

/// Their routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_fake/apps", get(list))
        .route("/_fake/apps/{agent_id}", put(set).delete(forget))
        .route("/_fake/peer", put(come_from))
}

async fn list(State(shared): State<Arc<Shared>>) -> Json<BTreeMap<u64, AppRules>> {
    Json(shared.world().apps.rules.apps.clone())
}

async fn set(
    State(shared): State<Arc<Shared>>,
    Path(agent_id): Path<u64>,
    Json(rules): Json<AppRules>,
) -> StatusCode {
    shared.world().apps.rules.set(agent_id, rules);
    StatusCode::NO_CONTENT
}

async fn forget(State(shared): State<Arc<Shared>>, Path(agent_id): Path<u64>) -> StatusCode {
    shared.world().apps.rules.apps.remove(&agent_id);
    StatusCode::NO_CONTENT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    address: String,
}

async fn come_from(State(shared): State<Arc<Shared>>, Json(Peer { address }): Json<Peer>) -> StatusCode {
    shared.world().apps.rules.come_from(&address);
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_for_the_app_they_were_set_for() {
        let mut rules = Rules::default();
        assert!(rules.admit(Some(7)).is_ok() && rules.shows(7, "ann") && rules.may_chat().is_ok());
        let set: AppRules =
            serde_json::from_str(r#"{"visible": ["Ann", "party:2"], "trusted": ["203.0.113.7"]}"#).unwrap();
        rules.set(7, set);
        let refused = rules.admit(Some(7)).unwrap_err();
        assert_eq!(refused.errcode, 60020);
        assert!(refused.errmsg.contains("from ip: 127.0.0.1,"), "{}", refused.errmsg);
        assert!(rules.admit(Some(8)).is_ok());
        rules.come_from("203.0.113.7");
        assert!(rules.admit(Some(7)).is_ok() && rules.admit(None).is_ok());
        let shown: Vec<bool> =
            ["ann", "bob", "party:2", "tag:2", "@all"].map(|name| rules.shows(7, name)).to_vec();
        assert_eq!(shown, [true, false, true, false, true]);
        assert!(rules.shows(8, "bob"));
        assert_eq!(rules.may_chat().unwrap_err().errcode, 48002);
        rules.set(7, AppRules { enabled: false, ..AppRules::default() });
        assert_eq!(rules.admit(None).unwrap_err().errcode, 50003);
    }
}
