//! The sender: order, pace, lost answers, retries, crashes, owners.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::rfc3339_ms;
use wecom_gateway::dispatch::{DispatchSettings, Target};
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::status::Status;
use wecom_gateway::entropy::Entropy;
use wecom_gateway::ids::MessageId;
use wecom_gateway::messages::{Caller, SendError};
use wecom_gateway::store::{Engine, Fence, shard_of};
use wecom_gateway::tracker::Hooks;

use crate::database::{Database, NOW_MS, on_both};
use crate::rig::{CHANNEL, Rig};
use crate::robot::{KEY, platform, robot_at};

fn contents(fake: &FakeWecom) -> Vec<String> {
    fake.inbox(KEY).into_iter().map(|request| request.content).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

async fn send_all(rig: &Rig, texts: &[String], policy: &str) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for content in texts {
        ids.push(rig.text_with(content, json!({"policy": policy})).await);
    }
    ids
}

/// How often the platform said that it was too much.
fn too_many(fake: &FakeWecom) -> usize {
    fake.requests(KEY).iter().filter(|request| request.errcode == 45009).count()
}

on_both! {
    async fn a_burst_keeps_order_and_pace(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let texts = numbered(25);
        let ids = send_all(&rig, &texts, "at_most_once").await;

        rig.soon("the first 20", async || fake.inbox(KEY).len() == 20).await;
        rig.soon("their status", async || rig.listed(Status::Sent).await == 20).await;
        assert_eq!(rig.count(&ids, Status::Pending).await, 5, "the rest waits and says so");
        rig.pass_ms(59_000);
        assert_eq!(fake.requests(KEY).len(), 20, "no minute has passed");
        rig.until("the other 5", async || rig.listed(Status::Sent).await == 25).await;
        assert_eq!(contents(&fake), texts);
        assert_eq!(too_many(&fake), 0);
        rig.stop().await;
    }

    async fn the_pace_is_kept_across_a_restart(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let texts = numbered(25);
        send_all(&rig, &texts, "at_most_once").await;
        rig.soon("the first 20", async || rig.listed(Status::Sent).await == 20).await;
        rig.stop().await;

        let rig = Rig::start(database, &fake).await;
        rig.until("the other 5", async || rig.listed(Status::Sent).await == 25).await;
        assert_eq!(contents(&fake), texts);
        assert_eq!(too_many(&fake), 0);
        rig.stop().await;
    }

    async fn a_lost_answer_is_uncertain_and_is_not_sent_again(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        fake.add_fault(Fault::times(FaultKind::CloseAfter, 100));
        let texts = numbered(100);
        let ids = send_all(&rig, &texts, "at_most_once").await;
        rig.until("every outcome", async || rig.listed(Status::Uncertain).await == 100).await;
        assert_eq!(rig.count(&ids, Status::Uncertain).await, 100);
        let last = rig.text("the one after").await;
        rig.until("the one after", async || rig.status(&last).await == Status::Sent).await;

        let mut seen = contents(&fake);
        assert_eq!(seen.pop().as_deref(), Some("the one after"));
        assert_eq!(seen, texts, "0 doubles, 0 of them sent later");
        let tracked = rig.tracked(&ids[0]).await;
        let reason = tracked.error_message.expect("it says why");
        assert!(reason.contains("connection"), "{reason}");
        assert_eq!(rig.delivery(&ids[0]).await.state, DeliveryState::Uncertain);
        rig.stop().await;
    }

    async fn a_lost_answer_is_sent_again_where_twice_is_allowed(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        for _ in 0..50 {
            for kind in [FaultKind::CloseAfter, FaultKind::None, FaultKind::CloseBefore, FaultKind::None] {
                fake.add_fault(Fault::times(kind, 1));
            }
        }
        let texts = numbered(100);
        let ids = send_all(&rig, &texts, "at_least_once").await;
        rig.until("every outcome", async || rig.listed(Status::Sent).await == 100).await;
        assert_eq!(rig.count(&ids, Status::Sent).await, 100);
        let seen = contents(&fake);
        for content in &texts {
            assert!(seen.contains(content), "{content} was lost");
        }
        assert_eq!(fake.requests(KEY).len(), 200, "each answer was lost once");
        assert_eq!(seen.len(), 150, "half of them after the message was shown");
        assert_eq!(too_many(&fake), 0);
        let mut order = seen;
        order.dedup();
        assert_eq!(order, texts, "a retry keeps its place");
        rig.stop().await;
    }

    async fn what_was_begun_before_a_crash_is_not_sent_again(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        // Nothing leaves while the robot's minute is full.
        send_all(&rig, &numbered(20), "at_most_once").await;
        rig.soon("a full minute", async || rig.listed(Status::Sent).await == 20).await;
        let once = rig.text("at most once").await;
        let twice = rig.text_with("at least once", json!({"policy": "at_least_once"})).await;
        let waiting = rig.text("not begun").await;
        let store = rig.store.clone();
        let deliveries = [rig.delivery(&once).await, rig.delivery(&twice).await];
        rig.dispatch.stop(Duration::from_secs(5)).await;

        // As a process leaves it that is killed between the mark and the result.
        let fence = match store.engine() {
            Engine::Sqlite => Fence::Sole,
            Engine::MySql => {
                let now_ms = database.clock.steady_ms();
                let shards = store.lease_shards("the dead one", 1, now_ms, 64).await.expect("free shards");
                shards.iter().find(|shard| shard.id == shard_of(CHANNEL)).expect("all are free").fence()
            }
        };
        let starts = deliveries.map(|delivery| (delivery.id, delivery.attempts, database.clock.steady_ms()));
        assert_eq!(store.mark_started(&starts, &fence).await.expect("marked"), [true, true]);
        rig.stop().await;
        drop(store);
        database.clock.advance_ms(1_000);

        let rig = Rig::start(database, &fake).await;
        rig.until("the last", async || rig.status(&waiting).await == Status::Sent).await;
        assert_eq!(rig.status(&once).await, Status::Uncertain);
        let reason = rig.tracked(&once).await.error_message.expect("it says why");
        assert!(reason.contains("stopped between"), "{reason}");
        assert_eq!(rig.status(&twice).await, Status::Sent);
        assert_eq!(contents(&fake)[20..], ["at least once", "not begun"]);
        assert_eq!(rig.delivery(&once).await.state, DeliveryState::Uncertain);
        assert_eq!(too_many(&fake), 0);
        rig.stop().await;
    }

    async fn a_refusal_is_final_and_says_why(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        fake.add_fault(Fault::times(FaultKind::Errcode { code: 40058 }, 1));
        let refused = rig.text("refused").await;
        let after = rig.text("after").await;
        rig.soon("the one after", async || rig.status(&after).await == Status::Sent).await;
        let tracked = rig.tracked(&refused).await;
        assert_eq!(tracked.status, Status::Failed);
        assert_eq!(tracked.details["code"], json!(40058));
        assert!(tracked.error_message.expect("it says why").contains("errcode 40058"));
        assert_eq!(contents(&fake), ["after"]);
        let attempts = rig.store.attempts(&rig.delivery(&refused).await.id).await.expect("attempts");
        assert_eq!(attempts.len(), 1);
        assert_eq!((attempts[0].http_status, attempts[0].errcode), (Some(200), Some(40058)));
        rig.stop().await;
    }

    async fn busy_may_have_been_shown_so_the_policy_decides(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        fake.add_fault(Fault::times(FaultKind::Errcode { code: -1 }, 1));
        let once = rig.text("once").await;
        rig.until("its end", async || rig.status(&once).await == Status::Uncertain).await;
        assert_eq!(rig.delivery(&once).await.attempts, 1);
        let said = rig.tracked(&once).await.error_message.expect("it says why");
        assert!(said.contains("errcode -1"), "{said}");

        fake.add_fault(Fault::times(FaultKind::Errcode { code: -1 }, 3));
        let again = rig.text_with("again", json!({"policy": "at_least_once"})).await;
        rig.until("the fourth try", async || rig.status(&again).await == Status::Sent).await;
        assert_eq!((rig.delivery(&again).await.attempts, contents(&fake)), (4, vec!["again".to_owned()]));
        rig.stop().await;
    }

    async fn a_busy_app_is_tried_again_three_times_and_then_given_up(database: &Database) {
        let fake = crate::app::platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: -1 }, 3));
        let late = rig.text_to("ann", "late").await;
        rig.until("the fourth try", async || rig.status(&late).await == Status::Sent).await;
        assert_eq!(rig.delivery(&late).await.attempts, 4);

        fake.add_fault(Fault::of("message/send", FaultKind::Errcode { code: -1 }, 4));
        let never = rig.text_to("ann", "never").await;
        rig.until("the end", async || rig.status(&never).await == Status::Failed).await;
        assert_eq!(rig.delivery(&never).await.state, DeliveryState::Dead);
        assert_eq!(fake.shown(Some("ann")).len(), 1);
        rig.stop().await;
    }

    async fn too_many_rests_the_robot_and_costs_no_try(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        // As if somebody else used the same robot.
        fake.add_fault(Fault::times(FaultKind::Errcode { code: 45009 }, 6));
        let (first, second) = (rig.text("first").await, rig.text("second").await);
        rig.soon("one refusal", async || fake.requests(KEY).len() == 1).await;
        rig.pass_ms(59_000);
        assert_eq!(fake.requests(KEY).len(), 1, "the robot rests");
        rig.until("both", async || rig.count(&[first.clone(), second.clone()], Status::Sent).await == 2).await;
        assert_eq!(contents(&fake), ["first", "second"]);
        assert_eq!(rig.delivery(&first).await.attempts, 7);
        rig.stop().await;
    }

    async fn what_cannot_be_sent_waits_in_order(database: &Database) {
        // Bound, so that nobody else gets the port, and not listening, so that connections are refused.
        let closed = tokio::net::TcpSocket::new_v4().expect("a socket");
        closed.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = closed.local_addr().expect("bound");
        let url = format!("http://{address}/cgi-bin/webhook/send?key={KEY}");
        let rig = Rig::start_with(database, &url, Hooks::default()).await;
        let texts = numbered(3);
        let ids = send_all(&rig, &texts, "at_most_once").await;
        rig.until("two tries", async || rig.delivery(&ids[0]).await.attempts >= 2).await;
        assert_eq!(rig.delivery(&ids[1]).await.attempts, 0, "the others wait behind it");

        drop(closed);
        let clock = database.clock.clone();
        let fake =
            FakeWecom::with_robots(address, &[KEY], clock, Entropy::seeded(1)).await.expect("the same port");
        rig.until("all three", async || rig.count(&ids, Status::Sent).await == 3).await;
        assert_eq!(contents(&fake), texts);
        rig.stop().await;
    }

    async fn expiry_later_times_and_priority_are_kept(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        send_all(&rig, &numbered(20), "at_most_once").await;
        rig.soon("a full minute", async || rig.listed(Status::Sent).await == 20).await;
        let expired = rig.text_with("expired", json!({"expires_at": rfc3339_ms(NOW_MS + 5_000)})).await;
        let usual = rig.text("usual").await;
        let urgent = rig.text_with("urgent", json!({"priority": 5})).await;
        let later = rig.text_with("later", json!({"send_at": rfc3339_ms(NOW_MS + 300_000)})).await;
        rig.pass_ms(5_000);
        rig.soon("expiry", async || rig.status(&expired).await == Status::Expired).await;
        rig.until("the others", async || rig.count(&[usual.clone(), urgent.clone()], Status::Sent).await == 2).await;
        assert_eq!(rig.status(&later).await, Status::Pending);
        assert!(database.clock.wall_ms() < NOW_MS + 290_000);
        rig.until("the later one", async || rig.status(&later).await == Status::Sent).await;
        assert!(database.clock.wall_ms() >= NOW_MS + 300_000, "not before its time");
        assert_eq!(contents(&fake)[20..], ["urgent", "usual", "later"]);
        assert_eq!(rig.delivery(&expired).await.state, DeliveryState::Expired);
        rig.stop().await;
    }

    async fn more_than_memory_holds_is_sent_in_order_too(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let texts = numbered(300);
        let ids = send_all(&rig, &texts, "at_most_once").await;
        let last = ids.last().expect("300 ids");
        rig.until("the last", async || rig.status(last).await == Status::Sent).await;
        assert_eq!(contents(&fake), texts);
        assert_eq!(too_many(&fake), 0);
        rig.stop().await;
    }

    async fn a_stop_finishes_what_is_on_its_way_and_begins_nothing(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        fake.add_fault(Fault::times(FaultKind::Slow { delay_ms: 300 }, 1));
        let (under_way, waiting) = (rig.text("under way").await, rig.text("waiting").await);
        rig.soon("the first request", async || fake.requests(KEY).len() == 1).await;
        rig.dispatch.stop(Duration::from_secs(5)).await;
        assert_eq!(rig.status(&under_way).await, Status::Sent);
        assert_eq!(rig.status(&waiting).await, Status::Pending);
        rig.stop().await;

        let rig = Rig::start(database, &fake).await;
        rig.soon("the other", async || rig.status(&waiting).await == Status::Sent).await;
        assert_eq!(contents(&fake), ["under way", "waiting"]);
        rig.stop().await;
    }

    async fn requests_under_way_are_bounded_over_all_targets(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.add_robot("second");
        let targets = vec![
            Target::robot(CHANNEL, robot_at(&fake.robot_url(KEY))),
            Target::robot("second", robot_at(&fake.robot_url("second"))),
        ];
        let settings = DispatchSettings { attempts_in_flight_max: 1, ..DispatchSettings::default() };
        let rig = Rig::with_targets(database, targets, settings, Hooks::default()).await;
        fake.add_fault(Fault::times(FaultKind::Slow { delay_ms: 500 }, 1));
        let first = rig.text("first").await;
        rig.soon("the first request", async || fake.requests(KEY).len() == 1).await;
        let second = rig.text_with("second", json!({"channel": "second"})).await;
        rig.soon("the first answer", async || {
            // Read first: the other may begin between the two questions.
            let met = fake.requests("second").len();
            let under_way = rig.status(&first).await == Status::Pending;
            assert!(!under_way || met == 0, "two at once");
            !under_way
        }).await;
        rig.soon("the second", async || rig.status(&second).await == Status::Sent).await;
        rig.stop().await;
    }

    async fn one_idempotency_key_is_one_message(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let first = rig.send("hello", json!({}), Some("order-7")).await.expect("accepted");
        let again = rig.send("hello", json!({}), Some("order-7")).await.expect("accepted");
        assert_eq!((first.repeated, again.repeated), (false, true));
        assert_eq!(first.id, again.id);
        let other = rig.send("bye", json!({}), Some("order-7")).await;
        assert!(matches!(other, Err(SendError::KeyReused)), "{other:?}");
        let request = json!({"channel": CHANNEL, "msgtype": "text", "text": {"content": "hello"}});
        let neighbour = Caller { scope: "key_2".to_owned(), allowed: Vec::new() };
        let theirs = rig.messages.send(request, &neighbour, Some("order-7")).await.expect("accepted");
        assert_ne!(theirs.id, first.id, "keys of different callers are different keys");
        rig.soon("both", async || rig.status(&theirs.id).await == Status::Sent).await;
        assert_eq!(contents(&fake), ["hello", "hello"]);
        rig.stop().await;
    }

    async fn what_cannot_be_accepted_is_told_at_once(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let ask = async |channel: &str, allowed: &[&str]| {
            let request = json!({"channel": channel, "msgtype": "text", "text": {"content": "x"}});
            let allowed = allowed.iter().map(|&name| name.to_owned()).collect();
            rig.messages.send(request, &Caller { scope: String::new(), allowed }, None).await
        };
        assert!(matches!(ask("nobody", &[]).await, Err(SendError::UnknownChannel)));
        assert!(matches!(ask("off", &[]).await, Err(SendError::Disabled)));
        assert!(matches!(ask("deaf", &[]).await, Err(SendError::ReceiveOnly)));
        assert!(matches!(ask(CHANNEL, &["other"]).await, Err(SendError::UnknownChannel)));
        assert!(ask(CHANNEL, &[CHANNEL]).await.is_ok());

        let long = rig.send(&"x".repeat(2_049), json!({}), None).await;
        let Err(SendError::Field(error)) = long else { panic!("{long:?}") };
        assert_eq!((error.field.as_str(), error.actual.as_str()), ("text.content", "2049 bytes"));
        assert!(rig.send(&"x".repeat(2_048), json!({}), None).await.is_ok());
        rig.stop().await;
    }
}

