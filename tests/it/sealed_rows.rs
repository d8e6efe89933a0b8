//! Rows sealed at rest, seen from the store: what is readable without the key, what with which, and what becomes of
//! rows that cannot be opened.

use bytes::Bytes;
use sqlx::{AssertSqlSafe, Executor};
use wecom_gateway::domain::delivery::{Attempt, DeliveryState};
use wecom_gateway::domain::evidence::{Evidence, Fact};
use wecom_gateway::domain::sealed::Unopened;
use wecom_gateway::domain::status::Status;
use wecom_gateway::ids::{DeliveryId, EventId, FileId, MessageId};
use wecom_gateway::store::{
    DeliveryResult, EventFilter, Fence, MessageFilter, NewEvent, ResealPlace, SpoolFile, Store, StoreError,
    StoredFile, StreamRow, TailStart, TrackedLink,
};

use crate::database::{Database, NOW_MS, on_both};
use crate::forwarder::{Forwarder, receiver};
use crate::intake::{event, report};
use crate::ledger::{everything, readable};
use crate::store::message;

const FIRST: &str = "the first key of the tests";
const SECOND: &str = "the second key of the tests";

/// A word of its own for each column that holds what people said.
const WORDS: [&str; 11] = [
    "canary-payload",
    "canary-proved",
    "canary-reported",
    "canary-message",
    "canary-link",
    "canary-error",
    "canary-answer",
    "canary-transformed",
    "canary-file-name",
    "canary-file-content",
    "canary-stream",
];

/// Sealed values that one [`write`] makes: the file is large enough for two parts.
const VALUES: u64 = 12;

/// What was written.
struct Written {
    event: EventId,
    message: MessageId,
    delivery: DeliveryId,
    file: FileId,
    token: String,
}

fn said(mut new: NewEvent, words: &str) -> NewEvent {
    new.payload = Bytes::from(format!("<xml><Content>{words}</Content></xml>"));
    new
}

