//! Opening the store: what it promises, and what it refuses.

use sqlx::Executor;
use wecom_gateway::secret::Secret;
use wecom_gateway::store::{
    Durability, Engine, EventFilter, NewEvent, Recorded, Store, StoreError, StoreSettings,
};

use crate::database::{Database, on_both};
use crate::intake::event;

async fn open(database: &Database, settings: &StoreSettings) -> Result<Store, StoreError> {
    Store::open(settings, database.clock.clone(), database.ids.clone()).await
}

on_both! {
    async fn a_second_start_finds_everything_and_knows_its_keys(database: &Database) {
        let store = database.open().await;
        let first: Vec<NewEvent> = (0..50).map(|number| event(database, number)).collect();
        store.commit_events(&first).await.unwrap();
        store.close().await;

        let store = database.open().await;
        store.migrate().await.expect("nothing to do");
        store.ping().await.unwrap();
        let again: Vec<NewEvent> = (40..60).map(|number| event(database, number)).collect();
        let recorded = store.commit_events(&again).await.unwrap();
        for (at, answer) in recorded.into_iter().enumerate() {
            let expected = match first.get(40 + at) {
                Some(known) => Recorded::Repeat { id: known.id.clone() },
                None => Recorded::New,
            };
            assert_eq!(answer, expected);
        }
        assert_eq!(database.number("SELECT COUNT(*) FROM events").await, 60);
        let theirs = EventFilter { user_id: Some("user3".to_owned()), ..EventFilter::default() };
        assert_eq!(store.events(&theirs).await.unwrap().items.len(), 9);
        store.clone().close().await;
        assert!(matches!(store.commit_events(&again).await, Err(StoreError::Unavailable(_))), "it is closed");
    }

    async fn a_newer_schema_is_refused(database: &Database) {
        database.open().await.close().await;
        database.connect().await.execute("INSERT INTO schema_versions (version) VALUES (99)").await.unwrap();
        let refused = open(database, &database.settings()).await.expect_err("the schema is newer");
        assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
    }

    async fn a_migration_that_was_killed_goes_on(database: &Database) {
        database.open().await.close().await;
        let mut conn = database.connect().await;
        for half_done in ["DROP TABLE shards", "DROP VIEW event_users", "DELETE FROM schema_versions"] {
            conn.execute(half_done).await.unwrap();
        }
        drop(conn);
        let store = database.open().await;
        assert_eq!(store.commit_events(&[event(database, 1)]).await.unwrap(), [Recorded::New]);
        assert_eq!(database.number("SELECT COUNT(*) FROM shards").await, 0);
    }

    async fn a_word_nobody_knows_is_corrupt_and_no_default(database: &Database) {
        let store = database.open().await;
        let new = event(database, 1);
        store.commit_events(std::slice::from_ref(&new)).await.unwrap();
        database.connect().await.execute("UPDATE events SET format = 'yaml'").await.unwrap();
        let refused = store.event(&new.id).await.expect_err("yaml is no format");
        assert!(matches!(&refused, StoreError::Corrupt { what: "event format", value } if value == "yaml"));
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let database = Database::new(Engine::Sqlite).await;
    let store = database.open().await;
    let refused = open(&database, &database.settings()).await.expect_err("the file is in use");
    assert!(matches!(refused, StoreError::InUse(_)), "{refused}");
    store.close().await;
    open(&database, &database.settings()).await.expect("it is free again").close().await;
}

#[tokio::test]
async fn what_is_no_database_is_said_clearly() {
    let database = Database::new(Engine::Sqlite).await;
    for (url, expected) in [
        ("postgres://localhost/db", "sqlite: or mysql://"),
        ("", "sqlite: or mysql://"),
        ("sqlite::memory:", "file"),
        ("sqlite:/proc/nowhere/gateway.db", "/proc/nowhere"),
        ("mysql://nobody:wrong@127.0.0.1:3306/gateway", "cannot use the database"),
        ("mysql://root@127.0.0.1:3306/there_is_no_such_database", "cannot use the database"),
        ("mysql://root@127.0.0.1:1/gateway", "not available"),
    ] {
        let settings = StoreSettings::new(Secret::new(url));
        let refused = open(&database, &settings).await.expect_err(url).to_string();
        assert!(refused.contains(expected), "{url}: {refused}");
        assert!(!refused.contains("wrong@"), "no password: {refused}");
    }
    std::fs::create_dir_all(database.url.trim_start_matches("sqlite:").trim_end_matches("/gateway.db"))
        .unwrap();
    std::fs::write(database.url.trim_start_matches("sqlite:"), "this is no SQLite file, it is a letter")
        .unwrap();
    let refused = open(&database, &database.settings()).await.expect_err("a letter");
    assert!(matches!(refused, StoreError::Settings(_)), "{refused}");
}

#[tokio::test]
async fn sqlite_flushes_each_commit_unless_told_otherwise() {
    let database = Database::new(Engine::Sqlite).await;
    let relaxed = StoreSettings { durability: Durability::Relaxed, ..database.settings() };
    open(&database, &relaxed).await.expect("relaxed is a setting").close().await;
    open(&database, &database.settings()).await.expect("strict is the default").close().await;
}

/// The setting is global to a server, so this test starts one of its own.
#[tokio::test]
async fn mysql_that_does_not_flush_each_commit_is_refused() {
    let server = crate::mariadb::Server::start(&["--innodb-flush-log-at-trx-commit=2"]).await;
    let clock = wecom_gateway::clock::Clock::system();
    let ids = wecom_gateway::ids::IdMaker::new(clock.clone(), wecom_gateway::entropy::Entropy::system());
    let strict = StoreSettings::new(Secret::new(server.url("gateway")));
    let refused =
        Store::open(&strict, clock.clone(), ids.clone()).await.expect_err("commits are not flushed");
    assert!(matches!(&refused, StoreError::Unsafe(reason) if reason.contains("= 2")), "{refused}");
    let relaxed = StoreSettings { durability: Durability::Relaxed, ..strict.clone() };
    Store::open(&relaxed, clock.clone(), ids.clone()).await.expect("relaxed accepts it").close().await;

    server.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await;
    Store::open(&strict, clock, ids).await.expect("now it is safe").close().await;
}
