//! Every difference between the two databases.
//!
//! The SQL of the other files runs on both. What cannot be said alike stands here: how a connection is set up, how
//! a transaction begins, what a driver's error means, and which settings would lose acknowledged callbacks.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{Executor, Row};

use super::{Durability, StoreError};
use crate::sabotage::{self, Protection};

/// Which database this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file of this process alone.
    Sqlite,
    /// MySQL, MariaDB, or what speaks their protocol.
    MySql,
}

/// The first SQLite without the WAL-reset bug, which could corrupt a file.
const SQLITE_VERSION_MIN: (u32, u32, u32) = (3, 51, 3);

/// For every connection to SQLite. Caches are small: the operating system's page cache is behind them.
const SQLITE_EVERY: &str =
    "PRAGMA busy_timeout = 5000; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;";

/// For the one connection that writes. 8 KiB pages of a new file hold a dozen events. 16 MiB of WAL before a
/// checkpoint, cut back to 64 MiB after a long reader.
const SQLITE_WRITER: &str = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 2048; \
                             PRAGMA journal_size_limit = 67108864;";

/// For the connections that read: mapped, because pages need no copying then.
const SQLITE_READER: &str = "PRAGMA query_only = ON; PRAGMA mmap_size = 268435456;";

/// For every connection to MySQL. The lock wait ends before our own patience does.
const MYSQL_EVERY: &str =
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION innodb_lock_wait_timeout = 1;";

impl Engine {
    /// The engine a database URL names.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "mysql" | "mariadb" => Some(Self::MySql),
            _ => None,
        }
    }

    /// The word in answers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::MySql => "mysql",
        }
    }

    /// How a writing transaction begins. SQLite takes its lock at once: a lock that is upgraded later fails
    /// whatever the time-out says.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::MySql => "BEGIN",
        }
    }

    /// About how many events there are, without counting them.
    pub(super) fn events_estimate(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT (SELECT MAX(seq) FROM events) - (SELECT MIN(seq) FROM events) + 1",
            Self::MySql => {
                "SELECT CAST(table_rows AS SIGNED) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = 'events'"
            }
        }
    }

    /// What deletes the oldest events up to the one with an id: the rows of the indexes first.
    pub(super) fn delete_events_up_to(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[
                "DELETE FROM event_key_index WHERE dedup_key IN \
                 (SELECT dedup_key FROM events WHERE seq <= (SELECT seq FROM events WHERE id = ?))",
                "DELETE FROM event_kind_index WHERE (source, kind, seq) IN \
                 (SELECT source, kind, seq FROM events WHERE seq <= (SELECT seq FROM events WHERE id = ?))",
                "DELETE FROM event_user_index WHERE (segment, user_id, seq) IN \
                 (SELECT seq >> 15, user_id, seq FROM events WHERE seq <= (SELECT seq FROM events WHERE id = ?))",
                "DELETE FROM events WHERE seq <= (SELECT seq FROM events WHERE id = ?)",
            ],
            Self::MySql => &["DELETE FROM events WHERE id <= ?"],
        }
    }

    /// What takes an event out of the index by user, before its user is forgotten.
    pub(super) fn forget_event_of_user(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["DELETE FROM event_user_index WHERE (segment, user_id, seq) IN \
                               (SELECT seq >> 15, user_id, seq FROM events WHERE id = ?)"],
            // Its index is over the column itself.
            Self::MySql => &[],
        }
    }

    /// What makes the engine overwrite the bytes it frees, or not any more. MySQL has no such order.
    pub(super) fn overwrite_freed(self, on: bool) -> Option<&'static str> {
        match (self, on) {
            (Self::Sqlite, true) => Some("PRAGMA secure_delete = ON"),
            (Self::Sqlite, false) => Some("PRAGMA secure_delete = OFF"),
            (Self::MySql, _) => None,
        }
    }

    /// Sets up a connection that reads (MySQL: and writes).
    pub(super) async fn prepare_reader(self, conn: &mut AnyConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite => {
                conn.execute(SQLITE_EVERY).await?;
                conn.execute(SQLITE_READER).await?;
            }
            Self::MySql => {
                conn.execute(MYSQL_EVERY).await?;
            }
        }
        Ok(())
    }

    /// Sets up a connection that writes, and reads back what durability depends on.
    pub(super) async fn prepare_writer(
        self,
        conn: &mut AnyConnection,
        durability: Durability,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite => prepare_sqlite_writer(conn, durability).await,
            Self::MySql => {
                conn.execute(MYSQL_EVERY).await?;
                check_mysql_durability(conn, durability).await
            }
        }
    }

    /// Sets up a connection that makes checkpoints: it writes nothing, but flushes as the writer does.
    pub(super) async fn prepare_checkpointer(self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        conn.execute(SQLITE_EVERY).await?;
        conn.execute("PRAGMA synchronous = FULL").await?;
        Ok(())
    }

    /// What a statement's error means.
    pub(super) fn explain(error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::Database(refused) => {
                if refused.is_unique_violation() {
                    return StoreError::Conflict;
                }
                match refused.try_downcast_ref::<MySqlDatabaseError>() {
                    Some(mysql) => explain_mysql(mysql.number(), refused.message()),
                    None => explain_sqlite(refused.code().as_deref().unwrap_or(""), refused.message()),
                }
            }
            sqlx::Error::Configuration(reason) => StoreError::Settings(reason.to_string()),
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            sqlx::Error::ColumnDecode { index, source } => {
                StoreError::Corrupt { what: "column", value: format!("{index}: {source}") }
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Engine::explain(error)
    }
}

