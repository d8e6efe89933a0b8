//! The store: every public method, on both databases.

use wecom_gateway::domain::delivery::{Attempt, Cargo, Delivery, DeliveryState};
use wecom_gateway::domain::evidence::{Evidence, Fact, InteractionKind};
use wecom_gateway::domain::message::{Message, SendPolicy};
use wecom_gateway::domain::status::Status;
use wecom_gateway::ids::{DeliveryId, EvidenceId, MessageId};
use wecom_gateway::store::{
    AddedMessage, ApiKeyRow, AuditFilter, AuditRow, DeliveryFilter, DeliveryResult, Engine, Fence,
    MessageFilter, NewMessage, Rejection, RejectionFilter, Role, SHARDS, Store, StoreError, shard_of,
};

use crate::database::{Database, NOW_MS, on_both};

/// A robot message that is due now.
pub(crate) fn message(database: &Database) -> NewMessage {
    let id: MessageId = database.ids.make();
    NewMessage {
        message: Message {
            id: id.clone(),
            channel: "wechat_bot".to_owned(),
            message_type: "text".to_owned(),
            body: r#"{"msgtype":"text","text":{"content":"你好"}}"#.to_owned(),
            unopened: None,
            recipients: vec!["zhangsan".to_owned(), "lisi".to_owned()],
            policy: SendPolicy::AtMostOnce,
            idempotency_key: None,
            status: Status::Pending,
            generation: 0,
            created_ms: NOW_MS,
            updated_ms: NOW_MS,
            expires_ms: Some(NOW_MS + 60_000),
        },
        delivery: Delivery {
            id: database.ids.make(),
            target_id: "wechat_bot".to_owned(),
            cargo: Cargo::Message(id.clone()),
            run: 0,
            priority: 0,
            attempts: 0,
            state: DeliveryState::Queued,
            due_ms: Some(NOW_MS),
            started_ms: None,
            expires_ms: Some(NOW_MS + 60_000),
            created_ms: NOW_MS,
        },
        evidence: evidence(database, id.as_str(), Fact::Status(Status::Pending)),
        references: Vec::new(),
        links: Vec::new(),
    }
}

fn evidence(database: &Database, reference: &str, fact: Fact) -> Evidence {
    Evidence {
        id: database.ids.make(),
        reference: reference.to_owned(),
        generation: 0,
        recipient: None,
        fact,
        code: None,
        text: None,
        source: "wechat_bot".to_owned(),
        event_id: None,
        at_ms: NOW_MS,
    }
}

async fn add(store: &Store, new: &NewMessage) -> AddedMessage {
    let answers = store.add_messages(std::slice::from_ref(new)).await.expect("the message is added");
    answers.into_iter().next().expect("one answer")
}

