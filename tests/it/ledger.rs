//! What a test reads from the database behind the gateway's back.

use std::collections::HashSet;

use sqlx::{Executor, Row};
use wecom_gateway::store::Engine;

use crate::database::Database;

/// The payload of every event row.
pub(crate) async fn event_payloads(database: &Database) -> Vec<String> {
    let mut connection = database.connect().await;
    let rows = connection.fetch_all("SELECT payload FROM events").await.expect("rows");
    rows.iter().map(|row| String::from_utf8_lossy(&row.get::<Vec<u8>, _>(0)).into_owned()).collect()
}

/// The `MsgId` of every event row, and how many rows repeat one.
pub(crate) async fn message_ids(database: &Database) -> (HashSet<u64>, usize) {
    let (mut ids, mut doubled) = (HashSet::new(), 0);
    for row in event_payloads(database).await {
        let id = row.split_once("<MsgId>").and_then(|(_, rest)| rest.split_once('<')).map(|(id, _)| id);
        doubled +=
            usize::from(!ids.insert(id.and_then(|id| id.parse().ok()).expect("a message id in the row")));
    }
    (ids, doubled)
}

/// The database is whole after what was done to it.
pub(crate) async fn check_integrity(database: &Database) {
    if database.engine == Engine::Sqlite {
        let mut connection = database.connect().await;
        let row = connection.fetch_one("PRAGMA integrity_check").await.expect("a check");
        assert_eq!(row.get::<String, _>(0), "ok");
    }
}
