//! THE FACTS. SQL and nothing but SQL.
//!
//! One concrete [`Store`] over SQLite or MySQL/MariaDB, one SQL text for both; what differs stands in `engine.rs`.
//! Each public method is one transaction. Nothing here knows of HTTP, of the WeCom protocol, or of when things
//! should happen.

mod add_messages;
mod alerts;
mod audit;
mod card_codes;
mod connect;
mod counts;
mod deliveries;
mod endpoints;
mod engine;
mod erase;
mod error;
mod event_index;
mod event_list;
mod events;
mod evidence;
mod files;
mod ids;
mod insert;
mod key_memory;
mod key_notes;
mod keys;
mod late;
mod links;
mod list;
mod messages;
mod migrate;
mod mysql_writer;
mod name_list;
mod order;
mod page;
mod purge;
mod read;
mod record;
mod redeliver;
mod rejections;
mod replays;
mod replicas;
mod reseal;
mod results;
mod room;
mod routing;
mod sealing;
mod sent_bodies;
mod settings;
mod shards;
mod smart_robots;
mod spool_file;
mod sqlite_checkpoint;
mod sqlite_writer;
mod tail;
mod tally;
mod width;
mod write;

pub use audit::{AuditFilter, AuditRow};
pub use card_codes::CardCode;
pub use counts::{COUNT_MAX, StoreCounts};
pub use deliveries::{DeliveryFilter, DeliveryResult};
pub use endpoints::{EndpointChange, EndpointRow};
pub use engine::Engine;
pub use erase::EvidencePlace;
pub use error::StoreError;
pub use events::{EventFilter, NewEvent, Recorded, StoredEvent};
pub use files::{FILE_NAME_BYTES_MAX, StoredFile};
pub use keys::{ApiKeyRow, Role};
pub use links::TrackedLink;
pub use messages::{AddedMessage, MessageFilter, NewMessage};
pub use order::KeyQueue;
pub use page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Page};
pub use purge::{Purge, Purged};
pub use redeliver::ByHand;
pub use rejections::{Rejection, RejectionFilter};
pub use replays::ReplayStep;
pub use replicas::Shares;
pub use reseal::{ResealPlace, Resealed};
pub use results::SentEarlier;
pub use routing::{FreshDelivery, ReadBody, SETTLED_MS, TakeFresh};
pub use settings::{Durability, StoreSettings};
pub use shards::{Fence, SHARDS, Shard, shard_of};
pub use smart_robots::StreamRow;
pub use spool_file::{SpoolFile, SpoolSize};
pub use tail::{EventTail, TailEvent, TailStart};
pub use tally::{TALLY_MAX, Tally};

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connect::Connector;
use event_index::{EventIndex, IndexEvents, Part};
use mysql_writer::{MySqlWriter, Prepare};
use read::Reader;
use room::Room;
use routing::Routing;
use sqlite_writer::SqliteWriter;
use sqlx::AnyPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use write::{Lane, Write};

use crate::clock::Clock;
use crate::ids::IdMaker;
use crate::seals::Seals;

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
    routing: Arc<Routing>,
    /// Told of every commit of events by this process.
    arrivals: watch::Sender<()>,
    ids: IdMaker,
    clock: Clock,
    seals: Seals,
    /// Held as long as the file is open.
    file_lock: Mutex<Option<File>>,
    writer_task: Mutex<Option<JoinHandle<()>>>,
    room: Room,
}

#[derive(Clone, Debug)]
enum Writer {
    Sqlite(SqliteWriter),
    MySql(MySqlWriter),
}

impl Store {
    /// Connects, checks what the database promises, and brings its schema up to date.
    ///
    /// On MySQL it moves the steady scale of `clock` to the database's time, which all replicas share. If the
    /// settings allow it, a server that cannot be reached is prepared when it can.
    pub async fn open(settings: &StoreSettings, clock: Clock, ids: IdMaker) -> Result<Self, StoreError> {
        let connector = Connector::new(settings)?;
        let engine = connector.engine;
        let pool = connector.pool(settings.connections_max);
        let statement_timeout = Duration::from_millis(settings.statement_timeout_ms);
        let index = Arc::new(EventIndex::new(engine));
        let routing = Arc::new(Routing::new(engine, clock.clone(), ids.clone()));
        let (mut file_lock, mut writer_task, mut room) = (None, None, Room::new(None));
        let writer = match engine {
            Engine::Sqlite => {
                let path = connect::sqlite_path(settings.url.expose())?;
                file_lock = Some(connect::lock_sqlite_file(&path)?);
                room = Room::new(Some(&path));
                let mut conn = connector.writer().await?;
                migrate::migrate(engine, &mut conn).await?;
                key_notes::check(&mut conn, &settings.seals).await?;
                index.load(&mut conn).await?;
                routing.load(&mut conn).await?;
                let (writer, task) = SqliteWriter::start(connector.clone(), conn, Arc::clone(&index));
                writer_task = Some(task);
                Writer::Sqlite(writer)
            }
            Engine::MySql => {
                let prepare = Prepare {
                    clock: clock.clone(),
                    routing: Arc::clone(&routing),
                    seals: settings.seals.clone(),
                };
                let writer = MySqlWriter::new(connector.clone(), pool.clone(), statement_timeout, prepare);
                match writer.prepare().await {
                    Err(error @ StoreError::Unavailable(_)) if settings.may_be_away => {
                        tracing::error!(%error, "the database is away; callbacks go to the spool");
                    }
                    outcome => outcome?,
                }
                Writer::MySql(writer)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                connector,
                reader: Reader::new(pool.clone(), statement_timeout),
                pool,
                routing,
                arrivals: watch::Sender::new(()),
                ids,
                writer: Mutex::new(Some(writer)),
                index,
                clock,
                seals: settings.seals.clone(),
                file_lock: Mutex::new(file_lock),
                writer_task: Mutex::new(writer_task),
                room,
            }),
        })
    }

    /// Brings the schema up to date; does nothing when it is.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut conn = self.inner.connector.writer().await?;
        migrate::migrate(self.engine(), &mut conn).await
    }

    /// Told of every commit of events by this process.
    pub fn arrivals(&self) -> watch::Receiver<()> {
        self.inner.arrivals.subscribe()
    }

    /// Which database this is.
    pub fn engine(&self) -> Engine {
        self.inner.connector.engine
    }

    /// Whether the database answers, and takes writes.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.inner.room.look().await?;
        if let Some(Writer::MySql(writer)) = self.writer() {
            writer.prepare().await?;
        }
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
        let written = match self.writer() {
            Some(Writer::Sqlite(writer)) => writer.write(lane, work).await,
            Some(Writer::MySql(writer)) => writer.write(lane, work).await,
            None => return Err(StoreError::Unavailable("the store is closed".to_owned())),
        };
        self.inner.room.note(&written);
        written
    }

    fn writer(&self) -> Option<Writer> {
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lists see every event committed before this call.
    async fn bring_lists_up_to_date(&self) -> Result<(), StoreError> {
        self.bring_up_to_date(Part::Lists).await
    }

    async fn bring_up_to_date(&self, part: Part) -> Result<(), StoreError> {
        let index = &self.inner.index;
        let written = index.written();
        while index.is_behind(part, written) {
            self.write(IndexEvents::new(Arc::clone(index), part)).await?;
        }
        Ok(())
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
