//! Replays: the walk over stored events, oldest first, and how far each has come.
//!
//! A step and the deliveries it makes are one transaction, compare-and-set on the place: whoever is killed in between
//! has made no delivery, and two that step at once make each delivery once.

use std::sync::Arc;

use sqlx::{AnyConnection, AssertSqlSafe, Executor};

use super::event_list::Position;
use super::events::COLUMNS as EVENT_COLUMNS;
use super::list::List;
use super::read::Columns;
use super::routing::{FreshDelivery, fresh, insert_fresh};
use super::write::Write;
use super::{Engine, Page, Store, StoreError, StoredEvent, ids};
use crate::domain::filter::Routed;
use crate::domain::replay::{Replay, ReplayOf, ReplayState};
use crate::ids::{EndpointId, EventId, ReplayId};

/// How far the order of events and the order of their times may be apart.
const SLACK_MS: i64 = 60_000;

const COLUMNS: &str =
    "id, endpoint_id, run, state, spec, per_s_max, place, looked_at, queued, created_ms, updated_ms";

/// One step of a replay.
#[derive(Clone, Debug)]
pub struct ReplayStep {
    /// Which replay.
    pub id: ReplayId,
    /// Its place before.
    pub from: String,
    /// Its place after.
    pub to: String,
    /// Events looked at.
    pub looked_at: i64,
    /// What they become.
    pub deliveries: Vec<(Arc<StoredEvent>, Routed)>,
    /// The run of these deliveries.
    pub run: i64,
    /// Whether this was the end.
    pub done: bool,
}

impl Store {
    /// Adds a replay.
    pub async fn add_replay(&self, replay: &Replay) -> Result<(), StoreError> {
        self.write(AddReplay(replay.clone())).await
    }

    /// One replay.
    pub async fn replay(&self, id: &ReplayId) -> Result<Option<Replay>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM replays WHERE id = ?"].concat();
        let row = self.inner.reader.row(sqlx::query(AssertSqlSafe(sql)).bind(id.as_str())).await?;
        row.as_ref().map(|row| take(&mut Columns::of(row))).transpose()
    }

    /// A page of replays, newest first.
    pub async fn replays(&self, limit: usize, cursor: Option<&str>) -> Result<Page<Replay>, StoreError> {
        let list = List {
            columns: COLUMNS,
            from: "replays",
            id: "id",
            prefix: ReplayId::PREFIX,
            equal: Vec::new(),
            restricts: false,
            since_ms: None,
            until_ms: None,
            limit,
            cursor,
        };
        list.page(&self.inner.reader, take, |_| true).await
    }

    /// Replays that have not come to the end.
    pub async fn running_replays(&self) -> Result<Vec<Replay>, StoreError> {
        let sql = ["SELECT ", COLUMNS, " FROM replays WHERE state = ? ORDER BY id LIMIT 100"].concat();
        let query = sqlx::query(AssertSqlSafe(sql)).bind(ReplayState::Running.as_str());
        let rows = self.inner.reader.rows(query).await?;
        rows.iter().map(|row| take(&mut Columns::of(row))).collect()
    }

    /// Stops a replay; `false`: it is not running.
    pub async fn cancel_replay(&self, id: &ReplayId) -> Result<bool, StoreError> {
        self.write(CancelReplay { id: id.clone(), now_ms: self.inner.clock.wall_ms() }).await
    }

    /// Takes a step; `None`: the replay was moved by somebody else.
    pub async fn step_replay(&self, step: ReplayStep) -> Result<Option<Vec<FreshDelivery>>, StoreError> {
        let (steady_ms, now_ms) = (self.inner.clock.steady_ms(), self.inner.clock.wall_ms());
        let ids = &self.inner.ids;
        let made = step
            .deliveries
            .iter()
            .map(|(event, routed)| fresh(ids, event, routed.clone(), step.run, steady_ms, now_ms));
        let made = made.collect();
        self.write(StepReplay { step, fresh: made, now_ms }).await
    }

    /// The place right before the first event that may have been accepted at `since_ms` or later.
    pub async fn place_before(&self, since_ms: i64) -> Result<String, StoreError> {
        if self.engine() == Engine::MySql {
            return Ok(ids::first_at(EventId::PREFIX, since_ms.saturating_sub(SLACK_MS)));
        }
        let query = sqlx::query("SELECT position FROM event_list WHERE id >= ? ORDER BY id LIMIT 1");
        let first = query.bind(ids::first_at(EventId::PREFIX, since_ms.saturating_sub(SLACK_MS)));
        match self.inner.reader.row(first).await? {
            // Ids of one moment may have been committed in another order.
            Some(row) => {
                let position: i64 = Columns::of(&row).take()?;
                Ok(position.saturating_sub(1_000).max(0).to_string())
            }
            None => Ok(i64::MAX.to_string()),
        }
    }

    /// The events behind `place`, oldest first, each with its own place.
    ///
    /// # Errors
    /// [`StoreError::Unopened`] if another process could read one of them.
    pub async fn events_behind(
        &self,
        place: &str,
        limit: usize,
    ) -> Result<Vec<(String, StoredEvent)>, StoreError> {
        let head = ["SELECT position, ", EVENT_COLUMNS, " FROM event_list WHERE position > ?"].concat();
        let query = sqlx::query(AssertSqlSafe(head + " ORDER BY position LIMIT ?"));
        let query = match self.engine() {
            Engine::Sqlite => query.bind(place.parse::<i64>().map_err(|_no_number| StoreError::Cursor)?),
            Engine::MySql => query.bind(place.to_owned()),
        };
        let rows = self.inner.reader.rows(query.bind(i64::try_from(limit).unwrap_or(i64::MAX))).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                let place = Position::take(self.engine(), &mut columns)?.to_text();
                Ok((place, StoredEvent::take(&mut columns, &self.inner.seals)?.known()?))
            })
            .collect()
    }
}

