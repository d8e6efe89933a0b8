//! Messages of an app through the whole sender: statuses per person, pace, repetitions, cards, recalls.

use serde_json::{Value, json};
use wecom_gateway::cli::dev::wecom::{FakeWecom, Fault, FaultKind};
use wecom_gateway::clock::rfc3339_ms;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::evidence::{Evidence, Fact, InteractionKind};
use wecom_gateway::domain::status::Status;
use wecom_gateway::ids::MessageId;
use wecom_gateway::messages::{ActError, Caller, NewFile, SendError};
use wecom_gateway::store::Purge;
use wecom_gateway::wecom::api::media::MediaKind;

use crate::app::platform;
use crate::database::{Database, NOW_MS, on_both};
use crate::rig::{APP, CHANNEL, Rig};
use crate::robot::KEY;

const SEND: &str = "message/send";

fn shown_to(fake: &FakeWecom, user: &str) -> Vec<String> {
    fake.shown(Some(user)).into_iter().map(|shown| shown.content).collect()
}

fn me() -> Caller {
    Caller::default()
}

async fn sent(rig: &Rig, id: &MessageId) {
    rig.until("the message is sent", async || rig.status(id).await == Status::Sent).await;
}

on_both! {
    async fn each_recipient_has_the_status_that_the_platform_gave(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.unlicense(&["ed"]);
        let rig = Rig::with_app(database, &fake).await;
        // The platform gives user ids back in lower case.
        let id = rig.text_to("Ann|bob|Cid|Unknown-Dan|Ed", "hello").await;
        sent(&rig, &id).await;
        let tracked = rig.tracked(&id).await;
        let failed: Vec<(&str, Status, Option<i64>)> =
            tracked.recipients.iter().map(|one| (one.user_id.as_str(), one.status, one.code)).collect();
        assert_eq!(
            failed,
            [("Ed", Status::Failed, Some(701_016)), ("Unknown-Dan", Status::Failed, Some(40003))]
        );
        assert_eq!(tracked.details["counts"], json!({"sent": 3, "failed": 2}));
        assert_eq!((&tracked.details["partial"], &tracked.details["base"]), (&json!(true), &json!("sent")));
        assert_eq!(fake.shown(None).len(), 3);
        assert!(rig.tracker.status("fake-msg-1", &[]).await.expect("answers").is_some(), "by the platform's id");

        let nobody = rig.text_to("unknown1|unknown2", "hello").await;
        rig.until("refusal", async || rig.status(&nobody).await == Status::Failed).await;
        assert_eq!(rig.tracked(&nobody).await.details["code"], json!(81013));

        fake.miss(&["party:7"]);
        let groups = rig.ask(json!({"toparty": [7, 8], "totag": "1", "text": "to groups"})).await.expect("taken").id;
        sent(&rig, &groups).await;
        let tracked = rig.tracked(&groups).await;
        assert_eq!(tracked.details["recipients_listed"], json!(false));
        assert_eq!(tracked.recipients[0].user_id, "party:7");
        rig.stop().await;
    }

    async fn lost_answers_are_repeated_to_the_byte_and_shown_once(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        for kind in [FaultKind::CloseAfter, FaultKind::CloseBefore, FaultKind::Truncate, FaultKind::Http { status: 502 }] {
            fake.add_fault(Fault::of(SEND, kind, 2));
        }
        let ids: Vec<MessageId> = {
            let mut ids = Vec::new();
            for number in 0..8 {
                ids.push(rig.text_to(&format!("user{number}"), "the same words").await);
            }
            ids
        };
        rig.until("all are sent", async || rig.count(&ids, Status::Sent).await == 8).await;
        for number in 0..8 {
            assert_eq!(shown_to(&fake, &format!("user{number}")).len(), 1, "user{number}");
        }
        let calls = fake.calls(SEND);
        assert_eq!(calls.len(), 16, "each was lost once");
        // Two messages with the same words to the same person are two messages.
        let (one, two) = (rig.text_to("ann", "again").await, rig.text_to("ann", "again").await);
        rig.until("both", async || rig.count(&[one.clone(), two.clone()], Status::Sent).await == 2).await;
        assert_eq!(shown_to(&fake, "ann").len(), 2);
        rig.stop().await;
    }

    async fn a_repetition_the_platform_would_not_know_is_not_sent(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        fake.add_fault(Fault::of(SEND, FaultKind::CloseAfter, 1));
        let short = json!({"touser": "ann", "text": "x", "enable_duplicate_check": 1, "duplicate_check_interval": 61});
        let id = rig.ask(short).await.expect("taken").id;
        rig.soon("the first try", async || rig.delivery(&id).await.attempts == 1).await;
        rig.pass_ms(62_000);
        rig.until("its end", async || rig.delivery(&id).await.state != DeliveryState::Queued).await;
        assert_eq!(rig.status(&id).await, Status::Uncertain);
        let attempts = rig.store.attempts(&rig.delivery(&id).await.id).await.expect("attempts");
        assert_eq!(attempts.len(), 1, "it was not sent again");
        assert_eq!(shown_to(&fake, "ann").len(), 1);

        fake.add_fault(Fault::of(SEND, FaultKind::CloseAfter, 1));
        let unchecked = json!({"touser": "bob", "text": "x", "enable_duplicate_check": 0});
        let id = rig.ask(unchecked).await.expect("taken").id;
        rig.until("its end", async || rig.status(&id).await == Status::Uncertain).await;
        rig.pass_ms(3_600_000);
        assert_eq!(shown_to(&fake, "bob").len(), 1, "without the check it is at most once");
        rig.stop().await;
    }

    async fn a_member_is_not_sent_more_than_the_platform_delivers(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let texts: Vec<String> = (0..70).map(|number| format!("message {number}")).collect();
        let mut ids = Vec::new();
        for content in &texts {
            ids.push(rig.text_to("ann", content).await);
        }
        rig.soon("the first thirty", async || rig.count(&ids, Status::Sent).await == 30).await;
        let other = rig.text_to("bob", "not held up").await;
        rig.soon("somebody else's", async || rig.status(&other).await == Status::Sent).await;
        assert_eq!(rig.count(&ids, Status::Sent).await, 30, "ann waits");
        let all = rig.ask(json!({"touser": "@all", "text": "to all"})).await.expect("taken").id;
        rig.pass_ms(30_000);
        assert_eq!(rig.status(&all).await, Status::Pending, "it would overtake what ann waits for");
        rig.until_slowly("all", 1_000, async || rig.count(&ids, Status::Sent).await == 70).await;
        sent(&rig, &all).await;
        assert_eq!(shown_to(&fake, "ann"), texts, "in order");
        assert_eq!(fake.dropped(), 0);
        rig.stop().await;
    }

    async fn the_pace_of_members_is_kept_across_a_restart(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let mut ids = Vec::new();
        for number in 0..45 {
            ids.push(rig.text_to("Ann", &format!("message {number}")).await);
        }
        rig.soon("the first thirty", async || rig.count(&ids, Status::Sent).await == 30).await;
        rig.stop().await;
        let rig = Rig::with_app(database, &fake).await;
        rig.until_slowly("all", 1_000, async || rig.count(&ids, Status::Sent).await == 45).await;
        assert_eq!((shown_to(&fake, "ann").len(), fake.dropped()), (45, 0));
        rig.stop().await;
    }

    async fn a_wrong_secret_is_not_asked_about_in_a_loop(database: &Database) {
        let fake = platform(&database.clock).await;
        fake.add_app(crate::app::CORP, "another");
        let rig = Rig::with_app(database, &fake).await;
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(rig.text_to(&format!("user{number}"), "x").await);
        }
        rig.soon("a refusal", async || !fake.calls("gettoken").is_empty()).await;
        for _ in 0..60 {
            rig.pass_ms(60_000);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let asked = fake.calls("gettoken").len();
        assert!((2..=9).contains(&asked), "{asked} in an hour; after 1, 2, 4, 8, 15, 15 … minutes");
        assert!(fake.calls(SEND).is_empty());
        assert_eq!(rig.count(&ids, Status::Pending).await, 20, "they wait");
        fake.add_app(crate::app::CORP, crate::app::SECRET);
        rig.until_slowly("all", 10_000, async || rig.count(&ids, Status::Sent).await == 20).await;
        rig.stop().await;
    }

    async fn a_message_is_recalled_once_and_cards_change_once(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let id = rig.text_to("ann|unknown1", "a mistake").await;
        sent(&rig, &id).await;
        rig.messages.recall(id.as_str(), &me()).await.expect("recalled");
        let tracked = rig.tracked(&id).await;
        assert_eq!(tracked.status, Status::Recalled);
        assert_eq!(tracked.recipients.iter().map(|one| one.status).collect::<Vec<_>>(), [Status::Failed]);
        assert!(fake.shown(Some("ann"))[0].recalled);
        let again = rig.messages.recall(id.as_str(), &me()).await;
        assert!(matches!(again, Err(ActError::Impossible("the message was recalled already"))), "{again:?}");
        assert!(matches!(rig.messages.recall("nothing", &me()).await, Err(ActError::Unknown)));
        let robots = rig.text("a robot's").await;
        rig.until("the robot's", async || rig.status(&robots).await == Status::Sent).await;
        assert!(matches!(rig.messages.recall(robots.as_str(), &me()).await, Err(ActError::Impossible(_))));

        let card = json!({"touser": "ann", "msgtype": "template_card", "template_card": {
            "card_type": "button_interaction", "main_title": {"title": "t"}, "task_id": "order-7",
            "button_list": [{"text": "ok", "key": "approve"}]}});
        let id = rig.ask(card).await.expect("taken").id;
        sent(&rig, &id).await;
        let change = || json!({"button": {"replace_name": "approved"}});
        let wrong = rig.messages.update_card(id.as_str(), &me(), json!({"button": {}})).await;
        assert!(matches!(wrong, Err(ActError::Field(_))), "{wrong:?}");
        rig.messages.update_card("order-7", &me(), change()).await.expect("changed");
        let again = rig.messages.update_card(id.as_str(), &me(), change()).await;
        assert!(matches!(again, Err(ActError::Impossible(_))), "{again:?}");
        let update = &fake.calls("message/update_template_card")[0];
        assert_eq!((&update.body["userids"], update.errcode), (&json!(["ann"]), 0));
        let text = rig.text_to("ann", "no card").await;
        sent(&rig, &text).await;
        assert!(matches!(rig.messages.update_card(text.as_str(), &me(), change()).await, Err(ActError::Impossible(_))));
        fake.add_fault(Fault::of("message/recall", FaultKind::Errcode { code: 42052 }, 1));
        let late = rig.messages.recall(text.as_str(), &me()).await;
        assert!(matches!(late, Err(ActError::Refused { code: Some(42052), .. })), "{late:?}");
        assert_eq!(rig.status(&text).await, Status::Sent);
        rig.stop().await;
    }

    async fn a_click_on_a_card_is_read_and_an_interaction(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let card = |task_id: Value| {
            let mut message = json!({"touser": "ann|bob", "msgtype": "template_card", "template_card": {
                "card_type": "button_interaction", "main_title": {"title": "t"},
                "button_list": [{"text": "ok", "key": "approve"}]}});
            if task_id.is_string() {
                message["template_card"]["task_id"] = task_id;
            }
            message
        };
        for task_id in [json!("order-8"), Value::Null] {
            let id = rig.ask(card(task_id)).await.expect("taken").id;
            sent(&rig, &id).await;
            let call = fake.calls(SEND).pop().expect("the send");
            let task_id = call.body["template_card"]["task_id"].as_str().expect("a task id").to_owned();
            let click = Evidence {
                id: database.ids.make(),
                reference: task_id,
                generation: 0,
                recipient: Some("ann".to_owned()),
                fact: Fact::Interaction(InteractionKind::Click),
                code: None,
                text: Some("approve".to_owned()),
                source: APP.to_owned(),
                event_id: None,
                at_ms: database.clock.wall_ms(),
            };
            rig.store.add_evidence(&[click]).await.expect("added");
            let tracked = rig.tracked(&id).await;
            assert_eq!(tracked.status, Status::Sent, "bob has not");
            assert_eq!((tracked.recipients[0].user_id.as_str(), tracked.recipients[0].status), ("ann", Status::Read));
            let seen = rig.tracker.interactions(id.as_str(), &[], None, 10).await.expect("answers").expect("known");
            assert_eq!((seen.entries.len(), seen.entries[0].value.as_deref()), (1, Some("approve")));
        }
        rig.stop().await;
    }

    async fn what_has_not_left_can_be_cancelled(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let later = json!({"touser": "ann", "text": "later", "send_at": rfc3339_ms(NOW_MS + 30_000)});
        let id = rig.ask(later).await.expect("taken").id;
        rig.messages.cancel(id.as_str(), &me()).await.expect("cancelled");
        let tracked = rig.tracked(&id).await;
        assert_eq!(tracked.status, Status::Expired);
        assert_eq!(tracked.error_message.as_deref(), Some("cancelled before it was sent"));
        assert!(matches!(rig.messages.cancel(id.as_str(), &me()).await, Err(ActError::Impossible(_))));
        let other = rig.text_to("ann", "sent").await;
        sent(&rig, &other).await;
        assert!(matches!(rig.messages.cancel(other.as_str(), &me()).await, Err(ActError::Impossible(_))));
        rig.pass_ms(60_000);
        let last = rig.text_to("ann", "last").await;
        sent(&rig, &last).await;
        assert_eq!(shown_to(&fake, "ann"), ["sent", "last"]);
        rig.stop().await;
    }

    async fn a_long_text_goes_out_in_parts_in_order_under_one_id(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let text = "图".repeat(5_000);
        let id = rig.ask(json!({"touser": "ann", "text": text, "long_text": "split"})).await.expect("taken").id;
        let after = rig.text_to("ann", "after").await;
        sent(&rig, &after).await;
        assert_eq!(rig.status(&id).await, Status::Sent);
        let mut seen = shown_to(&fake, "ann");
        assert_eq!(seen.pop().as_deref(), Some("after"));
        assert_eq!(seen.len(), 8);
        assert!(seen.iter().all(|part| part.len() <= 2_048));
        assert_eq!(seen.concat(), text);
        rig.messages.recall(id.as_str(), &me()).await.expect("all parts");
        assert_eq!(fake.shown(Some("ann")).iter().filter(|shown| shown.recalled).count(), 8);

        let robot = json!({"long_text": "split"});
        let parent = rig.send(&text, robot, None).await.expect("taken").id;
        rig.until("the robot's parts", async || rig.status(&parent).await == Status::Sent).await;
        let parts: String = fake.inbox(KEY).into_iter().map(|request| request.content).collect();
        assert_eq!(parts, text);
        fake.add_fault(Fault::times(FaultKind::None, 1));
        fake.add_fault(Fault::times(FaultKind::Errcode { code: 40058 }, 1));
        let broken = rig.send(&"b".repeat(5_000), json!({"long_text": "split"}), None).await.expect("taken").id;
        rig.until("its end", async || rig.status(&broken).await == Status::Failed).await;
        rig.stop().await;
    }

    async fn a_batch_is_taken_whole_or_not_at_all(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let one = |channel: &str, user: &str| json!({"channel": channel, "touser": user, "text": "x"});
        let error = rig.messages.send_all(vec![one(APP, "ann"), one(APP, "")], &me()).await.expect_err("refused");
        let SendError::OfBatch(1, inner) = error else { panic!("{error:?}") };
        assert!(matches!(*inner, SendError::Field(ref field) if field.field == "touser"), "{inner:?}");
        assert!(rig.messages.send_all(vec![one("nobody", "ann")], &me()).await.is_err());
        assert!(rig.messages.send_all(Vec::new(), &me()).await.is_err());
        assert!(rig.messages.send_all(vec![one(APP, "ann"); 1_001], &me()).await.is_err());
        let crowd: Vec<String> = (0..1_000).map(|number| format!("u{number}")).collect();
        let crowded = |count: usize| vec![json!({"channel": APP, "touser": crowd, "text": "x", "send_at": NOW_MS + 1_000_000}); count];
        assert!(rig.messages.send_all(crowded(11), &me()).await.is_err(), "11,000 recipients");
        assert_eq!(rig.listed(Status::Pending).await, 0, "nothing was queued");

        let mut batch: Vec<Value> = (0..1_000).map(|number| one(APP, &format!("user{number}"))).collect();
        for later in &mut batch[50..] {
            later["send_at"] = (NOW_MS + 1_000_000).into();
        }
        batch[7]["idempotency_key"] = "seven".into();
        let accepted = rig.messages.send_all(batch.clone(), &me()).await.expect("taken");
        assert_eq!(accepted.len(), 1_000);
        let again = rig.messages.send_all(vec![batch[7].clone()], &me()).await.expect("taken");
        assert!(again[0].repeated && again[0].id == accepted[7].id);
        rig.soon("those that are due", async || fake.shown(None).len() == 50).await;
        assert_eq!(fake.calls("gettoken").len(), 1);
        rig.stop().await;
    }

    async fn what_is_wrong_is_named_and_nothing_is_queued(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let many: Vec<String> = (0..1_001).map(|number| format!("u{number}")).collect();
        for (request, named) in [
            (json!({"text": "x"}), "touser"),
            (json!({"touser": many, "text": "x"}), "touser"),
            (json!({"touser": "a", "text": "图".repeat(683)}), "text.content"),
            (json!({"touser": "a", "text": "x", "tousr": "b"}), "tousr"),
            (json!({"touser": "a", "text": "x", "agentid": 7}), "agentid"),
            (json!({"touser": "a"}), "msgtype"),
            (json!({"touser": "a", "msgtype": "news", "news": {"articles": []}}), "news.articles"),
        ] {
            let error = rig.ask(request.clone()).await.expect_err("refused");
            assert!(matches!(error, SendError::Field(ref field) if field.field == named), "{named}: {error:?}");
        }
        assert!(rig.ask(json!({"touser": "a", "text": "x", "agentid": "1000002"})).await.is_ok());
        assert_eq!(database.number("SELECT COUNT(*) FROM messages").await, 1);
        let for_robots = rig.send("x", json!({"touser": "a"}), None).await.expect_err("a robot has no recipients");
        assert!(matches!(for_robots, SendError::Field(ref field) if field.field == "touser"), "{CHANNEL}: {for_robots:?}");
        rig.stop().await;
    }

    async fn a_group_chat_is_sent_to_at_most_once(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let to = |chat: &str| json!({"chatid": chat, "text": "hello"});
        let id = rig.ask(to("wr1")).await.expect("taken").id;
        sent(&rig, &id).await;
        assert_eq!(shown_to(&fake, "chat:wr1"), ["hello"]);
        assert!(matches!(rig.messages.recall(id.as_str(), &me()).await, Err(ActError::Impossible(_))));
        fake.add_fault(Fault::of("appchat/send", FaultKind::CloseAfter, 1));
        let lost = rig.ask(to("wr1")).await.expect("taken").id;
        rig.until("its end", async || rig.status(&lost).await == Status::Uncertain).await;
        fake.add_fault(Fault::of("appchat/send", FaultKind::Errcode { code: -1 }, 1));
        let busy = rig.ask(to("wr1")).await.expect("taken").id;
        rig.until("its end", async || rig.status(&busy).await == Status::Uncertain).await;
        let refused = rig.ask(to("unknown")).await.expect("taken").id;
        rig.until("its end", async || rig.status(&refused).await == Status::Failed).await;
        assert_eq!(shown_to(&fake, "chat:wr1").len(), 2, "not sent again");
        let card = json!({"chatid": "wr1", "msgtype": "template_card", "template_card": {"card_type": "text_notice",
            "main_title": {"title": "t"}, "card_action": {"type": 1, "url": "https://x"}}});
        assert!(rig.ask(card).await.is_err());
        assert!(rig.ask(json!({"chatid": "wr1", "text": "x", "enable_duplicate_check": 1})).await.is_err());
        rig.stop().await;
    }

    async fn a_file_is_uploaded_once_and_again_when_the_platform_has_it_no_more(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let png = |bytes: usize| bytes::Bytes::from([b"\x89PNG".as_slice(), &vec![7; bytes - 4]].concat());
        let keep = async |channel: &str, kind, content| {
            let file = NewFile { channel: channel.to_owned(), kind, name: "图.png".to_owned(), content };
            rig.messages.keep_file(file, &me()).await
        };
        let id = keep(APP, MediaKind::Image, png(3_000_000)).await.expect("kept").to_string();
        let image = |user: &str| json!({"touser": user, "msgtype": "image", "image": {"media_id": id}});
        for user in ["ann", "bob"] {
            let sent_id = rig.ask(image(user)).await.expect("taken").id;
            sent(&rig, &sent_id).await;
        }
        let uploads = || fake.calls("media/upload").len();
        assert_eq!(uploads(), 1, "one upload for both");
        rig.pass_ms(72 * 3_600_000);
        let third = rig.ask(image("cid")).await.expect("taken").id;
        sent(&rig, &third).await;
        assert_eq!(uploads(), 2, "the platform forgets after three days");
        fake.add_fault(Fault::of(SEND, FaultKind::Errcode { code: 40007 }, 1));
        let fourth = rig.ask(image("dan")).await.expect("taken").id;
        sent(&rig, &fourth).await;
        assert_eq!((uploads(), shown_to(&fake, "dan").len()), (3, 1));
        fake.add_fault(Fault::of("media/upload", FaultKind::CloseAfter, 1));
        fake.add_fault(Fault::of(SEND, FaultKind::Errcode { code: 40007 }, 1));
        let fifth = rig.ask(image("eve")).await.expect("taken").id;
        sent(&rig, &fifth).await;
        assert_eq!(shown_to(&fake, "eve").len(), 1, "a lost upload loses no message");

        let robot_file = keep(CHANNEL, MediaKind::File, png(6)).await.expect("kept").to_string();
        let file = json!({"channel": CHANNEL, "msgtype": "file", "file": {"media_id": robot_file}});
        let by_robot = rig.messages.send(file.clone(), &me(), None).await.expect("taken").id;
        sent(&rig, &by_robot).await;
        assert!(keep(CHANNEL, MediaKind::Image, png(64)).await.is_err(), "robots take no pictures by id");
        assert!(keep(APP, MediaKind::Voice, png(64)).await.is_err(), "not an AMR");
        assert!(keep(APP, MediaKind::Image, png((10 << 20) + 1)).await.is_err());
        assert!(keep("nobody", MediaKind::Image, png(64)).await.is_err());
        let of_another = json!({"touser": "a", "msgtype": "file", "file": {"media_id": robot_file}});
        assert!(rig.ask(of_another).await.is_err(), "kept for another channel");
        let of_another_kind = json!({"touser": "a", "msgtype": "voice", "voice": {"media_id": id}});
        assert!(rig.ask(of_another_kind).await.is_err());

        let later = rig.store.purge_before(Purge::Files, NOW_MS + 1_000_000_000_000).await.expect("purged");
        assert!(later.rows > 0);
        let missing = rig.ask(image("fay")).await.expect_err("no longer kept");
        assert!(matches!(missing, SendError::Field(ref field) if field.field == "image.media_id"), "{missing:?}");
        rig.stop().await;
    }

    /// R-19 at its first level: each fault of the platform ten times.
    async fn every_fault_of_the_platform_ends_in_the_right_state(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::with_app(database, &fake).await;
        let errcode = |code| FaultKind::Errcode { code };
        let mut number = 0;
        for (kind, right, refreshes) in [
            (FaultKind::None, Status::Sent, 1),
            (errcode(40014), Status::Sent, 10),
            (errcode(42001), Status::Sent, 10),
            (errcode(40001), Status::Sent, 10),
            (errcode(-1), Status::Sent, 0),
            (errcode(45009), Status::Sent, 0),
            (errcode(60020), Status::Sent, 0),
            (FaultKind::Http { status: 503 }, Status::Sent, 0),
            (FaultKind::CloseAfter, Status::Sent, 0),
            (FaultKind::Truncate, Status::Sent, 0),
            (FaultKind::Html, Status::Failed, 0),
            (errcode(40058), Status::Failed, 0),
        ] {
            let tokens = fake.calls("gettoken").len();
            for _ in 0..10 {
                number += 1;
                let user = format!("user{number}");
                fake.add_fault(Fault::of(SEND, kind.clone(), 1));
                let id = rig.text_to(&user, "x").await;
                rig.until("its end", async || rig.delivery(&id).await.due_ms.is_none()).await;
                assert_eq!(rig.status(&id).await, right, "{kind:?}");
                let seen = shown_to(&fake, &user).len();
                assert_eq!(seen, usize::from(right == Status::Sent), "{kind:?}: shown {seen} times");
            }
            // A token may also have ended while the platform asked for a rest.
            let refreshed = fake.calls("gettoken").len() - tokens;
            assert!((refreshes..=refreshes + 1).contains(&refreshed), "{kind:?}: {refreshed} tokens");
        }
        // Time-outs after the platform took it, and its repetition: those take a while, so all at once.
        fake.add_fault(Fault::of(SEND, FaultKind::Slow { delay_ms: 600_000 }, 10));
        let mut late = Vec::new();
        for user in 0..10 {
            late.push(rig.text_to(&format!("late{user}"), "x").await);
        }
        rig.until("all are sent", async || rig.count(&late, Status::Sent).await == 10).await;
        let figures = fake.figures();
        assert_eq!((figures["shown"], figures["doubled"], figures["dropped"]), (110, 0, 0));
        let sends = fake.calls(SEND);
        assert!(sends.iter().all(|call| call.body["enable_duplicate_check"] == 1 || call.body.is_null()));
        rig.stop().await;
    }

    /// The same to a robot, which knows no repetition: the policy decides what becomes of a lost answer.
    async fn every_fault_of_the_platform_to_a_robot_ends_by_the_policy(database: &Database) {
        let fake = platform(&database.clock).await;
        let rig = Rig::start(database, &fake).await;
        let errcode = |code| FaultKind::Errcode { code };
        let mut number = 0;
        // The status, and how often it is shown: at most once, and at least once.
        for (kind, [(once, once_shown), (least, least_shown)]) in [
            (FaultKind::None, [(Status::Sent, 1), (Status::Sent, 1)]),
            (errcode(45009), [(Status::Sent, 1), (Status::Sent, 1)]),
            (errcode(93004), [(Status::Sent, 1), (Status::Sent, 1)]),
            (errcode(-1), [(Status::Uncertain, 0), (Status::Sent, 1)]),
            (FaultKind::Http { status: 502 }, [(Status::Uncertain, 0), (Status::Sent, 1)]),
            (FaultKind::CloseBefore, [(Status::Uncertain, 0), (Status::Sent, 1)]),
            (FaultKind::CloseAfter, [(Status::Uncertain, 1), (Status::Sent, 2)]),
            (FaultKind::Truncate, [(Status::Uncertain, 1), (Status::Sent, 2)]),
            (FaultKind::Html, [(Status::Failed, 0), (Status::Failed, 0)]),
            (errcode(40058), [(Status::Failed, 0), (Status::Failed, 0)]),
        ] {
            for _ in 0..10 {
                for (policy, right, shown) in
                    [("at_most_once", once, once_shown), ("at_least_once", least, least_shown)]
                {
                    number += 1;
                    let content = format!("message {number}");
                    fake.add_fault(Fault::of(KEY, kind.clone(), 1));
                    let id = rig.text_with(&content, json!({"policy": policy})).await;
                    rig.until("its end", async || rig.delivery(&id).await.due_ms.is_none()).await;
                    assert_eq!(rig.status(&id).await, right, "{kind:?} {policy}");
                    let seen = fake.inbox(KEY).into_iter().filter(|one| one.content == content).count();
                    assert_eq!(seen, shown, "{kind:?} {policy}");
                }
            }
        }
        rig.stop().await;
    }
}