/// Numbers of MySQL's error reference.
fn explain_mysql(number: u16, message: &str) -> StoreError {
    match number {
        // An index of this name is there: another replica was faster.
        1061 => StoreError::Conflict,
        // Lock wait timeout; deadlock.
        1205 | 1213 => StoreError::Busy,
        // Access denied for the user, for the database, unknown database; host blocked or not allowed.
        1044 | 1045 | 1049 | 1129 | 1130 | 1698 => StoreError::Settings(message.to_owned()),
        // Too many connections, shutdown, killed, read-only, disk full.
        1040 | 1053 | 1203 | 1290 | 1792 | 1836 | 1021 | 1114 | 1317 | 1927 => {
            StoreError::Unavailable(message.to_owned())
        }
        _ => StoreError::Refused(message.to_owned()),
    }
}

/// SQLite's result codes; the low byte is the primary code.
fn explain_sqlite(code: &str, message: &str) -> StoreError {
    match code.parse::<u32>().unwrap_or(0) & 0xFF {
        // BUSY, LOCKED.
        5 | 6 => StoreError::Busy,
        // NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
        7..=10 | 13..=15 => StoreError::Unavailable(message.to_owned()),
        // CORRUPT, NOTADB.
        11 | 26 => StoreError::Settings(message.to_owned()),
        _ => StoreError::Refused(message.to_owned()),
    }
}

async fn prepare_sqlite_writer(conn: &mut AnyConnection, durability: Durability) -> Result<(), StoreError> {
    let version = text(conn, "SELECT sqlite_version()").await?;
    if !version_at_least(&version, SQLITE_VERSION_MIN) {
        return Err(StoreError::Settings(format!("SQLite {version} is too old, 3.51.3 is the oldest")));
    }
    conn.execute(SQLITE_EVERY).await?;
    conn.execute(SQLITE_WRITER).await?;
    let synchronous = match durability {
        _ if sabotage::off(Protection::Flush) => "PRAGMA synchronous = OFF",
        Durability::Strict => "PRAGMA synchronous = FULL",
        Durability::Relaxed => "PRAGMA synchronous = NORMAL",
    };
    conn.execute(synchronous).await?;
    if durability == Durability::Relaxed || sabotage::off(Protection::Flush) {
        return Ok(());
    }
    let journal_mode = text(conn, "PRAGMA journal_mode").await?;
    let synchronous = number(conn, "PRAGMA synchronous").await?;
    if journal_mode == "wal" && synchronous == 2 {
        return Ok(());
    }
    Err(StoreError::Unsafe(format!(
        "SQLite runs with journal_mode = {journal_mode}, synchronous = {synchronous}; WAL and 2 (FULL) are needed"
    )))
}

