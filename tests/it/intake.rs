//! The recorder: many callers, one row for each distinct callback.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::Executor;
use wecom_gateway::domain::delivery::DeliveryState;
use wecom_gateway::domain::event::{DedupKey, Event, EventKind, Format, Meaning};
use wecom_gateway::domain::evidence::{Evidence, Fact};
use wecom_gateway::domain::status::Status;
use wecom_gateway::intake::{Intake, IntakeError, IntakeLimits};
use wecom_gateway::store::{
    DeliveryResult, Engine, EventFilter, NewEvent, Purge, Recorded, Store, StoreError,
};

use crate::database::{Database, NOW_MS, on_both};

/// A text message; events with the same `number` are repeats of each other.
pub(crate) fn event(database: &Database, number: u32) -> NewEvent {
    let mut hash = [0; 16];
    hash[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
    hash[4..8].copy_from_slice(&number.to_be_bytes());
    NewEvent {
        id: database.ids.make(),
        source: Arc::from("wechat_api"),
        dedup_key: DedupKey::new(Some(NOW_MS / 1000), &hash),
        event: Event {
            kind: EventKind::from_parts(&["message", "text"]),
            format: Format::Xml,
            corp_id: Some("ww1234567890abcdef".to_owned()),
            agent_id: None,
            user_id: Some(format!("user{}", number % 7)),
            external_user_id: None,
            chat_id: None,
            message_ref: Some(number.to_string()),
            created_s: Some(NOW_MS / 1000),
            meaning: Meaning::UserMessage { message_type: "text".to_owned() },
        },
        payload: Bytes::from(format!("<xml><Content>message {number}</Content></xml>")),
        accepted_ms: NOW_MS,
        evidence: Vec::new(),
    }
}

/// An event that says what became of `reference`.
pub(crate) fn report(database: &Database, number: u32, reference: &str, status: Status) -> NewEvent {
    let mut new = event(database, number);
    new.evidence.push(Evidence {
        id: database.ids.make(),
        reference: reference.to_owned(),
        generation: 0,
        recipient: Some("zhangsan".to_owned()),
        fact: Fact::Status(status),
        code: None,
        text: None,
        source: "wechat_api".to_owned(),
        event_id: Some(new.id.clone()),
        at_ms: NOW_MS,
    });
    new
}

on_both! {
    async fn an_event_is_stored_word_for_word_and_its_repeat_is_known(database: &Database) {
        let store = database.open().await;
        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        let first = event(database, 1);
        let again = event(database, 1);

        assert_eq!(intake.accept(vec![first.clone()]).await, Ok(vec![Recorded::New]));
        let repeat = Recorded::Repeat { id: first.id.clone() };
        assert_eq!(intake.accept(vec![again.clone()]).await, Ok(vec![repeat]));
        assert_eq!(intake.accept(vec![first.clone()]).await, Ok(vec![Recorded::New]), "my own earlier commit");

        let stored = store.event(&first.id).await.unwrap().expect("it is there");
        assert_eq!((stored.payload, stored.kind), (first.payload, first.event.kind));
        assert_eq!((stored.user_id, stored.corp_id), (first.event.user_id, first.event.corp_id));
        assert_eq!((stored.format, stored.accepted_ms), (Format::Xml, NOW_MS));
        assert_eq!((stored.external_user_id, stored.chat_id), (None, None));
        assert_eq!(store.event(&again.id).await.unwrap(), None);
        assert_eq!(store.events(&EventFilter::default()).await.unwrap().items.len(), 1);
    }

    async fn a_thousand_copies_at_once_are_one_row_and_all_are_answered(database: &Database) {
        let store = database.open().await;
        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        let calls: Vec<_> = (0..1_000)
            .map(|_| {
                let (intake, new) = (intake.clone(), event(database, 7));
                tokio::spawn(async move { intake.accept(vec![new]).await })
            })
            .collect();
        let mut new = 0;
        for call in calls {
            let recorded = call.await.unwrap().expect("every caller is answered");
            new += recorded.iter().filter(|&answer| *answer == Recorded::New).count();
        }
        assert_eq!(new, 1);
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 1);
        assert_eq!(intake.depth(), 0);
    }

    async fn a_commit_goes_on_when_its_caller_has_gone(database: &Database) {
        let store = database.open().await;
        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        let given: Vec<NewEvent> =
            (0..200).map(|number| report(database, number, "msg_1", Status::Delivered)).collect();
        for new in &given {
            // Once polled it stands in the queue; then its client hangs up.
            let _nobody_hears_it = accepted_at_once(&intake, vec![new.clone()]);
        }
        intake.stop().await;
        for new in &given {
            assert!(store.event(&new.id).await.unwrap().is_some(), "{} was given to the recorder", new.id);
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM evidence").await, 200);

        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        for (number, first) in (0..).zip(&given) {
            let again = report(database, number, "msg_1", Status::Delivered);
            let repeat = Recorded::Repeat { id: first.id.clone() };
            assert_eq!(intake.accept(vec![again]).await, Ok(vec![repeat]));
        }
    }

    async fn a_full_queue_refuses_at_once_and_an_empty_one_takes_anything(database: &Database) {
        let store = database.open().await;
        let limits = IntakeLimits { queue_rows_max: 3, queue_bytes_max: 100, ..IntakeLimits::default() };
        let intake = Intake::start(store, limits, database.clock.clone());
        let large = NewEvent { payload: Bytes::from(vec![b'x'; 5_000]), ..event(database, 0) };
        assert_eq!(intake.accept(vec![large]).await, Ok(vec![Recorded::New]), "the queue was empty");

        // Calls that are made without a pause cannot all be committed before the last of them is made.
        let many = (0..2_000).map(|number| accepted_at_once(&intake, vec![event(database, number)]));
        let refused = many.filter(|answer| *answer == Some(Err(IntakeError::Busy))).count();
        assert!(refused > 1_000, "only {refused} of 2,000 were refused");
        intake.stop().await;
        assert_eq!(intake.depth(), 0);
        assert_eq!(intake.accept(vec![event(database, 1)]).await, Err(IntakeError::Busy), "it has stopped");
    }

    async fn a_group_is_bounded_by_rows_and_by_bytes_and_nothing_is_left_behind(database: &Database) {
        let store = database.open().await;
        let limits = IntakeLimits { group_rows_max: 5, group_bytes_max: 300, ..IntakeLimits::default() };
        let intake = Intake::start(store, limits, database.clock.clone());
        let calls: Vec<_> = (0..40)
            .map(|call| {
                let events = (0..call % 8).map(|at| event(database, call * 10 + at)).collect::<Vec<_>>();
                let intake = intake.clone();
                tokio::spawn(async move { (events.len(), intake.accept(events).await) })
            })
            .collect();
        for call in calls {
            let (events, recorded) = call.await.unwrap();
            assert_eq!(recorded, Ok(vec![Recorded::New; events]));
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 140);
    }

    async fn only_the_refused_event_of_a_group_fails(database: &Database) {
        let store = database.open().await;
        let trigger = match database.engine {
            Engine::Sqlite => {
                "CREATE TRIGGER picky BEFORE INSERT ON events WHEN NEW.kind = 'message.bad' \
                 BEGIN SELECT RAISE(ABORT, 'not this one'); END"
            }
            Engine::MySql => {
                "CREATE TRIGGER picky BEFORE INSERT ON events FOR EACH ROW \
                 IF NEW.kind = 'message.bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"
            }
        };
        database.connect().await.execute(trigger).await.unwrap();
        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        let mut calls = Vec::new();
        for number in 0..20 {
            let mut new = event(database, number);
            if number == 13 {
                new.event.kind = EventKind::from_parts(&["message", "bad"]);
            }
            let intake = intake.clone();
            calls.push(tokio::spawn(async move { intake.accept(vec![new]).await }));
        }
        for (number, call) in calls.into_iter().enumerate() {
            let expected = if number == 13 { Err(IntakeError::Unavailable) } else { Ok(vec![Recorded::New]) };
            assert_eq!(call.await.unwrap(), expected, "event {number}");
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 19);
        assert!(matches!(store.commit_events(&[bad(database)]).await, Err(StoreError::Refused(_))));
    }

    async fn news_of_evidence_comes_after_the_commit(database: &Database) {
        let store = database.open().await;
        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        let (told, mut news) = tokio::sync::mpsc::channel(1);
        intake.tell(told);
        intake.accept(vec![event(database, 1)]).await.unwrap();
        intake.accept(vec![report(database, 2, "platform-9", Status::Read)]).await.unwrap();
        assert_eq!(news.recv().await, Some(vec!["platform-9".to_owned()]));
        // Lossy: nobody takes these, and nobody waits for that.
        for number in 3..6 {
            intake.accept(vec![report(database, number, "platform-9", Status::Read)]).await.unwrap();
        }
        let evidence = store.evidence(&["platform-9".to_owned()], None, 10).await.unwrap();
        assert_eq!(evidence.len(), 4);
        let stored = store.event(evidence[0].event_id.as_ref().unwrap()).await.unwrap();
        assert!(stored.is_some(), "evidence names its event");
    }

    async fn events_are_listed_newest_first_under_every_filter(database: &Database) {
        let store = database.open().await;
        let mut all = Vec::new();
        for number in 0..30_u32 {
            let mut new = report(database, number, if number == 4 { "platform-4" } else { "x" }, Status::Read);
            let kind = match number % 5 {
                0 => ["event", "change_contact", "create_user"],
                1 => ["event", "click", ""],
                _ => ["message", "text", ""],
            };
            new.event.kind = EventKind::from_parts(&kind);
            new.source = Arc::from(if number % 2 == 0 { "app0" } else { "app1" });
            new.accepted_ms = database.clock.wall_ms();
            new.event.user_id = (number % 3 != 0).then(|| format!("user{}", number % 3));
            store.commit_events(std::slice::from_ref(&new)).await.unwrap();
            all.push(new);
            database.clock.advance_ms(1_000);
        }
        let any = EventFilter::default;
        let some = |text: &str| Some(text.to_owned());
        let check = async |filter: EventFilter, keep: &dyn Fn(&NewEvent) -> bool| {
            let expected: Vec<_> = all.iter().rev().filter(|new| keep(new)).map(|new| new.id.clone()).collect();
            let mut listed = Vec::new();
            let mut page = EventFilter { limit: 4, ..filter.clone() };
            loop {
                let answer = store.events(&page).await.unwrap();
                assert!(answer.items.len() <= 4);
                listed.extend(answer.items.into_iter().map(|event| event.id));
                page.cursor = answer.next_cursor;
                if page.cursor.is_none() {
                    break;
                }
            }
            assert_eq!(listed, expected, "{filter:?}");
        };
        check(any(), &|_| true).await;
        check(EventFilter { kind: some("event.click"), ..any() }, &|new| new.event.kind.as_str() == "event.click")
            .await;
        check(EventFilter { kind: some("event.*"), ..any() }, &|new| new.event.kind.as_str().starts_with("event."))
            .await;
        check(EventFilter { kind: some("event"), ..any() }, &|_| false).await;
        check(EventFilter { kind: some("*"), ..any() }, &|_| true).await;
        check(EventFilter { source: some("app1"), ..any() }, &|new| &*new.source == "app1").await;
        check(EventFilter { source: some("app2"), ..any() }, &|_| false).await;
        check(EventFilter { allowed_sources: vec!["app0".to_owned()], ..any() }, &|new| &*new.source == "app0").await;
        let forbidden = EventFilter { source: some("app1"), allowed_sources: vec!["app0".to_owned()], ..any() };
        check(forbidden, &|_| false).await;
        check(EventFilter { user_id: some("user1"), ..any() }, &|new| new.event.user_id == some("user1")).await;
        check(EventFilter { user_id: some("user1"), kind: some("message.*"), ..any() }, &|new| {
            new.event.user_id == some("user1") && new.event.kind.as_str() == "message.text"
        })
        .await;
        let (since, until) = (NOW_MS + 5_000, NOW_MS + 20_000);
        check(EventFilter { since_ms: Some(since), until_ms: Some(until), ..any() }, &|new| {
            (since..until).contains(&new.accepted_ms)
        })
        .await;

        let message = crate::store::message(database);
        store.add_messages(std::slice::from_ref(&message)).await.unwrap();
        check(EventFilter { message_id: Some(message.message.id.clone()), ..any() }, &|_| false).await;
        let fence = wecom_gateway::store::Fence::Sole;
        let sent = DeliveryResult {
            id: message.delivery.id.clone(),
            target_id: message.delivery.target_id.clone(),
            attempts_before: 0,
            attempt: None,
            state: DeliveryState::Succeeded,
            due_ms: None,
            evidence: Vec::new(),
            references: vec![(message.message.id.clone(), "platform-4".to_owned())],
            response_code: None,
        };
        store.record_results(&[sent], &fence).await.unwrap();
        check(EventFilter { message_id: Some(message.message.id), ..any() }, &|new| new.id == all[4].id).await;
        for cursor in ["", "0", "evt_", "1; DROP TABLE events", "~"] {
            let page = EventFilter { cursor: some(cursor), ..any() };
            assert!(matches!(store.events(&page).await, Err(StoreError::Cursor)), "{cursor:?}");
        }
    }

    async fn lists_and_repeats_know_every_event_however_many_wait_for_their_index(database: &Database) {
        let store = database.open().await;
        // More than two slices of SQLite's index, and no pause in which it could catch up.
        for group in 0..5 {
            let events: Vec<_> = (0..1_000).map(|at| event(database, group * 1_000 + at)).collect();
            store.commit_events(&events).await.unwrap();
        }
        let repeats = async |store: &Store| {
            let again = [0, 2_047, 2_048, 4_999, 5_000].map(|number| event(database, number));
            let answers = store.commit_events(&again).await.unwrap();
            answers.iter().filter(|answer| matches!(answer, Recorded::Repeat { .. })).count()
        };
        assert_eq!(repeats(&store).await, 4);
        let mut page = EventFilter { user_id: Some("user3".to_owned()), limit: 500, ..EventFilter::default() };
        let mut listed = 0;
        loop {
            let answer = store.events(&page).await.unwrap();
            listed += answer.items.len();
            page.cursor = answer.next_cursor;
            if page.cursor.is_none() {
                break;
            }
        }
        assert_eq!(listed, (0..=5_000).filter(|number| number % 7 == 3).count());
        for view in ["SELECT COUNT(*) FROM event_kinds", "SELECT COUNT(*) FROM event_users"] {
            assert_eq!(database.number(view).await, 5_001, "{view}");
        }
        store.close().await;
        assert_eq!(database.number("SELECT COUNT(*) FROM event_keys").await, 5_001);
        assert_eq!(repeats(&database.open().await).await, 5, "the index knows them too");
    }

    async fn old_events_are_deleted_but_never_before_eight_days(database: &Database) {
        let store = database.open().await;
        let day_ms = 86_400_000;
        for number in 0..250 {
            let new = NewEvent { accepted_ms: database.clock.wall_ms(), ..event(database, number) };
            store.commit_events(&[new]).await.unwrap();
            if number == 239 {
                database.clock.advance_ms(9 * day_ms);
            }
        }
        let everything = i64::MAX;
        let mut deleted = Vec::new();
        loop {
            let purged = store.purge_before(Purge::Events, everything).await.unwrap();
            deleted.push(purged.rows);
            if !purged.more {
                break;
            }
        }
        assert_eq!(deleted, [100, 100, 40]);
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 10);
        assert_eq!(database.number("SELECT COUNT(*) FROM event_keys").await, 10);
        assert_eq!(database.number("SELECT COUNT(*) FROM event_kinds").await, 10);
        assert_eq!(database.number("SELECT COUNT(*) FROM event_users").await, 10);
        assert_eq!(store.events(&EventFilter::default()).await.unwrap().items.len(), 10);
        let again = store.commit_events(&[event(database, 1), event(database, 245)]).await.unwrap();
        assert!(matches!(again[..], [Recorded::New, Recorded::Repeat { .. }]), "{again:?}");

        database.clock.advance_ms(90 * day_ms);
        store.purge_before(Purge::Events, everything).await.unwrap();
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 1, "the newest stays");
        store.commit_events(&[event(database, 500)]).await.unwrap();
        let theirs = EventFilter { user_id: event(database, 500).event.user_id, ..EventFilter::default() };
        assert_eq!(store.events(&theirs).await.unwrap().items.len(), 1, "it is indexed");
    }
}

