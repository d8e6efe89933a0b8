-- Business systems that get events. `spec` is what was asked for, as JSON; `secrets` is sealed with the master key.
CREATE TABLE IF NOT EXISTS endpoints (
  id              TEXT    NOT NULL PRIMARY KEY,
  name            TEXT    NOT NULL,
  origin          TEXT    NOT NULL,
  state           TEXT    NOT NULL,
  reason          TEXT,
  spec            TEXT    NOT NULL,
  secrets         TEXT    NOT NULL,
  payload_version INTEGER NOT NULL,
  revision        INTEGER NOT NULL,
  created_ms      INTEGER NOT NULL,
  updated_ms      INTEGER NOT NULL
) STRICT;

-- Rises with each change of what is shared: `endpoints`.
CREATE TABLE IF NOT EXISTS versions (
  name  TEXT    NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Unfinished deliveries of endpoints that want an order: the first row of a key is the one that may go. A row goes
-- when its delivery is finished; a dead letter that blocks its key keeps it.
CREATE TABLE IF NOT EXISTS delivery_order (
  target_id   TEXT NOT NULL,
  order_key   TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  PRIMARY KEY (target_id, order_key, delivery_id)
) STRICT, WITHOUT ROWID;

-- What was sent, word for word, where an endpoint has events changed before they leave.
CREATE TABLE IF NOT EXISTS delivery_bodies (
  delivery_id TEXT NOT NULL PRIMARY KEY,
  body        BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Orders to deliver stored events once more. `place` is how far the walk over the events has come.
CREATE TABLE IF NOT EXISTS replays (
  id          TEXT    NOT NULL PRIMARY KEY,
  endpoint_id TEXT    NOT NULL,
  run         INTEGER NOT NULL,
  state       TEXT    NOT NULL,
  spec        TEXT    NOT NULL,
  per_s_max   INTEGER NOT NULL,
  place       TEXT    NOT NULL,
  looked_at   INTEGER NOT NULL,
  queued      INTEGER NOT NULL,
  created_ms  INTEGER NOT NULL,
  updated_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS replays_by_state ON replays (state, id);