fn take(columns: &mut Columns<'_>) -> Result<Replay, StoreError> {
    Ok(Replay {
        id: columns.parse("replay id", ReplayId::parse)?,
        endpoint: columns.parse("endpoint id", EndpointId::parse)?,
        run: columns.take()?,
        state: columns.parse("state of a replay", ReplayState::parse)?,
        of: columns.parse("spec of a replay", |text| ReplayOf::of_json(&serde_json::from_str(text).ok()?))?,
        per_s_max: columns.take()?,
        place: columns.take()?,
        looked_at: columns.take()?,
        queued: columns.take()?,
        created_ms: columns.take()?,
        updated_ms: columns.take()?,
    })
}

struct AddReplay(Replay);

impl Write for AddReplay {
    type Output = ();

    async fn run(&self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let replay = &self.0;
        let insert = sqlx::query(
            "INSERT INTO replays (id, endpoint_id, run, state, spec, per_s_max, place, looked_at, queued, created_ms, \
             updated_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(replay.id.as_str())
        .bind(replay.endpoint.as_str())
        .bind(replay.run)
        .bind(replay.state.as_str())
        .bind(replay.of.to_json().to_string())
        .bind(replay.per_s_max)
        .bind(replay.place.as_str())
        .bind(replay.looked_at)
        .bind(replay.queued)
        .bind(replay.created_ms)
        .bind(replay.updated_ms);
        conn.execute(insert).await?;
        Ok(())
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}

struct CancelReplay {
    id: ReplayId,
    now_ms: i64,
}

impl Write for CancelReplay {
    type Output = bool;

    async fn run(&self, conn: &mut AnyConnection) -> Result<bool, StoreError> {
        let update = sqlx::query("UPDATE replays SET state = ?, updated_ms = ? WHERE id = ? AND state = ?")
            .bind(ReplayState::Cancelled.as_str())
            .bind(self.now_ms)
            .bind(self.id.as_str())
            .bind(ReplayState::Running.as_str());
        Ok(conn.execute(update).await?.rows_affected() == 1)
    }

    fn is_one_statement(&self) -> bool {
        true
    }
}

struct StepReplay {
    step: ReplayStep,
    fresh: Vec<FreshDelivery>,
    now_ms: i64,
}

impl Write for StepReplay {
    type Output = Option<Vec<FreshDelivery>>;

    async fn run(&self, conn: &mut AnyConnection) -> Result<Self::Output, StoreError> {
        let step = &self.step;
        let state = if step.done { ReplayState::Done } else { ReplayState::Running };
        let update = sqlx::query(
            "UPDATE replays SET state = ?, place = ?, looked_at = looked_at + ?, queued = queued + ?, updated_ms = ? \
             WHERE id = ? AND place = ? AND state = ?",
        )
        .bind(state.as_str())
        .bind(step.to.as_str())
        .bind(step.looked_at)
        .bind(i64::try_from(self.fresh.len()).unwrap_or(i64::MAX))
        .bind(self.now_ms)
        .bind(step.id.as_str())
        .bind(step.from.as_str())
        .bind(ReplayState::Running.as_str());
        if conn.execute(update).await?.rows_affected() != 1 {
            return Ok(None);
        }
        insert_fresh(conn, &self.fresh).await?;
        Ok(Some(self.fresh.clone()))
    }
}
