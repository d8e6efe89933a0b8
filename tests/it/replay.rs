//! Replays: preview, pace, progress, cancel, restart.

use serde_json::json;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::replay::{Replay, ReplayState};
use wecom_gateway::forwarding::Asked;

use crate::database::{Database, NOW_MS, on_both};
use crate::forwarder::{Forwarder, numbers, receiver};

/// Starts a replay.
async fn start(rig: &Forwarder, request: serde_json::Value) -> Replay {
    match rig.forwarding.replay(request).await.expect("it is taken") {
        Asked::Running(replay) => *replay,
        Asked::Preview(preview) => panic!("only a preview: {preview:?}"),
    }
}

async fn now(rig: &Forwarder, replay: &Replay) -> Replay {
    rig.store.replay(&replay.id).await.expect("the store answers").expect("it is there")
}

fn hook(url: &str) -> serde_json::Value {
    json!({"url": url, "events": ["message.*"], "schedule": "fast"})
}

on_both! {
    async fn what_was_missed_is_delivered_with_the_same_ids(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let ids = rig.texts("zhangsan", 0..250).await;
        rig.texts("lisi", 250..300).await;
        rig.pass_ms(20_000);
        let made = rig.endpoint(hook(&receiver.url("/hook"))).await;
        let id = made.endpoint.id.as_str();
        let filter = json!({"events": ["*"], "match": {"field": "user_id", "equals": "zhangsan"}});
        let request = json!({"endpoint": id, "since": NOW_MS.to_string(), "filter": filter, "per_s": 1_000});
        let mut preview = request.clone();
        preview["preview"] = json!(true);
        match rig.forwarding.replay(preview).await.expect("a preview") {
            Asked::Preview(preview) => {
                assert_eq!((preview.looked_at, preview.matched, preview.complete), (300, 250, true));
            }
            Asked::Running(_) => panic!("a preview starts nothing"),
        }
        let replay = start(&rig, request).await;
        rig.until("the end", async || now(&rig, &replay).await.state == ReplayState::Done).await;
        rig.soon("the deliveries", async || receiver.received().len() == 250).await;
        let done = now(&rig, &replay).await;
        assert_eq!((done.looked_at, done.queued), (300, 250));
        let came = receiver.received();
        for id in &ids {
            let one = came.iter().find(|one| one.header("webhook-id") == Some(id.as_str())).expect("it came");
            assert_eq!(one.header("x-webhook-replay"), Some("true"));
        }
        rig.stop().await;
    }

    async fn one_event_is_delivered_once_more(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let made = rig.endpoint(hook(&receiver.url("/hook"))).await;
        let event = rig.accept(rig.text("zhangsan", 7)).await;
        rig.soon("the first", async || receiver.received().len() == 1).await;
        let request = json!({"endpoint": made.endpoint.id.as_str(), "event_id": event.as_str()});
        let first = start(&rig, request.clone()).await;
        let second = start(&rig, request).await;
        assert!(first.run != second.run && first.run > 0);
        rig.soon("both", async || receiver.received().len() == 3).await;
        let came = receiver.received();
        assert!(came.iter().all(|one| one.header("webhook-id") == Some(event.as_str())));
        assert!(came.iter().all(|one| one.body == came[0].body));
        rig.soon("their results", async || rig.count(DeliveryState::Succeeded).await == 3).await;
        rig.stop().await;
    }

    async fn a_replay_keeps_its_pace_goes_on_after_a_restart_and_can_be_stopped(database: &Database) {
        let receiver = receiver().await;
        let rig = Forwarder::start(database).await;
        rig.texts("zhangsan", 0..120).await;
        rig.pass_ms(20_000);
        let made = rig.endpoint(hook(&receiver.url("/hook"))).await;
        let request = json!({"endpoint": made.endpoint.id.as_str(), "since": NOW_MS.to_string(), "per_s": 20});
        let replay = start(&rig, request.clone()).await;
        rig.pass_ms(1_000);
        rig.soon("a second's worth", async || receiver.received().len() == 20).await;
        assert_eq!(now(&rig, &replay).await.queued, 20, "and no more");
        rig.stop().await;

        let rig = Forwarder::start(database).await;
        rig.until("the end", async || now(&rig, &replay).await.state == ReplayState::Done).await;
        rig.soon("all", async || receiver.received().len() == 120).await;
        let mut seen = numbers(&receiver, "/hook");
        seen.sort_unstable();
        assert_eq!(seen, (0..120).collect::<Vec<_>>(), "each once");

        let replay = start(&rig, request).await;
        rig.pass_ms(1_000);
        rig.soon("a second's worth", async || now(&rig, &replay).await.queued == 20).await;
        assert!(rig.store.cancel_replay(&replay.id).await.expect("it answers"));
        rig.pass_ms(60_000);
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        let stopped = now(&rig, &replay).await;
        assert_eq!((stopped.state, stopped.queued), (ReplayState::Cancelled, 20));
        assert!(!rig.store.cancel_replay(&replay.id).await.expect("it answers"));
        rig.stop().await;
    }
}
