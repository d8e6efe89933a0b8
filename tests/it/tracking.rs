//! What became of a message, from the evidence of callbacks, reports and sends.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::json;
use wecom_gateway::cli::dev::samples::{self, Filling};
use wecom_gateway::domain::evidence::{Evidence, Fact, InteractionKind, from_event};
use wecom_gateway::domain::fold::HistoryEntry;
use wecom_gateway::domain::status::Status;
use wecom_gateway::ids::{EventId, EvidenceId, MessageId};
use wecom_gateway::intake::{Intake, IntakeLimits};
use wecom_gateway::store::{MessageFilter, NewEvent, Store};
use wecom_gateway::tracker::{ENTRIES_MAX, Hooks, Report, Tracker};
use wecom_gateway::wecom::limits::ReadLimits;
use wecom_gateway::wecom::{dedup, event};

use crate::database::{Database, NOW_MS, on_both};
use crate::rig::{CHANNEL, Rig};
use crate::robot::{KEY, platform};

/// An accepted callback: the sample called `name`, by `person`, about `reference`.
fn callback(database: &Database, name: &str, person: &str, reference: &str) -> NewEvent {
    let filling = Filling {
        to: "ww1".to_owned(),
        user_id: person.to_owned(),
        agent_id: "1000002".to_owned(),
        reference: reference.to_owned(),
        created_s: NOW_MS / 1000,
    };
    callback_of(database, Bytes::from(samples::find(name).expect("a sample").fill(&filling)))
}

/// An accepted callback with this plaintext.
fn callback_of(database: &Database, payload: Bytes) -> NewEvent {
    let reading = event::reading(&payload, &ReadLimits::DEFAULT);
    let dedup_key = dedup::key("wechat_api", &reading, &payload);
    let (event, id): (_, EventId) = (reading.event, database.ids.make());
    let accepted_ms = database.clock.wall_ms();
    let evidence = from_event("wechat_api", &event, &id, accepted_ms, &database.ids);
    NewEvent { id, source: Arc::from("wechat_api"), dedup_key, event, payload, accepted_ms, evidence }
}

fn intake(database: &Database, store: &Store, tracker: &Tracker) -> Intake {
    let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
    intake.tell(tracker.news());
    intake
}

async fn history(tracker: &Tracker, id: &str) -> Vec<HistoryEntry> {
    tracker.history(id, &[], None, ENTRIES_MAX).await.expect("the store answers").expect("known").entries
}

fn evidence(database: &Database, reference: &str, recipient: Option<String>, fact: Fact) -> Evidence {
    Evidence {
        id: database.ids.make(),
        reference: reference.to_owned(),
        generation: 0,
        recipient,
        fact,
        code: None,
        text: None,
        source: "wechat_api".to_owned(),
        event_id: None,
        at_ms: database.clock.wall_ms(),
    }
}

/// The status in `messages`, which lists show.
async fn listed(store: &Store, id: &MessageId) -> Status {
    store.message(id).await.expect("the store answers").expect("it is there").status
}

