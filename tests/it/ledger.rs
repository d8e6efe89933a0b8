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

/// Everything that is on the disk of this database, as somebody who steals it has it: the file and its log, or a dump.
pub(crate) fn everything(database: &Database) -> Vec<u8> {
    if database.engine == Engine::Sqlite {
        let path = database.url.strip_prefix("sqlite:").expect("a file");
        let read = |suffix: &str| std::fs::read(format!("{path}{suffix}")).unwrap_or_default();
        return [read(""), read("-wal"), read("-journal")].concat();
    }
    let url = url::Url::parse(&database.url).expect("an address");
    let port = url.port().unwrap_or(3306).to_string();
    let output = std::process::Command::new("mariadb-dump")
        .args(["--no-defaults", "--protocol=tcp", "--skip-ssl", "--user", url.username(), "--port", &port])
        .args(url.password().map(|password| format!("--password={password}")))
        .args(["--host", url.host_str().unwrap_or("127.0.0.1"), url.path().trim_start_matches('/')])
        .output()
        .expect("mariadb-dump is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Which of `words` stand in `bytes`.
pub(crate) fn readable<'w>(bytes: &[u8], words: &[&'w str]) -> Vec<&'w str> {
    let stands = |word: &&&str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    words.iter().filter(stands).copied().collect()
}

/// The database is whole after what was done to it.
pub(crate) async fn check_integrity(database: &Database) {
    if database.engine == Engine::Sqlite {
        let mut connection = database.connect().await;
        let row = connection.fetch_one("PRAGMA integrity_check").await.expect("a check");
        assert_eq!(row.get::<String, _>(0), "ok");
    }
}