/// Writes a row of every kind, with every word.
async fn write(database: &Database, store: &Store, number: u32) -> Written {
    let mut callback = said(report(database, number, "theirs-1", Status::Delivered), "canary-payload");
    callback.evidence[0].text = Some("canary-proved".to_owned());
    store.commit_events(std::slice::from_ref(&callback)).await.expect("recorded");
    let reported = Evidence {
        id: database.ids.make(),
        text: Some("canary-reported".to_owned()),
        fact: Fact::Status(Status::Failed),
        event_id: None,
        ..callback.evidence[0].clone()
    };
    store.add_evidence(&[reported]).await.expect("added");
    let mut new = message(database);
    let id = new.message.id.clone();
    new.message.body = String::from(r#"{"msgtype":"text","text":{"content":"canary-message"}}"#);
    let token = format!("token-{id}");
    let url = "https://canary-link.example.com/".to_owned();
    new.links = vec![TrackedLink { token: token.clone(), message_id: id.clone(), recipient: None, url }];
    store.add_messages(std::slice::from_ref(&new)).await.expect("added");
    let attempt = Attempt {
        number: 1,
        at_ms: NOW_MS,
        duration_ms: 1,
        http_status: Some(500),
        errcode: None,
        error: Some("canary-error".to_owned()),
        answer: Some("canary-answer".to_owned()),
    };
    let result = DeliveryResult {
        id: new.delivery.id.clone(),
        target_id: new.delivery.target_id.clone(),
        attempts_before: 0,
        attempt: Some(attempt),
        state: DeliveryState::Failed,
        due_ms: None,
        evidence: Vec::new(),
        references: Vec::new(),
        response_code: None,
    };
    assert_eq!(store.record_results(&[result], &Fence::Sole).await.expect("recorded"), [true]);
    store.keep_sent_body(&new.delivery.id, Bytes::from_static(b"canary-transformed")).await.expect("kept");
    let file: FileId = database.ids.make();
    let stored = StoredFile {
        id: file.clone(),
        channel: "wechat_bot".to_owned(),
        kind: "file".to_owned(),
        name: "canary-file-name.txt".to_owned(),
        uploaded: None,
    };
    let content = [vec![b'x'; 1 << 20], b"canary-file-content".to_vec()].concat();
    store.add_file(&stored, Bytes::from(content)).await.expect("kept");
    let saying = StreamRow {
        source: "robot".to_owned(),
        body: r#"{"content":"canary-stream"}"#.to_owned(),
        finished: false,
        opened_ms: NOW_MS,
    };
    store
        .open_stream(&callback.id, StreamRow { body: "{}".to_owned(), ..saying.clone() })
        .await
        .expect("opened");
    assert!(store.feed_stream(&callback.id, saying).await.expect("fed"));
    Written { event: callback.id, message: id, delivery: new.delivery.id, file, token }
}

/// Reads every word that was written.
async fn assert_read(store: &Store, of: &Written) {
    let event = store.event(&of.event).await.expect("opened").expect("there");
    assert_eq!(&event.payload[..], b"<xml><Content>canary-payload</Content></xml>");
    let stream = store.stream(&of.event).await.expect("opened").expect("there");
    assert_eq!(stream.body, r#"{"content":"canary-stream"}"#);
    let proofs = store.evidence(&["theirs-1".to_owned()], None, 100).await.expect("opened");
    let texts: Vec<&str> = proofs.iter().filter_map(|one| one.text.as_deref()).collect();
    assert!(texts.contains(&"canary-proved") && texts.contains(&"canary-reported"), "{texts:?}");
    let message = store.message(&of.message).await.expect("asked").expect("there");
    assert!(message.unopened.is_none() && message.body.contains("canary-message"));
    let link = store.link(&of.token).await.expect("opened").expect("there");
    assert_eq!(link.url, "https://canary-link.example.com/");
    let attempt = store.attempts(&of.delivery).await.expect("opened").remove(0);
    assert_eq!(
        (attempt.error.as_deref(), attempt.answer.as_deref()),
        (Some("canary-error"), Some("canary-answer"))
    );
    assert_eq!(
        store.sent_body(&of.delivery).await.expect("opened").as_deref(),
        Some(&b"canary-transformed"[..])
    );
    let file = store.file(&of.file).await.expect("opened").expect("there");
    assert_eq!(file.name, "canary-file-name.txt");
    let content = store.file_content(&of.file).await.expect("opened");
    assert!(content.len() > 1 << 20 && content.ends_with(b"canary-file-content"));
}

/// Walks over everything; values that are not sealed with the key of now, and those written anew.
async fn walk(store: &Store, only_look: bool) -> (u64, u64) {
    let (mut place, mut found) = (Some(ResealPlace::start()), (0, 0));
    while let Some(at) = place {
        let step = store.reseal(&at, only_look).await.expect("a step");
        found = (found.0 + step.stale, found.1 + step.written);
        place = step.next;
    }
    found
}

async fn execute(database: &Database, sql: String) {
    database.connect().await.execute(AssertSqlSafe(sql)).await.expect("the statement runs");
}

on_both! {
    async fn no_word_is_readable_without_the_key(database: &Database) {
        let sealed = database.sealed(FIRST, &[]);
        let store = sealed.open().await;
        let written = write(&sealed, &store, 1).await;
        assert_read(&store, &written).await;
        store.close().await;
        assert_eq!(readable(&everything(database), &WORDS), [] as [&str; 0]);
        let opened = sealed.open().await;
        assert_read(&opened, &written).await;
        opened.close().await;
        let settings = database.settings();
        let refused = Store::open(&settings, database.clock.clone(), database.ids.clone());
        let refused = refused.await.expect_err("the key is missing").to_string();
        assert!(refused.contains("rows are sealed with the key") && refused.contains("GATEWAY_ENCRYPTION_KEY"), "{refused}");
        assert!(!refused.contains(FIRST), "{refused}");
    }

    async fn without_encryption_every_word_is_readable(database: &Database) {
        let store = database.open().await;
        let written = write(database, &store, 1).await;
        assert_read(&store, &written).await;
        store.close().await;
        assert_eq!(readable(&everything(database), &WORDS), WORDS, "the search sees what is there");
    }

    async fn rows_from_before_stay_readable_and_are_sealed_in_slices(database: &Database) {
        let store = database.open().await;
        let before = write(database, &store, 1).await;
        let many: Vec<NewEvent> = (100..820).map(|number| said(event(database, number), "canary-payload")).collect();
        store.commit_events(&many).await.expect("recorded");
        store.close().await;

        let sealed = database.sealed(FIRST, &[]);
        let store = sealed.open().await;
        assert_read(&store, &before).await;
        let after = write(&sealed, &store, 2).await;
        // Two parts of a file, two texts of an attempt, two of evidence, and one of each other.
        assert_eq!(walk(&store, true).await, (720 + VALUES, 0), "only what was there before");
        assert_eq!(walk(&store, false).await, (720 + VALUES, 720 + VALUES));
        assert_eq!(walk(&store, true).await, (0, 0));
        for written in [&before, &after] {
            assert_read(&store, written).await;
        }
        assert_eq!(store.noted_keys().await.expect("asked").len(), 1);
        store.close().await;
        if database.engine == wecom_gateway::store::Engine::MySql {
            assert_eq!(readable(&everything(database), &WORDS), [] as [&str; 0]);
        }

        // Switched off again: the key only opens, and everything is written clear.
        let clear = database.sealed("", &[FIRST]);
        let store = clear.open().await;
        assert_read(&store, &before).await;
        assert_eq!(walk(&store, false).await, (720 + 2 * VALUES, 720 + 2 * VALUES));
        store.forget_keys(&store.noted_keys().await.expect("asked")).await.expect("forgotten");
        store.close().await;
        let store = database.open().await;
        assert_read(&store, &after).await;
    }

    async fn a_key_is_changed_while_others_still_use_the_one_before(database: &Database) {
        let old = database.sealed(FIRST, &[]);
        let store = old.open().await;
        let before = write(&old, &store, 1).await;
        store.close().await;
        let new = database.sealed(SECOND, &[FIRST]);
        let store = new.open().await;
        let after = write(&new, &store, 2).await;
        assert_read(&store, &before).await;
        assert_eq!(store.noted_keys().await.expect("asked").len(), 2);
        assert_eq!(walk(&store, false).await, (VALUES, VALUES));
        let ids = store.seals().ids();
        store.forget_keys(&ids[1..]).await.expect("forgotten");
        let alone = database.sealed(SECOND, &[]).settings().seals;
        store.exchange_keys(&alone).await.expect("the old key is not needed");
        for written in [&before, &after] {
            assert_read(&store, written).await;
        }
        let missing = store.exchange_keys(&old.settings().seals).await;
        assert!(matches!(missing, Err(StoreError::Settings(_))), "the key in use cannot be taken away: {missing:?}");
        assert_read(&store, &after).await;
    }

    async fn what_was_changed_or_moved_is_an_error_of_its_row_alone(database: &Database) {
        let sealed = database.sealed(FIRST, &[]);
        let store = sealed.open().await;
        let (one, two, whole) =
            (write(&sealed, &store, 1).await, write(&sealed, &store, 2).await, write(&sealed, &store, 3).await);
        let swap = |table: &str, column: &str, id: &str, to: &str, from: &str| {
            format!("UPDATE {table} SET {column} = (SELECT v FROM (SELECT {column} AS v FROM {table} WHERE {id} = '{from}') AS x) WHERE {id} = '{to}'")
        };
        execute(database, swap("events", "payload", "id", one.event.as_str(), two.event.as_str())).await;
        execute(database, swap("messages", "body", "id", one.message.as_str(), two.message.as_str())).await;
        execute(database, swap("links", "url", "token", &one.token, &two.token)).await;
        execute(database, swap("attempts", "answer", "delivery_id", one.delivery.as_str(), two.delivery.as_str())).await;
        execute(database, swap("delivery_bodies", "body", "delivery_id", one.delivery.as_str(), two.delivery.as_str())).await;
        let damaged = |answer: Result<(), StoreError>| matches!(answer, Err(StoreError::Unopened(Unopened::Damaged)));
        assert!(damaged(store.event(&one.event).await.map(drop)));
        assert!(damaged(store.link(&one.token).await.map(drop)));
        assert!(damaged(store.sent_body(&one.delivery).await.map(drop)));
        let message = store.message(&one.message).await.expect("asked").expect("there");
        assert_eq!((message.unopened, message.body.as_str()), (Some(Unopened::Damaged), ""));
        let attempt = store.attempts(&one.delivery).await.expect("asked").remove(0);
        assert_eq!(attempt.error.as_deref(), Some("canary-error"));
        assert_eq!(attempt.answer.as_deref(), Some("(sealed, and damaged or taken from another row)"));

        let listed = store.events(&EventFilter::default()).await.expect("listed").items;
        let shown: Vec<bool> = listed.iter().map(|event| event.unopened.is_none()).collect();
        assert_eq!(shown, [true, true, false], "newest first");
        let listed = store.messages(&MessageFilter::default()).await.expect("listed").items;
        assert_eq!(listed.iter().filter(|message| message.unopened.is_some()).count(), 1);
        let mut tail = store.tail(TailStart::Since(0)).await.expect("a reader");
        assert_eq!(tail.next().await.expect("read").len(), 3, "readers go on");
        for written in [&two, &whole] {
            assert_read(&store, written).await;
        }
        // A walk leaves it alone, and does the rest.
        let again = database.sealed(SECOND, &[FIRST]).settings().seals;
        store.exchange_keys(&again).await.expect("changed");
        assert_eq!(walk(&store, false).await, (3 * VALUES, 3 * VALUES - 5));
        assert_read(&store, &whole).await;
    }

    async fn a_process_without_the_key_keeps_what_it_cannot_read(database: &Database) {
        let receiver = receiver().await;
        let lacking = database.sealed(FIRST, &[]);
        let rig = Forwarder::start(&lacking).await;
        rig.endpoint(serde_json::json!({"url": receiver.url("/hook"), "events": ["*"]})).await;
        let id = rig.accept(rig.text("zhangsan", 1)).await;
        rig.soon("the delivery", async || receiver.received().len() == 1).await;
        rig.soon("its end", async || rig.delivery(&id).await.state == DeliveryState::Succeeded).await;
        // As another replica with a newer key would have written it.
        let newer = database.sealed(SECOND, &[FIRST]).settings().seals;
        let cell = wecom_gateway::seals::Cell::new("events.payload", id.as_str());
        let payload = newer.seal(cell, b"<xml><MsgType>text</MsgType></xml>").expect("sealed").into_owned();
        let hex = payload.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        execute(database, format!("UPDATE events SET payload = x'{hex}' WHERE id = '{id}'")).await;
        execute(database, format!("UPDATE deliveries SET state = 'queued', due_ms = 1 WHERE event_id = '{id}'")).await;
        let before = rig.delivery(&id).await.attempts;
        rig.dispatch.wake();
        for _ in 0..20 {
            rig.pass_ms(6_000);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let waits = rig.delivery(&id).await;
        assert_eq!((waits.state, waits.attempts, receiver.received().len()), (DeliveryState::Queued, before, 1));
        let unknown = rig.store.event(&id).await;
        assert!(matches!(unknown, Err(StoreError::Unopened(Unopened::UnknownKey(_)))), "{unknown:?}");
        let other = rig.accept(rig.text("zhangsan", 2)).await;
        rig.soon("another event", async || rig.delivery(&other).await.state == DeliveryState::Succeeded).await;

        rig.store.exchange_keys(&newer).await.expect("the key is here now");
        rig.until("the delivery", async || rig.delivery(&id).await.state == DeliveryState::Succeeded).await;
        assert_eq!(receiver.received().len(), 3);

        // One that nobody can read is a dead letter with a reason, and holds nothing up.
        let id = rig.accept(rig.text("zhangsan", 3)).await;
        rig.soon("its end", async || rig.delivery(&id).await.state == DeliveryState::Succeeded).await;
        execute(database, format!("UPDATE events SET payload = x'{hex}' WHERE id = '{id}'")).await;
        execute(database, format!("UPDATE deliveries SET state = 'queued', due_ms = 1 WHERE event_id = '{id}'")).await;
        rig.dispatch.wake();
        rig.until("its end", async || rig.delivery(&id).await.state == DeliveryState::Dead).await;
        let attempts = rig.store.attempts(&rig.delivery(&id).await.id).await.expect("attempts");
        let why = attempts.last().and_then(|one| one.error.clone()).unwrap_or_default();
        assert!(why.contains("damaged or taken from another row"), "{why}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_spool_file_waits_for_its_key() {
    let database = Database::new(wecom_gateway::store::Engine::Sqlite).await;
    let folder = crate::gateway::Folder::new("withheld");
    let path = folder.path().join("spool-left.db");
    let seals = |key: &str, previous: &[&str]| database.sealed(key, previous).settings().seals;
    let file = SpoolFile::open(&path, &seals(FIRST, &[])).await.expect("a file");
    let old = said(report(&database, 1, "theirs-1", Status::Delivered), "canary-payload");
    file.append(std::slice::from_ref(&old)).await.expect("appended");
    drop(file);
    let keys = seals(SECOND, &[]);
    let file = SpoolFile::open(&path, &keys).await.expect("a file");
    file.append(&[said(event(&database, 2), "canary-payload")]).await.expect("appended");
    let group = file.oldest(10, 1 << 20).await.expect("read");
    assert_eq!(group.len(), 1, "what can be opened is not held up");
    file.remove(&group).await.expect("removed");
    assert_eq!((file.size().rows, file.size().withheld), (0, 1));
    file.close().await.expect("closed");
    assert!(path.exists(), "what could not be opened stays");

    let file = SpoolFile::open(&path, &keys).await.expect("a file");
    assert_eq!(file.oldest(10, 1 << 20).await.expect("read").len(), 0);
    keys.replace(&seals(SECOND, &[FIRST]));
    file.look_again().await.expect("looked");
    let group = file.oldest(10, 1 << 20).await.expect("read");
    assert_eq!((group.len(), &group[0].payload, group[0].evidence.len()), (1, &old.payload, 1));
    file.remove(&group).await.expect("removed");
    file.close().await.expect("closed");
    assert!(!path.exists());
}