/// Two replicas on one database: one sends, and when it is gone the other does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_takes_over_and_nothing_is_sent_twice() {
    let database = Database::new(Engine::MySql).await;
    let fake = platform(&database.clock).await;
    let one = Rig::start(&database, &fake).await;
    let two = Rig::start(&database, &fake).await;
    let texts = numbered(60);
    let mut ids = Vec::new();
    for (number, content) in texts.iter().enumerate() {
        let rig = if number % 2 == 0 { &one } else { &two };
        ids.push(rig.text(content).await);
    }
    one.until("30 are sent", async || fake.inbox(KEY).len() >= 30).await;
    one.dispatch.stop(Duration::from_secs(5)).await;
    two.until("all are sent", async || two.listed(Status::Sent).await == 60).await;
    assert_eq!(two.count(&ids, Status::Sent).await, 60);
    let mut seen = contents(&fake);
    assert_eq!(seen.len(), 60, "none twice");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 60, "all of them");
    assert_eq!(too_many(&fake), 0);
    one.stop().await;
    two.stop().await;
}

/// A process that dies with a request on its way: its runtime is dropped with everything in it.
#[test]
fn a_process_killed_in_mid_request_leaves_it_uncertain() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    };
    for engine in [Engine::Sqlite, Engine::MySql] {
        let (test, doomed) = (runtime(), runtime());
        let database = test.block_on(Database::new(engine));
        let fake = test.block_on(platform(&database.clock));
        fake.add_fault(Fault::times(FaultKind::Slow { delay_ms: 60_000 }, 1));
        let id = doomed.block_on(async {
            let rig = Rig::start(&database, &fake).await;
            let id = rig.text("cut off").await;
            rig.soon("the request", async || fake.requests(KEY).len() == 1).await;
            id
        });
        doomed.shutdown_timeout(Duration::from_secs(5));

        test.block_on(async {
            let rig = Rig::start(&database, &fake).await;
            // The dead one's lease has to run out on MySQL.
            rig.pass_ms(700_000);
            let after = rig.text("after").await;
            rig.until("the one after", async || rig.status(&after).await == Status::Sent).await;
            assert_eq!(rig.status(&id).await, Status::Uncertain);
            assert_eq!(contents(&fake), ["cut off", "after"]);
            rig.stop().await;
            drop(database);
        });
    }
}