/// A commit must be flushed before MySQL says it is done: in `InnoDB`'s log, and in the binary log if there is one.
async fn check_mysql_durability(conn: &mut AnyConnection, durability: Durability) -> Result<(), StoreError> {
    if durability == Durability::Relaxed || sabotage::off(Protection::DurabilityCheck) {
        return Ok(());
    }
    let flush_log = number(conn, "SELECT @@innodb_flush_log_at_trx_commit").await?;
    let binary_log = number(conn, "SELECT @@log_bin").await?;
    let sync_binary_log = number(conn, "SELECT @@sync_binlog").await?;
    if flush_log == 1 && (binary_log == 0 || sync_binary_log == 1) {
        return Ok(());
    }
    Err(StoreError::Unsafe(format!(
        "MySQL runs with innodb_flush_log_at_trx_commit = {flush_log}, log_bin = {binary_log}, sync_binlog = \
         {sync_binary_log}; the first must be 1, and with log_bin the last too, or acknowledged callbacks are lost \
         in a power failure (durability: relaxed accepts that)"
    )))
}

/// The database's time, which all replicas share.
pub(super) async fn mysql_now_ms(conn: &mut AnyConnection) -> Result<i64, StoreError> {
    number(conn, "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)").await
}

async fn one(conn: &mut AnyConnection, sql: &'static str) -> Result<AnyRow, StoreError> {
    Ok(conn.fetch_one(sql).await?)
}

async fn text(conn: &mut AnyConnection, sql: &'static str) -> Result<String, StoreError> {
    Ok(one(conn, sql).await?.try_get::<String, _>(0)?)
}

async fn number(conn: &mut AnyConnection, sql: &'static str) -> Result<i64, StoreError> {
    Ok(one(conn, sql).await?.try_get::<i64, _>(0)?)
}

fn version_at_least(version: &str, (major, minor, patch): (u32, u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    (part(), part(), part()) >= (major, minor, patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version_at_least("3.51.3", (3, 51, 3)));
        assert!(version_at_least("3.100.0", (3, 51, 3)));
        assert!(!version_at_least("3.51.2", (3, 51, 3)));
        assert!(!version_at_least("3.9.99", (3, 51, 3)));
        assert!(!version_at_least("", (3, 51, 3)));
    }

    #[test]
    fn a_url_names_its_engine() {
        assert_eq!(Engine::of_url("sqlite:data/gateway.db"), Some(Engine::Sqlite));
        assert_eq!(Engine::of_url("mysql://u:p@h/db"), Some(Engine::MySql));
        assert_eq!(Engine::of_url("mariadb://u:p@h/db"), Some(Engine::MySql));
        assert_eq!(Engine::of_url("postgres://h/db"), None);
        assert_eq!(Engine::of_url(""), None);
    }

    #[test]
    fn errors_are_told_apart_by_number() {
        assert!(matches!(explain_mysql(1213, ""), StoreError::Busy));
        assert!(matches!(explain_mysql(1045, ""), StoreError::Settings(_)));
        assert!(matches!(explain_mysql(1064, ""), StoreError::Refused(_)));
        assert!(matches!(explain_sqlite("5", ""), StoreError::Busy));
        assert!(matches!(explain_sqlite("517", ""), StoreError::Busy));
        assert!(matches!(explain_sqlite("13", ""), StoreError::Unavailable(_)));
        assert!(matches!(explain_sqlite("778", ""), StoreError::Unavailable(_)));
        assert!(matches!(explain_sqlite("11", ""), StoreError::Settings(_)));
        assert!(matches!(explain_sqlite("1", ""), StoreError::Refused(_)));
    }
}
