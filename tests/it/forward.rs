//! Events to business systems: signed, in time, or waiting visibly until they can.

use serde_json::{Value, json};
use wecom_gateway::cli::dev::receiver::Behaviour;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::endpoint::EndpointState;
use wecom_gateway::forwarding::ForwardError;
use wecom_gateway::store::{ByHand, Recorded};

use crate::database::{Database, on_both};
use crate::forwarder::{Forwarder, numbers, receiver};

/// An endpoint at `url` with the schedule 1 s, 5 s, 30 s.
fn fast(url: &str) -> Value {
    json!({"url": url, "events": ["*"], "schedule": "fast"})
}

on_both! {
    async fn every_event_after_the_answer_arrives_signed(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.texts("early", 0..3).await;
        let made = rig.endpoint(fast(&receiver.url("/hook"))).await;
        let ids = rig.texts("zhangsan", 3..23).await;
        rig.soon("the deliveries", async || receiver.received().len() == 20).await;
        let came = receiver.received();
        for id in &ids {
            let one = came.iter().find(|one| one.header("webhook-id") == Some(id.as_str())).expect("it came");
            assert!(one.is_signed_with(made.secret.expose()));
            assert!(!one.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
            let body = one.json();
            assert_eq!((body["id"].as_str(), body["type"].as_str()), (Some(id.as_str()), Some("message.text")));
            assert_eq!((&body["version"], body["source"].as_str()), (&json!(1), Some("wechat_api")));
            assert_eq!(body["data"]["user_id"], "zhangsan");
            for name in ["x-webhook-id", "x-webhook-timestamp", "x-webhook-signature", "user-agent"] {
                assert!(one.header(name).is_some(), "{name}");
            }
        }
        rig.soon("the results", async || rig.count(DeliveryState::Succeeded).await == 20).await;
        let attempts = rig.store.attempts(&rig.delivery(&ids[0]).await.id).await.expect("attempts");
        assert_eq!((attempts.len(), attempts[0].number, attempts[0].http_status), (1, 1, Some(200)));
        rig.stop().await;
    }

    async fn a_receiver_that_fails_gets_the_same_event_later(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let made = rig.endpoint(fast(&receiver.url("/hook?type=500&times=2"))).await;
        let id = rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the first try", async || receiver.received().len() == 1).await;
        rig.soon("its record", async || rig.delivery(&id).await.attempts == 1).await;
        rig.pass_ms(999);
        assert_eq!(receiver.received().len(), 1, "the second waits a second");
        rig.until("the end", async || rig.delivery(&id).await.state == DeliveryState::Succeeded).await;
        let came = receiver.received();
        assert_eq!(came.len(), 3);
        for one in &came {
            assert_eq!(one.header("webhook-id"), Some(id.as_str()));
            assert_eq!(one.body, came[0].body, "the same bytes");
            assert!(one.is_signed_with(made.secret.expose()));
        }
        let stamp = |at: usize| came[at].header("webhook-timestamp").expect("a timestamp").to_owned();
        assert!(stamp(0) != stamp(2), "each try is signed anew");
        let tries: Vec<&str> = came.iter().filter_map(|one| one.header("x-webhook-attempt")).collect();
        assert_eq!(tries, ["1", "2", "3"]);
        let attempts = rig.store.attempts(&rig.delivery(&id).await.id).await.expect("attempts");
        let statuses: Vec<_> = attempts.iter().map(|one| one.http_status).collect();
        assert_eq!(statuses, [Some(500), Some(500), Some(200)]);
        assert_eq!(attempts[0].error.as_deref(), Some("failed: HTTP 500"));
        assert_eq!(attempts[0].answer.as_deref(), Some("answered 500\n"));
        rig.stop().await;
    }

    async fn a_delivery_that_never_succeeds_is_a_dead_letter_and_can_be_tried_again(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let made = rig.endpoint(fast(&receiver.url("/hook?type=503&times=4"))).await;
        let ids = rig.texts("zhangsan", 0..3).await;
        rig.until("the end", async || rig.count(DeliveryState::Dead).await == 3).await;
        assert_eq!(receiver.received().len(), 12, "four tries each, and no more");
        rig.pass_ms(86_400_000);
        let dead = rig.delivery(&ids[0]).await;
        assert_eq!((dead.attempts, dead.due_ms), (4, None));
        rig.forwarding.by_hand(ByHand::Retry, &dead.id).await.expect("it is tried");
        rig.soon("the retry", async || rig.delivery(&ids[0]).await.state == DeliveryState::Succeeded).await;
        assert_eq!(rig.delivery(&ids[0]).await.attempts, 5);
        let again = rig.forwarding.by_hand(ByHand::Retry, &dead.id).await;
        assert!(matches!(again, Err(ForwardError::Conflict(_))), "what succeeded is not sent again");
        let second = rig.delivery(&ids[1]).await;
        rig.forwarding.by_hand(ByHand::Drop, &second.id).await.expect("it is dropped");
        assert_eq!(rig.delivery(&ids[1]).await.state, DeliveryState::Cancelled);
        let all = rig.forwarding.by_hand_to_dead(ByHand::Retry, &made.endpoint.id).await.expect("all");
        assert_eq!(all, 1);
        rig.soon("the last", async || rig.delivery(&ids[2]).await.state == DeliveryState::Succeeded).await;
        rig.stop().await;
    }

    async fn gone_switches_an_endpoint_off_until_somebody_switches_it_on(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let made = rig.endpoint(fast(&receiver.url("/hook"))).await;
        receiver.always(Some(Behaviour::Status(410)));
        let id = rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the end", async || rig.delivery(&id).await.state == DeliveryState::Failed).await;
        let state = async || rig.store.endpoint(&made.endpoint.id).await.expect("it answers").expect("it is there").endpoint;
        rig.soon("the switch", async || state().await.state == EndpointState::Disabled).await;
        assert!(state().await.reason.expect("a reason").contains("410"));
        let passed_by = rig.accept(rig.text("zhangsan", 2)).await;
        assert_eq!(rig.deliveries(&passed_by).await.len(), 0);
        receiver.always(None);
        rig.forwarding.switch(&made.endpoint.id, EndpointState::Active).await.expect("it is on");
        let next = rig.accept(rig.text("zhangsan", 3)).await;
        rig.soon("the next", async || receiver.received().len() == 2).await;
        assert_eq!(receiver.received()[1].header("webhook-id"), Some(next.as_str()));
        assert_eq!(state().await.reason, None);
        rig.stop().await;
    }

    async fn what_is_paused_waits_and_what_is_inactive_passes_by(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let made = rig.endpoint(fast(&receiver.url("/hook"))).await;
        let id = &made.endpoint.id;
        rig.forwarding.switch(id, EndpointState::Paused).await.expect("it pauses");
        let waiting = rig.texts("zhangsan", 0..10).await;
        rig.pass_ms(10_000);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!((receiver.received().len(), rig.count(DeliveryState::Queued).await), (0, 10));
        rig.forwarding.switch(id, EndpointState::Active).await.expect("it resumes");
        rig.soon("all of them", async || receiver.received().len() == 10).await;
        rig.forwarding.change(id, json!({"active": false})).await.expect("it is switched off");
        let passed_by = rig.accept(rig.text("zhangsan", 11)).await;
        assert_eq!(rig.deliveries(&passed_by).await.len(), 0);
        assert_eq!(rig.deliveries(&waiting[0]).await.len(), 1);
        rig.stop().await;
    }

    async fn only_what_is_wanted_becomes_a_delivery(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let wanting = |path: &str, more: Value| {
            let mut request = json!({"url": receiver.url(path), "events": ["message.text"]});
            for (field, value) in more.as_object().expect("an object") {
                request[field] = value.clone();
            }
            request
        };
        rig.endpoint(wanting("/images", json!({"events": ["message.image", "event.*"]}))).await;
        rig.endpoint(wanting("/all", json!({"events": ["message.*"]}))).await;
        rig.endpoint(wanting("/lisi", json!({"match": {"field": "user_id", "equals": "lisi"}}))).await;
        rig.endpoint(wanting("/seven", json!({"match": {"field": "body.Content", "equals": "text 7"}}))).await;
        rig.endpoint(wanting("/other", json!({"sources": ["another_app"]}))).await;
        rig.texts("zhangsan", 0..10).await;
        rig.texts("lisi", 10..15).await;
        rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 15 + 5 + 1).await;
        let count = |path: &str| receiver.received_at(path).len();
        assert_eq!((count("/all"), count("/lisi"), count("/seven")), (15, 5, 1));
        assert_eq!((count("/images"), count("/other")), (0, 0));
        let (looked_at, found) = rig
            .forwarding
            .dry_run(json!({"events": ["*"], "match": {"field": "body.Content", "in": ["text 3", "text 12"]}}))
            .await
            .expect("a dry run");
        assert_eq!((looked_at, found.len()), (15, 2));
        rig.stop().await;
    }

    async fn a_repeat_is_delivered_once(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(fast(&receiver.url("/hook"))).await;
        let first = rig.text("zhangsan", 1);
        let id = rig.accept(first.clone()).await;
        for _ in 0..3 {
            let repeat = wecom_gateway::store::NewEvent { id: database.ids.make(), ..first.clone() };
            let recorded = rig.intake.accept(vec![repeat]).await.expect("it is answered");
            assert_eq!(recorded, [Recorded::Repeat { id: id.clone() }]);
        }
        rig.accept(rig.text("zhangsan", 2)).await;
        rig.soon("both", async || receiver.received().len() == 2).await;
        assert_eq!(numbers(&receiver, "/hook"), [1, 2]);
        rig.stop().await;
    }

    async fn what_was_committed_is_sent_by_whoever_comes_next(database: &Database) {
        let receiver = receiver().await;
        let rig = Forwarder::start(database).await;
        let made = rig.endpoint(fast(&receiver.url("/hook"))).await;
        rig.forwarding.switch(&made.endpoint.id, EndpointState::Paused).await.expect("it pauses");
        let ids = rig.texts("zhangsan", 0..50).await;
        rig.stop().await;
        assert_eq!(receiver.received().len(), 0);

        let rig = Forwarder::start(database).await;
        rig.forwarding.switch(&made.endpoint.id, EndpointState::Active).await.expect("it resumes");
        rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 50).await;
        let came = receiver.received();
        for id in &ids {
            assert!(came.iter().any(|one| one.header("webhook-id") == Some(id.as_str())), "{id} is lost");
        }
        assert!(came.iter().all(|one| one.is_signed_with(made.secret.expose())), "the secret was opened again");
        rig.stop().await;
    }

    async fn a_removed_endpoint_takes_its_deliveries_with_it(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let made = rig.endpoint(fast(&receiver.url("/hook?type=500"))).await;
        rig.texts("zhangsan", 0..5).await;
        rig.soon("the first tries", async || receiver.received().len() == 5).await;
        rig.forwarding.remove(&made.endpoint.id).await.expect("it is removed");
        rig.until("the end", async || rig.count(DeliveryState::Cancelled).await == 5).await;
        let seen = receiver.received().len();
        rig.pass_ms(600_000);
        let passed_by = rig.accept(rig.text("zhangsan", 9)).await;
        assert_eq!((rig.deliveries(&passed_by).await.len(), receiver.received().len()), (0, seen));
        rig.stop().await;
    }

    async fn a_secret_is_exchanged_without_a_refused_delivery(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let old = rig.endpoint(fast(&receiver.url("/hook"))).await;
        let new = rig.forwarding.rotate(&old.endpoint.id, json!({"overlap_s": 60})).await.expect("a new one");
        assert!(old.secret != new.secret);
        rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the first", async || receiver.received().len() == 1).await;
        rig.pass_ms(60_000);
        rig.accept(rig.text("zhangsan", 2)).await;
        rig.soon("the second", async || receiver.received().len() == 2).await;
        let came = receiver.received();
        let signed = |at: usize, by: &wecom_gateway::forwarding::Made| came[at].is_signed_with(by.secret.expose());
        assert_eq!((signed(0, &old), signed(0, &new)), (true, true), "both, for a while");
        assert_eq!((signed(1, &old), signed(1, &new)), (false, true));
        rig.stop().await;
    }

    async fn a_test_event_overtakes_everything_and_goes_to_one_endpoint(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let mut slow = fast(&receiver.url("/one?type=slow-20"));
        slow["concurrency"] = json!(1);
        let made = rig.endpoint(slow).await;
        rig.endpoint(fast(&receiver.url("/two"))).await;
        rig.texts("zhangsan", 0..100).await;
        let id = rig.forwarding.test(&made.endpoint.id).await.expect("a test");
        rig.until("all", async || receiver.received_at("/one").len() == 101).await;
        let place = receiver.received_at("/one").iter().position(|one| one.header("webhook-id") == Some(id.as_str()));
        assert!(place.expect("it came") < 95, "it did not wait for its turn: {place:?}");
        assert_eq!(receiver.received_at("/one")[place.unwrap()].json()["type"], "test.ping");
        assert_eq!(receiver.received_at("/two").len(), 100);
        rig.stop().await;
    }
}