on_both! {
    async fn an_official_account_says_what_arrived(database: &Database) {
        let store = database.open().await;
        let tracker = Tracker::start(store.clone(), database.clock.clone(), database.ids.clone(), Hooks::default());
        let intake = intake(database, &store, &tracker);
        let sample = |name: &str| {
            let path = format!("{}/callback-samples/officialaccount-event-{name}.xml", crate::vectors::folder());
            callback_of(database, Bytes::from(std::fs::read(path).expect("a sample")))
        };
        for (name, reference, expected, text) in [
            ("TEMPLATESENDJOBFINISH-success", "200163836", Status::Delivered, None),
            ("subscribe_msg_sent_event-fail", "1700827132819554304", Status::Failed, Some("user refused")),
            ("MASSSENDJOBFINISH-success", "1000001625", Status::Delivered, None),
            ("MASSSENDJOBFINISH-err30003", "1000001627", Status::Failed, Some("err(30003)")),
        ] {
            intake.accept(vec![sample(name)]).await.expect("kept");
            let became = tracker.status(reference, &[]).await.expect("answers").expect("known by its id");
            assert_eq!((became.status, became.error_message.as_deref()), (expected, text), "{name}");
        }
        // A template message is for one follower, and its failure is theirs.
        let entries = history(&tracker, "200163836").await;
        assert_eq!(entries[0].user_id.as_deref(), Some("oExampleOpenId00000000000001"));
        intake.stop().await;
        tracker.stop().await;
        store.close().await;
    }

    async fn a_robot_message_is_followed_from_pending_to_read(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let intake = intake(database, &rig.store, &rig.tracker);
        let id = rig.text("lunch is ready").await;
        rig.soon("sent", async || rig.status(&id).await == Status::Sent).await;

        for (sample, status) in [("status.msg_audit", Status::Delivered), ("status.msg_read", Status::Read)] {
            database.clock.advance_ms(1_000);
            intake.accept(vec![callback(database, sample, "zhangsan", id.as_str())]).await.expect("recorded");
            let tracked = rig.tracked(&id).await;
            assert_eq!(tracked.status, status, "right at once");
            assert_eq!(tracked.timestamp_ms, database.clock.wall_ms());
            assert_eq!(tracked.user_id.as_deref(), Some("zhangsan"));
            rig.soon("the list", async || listed(&rig.store, &id).await == status).await;
        }
        let entries = history(&rig.tracker, id.as_str()).await;
        let statuses: Vec<Status> = entries.iter().map(|entry| entry.status).collect();
        assert_eq!(statuses, [Status::Pending, Status::Sent, Status::Delivered, Status::Read]);
        assert!(entries.windows(2).all(|pair| pair[0].timestamp_ms <= pair[1].timestamp_ms));
        assert_eq!(entries[3].user_id.as_deref(), Some("zhangsan"));
        assert!(entries[3].details.contains_key("event_id"));
        assert_eq!(fake.inbox(KEY).len(), 1);
        rig.stop().await;
    }

    async fn a_receipt_that_comes_before_the_answer_counts(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let intake = intake(database, &rig.store, &rig.tracker);
        // Nothing leaves yet: the robot's minute is full.
        for number in 0..20 {
            rig.text(&number.to_string()).await;
        }
        let id = rig.text("the 21st").await;
        intake.accept(vec![callback(database, "status.msg_read", "lisi", id.as_str())]).await.expect("recorded");
        assert_eq!(rig.status(&id).await, Status::Read);
        rig.until("it is sent", async || fake.inbox(KEY).len() == 21).await;
        rig.soon("its result", async || history(&rig.tracker, id.as_str()).await.len() == 3).await;
        assert_eq!(rig.status(&id).await, Status::Read);
        let entries = history(&rig.tracker, id.as_str()).await;
        let statuses: Vec<Status> = entries.iter().map(|entry| entry.status).collect();
        assert_eq!(statuses, [Status::Pending, Status::Read, Status::Sent], "in the order it became known");
        rig.stop().await;
    }

    async fn messages_of_other_systems_are_tracked_by_their_own_ids(database: &Database) {
        let store = database.open().await;
        let tracker = Tracker::start(store.clone(), database.clock.clone(), database.ids.clone(), Hooks::default());
        let intake = intake(database, &store, &tracker);
        let theirs = "7000000000000000001";
        assert_eq!(tracker.status(theirs, &[]).await.expect("answers"), None);
        assert!(tracker.history(theirs, &[], None, 10).await.expect("answers").is_none());

        for (sample, status) in [
            ("status.send_msg_result", Status::Sent),
            ("status.msg_audit", Status::Delivered),
            ("status.msg_read", Status::Read),
        ] {
            intake.accept(vec![callback(database, sample, "zhangsan", theirs)]).await.expect("recorded");
            let found = tracker.status(theirs, &[]).await.expect("answers").expect("known");
            assert_eq!((found.status, found.message_id.as_str()), (status, theirs));
        }
        assert_eq!(history(&tracker, theirs).await.len(), 3);

        let failed = "7000000000000000002";
        let sample = callback(database, "status.send_msg_result.failed", "zhangsan", failed);
        intake.accept(vec![sample]).await.expect("recorded");
        let found = tracker.status(failed, &[]).await.expect("answers").expect("known");
        assert_eq!(found.status, Status::Failed);
        assert_eq!(found.error_message.as_deref(), Some("userid not found"));
        assert_eq!(found.details["code"], json!(60111));
        tracker.stop().await;
        store.close().await;
    }

    async fn interactions_are_listed_and_hooks_hear_of_them(database: &Database) {
        let fake = platform(&database.clock).await;
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut hooks = Hooks::default();
        hooks.on_status.push(Box::new(|_, _| panic!("a hook that panics")));
        let tell = Arc::clone(&heard);
        hooks.on_status.push(Box::new(move |entry, tracked| {
            tell.lock().expect("whole").push(format!("{} of {}", entry.status, tracked.status));
        }));
        let tell = Arc::clone(&heard);
        hooks.on_interaction.push(Box::new(move |entry| {
            tell.lock().expect("whole").push(format!("{} by {}", entry.kind.as_str(), entry.user_id.as_deref().unwrap_or("?")));
        }));
        let rig = Rig::start_with(database, &fake.robot_url(KEY), hooks).await;
        let intake = intake(database, &rig.store, &rig.tracker);
        let id = rig.text("approve?").await;
        rig.soon("sent", async || rig.status(&id).await == Status::Sent).await;
        rig.soon("both told", async || heard.lock().expect("whole").len() == 2).await;
        let click = callback(database, "bot.click", "zhangsan", id.as_str());
        let reply = callback(database, "bot.reply", "lisi", id.as_str());
        intake.accept(vec![click, reply]).await.expect("recorded");

        let page = rig.tracker.interactions(id.as_str(), &[], None, 10).await.expect("answers").expect("known");
        let seen: Vec<_> = page.entries.iter().map(|entry| (entry.user_id.as_deref(), entry.kind.as_str())).collect();
        assert_eq!(seen, [(Some("zhangsan"), "click"), (Some("lisi"), "reply")]);
        assert_eq!(page.entries[0].value.as_deref(), Some("approve"));
        assert_eq!(page.next, None);
        assert_eq!(rig.status(&id).await, Status::Read, "a click by a person");

        rig.soon("everything told", async || heard.lock().expect("whole").len() == 5).await;
        let mut told = heard.lock().expect("whole").clone();
        told.sort_unstable();
        assert_eq!(told[2..], ["read of read", "reply by lisi", "sent of sent"]);
        rig.stop().await;
    }

    async fn another_system_may_report_a_status(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let id = rig.text("printed by the mail room").await;
        rig.soon("sent", async || rig.status(&id).await == Status::Sent).await;
        let report = |status, user_id: Option<&str>| Report {
            status,
            user_id: user_id.map(str::to_owned),
            code: None,
            text: Some("x".repeat(5_000)),
            reporter: "mail room ".repeat(10),
        };
        let told = rig.tracker.report(id.as_str(), &[], report(Status::Delivered, Some("wangwu"))).await;
        let tracked = told.expect("answers").expect("known");
        assert_eq!((tracked.status, tracked.recipients.len()), (Status::Delivered, 1));
        let entries = history(&rig.tracker, id.as_str()).await;
        let last = entries.last().expect("an entry");
        assert_eq!(last.error_message.as_ref().map(String::len), Some(4_096));
        assert_eq!(last.details["source"].as_str().map(str::len), Some(64));

        let unknown = rig.tracker.report("their-own-id", &[], report(Status::Failed, None)).await;
        assert_eq!(unknown.expect("answers").expect("known by the report").status, Status::Failed);
        rig.stop().await;
    }

    async fn a_key_for_some_channels_sees_only_those(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let intake = intake(database, &rig.store, &rig.tracker);
        let id = rig.text("for some").await;
        let theirs = "7000000000000000009";
        intake.accept(vec![callback(database, "status.msg_read", "zhangsan", theirs)]).await.expect("recorded");
        let sees = async |id: &str, allowed: &str| {
            let allowed = [allowed.to_owned()];
            let status = rig.tracker.status(id, &allowed).await.expect("answers").is_some();
            let history = rig.tracker.history(id, &allowed, None, 10).await.expect("answers").is_some();
            assert_eq!(status, history);
            status
        };
        assert!(sees(id.as_str(), CHANNEL).await);
        assert!(!sees(id.as_str(), "other").await);
        assert!(sees(theirs, "wechat_api").await);
        assert!(!sees(theirs, "other").await);
        let report = Report {
            status: Status::Read,
            user_id: None,
            code: None,
            text: None,
            reporter: "other".to_owned(),
        };
        for subject in [id.as_str(), theirs] {
            let told = rig.tracker.report(subject, &["other".to_owned()], report.clone()).await;
            assert_eq!(told.expect("answers"), None, "{subject}");
        }
        rig.stop().await;
    }

    async fn a_long_history_comes_in_pages_without_gaps(database: &Database) {
        let store = database.open().await;
        let tracker = Tracker::start(store.clone(), database.clock.clone(), database.ids.clone(), Hooks::default());
        let mut rows = Vec::new();
        for number in 0..1_100 {
            let person = Some(format!("user{number}"));
            rows.push(evidence(database, "r", person.clone(), Fact::Status(Status::Delivered)));
            // A repeat, which is no entry, and an interaction, which is none either.
            rows.push(evidence(database, "r", person.clone(), Fact::Status(Status::Delivered)));
            rows.push(evidence(database, "r", person, Fact::Interaction(InteractionKind::Reply)));
        }
        for part in rows.chunks(500) {
            store.add_evidence(part).await.expect("written");
        }
        let mut seen = Vec::new();
        let mut after: Option<EvidenceId> = None;
        loop {
            let page = tracker.history("r", &[], after.as_ref(), 300).await.expect("answers").expect("known");
            assert!(page.entries.len() <= 300);
            seen.extend(page.entries.into_iter().map(|entry| entry.user_id.expect("of a person")));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<String> = (0..1_100).map(|number| format!("user{number}")).collect();
        assert_eq!(seen, expected);
        let first = tracker.interactions("r", &[], None, usize::MAX).await.expect("answers").expect("known");
        assert_eq!(first.entries.len(), ENTRIES_MAX, "at most");
        let rest = tracker.interactions("r", &[], first.next.as_ref(), 1_000).await.expect("answers").expect("known");
        assert_eq!((rest.entries.len(), rest.next), (100, None));
        let found = tracker.status("r", &[]).await.expect("answers").expect("known");
        assert_eq!(found.recipients.len(), 1_100);
        tracker.stop().await;
        store.close().await;
    }

    async fn a_list_shows_the_right_status_after_a_crash_of_the_follower(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let id = rig.text("hello").await;
        rig.soon("the list", async || listed(&rig.store, &id).await == Status::Sent).await;
        // Evidence that nobody was told of.
        let late = evidence(database, id.as_str(), Some("zhangsan".to_owned()), Fact::Status(Status::Read));
        rig.store.add_evidence(&[late]).await.expect("written");
        assert_eq!(rig.status(&id).await, Status::Read, "the question is answered from the evidence");
        rig.soon("and the list is put right", async || listed(&rig.store, &id).await == Status::Read).await;

        // The same while nobody asks: a message that still seems to move is looked at by the next process.
        rig.store.set_message_status(&[(id.clone(), Status::Pending, NOW_MS)]).await.expect("written");
        rig.stop().await;
        let rig = Rig::start(database, &fake).await;
        rig.soon("the list again", async || listed(&rig.store, &id).await == Status::Read).await;
        let filter = MessageFilter { status: Some(Status::Read), ..MessageFilter::default() };
        assert_eq!(rig.store.messages(&filter).await.expect("answers").items.len(), 1);

        // And one that seems to have come to its end, of which the newest evidence knows better.
        rig.store.set_message_status(&[(id.clone(), Status::Sent, NOW_MS)]).await.expect("written");
        rig.stop().await;
        let rig = Rig::start(database, &fake).await;
        rig.soon("the list once more", async || listed(&rig.store, &id).await == Status::Read).await;
        rig.stop().await;
    }
}
