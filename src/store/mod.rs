//! THE FACTS. SQL and nothing but SQL.
//!
//! One concrete [`Store`] over SQLite or MySQL/MariaDB, one SQL text for both; what differs stands in `engine.rs`.
//! Each public method is one transaction. Nothing here knows of HTTP, of the WeCom protocol, or of when things
//! should happen.

mod add_messages;
mod audit;
mod card_codes;
mod connect;
mod counts;
mod deliveries;
mod engine;
mod error;
mod event_index;
mod event_list;
mod events;
mod evidence;
mod files;
mod ids;
mod insert;
mod key_memory;
mod keys;
mod links;
mod list;
mod messages;
mod migrate;
mod mysql_writer;
mod name_list;
mod page;
mod purge;
mod read;
mod record;
mod rejections;
mod results;
mod settings;
mod shards;
mod sqlite_writer;
mod width;
mod write;

pub use audit::{AuditFilter, AuditRow};
pub use card_codes::CardCode;
pub use counts::{COUNT_MAX, StoreCounts};
pub use deliveries::{DeliveryFilter, DeliveryResult};
pub use engine::Engine;
pub use error::StoreError;
pub use events::{EventFilter, NewEvent, Recorded, StoredEvent};
pub use files::{FILE_NAME_BYTES_MAX, StoredFile};
pub use keys::{ApiKeyRow, Role};
pub use links::TrackedLink;
pub use messages::{AddedMessage, MessageFilter, NewMessage};
pub use page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Page};
pub use purge::{Purge, Purged};
pub use rejections::{Rejection, RejectionFilter};
pub use settings::{Durability, StoreSettings};
pub use shards::{Fence, SHARDS, Shard, shard_of};

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connect::Connector;
use event_index::{EventIndex, IndexEvents};
use mysql_writer::MySqlWriter;
use read::Reader;
use sqlite_writer::SqliteWriter;
use sqlx::AnyPool;
use tokio::task::JoinHandle;
use write::{Lane, Write};

use crate::clock::Clock;
use crate::ids::IdMaker;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connector: Connector,
    pool: AnyPool,
    reader: Reader,
    writer: Mutex<Option<Writer>>,
    index: Arc<EventIndex>,
    clock: Clock,
    /// Held as long as the file is open.
    file_lock: Mutex<Option<File>>,
    writer_task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone, Debug)]
enum Writer {
    Sqlite(SqliteWriter),
    MySql(MySqlWriter),
}

impl Store {
    /// Connects, checks what the database promises, and brings its schema up to date.
    ///
    /// On MySQL it moves the steady scale of `clock` to the database's time, which all replicas share.
    pub async fn open(settings: &StoreSettings, clock: Clock, _ids: IdMaker) -> Result<Self, StoreError> {
        let connector = Connector::new(settings)?;
        let engine = connector.engine;
        let file_lock = match engine {
            Engine::Sqlite => Some(connect::lock_sqlite_file(&connect::sqlite_path(settings.url.expose())?)?),
            Engine::MySql => None,
        };
        let mut conn = connector.writer().await?;
        migrate::migrate(engine, &mut conn).await?;

        let pool = connector.pool(settings.connections_max);
        let statement_timeout = Duration::from_millis(settings.statement_timeout_ms);
        let index = Arc::new(EventIndex::new(engine));
        let (writer, writer_task) = match engine {
            Engine::Sqlite => {
                index.load(&mut conn).await?;
                let (writer, task) = SqliteWriter::start(connector.clone(), conn, Arc::clone(&index));
                (Writer::Sqlite(writer), Some(task))
            }
            Engine::MySql => {
                clock.anchor_steady(engine::mysql_now_ms(&mut conn).await?);
                let writer = MySqlWriter::new(connector.clone(), conn, pool.clone(), statement_timeout);
                (Writer::MySql(writer), None)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                connector,
                reader: Reader::new(pool.clone(), statement_timeout),
                pool,
                writer: Mutex::new(Some(writer)),
                index,
                clock,
                file_lock: Mutex::new(file_lock),
                writer_task: Mutex::new(writer_task),
            }),
        })
    }

    /// Brings the schema up to date; does nothing when it is.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut conn = self.inner.connector.writer().await?;
        migrate::migrate(self.engine(), &mut conn).await
    }

    /// Which database this is.
    pub fn engine(&self) -> Engine {
        self.inner.connector.engine
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.inner.reader.rows(sqlx::query("SELECT 1")).await.map(drop)
    }

    /// Finishes what waits, then closes every connection. Other clones can do nothing any more.
    pub async fn close(self) {
        drop(take(&self.inner.writer));
        self.inner.pool.close().await;
        if let Some(task) = take(&self.inner.writer_task)
            && let Err(crashed) = task.await
        {
            tracing::error!(%crashed, "the writer did not end in order");
        }
        drop(take(&self.inner.file_lock));
    }

    async fn write<W: Write>(&self, work: W) -> Result<W::Output, StoreError> {
        self.write_in(Lane::Others, work).await
    }

    async fn write_in<W: Write>(&self, lane: Lane, work: W) -> Result<W::Output, StoreError> {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match writer {
            Some(Writer::Sqlite(writer)) => writer.write(lane, work).await,
            Some(Writer::MySql(writer)) => writer.write(lane, work).await,
            None => Err(StoreError::Unavailable("the store is closed".to_owned())),
        }
    }

    /// Lists see every event committed before this call.
    async fn bring_index_up_to_date(&self) -> Result<(), StoreError> {
        if self.inner.index.is_behind() {
            self.write(IndexEvents::new(Arc::clone(&self.inner.index))).await?;
        }
        Ok(())
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
