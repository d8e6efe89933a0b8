//! SQLite's checkpoints, beside the writer.
//!
//! What the log (WAL) holds has to be copied into the file now and then. Done by the writer, a checkpoint of some
//! megabytes holds up every callback behind it for tens of milliseconds. So a connection of its own copies most of
//! it while the writer goes on; what is left when the log has its full length is little, and the writer's own
//! automatic checkpoint copies that and starts the log anew.

use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Executor};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StoreError;
use super::connect::Connector;

/// How long what was written may pile up before it is copied.
const PERIOD: Duration = Duration::from_millis(50);

/// Starts the task. It copies after each change of `turns` and ends when the sender is gone.
pub(super) fn start(connector: Connector, turns: watch::Receiver<u64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = run(&connector, turns).await {
            tracing::error!(%error, "no checkpoints beside the writer any more");
        }
    })
}

async fn run(connector: &Connector, mut turns: watch::Receiver<u64>) -> Result<(), StoreError> {
    let mut conn = connector.checkpointer().await?;
    while turns.changed().await.is_ok() {
        tokio::time::sleep(PERIOD).await;
        turns.mark_unchanged();
        checkpoint(&mut conn).await?;
    }
    Ok(conn.close().await?)
}

/// Copies what no reader still needs. Says nothing when another checkpoint runs: that one does the same.
async fn checkpoint(conn: &mut AnyConnection) -> Result<(), StoreError> {
    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
    Ok(())
}