on_both! {
    async fn a_message_is_added_with_its_delivery_and_first_evidence(database: &Database) {
        let store = database.open().await;
        let new = message(database);
        assert_eq!(add(&store, &new).await, AddedMessage::New);

        assert_eq!(store.message(&new.message.id).await.unwrap(), Some(new.message.clone()));
        assert_eq!(store.delivery(&new.delivery.id).await.unwrap(), Some(new.delivery.clone()));
        let references = store.references(&new.message.id).await.unwrap();
        assert_eq!(references, [new.message.id.to_string()]);
        assert_eq!(store.evidence(&references, None, 10).await.unwrap(), std::slice::from_ref(&new.evidence));
        assert_eq!(store.message(&database.ids.make()).await.unwrap(), None);
        assert_eq!(store.delivery(&database.ids.make()).await.unwrap(), None);
    }

    async fn an_idempotency_key_adds_one_message(database: &Database) {
        let store = database.open().await;
        let mut first = message(database);
        first.message.idempotency_key = Some("key_1/order-42".to_owned());
        let mut second = message(database);
        second.message.idempotency_key = first.message.idempotency_key.clone();
        let mut other = message(database);
        other.message.idempotency_key = Some("key_1/order-43".to_owned());

        let repeat = AddedMessage::Repeat { id: first.message.id.clone() };
        let answers = store.add_messages(&[first.clone(), second.clone(), other]).await.unwrap();
        assert_eq!(answers, [AddedMessage::New, repeat.clone(), AddedMessage::New]);
        assert_eq!(add(&store, &second).await, repeat);
        assert_eq!(add(&store, &first).await, AddedMessage::New, "my own earlier commit");
        assert_eq!(database.number("SELECT COUNT(*) FROM messages").await, 2);
        assert_eq!(database.number("SELECT COUNT(*) FROM deliveries").await, 2);
        assert_eq!(database.number("SELECT COUNT(*) FROM evidence").await, 2);
    }

    async fn what_is_too_long_is_refused_before_it_is_written(database: &Database) {
        let store = database.open().await;
        let mut new = message(database);
        new.message.recipients = vec!["x".repeat(128)];
        assert_eq!(add(&store, &new).await, AddedMessage::New);
        let mut new = message(database);
        new.message.recipients = vec!["x".repeat(129)];
        let refused = store.add_messages(&[new]).await;
        assert!(matches!(refused, Err(StoreError::TooLong { field: "recipient", limit: 128, actual: 129 })));
        let long = evidence(database, &"r".repeat(257), Fact::Status(Status::Sent));
        assert!(matches!(store.add_evidence(&[long]).await, Err(StoreError::TooLong { .. })));
        assert_eq!(database.number("SELECT COUNT(*) FROM messages").await, 1);
    }

    async fn evidence_is_found_by_any_reference_in_the_order_of_its_ids(database: &Database) {
        let store = database.open().await;
        let clicked = Fact::Interaction(InteractionKind::Other("location".to_owned()));
        let mut rows: Vec<Evidence> = (0..40)
            .map(|number| {
                let reference = if number % 2 == 0 { "msg_a" } else { "task-7" };
                evidence(database, reference, Fact::Status(Status::Sent))
            })
            .collect();
        rows[3] = Evidence { code: Some(81013), text: Some("无效 user".to_owned()), ..rows[3].clone() };
        rows[5] = Evidence { fact: clicked, recipient: Some("张三".to_owned()), ..rows[5].clone() };
        rows[7].event_id = Some(database.ids.make());
        let padded = evidence(database, "msg_a ", Fact::Status(Status::Failed));
        store.add_evidence(&rows).await.unwrap();
        store.add_evidence(std::slice::from_ref(&padded)).await.unwrap();

        let both = ["msg_a".to_owned(), "task-7".to_owned()];
        assert_eq!(store.evidence(&both, None, 100).await.unwrap(), rows);
        assert_eq!(store.evidence(&both, Some(&rows[9].id), 5).await.unwrap(), rows[10..15]);
        assert_eq!(store.evidence(&["msg_a ".to_owned()], None, 100).await.unwrap(), [padded]);
        assert_eq!(store.evidence(&["msg_b".to_owned()], None, 100).await.unwrap(), []);
        assert_eq!(store.evidence(&[], None::<&EvidenceId>, 100).await.unwrap(), []);
    }

    async fn a_result_moves_a_delivery_on_once(database: &Database) {
        let store = database.open().await;
        let new = message(database);
        add(&store, &new).await;
        let id = new.delivery.id.clone();
        let later = [(id.clone(), 0, NOW_MS + 5)];

        assert_eq!(store.due("wechat_bot", NOW_MS - 1, 10).await.unwrap(), []);
        assert_eq!(store.due("wechat_bot", NOW_MS, 10).await.unwrap(), std::slice::from_ref(&new.delivery));
        assert_eq!(store.delivery_targets().await.unwrap(), ["wechat_bot"]);
        assert_eq!(store.next_due("wechat_bot").await.unwrap(), Some(NOW_MS));
        assert_eq!(store.mark_started(&later, &Fence::Sole).await.unwrap(), [true]);
        assert_eq!(store.mark_started(&later, &Fence::Sole).await.unwrap(), [false], "started once");
        assert_eq!(store.delivery(&id).await.unwrap().unwrap().started_ms, Some(NOW_MS + 5));

        let busy = result(database, &new, 0, DeliveryState::Queued, Some(NOW_MS + 1_000));
        assert_eq!(store.record_results(std::slice::from_ref(&busy), &Fence::Sole).await.unwrap(), [true]);
        assert_eq!(store.record_results(&[busy], &Fence::Sole).await.unwrap(), [false], "the row has moved on");
        let row = store.delivery(&id).await.unwrap().unwrap();
        assert_eq!((row.attempts, row.started_ms, row.due_ms), (1, None, Some(NOW_MS + 1_000)));

        let mut sent = result(database, &new, 1, DeliveryState::Succeeded, None);
        sent.evidence.push(evidence(database, new.message.id.as_str(), Fact::Status(Status::Sent)));
        sent.references = vec![(new.message.id.clone(), "platform-9".to_owned())];
        let gone = DeliveryResult { id: database.ids.make::<DeliveryId>(), ..sent.clone() };
        let written = store.record_results(&[gone, sent.clone(), sent], &Fence::Sole).await.unwrap();
        assert_eq!(written, [false, true, false]);

        let row = store.delivery(&id).await.unwrap().unwrap();
        assert_eq!((row.attempts, row.state, row.due_ms), (2, DeliveryState::Succeeded, None));
        assert_eq!(store.delivery_targets().await.unwrap(), [] as [String; 0]);
        let attempts = store.attempts(&id).await.unwrap();
        assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(attempts[1].answer.as_deref(), Some(r#"{"errcode":0}"#));
        assert_eq!(store.attempts_since("wechat_bot", NOW_MS + 2).await.unwrap(), [NOW_MS + 2]);
        let references = store.references(&new.message.id).await.unwrap();
        assert_eq!(references, [new.message.id.to_string(), "platform-9".to_owned()]);
        assert_eq!(store.evidence(&references, None, 10).await.unwrap().len(), 2);
        let found = store.message_by_reference("platform-9").await.unwrap();
        assert_eq!(found.map(|message| message.id), Some(new.message.id.clone()));
        assert!(store.message_by_reference(new.message.id.as_str()).await.unwrap().is_some());
        assert_eq!(store.message_by_reference("platform-9 ").await.unwrap(), None, "blanks count");
        assert_eq!(store.message_by_reference("PLATFORM-9").await.unwrap(), None, "case counts");
    }

    async fn results_that_end_alike_are_written_together_and_only_those_that_fit(database: &Database) {
        let store = database.open().await;
        let all: Vec<NewMessage> = (0..90).map(|_| message(database)).collect();
        store.add_messages(&all).await.unwrap();
        let results = |of: &[NewMessage]| -> Vec<DeliveryResult> {
            of.iter().map(|new| result(database, new, 0, DeliveryState::Succeeded, None)).collect()
        };
        let (first, rest) = all.split_at(1);
        assert_eq!(store.record_results(&results(first), &Fence::Sole).await.unwrap(), [true]);
        let written = store.record_results(&results(&all), &Fence::Sole).await.unwrap();
        assert!(!written[0] && written[1..].iter().all(|written| *written), "the first has moved on");
        assert_eq!(store.due("wechat_bot", NOW_MS, 100).await.unwrap(), []);
        for new in [&first[0], &rest[0], &rest[88]] {
            assert_eq!(store.attempts(&new.delivery.id).await.unwrap().len(), 1);
        }
        assert_eq!(store.record_results(&results(rest), &Fence::Sole).await.unwrap(), [false; 89]);
    }

    async fn deliveries_are_due_by_time_then_age_and_listed_newest_first(database: &Database) {
        let store = database.open().await;
        let mut all = Vec::new();
        for number in 0..7_i64 {
            let mut new = message(database);
            new.delivery.due_ms = Some(NOW_MS + 10 - (number / 2));
            new.delivery.target_id = if number == 6 { "other".to_owned() } else { new.delivery.target_id };
            add(&store, &new).await;
            all.push(new.delivery);
        }
        let due = store.due("wechat_bot", NOW_MS + 100, 4).await.unwrap();
        assert_eq!(due, [all[4].clone(), all[5].clone(), all[2].clone(), all[3].clone()]);
        assert_eq!(store.delivery_targets().await.unwrap(), ["other", "wechat_bot"]);

        let mut filter = DeliveryFilter { limit: 3, ..DeliveryFilter::default() };
        let first = store.deliveries(&filter).await.unwrap();
        assert_eq!(first.items, [all[6].clone(), all[5].clone(), all[4].clone()]);
        filter.cursor = first.next_cursor;
        let second = store.deliveries(&filter).await.unwrap();
        assert_eq!(second.items, [all[3].clone(), all[2].clone(), all[1].clone()]);
        filter.cursor = second.next_cursor;
        let third = store.deliveries(&filter).await.unwrap();
        assert_eq!((third.items, third.next_cursor), (vec![all[0].clone()], None));

        let count = async |filter: DeliveryFilter| store.deliveries(&filter).await.unwrap().items.len();
        let any = DeliveryFilter::default;
        assert_eq!(count(DeliveryFilter { target_id: Some("other".to_owned()), ..any() }).await, 1);
        assert_eq!(count(DeliveryFilter { allowed_targets: vec!["other".to_owned()], ..any() }).await, 1);
        assert_eq!(count(DeliveryFilter { state: Some(DeliveryState::Queued), ..any() }).await, 7);
        assert_eq!(count(DeliveryFilter { state: Some(DeliveryState::Dead), ..any() }).await, 0);
        assert_eq!(count(DeliveryFilter { cargo: Some(all[2].cargo.clone()), ..any() }).await, 1);
        let cursor = Some("dlv_' OR 1=1 --".to_owned());
        assert!(matches!(store.deliveries(&DeliveryFilter { cursor, ..any() }).await, Err(StoreError::Cursor)));
        assert_eq!(store.counts().await.unwrap().deliveries_due, 7);
    }

    async fn messages_are_listed_by_channel_status_person_and_time(database: &Database) {
        let store = database.open().await;
        let mut all = Vec::new();
        for number in 0..6 {
            let mut new = message(database);
            new.message.created_ms = database.clock.wall_ms();
            if number == 1 {
                "other".clone_into(&mut new.message.channel);
            }
            if number == 2 {
                new.message.recipients = vec!["wangwu".to_owned()];
            }
            add(&store, &new).await;
            all.push(new.message);
            database.clock.advance_ms(1_000);
        }
        let changed = (all[3].id.clone(), Status::Uncertain, NOW_MS + 9);
        let stale = (all[3].id.clone(), Status::Sent, NOW_MS + 8);
        store.set_message_status(&[changed, stale]).await.unwrap();

        let ids = async |filter: MessageFilter| {
            let page = store.messages(&filter).await.unwrap();
            page.items.into_iter().map(|message| message.id).collect::<Vec<_>>()
        };
        let any = MessageFilter::default;
        let expected = |numbers: &[usize]| numbers.iter().map(|&at| all[at].id.clone()).collect::<Vec<_>>();
        let (zhang, wang) = (Some("zhangsan".to_owned()), Some("wangwu".to_owned()));
        assert_eq!(ids(any()).await, expected(&[5, 4, 3, 2, 1, 0]));
        assert_eq!(ids(MessageFilter { channel: Some("other".to_owned()), ..any() }).await, expected(&[1]));
        assert_eq!(ids(MessageFilter { allowed_channels: vec!["other".to_owned()], ..any() }).await, expected(&[1]));
        assert_eq!(ids(MessageFilter { status: Some(Status::Uncertain), ..any() }).await, expected(&[3]));
        assert_eq!(ids(MessageFilter { status: Some(Status::Sent), ..any() }).await, expected(&[]));
        assert_eq!(ids(MessageFilter { user_id: wang, ..any() }).await, expected(&[2]));
        let since = MessageFilter { since_ms: Some(NOW_MS + 2_000), until_ms: Some(NOW_MS + 5_000), ..any() };
        assert_eq!(ids(since).await, expected(&[4, 3, 2]));

        let mut filter = MessageFilter { user_id: zhang, limit: 2, ..any() };
        let first = store.messages(&filter).await.unwrap();
        filter.cursor = first.next_cursor;
        let second = store.messages(&filter).await.unwrap();
        let seen: Vec<_> = first.items.into_iter().chain(second.items).map(|message| message.id).collect();
        assert_eq!(seen, expected(&[5, 4, 3, 1]));
        let counts = store.counts().await.unwrap();
        assert_eq!(counts.messages_by_status, [(Status::Pending, 5), (Status::Uncertain, 1)]);
    }

    async fn rejections_and_audit_rows_are_listed_newest_first(database: &Database) {
        let store = database.open().await;
        let mut rejections = Vec::new();
        for number in 0..5 {
            rejections.push(Rejection {
                id: database.ids.make(),
                at_ms: NOW_MS + number,
                source: (number != 2).then(|| format!("app{}", number % 2)),
                address: "203.0.113.9".to_owned(),
                step: "receive_id".to_owned(),
                status: 403,
                detail: "the receive id differs".to_owned(),
                expected_receive_id: Some("ww1".to_owned()),
                found_receive_id: None,
                count: 1 + number,
            });
        }
        store.add_rejections(&rejections).await.unwrap();
        let any = RejectionFilter::default;
        rejections.reverse();
        assert_eq!(store.rejections(&any()).await.unwrap().items, rejections);
        let app = RejectionFilter { source: Some("app1".to_owned()), ..any() };
        assert_eq!(store.rejections(&app).await.unwrap().items.len(), 2);
        let app = RejectionFilter { allowed_sources: vec!["app0".to_owned()], limit: 1, ..any() };
        let first = store.rejections(&app).await.unwrap();
        assert_eq!(first.items, rejections[..1]);
        let next = RejectionFilter { cursor: first.next_cursor, ..app };
        assert_eq!(store.rejections(&next).await.unwrap().items, rejections[4..]);
        let until = RejectionFilter { until_ms: Some(NOW_MS + 1), ..any() };
        assert_eq!(store.rejections(&until).await.unwrap().items, rejections[4..]);
        let long = Rejection { id: database.ids.make(), detail: "图".repeat(9_999), ..rejections[0].clone() };
        store.add_rejections(&[long]).await.unwrap();

        let row = |action: &str, at_ms| AuditRow {
            id: database.ids.make(),
            at_ms,
            actor: "cli".to_owned(),
            address: String::new(),
            action: action.to_owned(),
            subject: "key_1".to_owned(),
            detail: "角色 admin".to_owned(),
        };
        let rows = [row("api_key.created", NOW_MS), row("api_key.revoked", NOW_MS + 5)];
        store.add_audit(&rows).await.unwrap();
        let [created, revoked] = rows;
        let all = store.audit(&AuditFilter::default()).await.unwrap();
        assert_eq!(all.items, [revoked.clone(), created]);
        let since = AuditFilter { since_ms: Some(NOW_MS + 5), ..AuditFilter::default() };
        assert_eq!(store.audit(&since).await.unwrap().items, [revoked]);
    }

    async fn api_keys_are_found_by_hash_and_revoked_once(database: &Database) {
        let store = database.open().await;
        let key = ApiKeyRow {
            id: database.ids.make(),
            name: "运维".to_owned(),
            shown_prefix: "wg_abcd".to_owned(),
            hash: "ab".repeat(32),
            role: Role::Operator,
            sources: vec!["wechat_api".to_owned()],
            created_ms: NOW_MS,
            revoked_ms: None,
        };
        store.add_api_key(&key).await.unwrap();
        let same_hash = ApiKeyRow { id: database.ids.make(), ..key.clone() };
        assert!(matches!(store.add_api_key(&same_hash).await, Err(StoreError::Conflict)));
        assert_eq!(store.api_key_by_hash(&key.hash).await.unwrap(), Some(key.clone()));
        assert_eq!(store.api_key_by_hash(&"AB".repeat(32)).await.unwrap(), None, "case counts");
        assert!(store.revoke_api_key(&key.id, NOW_MS + 1).await.unwrap());
        assert!(!store.revoke_api_key(&key.id, NOW_MS + 2).await.unwrap());
        assert!(!store.revoke_api_key(&database.ids.make(), NOW_MS).await.unwrap());
        let revoked = ApiKeyRow { revoked_ms: Some(NOW_MS + 1), ..key };
        assert_eq!(store.api_keys().await.unwrap(), [revoked]);
    }

    async fn a_shard_has_one_owner_and_a_stale_one_writes_nothing(database: &Database) {
        let store = database.open().await;
        let new = message(database);
        add(&store, &new).await;
        let mine = store.lease_shards("a", 1_000, NOW_MS, 1_000).await.unwrap();
        assert_eq!(i64::try_from(mine.len()).unwrap(), SHARDS);
        let home = mine.iter().find(|shard| shard.id == shard_of("wechat_bot")).unwrap();
        let theirs = store.lease_shards("b", 1_000, NOW_MS + 999, 1_000).await.unwrap();
        let started = [(new.delivery.id.clone(), 0, NOW_MS)];
        if database.engine == Engine::Sqlite {
            assert_eq!(theirs.len(), mine.len(), "the process owns all");
            assert_eq!(store.mark_started(&started, &home.fence()).await.unwrap(), [true]);
            return;
        }
        assert_eq!(theirs, [], "every lease still runs");
        assert_eq!(store.renew_shards(&mine[..3], 2_000, NOW_MS + 999).await.unwrap().len(), 3);
        let theirs = store.lease_shards("b", 1_000, NOW_MS + 1_000, 1_000).await.unwrap();
        assert_eq!(theirs.len(), mine.len() - 3);
        assert_eq!(store.renew_shards(&mine, 2_000, NOW_MS + 1_000).await.unwrap().len(), 3, "the rest is lost");
        store.release_shards(&mine[..3]).await.unwrap();
        let theirs = [theirs, store.lease_shards("b", 1_000, NOW_MS + 1_000, 1_000).await.unwrap()].concat();
        assert_eq!(theirs.len(), mine.len());

        let stale = home.fence();
        let results = [result(database, &new, 0, DeliveryState::Succeeded, None)];
        assert_eq!(store.mark_started(&started, &stale).await.unwrap(), [false]);
        assert_eq!(store.record_results(&results, &stale).await.unwrap(), [false]);
        assert_eq!(store.delivery(&new.delivery.id).await.unwrap(), Some(new.delivery.clone()));
        let fresh = theirs.iter().find(|shard| shard.id == home.id).unwrap().fence();
        assert_eq!(store.mark_started(&started, &fresh).await.unwrap(), [true]);
        assert_eq!(store.record_results(&results, &fresh).await.unwrap(), [true]);
    }
}

/// The outcome of the attempt after `attempts_before` others.
fn result(
    database: &Database,
    new: &NewMessage,
    attempts_before: i64,
    state: DeliveryState,
    due_ms: Option<i64>,
) -> DeliveryResult {
    let _ = database;
    DeliveryResult {
        id: new.delivery.id.clone(),
        target_id: new.delivery.target_id.clone(),
        attempts_before,
        attempt: Some(Attempt {
            number: attempts_before + 1,
            at_ms: NOW_MS + 1 + attempts_before,
            duration_ms: 12,
            http_status: Some(200),
            errcode: Some(0),
            error: None,
            answer: Some(r#"{"errcode":0}"#.to_owned()),
        }),
        state,
        due_ms,
        evidence: Vec::new(),
        references: Vec::new(),
        response_code: None,
    }
}
