//! S1-54: the hot queries walk an index, on both databases.
//!
//! Each text below is also looked for in the file that runs it, so that neither can change alone.

use sqlx::{AssertSqlSafe, Executor, Row};
use wecom_gateway::domain::status::Status;
use wecom_gateway::store::{Engine, NewEvent};

use crate::database::{Database, on_both};
use crate::intake::{event, report};

/// Enough rows that an optimizer does not prefer to read them all.
const EVENTS: u32 = 3_000;

struct Hot {
    source: &'static str,
    text: &'static str,
    /// What stands for each `?`.
    values: &'static [&'static str],
}

macro_rules! store_file {
    ($name:literal) => {
        include_str!(concat!("../../src/store/", $name))
    };
}

const HOT: &[Hot] = &[
    Hot {
        source: store_file!("record.rs"),
        text: "SELECT dedup_key, event_id FROM event_keys WHERE dedup_key IN (",
        values: &["'6b49d200a', '6b49d200b')"],
    },
    Hot { source: store_file!("events.rs"), text: " FROM events WHERE id = ?", values: &["'evt_a'"] },
    Hot {
        source: store_file!("event_list.rs"),
        text: " FROM event_list WHERE position < ?",
        values: &["'evt_01' ORDER BY position DESC LIMIT 10"],
    },
    Hot {
        source: store_file!("event_list.rs"),
        text: "SELECT position FROM event_kinds WHERE source = ? AND kind = ? AND position < ? \
               ORDER BY position DESC LIMIT ?",
        values: &["'wechat_api'", "'event.click'", "'evt_1'", "10"],
    },
    Hot {
        source: store_file!("event_list.rs"),
        text: "SELECT position FROM event_users WHERE segment = ? AND user_id = ? AND position < ? \
               ORDER BY position DESC LIMIT ?",
        values: &["0", "'user1'", "'evt_1'", "10"],
    },
    Hot {
        source: store_file!("event_list.rs"),
        text: "SELECT position FROM event_customers WHERE external_user_id = ? AND position < ? \
               ORDER BY position DESC LIMIT ?",
        values: &["'wmAAA'", "'evt_1'", "10"],
    },
    Hot {
        source: store_file!("evidence.rs"),
        text: " FROM evidence WHERE reference_hash = ? AND id > ? ORDER BY id LIMIT ?",
        values: &["42", "''", "1000"],
    },
    Hot {
        source: store_file!("purge.rs"),
        text: "SELECT reference_hash, id FROM evidence WHERE id < ? \
               AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = evidence.reference) \
               AND NOT EXISTS (SELECT 1 FROM message_references \
               WHERE message_references.reference_hash = evidence.reference_hash) ORDER BY id LIMIT ?",
        values: &["'evd_0'", "100"],
    },
    Hot { source: store_file!("messages.rs"), text: " FROM messages WHERE id = ?", values: &["'msg_a'"] },
    Hot {
        source: store_file!("messages.rs"),
        text: "SELECT message_id, reference FROM message_references WHERE reference_hash = ? \
               ORDER BY message_id DESC LIMIT 100",
        values: &["42"],
    },
    Hot {
        source: store_file!("messages.rs"),
        text: "SELECT reference FROM message_references WHERE message_id = ?",
        values: &["'msg_a'"],
    },
    Hot {
        source: store_file!("deliveries.rs"),
        text: " FROM deliveries WHERE target_id = ? AND due_ms <= ?",
        values: &["'wechat_bot'", "1 ORDER BY due_ms, id LIMIT 64"],
    },
    Hot {
        source: store_file!("deliveries.rs"),
        text: "SELECT MIN(due_ms) FROM deliveries WHERE target_id = ?",
        values: &["'wechat_bot'"],
    },
];

on_both! {
    async fn hot_queries_walk_an_index(database: &Database) {
        let store = database.open().await;
        for first in (0..EVENTS).step_by(100) {
            let group: Vec<NewEvent> = (first..first + 100)
                .map(|number| report(database, number, &format!("their-{number}"), Status::Delivered))
                .collect();
            store.commit_events(&group).await.unwrap();
        }
        // Each file's own text runs once, so that a statement that does not exist fails here and not in use.
        store.event(&event(database, 1).id).await.unwrap();
        let mut conn = database.connect().await;
        for hot in HOT {
            let statement = as_one_text(hot.text);
            assert!(as_one_text(hot.source).contains(&statement), "no longer run: {statement}");
            let sql = explained(database.engine, &statement, hot.values);
            let rows = conn.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap();
            let plan: Vec<String> = rows
                .iter()
                .map(|row| match database.engine {
                    Engine::Sqlite => row.get::<String, _>("detail"),
                    Engine::MySql => format!("{:?} by {:?}", text(row, "type"), text(row, "key")),
                })
                .collect();
            eprintln!("{statement}\n    {plan:?}");
            for step in &plan {
                assert!(!reads_everything(database.engine, step), "{sql}: {plan:?}");
            }
        }
    }

    async fn a_query_without_an_index_is_seen(database: &Database) {
        let store = database.open().await;
        let group: Vec<NewEvent> = (0..100).map(|number| event(database, number)).collect();
        store.commit_events(&group).await.unwrap();
        let mut conn = database.connect().await;
        let sql = explained(database.engine, "SELECT id FROM events WHERE chat_id = ?", &["'x'"]);
        let row = conn.fetch_one(AssertSqlSafe(sql)).await.unwrap();
        let step = match database.engine {
            Engine::Sqlite => row.get::<String, _>("detail"),
            Engine::MySql => format!("{:?} by {:?}", text(&row, "type"), text(&row, "key")),
        };
        assert!(reads_everything(database.engine, &step), "{step}");
    }
}

/// Whether a step of a plan reads a whole table or index, however long.
fn reads_everything(engine: Engine, step: &str) -> bool {
    match engine {
        Engine::Sqlite => step.starts_with("SCAN"),
        Engine::MySql => step.starts_with("Some(\"ALL\")") || step.starts_with("Some(\"index\")"),
    }
}

/// A text column, which MySQL may give as bytes or not at all.
fn text(row: &sqlx::any::AnyRow, column: &str) -> Option<String> {
    row.try_get::<Option<String>, _>(column)
        .or_else(|_bytes| {
            row.try_get::<Option<Vec<u8>>, _>(column)
                .map(|bytes| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        })
        .expect("the column is there")
}

/// `EXPLAIN` of the statement with its values. One that begins with `FROM` gets columns.
fn explained(engine: Engine, statement: &str, values: &[&str]) -> String {
    let mut sql = match engine {
        Engine::Sqlite => "EXPLAIN QUERY PLAN ".to_owned(),
        Engine::MySql => "EXPLAIN ".to_owned(),
    };
    if !statement.starts_with("SELECT") {
        sql += "SELECT *";
    }
    let mut parts = statement.split('?');
    sql += parts.next().unwrap_or_default();
    let mut values = values.iter();
    for part in parts {
        sql += values.next().expect("a value for each place");
        sql += part;
    }
    values.for_each(|rest| sql += rest);
    sql
}

/// Without the line breaks of the source.
fn as_one_text(source: &str) -> String {
    let mut out = String::new();
    for line in source.lines() {
        match line.strip_suffix('\\') {
            Some(continued) if out.is_empty() => out += continued,
            Some(continued) => out += continued.trim_start(),
            None => out += line.trim_start(),
        }
    }
    if source.starts_with(' ') && !out.starts_with(' ') { format!(" {out}") } else { out }
}