/// Polls a call once: what it answers when it does not wait.
fn accepted_at_once(intake: &Intake, events: Vec<NewEvent>) -> Option<Result<Vec<Recorded>, IntakeError>> {
    let mut call = std::pin::pin!(intake.accept(events));
    match call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

fn bad(database: &Database) -> NewEvent {
    let mut new = event(database, 99);
    new.event.kind = EventKind::from_parts(&["message", "bad"]);
    new
}

/// Two replicas on one database are given the same callbacks at the same time, in different orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_record_each_callback_once() {
    let database = Database::new(Engine::MySql).await;
    let replicas = [database.open().await, database.open().await];
    let mut recorders = Vec::new();
    for (replica, store) in replicas.iter().enumerate() {
        let intake = Intake::start(store.clone(), IntakeLimits::default(), database.clock.clone());
        let mut numbers: Vec<u32> = (0..2_000).collect();
        numbers.rotate_left(replica * 900);
        let events: Vec<NewEvent> = numbers.into_iter().map(|number| event(&database, number)).collect();
        recorders.extend(events.chunks(250).map(|chunk| {
            let (intake, chunk) = (intake.clone(), chunk.to_vec());
            tokio::spawn(async move {
                let mut new = 0;
                for event in chunk {
                    let recorded = intake.accept(vec![event]).await.expect("every caller is answered");
                    new += usize::from(recorded == [Recorded::New]);
                }
                new
            })
        }));
    }
    let mut new = 0;
    for recorder in recorders {
        new += recorder.await.unwrap();
    }
    assert_eq!(new, 2_000, "each callback is new once");
    assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 2_000);
}