on_both! {
    async fn a_subscription_to_one_status_or_to_interactions_gets_only_these(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        for (path, kind) in [("/read", "status.msg_read"), ("/people", "interaction.*"), ("/states", "status.*")] {
            let request = json!({"url": receiver.url(path), "events": [kind]});
            rig.endpoint(request).await;
        }
        let filling = |reference: &str| wecom_gateway::cli::dev::samples::Filling {
            to: "ww1".to_owned(),
            user_id: "lisi".to_owned(),
            agent_id: "1000002".to_owned(),
            reference: reference.to_owned(),
            created_s: 1_700_000_000,
        };
        for (name, reference) in [("status.msg_audit", "m1"), ("status.msg_read", "m1"), ("message.text", "7000000000000000001")] {
            let sample = wecom_gateway::cli::dev::samples::find(name).expect("a sample");
            rig.accept(rig.event(&sample.fill(&filling(reference)))).await;
        }
        let click = r#"{"msgid":"c1","event":{"type":"click"},"msgtype":"event","from":{"userid":"lisi"}}"#;
        let mut click = rig.event(click);
        click.event.kind = wecom_gateway::domain::event::EventKind::from_parts(&["interaction", "click"]);
        rig.accept(click).await;
        rig.soon("all", async || rig.count(DeliveryState::Succeeded).await == 4).await;
        let kinds = |path: &str| -> Vec<String> {
            receiver.received_at(path).iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(kinds("/read"), ["status.msg_read"]);
        assert_eq!(kinds("/people"), ["interaction.click"]);
        let mut states = kinds("/states");
        states.sort();
        assert_eq!(states, ["status.msg_audit", "status.msg_read"]);
        rig.stop().await;
    }

    async fn a_delay_is_kept_and_a_mask_hides(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        rig.endpoint(json!({
            "url": receiver.url("/hook?type=500&times=1"), "events": ["*"], "delay_ms": 5_000, "schedule": "fast",
            "mask": ["user_id", "body.FromUserName"]
        })).await;
        let id = rig.accept(rig.text("zhangsan", 1)).await;
        rig.pass_ms(4_999);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(receiver.received().len(), 0);
        rig.until("both tries", async || rig.delivery(&id).await.state == DeliveryState::Succeeded).await;
        let came = receiver.received();
        assert_eq!(came.len(), 2);
        assert!(came.iter().all(|one| !String::from_utf8_lossy(&one.body).contains("zhangsan")));
        assert_eq!(came[0].body, came[1].body);
        assert_eq!(database.number("SELECT COUNT(*) FROM delivery_bodies").await, 1, "what was sent is kept");
        rig.stop().await;
    }

    async fn the_raw_form_is_the_plaintext_word_for_word(database: &Database) {
        let (rig, receiver) = (Forwarder::start(database).await, receiver().await);
        let request = json!({"url": receiver.url("/hook"), "events": ["*"], "payload": "raw", "dialect": "github"});
        let made = rig.endpoint(request).await;
        let event = rig.text("zhangsan", 1);
        let plaintext = event.payload.clone();
        rig.accept(event).await;
        rig.soon("it", async || receiver.received().len() == 1).await;
        let one = receiver.received().remove(0);
        assert_eq!(one.body, plaintext.to_vec());
        assert_eq!(one.header("content-type"), Some("application/xml; charset=utf-8"));
        assert_eq!(one.header("x-github-event"), Some("message.text"));
        assert!(one.is_signed_with(made.secret.expose()));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_made_at_one_replica_gets_what_another_accepts() {
    let database = Database::new(wecom_gateway::store::Engine::MySql).await;
    let (one, two, receiver) =
        (Forwarder::start(&database).await, Forwarder::start(&database).await, receiver().await);
    for round in 0..5_u64 {
        let made = one.endpoint(fast(&receiver.url(&format!("/{round}")))).await;
        let ids = two.texts("zhangsan", round * 10..round * 10 + 3).await;
        for id in &ids {
            assert_eq!(two.deliveries(id).await.len(), 1, "routed by the one that did not make it");
        }
        one.soon("the deliveries", async || receiver.received_at(&format!("/{round}")).len() == 3).await;
        two.forwarding.remove(&made.endpoint.id).await.expect("it is removed");
        tokio::time::sleep(std::time::Duration::from_millis(wecom_gateway::store::SETTLED_MS)).await;
        let passed_by = one.accept(one.text("zhangsan", round * 10 + 9)).await;
        assert_eq!(one.deliveries(&passed_by).await.len(), 0, "removed everywhere");
    }
    one.stop().await;
    two.stop().await;
}
