//! Who sends to which targets: 64 shards, leased in the database.
//!
//! On SQLite one process owns everything, so there is nothing to lease.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, Executor};

use super::read::Columns;
use super::width::{self, fits};
use super::write::Write;
use super::{Engine, Store, StoreError};

/// Into how many shards targets fall.
pub const SHARDS: i64 = 64;

/// A shard this process owns for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// 0 to 63.
    pub id: i64,
    /// Rises by one with each change of owner.
    pub fence: i64,
    /// Who owns it.
    pub owner: String,
    /// When the lease ends, steady ms.
    pub until_ms: i64,
    /// Whether its owner before let the lease run out: it was killed, or hangs.
    pub stalled: bool,
}

impl Shard {
    /// The proof of ownership that goes with writes.
    pub fn fence(&self) -> Fence {
        Fence::Shard { id: self.id, fence: self.fence }
    }
}

/// Proof that the writer still owns what it writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// One process on the database owns all (SQLite).
    Sole,
    /// The owner of one shard.
    Shard {
        /// Which shard.
        id: i64,
        /// Its fence when the lease was taken.
        fence: i64,
    },
}

/// The shard a target falls into.
pub fn shard_of(target_id: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(target_id.as_bytes()).into();
    i64::from(digest[0]) % SHARDS
}

impl Store {
    /// Takes up to `max` shards that are free or whose lease has ended. On SQLite: all, at once, for ever.
    pub async fn lease_shards(
        &self,
        owner: &str,
        lease_ms: i64,
        now_steady_ms: i64,
        max: usize,
    ) -> Result<Vec<Shard>, StoreError> {
        fits("owner", owner, width::WORD)?;
        if self.engine() == Engine::Sqlite {
            let mine =
                |id| Shard { id, fence: 1, owner: owner.to_owned(), until_ms: i64::MAX, stalled: false };
            return Ok((0..SHARDS).map(mine).collect());
        }
        let lease = Lease { owner: owner.to_owned(), length_ms: lease_ms, now_ms: now_steady_ms, max };
        match self.write(lease.clone()).await {
            // Another replica made the missing rows at the same moment.
            Err(StoreError::Conflict) => self.write(lease).await,
            outcome => outcome,
        }
    }

    /// Prolongs the leases of `held`; gives those that are still ours.
    pub async fn renew_shards(
        &self,
        held: &[Shard],
        lease_ms: i64,
        now_steady_ms: i64,
    ) -> Result<Vec<Shard>, StoreError> {
        if self.engine() == Engine::Sqlite {
            return Ok(held.to_vec());
        }
        self.write(Renew { held: held.to_vec(), until_ms: now_steady_ms.saturating_add(lease_ms) }).await
    }

    /// Gives shards back before their leases end.
    pub async fn release_shards(&self, held: &[Shard]) -> Result<(), StoreError> {
        if self.engine() == Engine::Sqlite {
            return Ok(());
        }
        self.write(Renew { held: held.to_vec(), until_ms: 0 }).await.map(drop)
    }
}

#[derive(Clone)]
struct Lease {
    owner: String,
    length_ms: i64,
    now_ms: i64,
    max: usize,
}

impl Write for Lease {
    type Output = Vec<Shard>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<Shard>, StoreError> {
        let mut free = Vec::new();
        let mut missing: BTreeSet<i64> = (0..SHARDS).collect();
        for row in conn.fetch_all("SELECT id, fence, until_ms FROM shards ORDER BY id").await? {
            let mut columns = Columns::of(&row);
            let (id, fence, until_ms): (i64, i64, i64) = (columns.take()?, columns.take()?, columns.take()?);
            missing.remove(&id);
            if until_ms <= self.now_ms {
                // What is given back ends at 0.
                free.push((id, fence, until_ms > 0));
            }
        }
        for id in missing {
            let insert = sqlx::query("INSERT INTO shards (id, owner, fence, until_ms) VALUES (?, '', 0, 0)");
            conn.execute(insert.bind(id)).await?;
            free.push((id, 0, false));
        }
        let until_ms = self.now_ms.saturating_add(self.length_ms);
        let mut taken = Vec::new();
        for (id, fence, stalled) in free.into_iter().take(self.max) {
            let update = sqlx::query(
                "UPDATE shards SET owner = ?, fence = fence + 1, until_ms = ? WHERE id = ? AND fence = ? \
                 AND until_ms <= ?",
            )
            .bind(self.owner.as_str())
            .bind(until_ms)
            .bind(id)
            .bind(fence)
            .bind(self.now_ms);
            if conn.execute(update).await?.rows_affected() == 1 {
                let owner = self.owner.clone();
                taken.push(Shard { id, fence: fence.saturating_add(1), owner, until_ms, stalled });
            }
        }
        Ok(taken)
    }
}

/// Moves the ends of leases that are still ours; an end in the past gives them back.
struct Renew {
    held: Vec<Shard>,
    until_ms: i64,
}

impl Write for Renew {
    type Output = Vec<Shard>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Vec<Shard>, StoreError> {
        let mut kept = Vec::new();
        for shard in &self.held {
            let update =
                sqlx::query("UPDATE shards SET until_ms = ? WHERE id = ? AND owner = ? AND fence = ?")
                    .bind(self.until_ms)
                    .bind(shard.id)
                    .bind(shard.owner.as_str())
                    .bind(shard.fence);
            if conn.execute(update).await?.rows_affected() == 1 {
                kept.push(Shard { until_ms: self.until_ms, ..shard.clone() });
            }
        }
        Ok(kept)
    }
}
