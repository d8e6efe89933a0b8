//! Order within a key, several addresses, rate, concurrency, the breaker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use wecom_gateway::cli::dev::receiver::Behaviour;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::endpoint::EndpointState;
use wecom_gateway::store::ByHand;

use crate::database::{Database, on_both};
use crate::figures::size;
use crate::forwarder::{Forwarder, number, numbers, receiver};

/// The last successful arrival of each event, in order, by user. A receiver that fails has not taken it.
fn in_order_by_user(received: &[wecom_gateway::cli::dev::receiver::Received]) -> HashMap<String, Vec<u64>> {
    let mut by_user: HashMap<String, Vec<u64>> = HashMap::new();
    for one in received {
        let user = one.json()["data"]["user_id"].as_str().expect("a user").to_owned();
        by_user.entry(user).or_default().push(number(one));
    }
    by_user
}

on_both! {
    async fn of_each_key_the_order_of_acceptance_is_kept_whatever_fails(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(json!({
            // Each event is refused as often as its number says.
            "url": receiver.url("/hook?type=500&times=1"), "events": ["*"], "delays_ms": [100, 100, 100, 100],
            "order": {"by": "user"}, "concurrency": 16
        })).await;
        let users = u64::try_from(size("ORDER_KEYS", 20)).expect("a number");
        let each = u64::try_from(size("ORDER_EACH", 15)).expect("a number");
        let mut events = Vec::new();
        for number in 0..each {
            for user in 0..users {
                events.push(rig.text(&format!("user{user}"), user * 1_000 + number));
            }
        }
        for event in events {
            rig.accept(event).await;
        }
        let all = usize::try_from(users * each).expect("a few");
        let succeeded = "SELECT COUNT(*) FROM deliveries WHERE state = 'succeeded'";
        let wanted = i64::try_from(all).expect("a few");
        rig.until("all", async || database.number(succeeded).await == wanted).await;
        for (user, numbers) in in_order_by_user(&receiver.received()) {
            // Each comes twice, refused and taken; what comes later never comes before.
            assert!(numbers.is_sorted(), "{user}: {numbers:?}");
        }
        assert_eq!(receiver.received().len(), 2 * all);
        assert_eq!(database.number("SELECT COUNT(*) FROM delivery_order").await, 0, "nothing is left behind");
        rig.stop().await;
    }

    async fn a_dead_letter_blocks_its_key_until_it_is_dropped(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let endpoint = json!({
            "url": receiver.url("/hook"), "events": ["*"], "schedule": "once", "order": {"by": "user"}
        });
        rig.endpoint(endpoint).await;
        receiver.always(Some(Behaviour::Status(500)));
        let dead = rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the end", async || rig.delivery(&dead).await.state == DeliveryState::Dead).await;
        receiver.always(None);
        let behind = rig.texts("zhangsan", 2..5).await;
        rig.texts("lisi", 10..13).await;
        rig.soon("the other key", async || numbers(&receiver, "/hook").len() == 4).await;
        assert_eq!(numbers(&receiver, "/hook"), [1, 10, 11, 12]);
        rig.pass_ms(3_600_000);
        assert_eq!(rig.delivery(&behind[0]).await.state, DeliveryState::Queued, "it waits behind the dead letter");
        let dead = rig.delivery(&dead).await.id;
        rig.forwarding.by_hand(ByHand::Drop, &dead).await.expect("it is dropped");
        rig.soon("the rest", async || numbers(&receiver, "/hook").len() == 7).await;
        assert_eq!(numbers(&receiver, "/hook"), [1, 10, 11, 12, 2, 3, 4]);
        rig.stop().await;
    }

    async fn a_blocked_key_stays_blocked_across_a_restart_and_a_retry_frees_it(database: &Database) {
        let receiver = receiver().await;
        let rig = Forwarder::start(database).await;
        rig.endpoint(json!({
            "url": receiver.url("/hook"), "events": ["*"], "schedule": "once", "order": {"by": "user"}
        })).await;
        receiver.always(Some(Behaviour::Status(500)));
        let dead = rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the end", async || rig.delivery(&dead).await.state == DeliveryState::Dead).await;
        let waiting = rig.accept(rig.text("zhangsan", 2)).await;
        rig.stop().await;

        receiver.always(None);
        let rig = Forwarder::start(database).await;
        rig.texts("lisi", 10..11).await;
        rig.soon("the other key", async || numbers(&receiver, "/hook").contains(&10)).await;
        assert_eq!(rig.delivery(&waiting).await.attempts, 0);
        let dead = rig.delivery(&dead).await.id;
        rig.forwarding.by_hand(ByHand::Retry, &dead).await.expect("it is tried");
        rig.soon("both", async || rig.count(DeliveryState::Succeeded).await == 3).await;
        assert_eq!(numbers(&receiver, "/hook"), [1, 10, 1, 2]);
        rig.stop().await;
    }

    async fn with_skip_those_behind_a_dead_letter_go_on(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(json!({
            "url": receiver.url("/hook?type=500&times=2"), "events": ["*"], "delays_ms": [200],
            "order": {"by": "everything", "on_dead": "skip"}
        })).await;
        rig.texts("zhangsan", 1..4).await;
        rig.until("the ends", async || rig.count(DeliveryState::Dead).await == 3).await;
        assert_eq!(numbers(&receiver, "/hook"), [1, 1, 2, 2, 3, 3]);
        rig.stop().await;
    }

    async fn every_address_gets_every_event_with_tries_of_its_own(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(json!({
            "events": ["*"], "schedule": "fast",
            "targets": [
                {"url": receiver.url("/a")}, {"url": receiver.url("/b?type=500")}, {"url": receiver.url("/c")}
            ]
        })).await;
        let ids = rig.texts("zhangsan", 0..10).await;
        rig.soon("the good ones", async || rig.count(DeliveryState::Succeeded).await == 20).await;
        assert_eq!(rig.deliveries(&ids[0]).await.len(), 3);
        rig.until("the end of the bad one", async || rig.count(DeliveryState::Dead).await == 10).await;
        assert_eq!((receiver.received_at("/a").len(), receiver.received_at("/c").len()), (10, 10));
        rig.stop().await;
    }

    async fn the_first_address_that_works_is_used_and_the_first_returns(database: &Database) {
        let (rig, first, second) = (Forwarder::start(database).await, receiver().await, receiver().await);
        rig.endpoint(json!({
            "events": ["*"], "strategy": "failover", "schedule": "fast", "concurrency": 1,
            "targets": [{"url": first.url("/a")}, {"url": second.url("/b")}]
        })).await;
        rig.texts("zhangsan", 0..3).await;
        rig.soon("three", async || first.received().len() == 3).await;
        first.always(Some(Behaviour::Close));
        rig.texts("zhangsan", 3..6).await;
        rig.until("three more", async || second.received().len() == 3).await;
        first.always(None);
        rig.pass_ms(10_000);
        rig.texts("zhangsan", 6..9).await;
        rig.until("the first returns", async || numbers(&first, "/a").ends_with(&[6, 7, 8])).await;
        assert_eq!(second.received().len(), 3);
        rig.stop().await;
    }

    async fn weights_are_kept(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(json!({
            "events": ["*"], "strategy": "weighted",
            "targets": [
                {"url": receiver.url("/a"), "weight": 5}, {"url": receiver.url("/b"), "weight": 3},
                {"url": receiver.url("/c"), "weight": 2}
            ]
        })).await;
        rig.texts("zhangsan", 0..100).await;
        rig.soon("all", async || receiver.received().len() == 100).await;
        let counts = ["/a", "/b", "/c"].map(|path| receiver.received_at(path).len());
        assert_eq!(counts, [50, 30, 20]);
        rig.stop().await;
    }

    async fn a_rate_is_kept_and_a_dead_endpoint_is_left_alone(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(json!({"url": receiver.url("/slow"), "events": ["*"], "rate_per_s": 10})).await;
        rig.endpoint(json!({"url": receiver.url("/dead?type=500"), "events": ["*"], "concurrency": 1})).await;
        rig.texts("zhangsan", 0..60).await;
        rig.soon("the first", async || !receiver.received_at("/slow").is_empty()).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(receiver.received_at("/slow").len() <= 2, "the clock stands still");
        let dead = receiver.received_at("/dead").len();
        assert_eq!(dead, 10, "ten failures in a row, then a rest");
        rig.pass_ms(1_000);
        rig.soon("a probe", async || receiver.received_at("/dead").len() == dead + 1).await;
        let seen = AtomicUsize::new(0);
        rig.until("all of the slow one", async || {
            seen.store(receiver.received_at("/slow").len(), Ordering::Relaxed);
            seen.load(Ordering::Relaxed) == 60
        }).await;
        rig.stop().await;
    }

    async fn receivers_that_hang_hold_up_nobody_else(database: &Database) {
        let (rig, bad, good) = (Forwarder::start(database).await, receiver().await, receiver().await);
        for number in 0..4 {
            let url = bad.url(&format!("/{number}?type=timeout"));
            rig.endpoint(json!({"url": url, "events": ["*"], "concurrency": 64, "timeout_ms": 15_000})).await;
        }
        rig.endpoint(json!({"url": good.url("/good"), "events": ["*"]})).await;
        rig.texts("zhangsan", 0..200).await;
        rig.soon("the good one's", async || rig.count(DeliveryState::Succeeded).await == 200).await;
        assert_eq!(database.number("SELECT COUNT(*) FROM attempts").await, 200, "the others still wait for an answer");
        rig.soon("as many as may be under way", async || bad.received().len() == 4 * 64).await;
        rig.stop().await;
    }

    async fn a_receiver_sees_no_more_requests_and_connections_than_it_was_promised(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let request = json!({"url": receiver.url("/hook?type=slow-3"), "events": ["*"], "concurrency": 5});
        let id = rig.endpoint(request).await.endpoint.id;
        rig.forwarding.switch(&id, EndpointState::Paused).await.expect("it pauses");
        rig.texts("zhangsan", 0..500).await;
        rig.forwarding.switch(&id, EndpointState::Active).await.expect("it resumes");
        rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 500).await;
        assert_eq!(receiver.under_way_most(), 5);
        let connections = receiver.connections();
        assert!(connections <= 10, "{connections}: connections are kept");
        rig.stop().await;
    }
}
