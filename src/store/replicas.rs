//! Who is there to share the shards. On SQLite one process is alone.

use sqlx::{AnyConnection, Executor};

use super::read::Columns;
use super::shards::SHARDS;
use super::width::{self, fits};
use super::write::Write;
use super::{Engine, Store, StoreError};

/// A replica that has not been heard of for so long is forgotten.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// How the shards are shared out at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Replicas that are there, at least one.
    pub replicas: i64,
    /// Shards that nobody holds.
    pub free: i64,
}

impl Shares {
    /// The most shards that one replica holds, so that all of them are held and none has more than one too many.
    pub fn fair(&self) -> usize {
        let replicas = self.replicas.max(1);
        usize::try_from((SHARDS + replicas - 1) / replicas).unwrap_or(1).max(1)
    }
}

impl Store {
    /// Says that `owner` is there until `until_ms`, steady.
    pub async fn announce_replica(
        &self,
        owner: &str,
        until_ms: i64,
        now_steady_ms: i64,
    ) -> Result<(), StoreError> {
        fits("owner", owner, width::WORD)?;
        if self.engine() == Engine::Sqlite {
            return Ok(());
        }
        let forgotten_ms = now_steady_ms.saturating_sub(FORGOTTEN_AFTER_MS);
        self.write(Announce { owner: owner.to_owned(), until_ms, forgotten_ms }).await
    }

    /// Says that `owner` goes.
    pub async fn retire_replica(&self, owner: &str) -> Result<(), StoreError> {
        if self.engine() == Engine::Sqlite {
            return Ok(());
        }
        self.write(Announce { owner: owner.to_owned(), until_ms: 0, forgotten_ms: i64::MIN }).await
    }

    /// How the shards are shared out at `now_steady_ms`.
    pub async fn shares(&self, now_steady_ms: i64) -> Result<Shares, StoreError> {
        let query = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM replicas WHERE until_ms > ?), \
             (SELECT COUNT(*) FROM shards WHERE until_ms > ?)",
        );
        let row = self.inner.reader.row(query.bind(now_steady_ms).bind(now_steady_ms)).await?;
        // A statement of two counts has one row.
        let Some(row) = row else { return Ok(Shares { replicas: 1, free: 0 }) };
        let mut columns = Columns::of(&row);
        let (replicas, held): (i64, i64) = (columns.take()?, columns.take()?);
        Ok(Shares { replicas: replicas.max(1), free: SHARDS.saturating_sub(held) })
    }
}

struct Announce {
    owner: String,
    until_ms: i64,
    forgotten_ms: i64,
}

impl Write for Announce {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE replicas SET until_ms = ? WHERE owner = ?")
            .bind(self.until_ms)
            .bind(self.owner.as_str());
        if conn.execute(update).await?.rows_affected() == 0 {
            let insert = sqlx::query("INSERT INTO replicas (owner, until_ms) VALUES (?, ?)")
                .bind(self.owner.as_str())
                .bind(self.until_ms);
            conn.execute(insert).await?;
            // Done when somebody new comes, which is seldom.
            let forget = sqlx::query("DELETE FROM replicas WHERE until_ms < ?").bind(self.forgotten_ms);
            conn.execute(forget).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_shares_cover_all_shards_and_differ_little() {
        for replicas in 1..=100 {
            let fair = i64::try_from(Shares { replicas, free: 0 }.fair()).unwrap();
            assert!(fair * replicas >= SHARDS && (fair - 1) * replicas < SHARDS, "{replicas}: {fair}");
        }
        assert_eq!(Shares { replicas: 0, free: 64 }.fair(), 64);
    }
}
