//! Bringing the schema up to date.
//!
//! Each version is one file of statements that may run twice: MySQL commits every `CREATE` by itself, so a process
//! killed between two of them has to be able to go on.

use sqlx::AnyConnection;
use sqlx::{Executor, Row};

use super::{Engine, StoreError};

/// One step of the schema; its place in the list is its version, from 1.
struct Migration {
    sqlite: &'static str,
    mysql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        sqlite: include_str!("migrations/sqlite/0001_initial.sql"),
        mysql: include_str!("migrations/mysql/0001_initial.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0002_sending.sql"),
        mysql: include_str!("migrations/mysql/0002_sending.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0003_endpoints.sql"),
        mysql: include_str!("migrations/mysql/0003_endpoints.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0004_alerts.sql"),
        mysql: include_str!("migrations/mysql/0004_alerts.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0005_replicas.sql"),
        mysql: include_str!("migrations/mysql/0005_replicas.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0007_late_events.sql"),
        mysql: include_str!("migrations/mysql/0007_late_events.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0009_sealed_texts.sql"),
        mysql: include_str!("migrations/mysql/0009_sealed_texts.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0010_customers.sql"),
        mysql: include_str!("migrations/mysql/0010_customers.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0013_smart_robots.sql"),
        mysql: include_str!("migrations/mysql/0013_smart_robots.sql"),
    },
    Migration {
        sqlite: include_str!("migrations/sqlite/0014_event_lists.sql"),
        mysql: include_str!("migrations/mysql/0014_event_lists.sql"),
    },
];

const CREATE_VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY)";

/// The newest version this program knows.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Applies what is missing. Refuses a schema that a newer program made.
pub(super) async fn migrate(engine: Engine, conn: &mut AnyConnection) -> Result<(), StoreError> {
    conn.execute(CREATE_VERSIONS).await?;
    let current = current(conn).await?;
    if current > newest() {
        return Err(StoreError::NewerSchema { found: current, known: newest() });
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS) {
        if version > current {
            apply(engine, conn, version, migration).await?;
        }
    }
    Ok(())
}

async fn current(conn: &mut AnyConnection) -> Result<i64, StoreError> {
    let row = conn.fetch_one("SELECT COALESCE(MAX(version), 0) FROM schema_versions").await?;
    Ok(row.try_get(0)?)
}

async fn apply(
    engine: Engine,
    conn: &mut AnyConnection,
    version: i64,
    migration: &Migration,
) -> Result<(), StoreError> {
    let statements = match engine {
        Engine::Sqlite => migration.sqlite,
        Engine::MySql => migration.mysql,
    };
    conn.execute(engine.begin()).await?;
    match conn.execute(statements).await.map_err(Engine::explain) {
        // Another replica added the same index meanwhile.
        Ok(_) | Err(StoreError::Conflict) => {}
        Err(other) => return Err(other),
    }
    let insert = sqlx::query("INSERT INTO schema_versions (version) VALUES (?)").bind(version);
    match insert.execute(&mut *conn).await.map_err(Engine::explain) {
        // Another replica was as fast.
        Ok(_) | Err(StoreError::Conflict) => {}
        Err(other) => return Err(other),
    }
    conn.execute("COMMIT").await?;
    tracing::info!(version, engine = engine.as_str(), "schema brought up to date");
    Ok(())
}
