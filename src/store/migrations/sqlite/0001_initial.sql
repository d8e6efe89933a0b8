-- Events. `seq` is the order of commits: this process is the only writer. Lists and deduplication read the views
-- below; the tables behind them are indexes, filled in sorted batches behind the events (see event_index.rs).
CREATE TABLE IF NOT EXISTS events (
  seq              INTEGER PRIMARY KEY,
  id               TEXT    NOT NULL UNIQUE,
  dedup_key        TEXT    NOT NULL,
  source           TEXT    NOT NULL,
  kind             TEXT    NOT NULL,
  format           TEXT    NOT NULL,
  reader           INTEGER NOT NULL,
  corp_id          TEXT,
  user_id          TEXT,
  external_user_id TEXT,
  chat_id          TEXT,
  accepted_ms      INTEGER NOT NULL,
  payload          BLOB    NOT NULL,
  payload_key      TEXT    NOT NULL DEFAULT '',
  sealed           BLOB
) STRICT;

CREATE TABLE IF NOT EXISTS event_key_index (
  dedup_key TEXT    NOT NULL PRIMARY KEY,
  seq       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS event_kind_index (
  source TEXT    NOT NULL,
  kind   TEXT    NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (source, kind, seq)
) STRICT, WITHOUT ROWID;

-- A segment is 32,768 events: a user's rows of one segment lie together, and a batch touches one segment's pages.
CREATE TABLE IF NOT EXISTS event_user_index (
  segment INTEGER NOT NULL,
  user_id TEXT    NOT NULL,
  seq     INTEGER NOT NULL,
  PRIMARY KEY (segment, user_id, seq)
) STRICT, WITHOUT ROWID;

CREATE VIEW IF NOT EXISTS event_list AS
  SELECT seq AS position, id, source, kind, format, reader, corp_id, user_id, external_user_id, chat_id,
         accepted_ms, payload
  FROM events;
CREATE VIEW IF NOT EXISTS event_keys AS
  SELECT k.dedup_key AS dedup_key, e.id AS event_id FROM event_key_index k JOIN events e ON e.seq = k.seq;
CREATE VIEW IF NOT EXISTS event_kinds AS SELECT source, kind, seq AS position FROM event_kind_index;
CREATE VIEW IF NOT EXISTS event_users AS SELECT segment, user_id, seq AS position FROM event_user_index;

-- Small facts about the database itself: `events_indexed` is the last `seq` the index tables hold.
CREATE TABLE IF NOT EXISTS facts (
  name  TEXT    NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS evidence (
  reference_hash INTEGER NOT NULL,
  id             TEXT    NOT NULL,
  reference      TEXT    NOT NULL,
  generation     INTEGER NOT NULL,
  recipient      TEXT,
  fact           TEXT    NOT NULL,
  fact_value     TEXT    NOT NULL,
  code           INTEGER,
  text           TEXT,
  source         TEXT    NOT NULL,
  event_id       TEXT,
  at_ms          INTEGER NOT NULL,
  PRIMARY KEY (reference_hash, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS evidence_by_age ON evidence (id);

CREATE TABLE IF NOT EXISTS messages (
  id              TEXT    NOT NULL PRIMARY KEY,
  channel         TEXT    NOT NULL,
  message_type    TEXT    NOT NULL,
  body            TEXT    NOT NULL,
  recipients      TEXT    NOT NULL,
  policy          TEXT    NOT NULL,
  idempotency_key TEXT    UNIQUE,
  status          TEXT    NOT NULL,
  generation      INTEGER NOT NULL,
  created_ms      INTEGER NOT NULL,
  updated_ms      INTEGER NOT NULL,
  expires_ms      INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_channel ON messages (channel, id);
CREATE INDEX IF NOT EXISTS messages_by_status ON messages (status, id);

CREATE TABLE IF NOT EXISTS message_recipients (
  user_id    TEXT NOT NULL,
  message_id TEXT NOT NULL,
  PRIMARY KEY (user_id, message_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS message_references (
  reference_hash INTEGER NOT NULL,
  message_id     TEXT    NOT NULL,
  reference      TEXT    NOT NULL,
  PRIMARY KEY (reference_hash, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS message_references_by_message ON message_references (message_id);

CREATE TABLE IF NOT EXISTS deliveries (
  id         TEXT    NOT NULL PRIMARY KEY,
  target_id  TEXT    NOT NULL,
  event_id   TEXT,
  message_id TEXT,
  run        INTEGER NOT NULL,
  priority   INTEGER NOT NULL,
  attempts   INTEGER NOT NULL,
  state      TEXT    NOT NULL,
  due_ms     INTEGER,
  started_ms INTEGER,
  expires_ms INTEGER,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (target_id, due_ms, id);
CREATE INDEX IF NOT EXISTS deliveries_by_message ON deliveries (message_id);
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, id);
CREATE UNIQUE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event_id, target_id, run);

CREATE TABLE IF NOT EXISTS attempts (
  delivery_id TEXT    NOT NULL,
  number      INTEGER NOT NULL,
  target_id   TEXT    NOT NULL,
  at_ms       INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  http_status INTEGER,
  errcode     INTEGER,
  error       TEXT,
  answer      TEXT,
  PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attempts_by_target ON attempts (target_id, at_ms);

CREATE TABLE IF NOT EXISTS rejections (
  id                  TEXT    NOT NULL PRIMARY KEY,
  at_ms               INTEGER NOT NULL,
  source              TEXT,
  address             TEXT    NOT NULL,
  step                TEXT    NOT NULL,
  status              INTEGER NOT NULL,
  detail              TEXT    NOT NULL,
  expected_receive_id TEXT,
  found_receive_id    TEXT,
  count               INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS rejections_by_source ON rejections (source, id);

CREATE TABLE IF NOT EXISTS audit (
  id      TEXT    NOT NULL PRIMARY KEY,
  at_ms   INTEGER NOT NULL,
  actor   TEXT    NOT NULL,
  address TEXT    NOT NULL,
  action  TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  detail  TEXT    NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS api_keys (
  id           TEXT    NOT NULL PRIMARY KEY,
  name         TEXT    NOT NULL,
  shown_prefix TEXT    NOT NULL,
  hash         TEXT    NOT NULL UNIQUE,
  role         TEXT    NOT NULL,
  sources      TEXT    NOT NULL,
  created_ms   INTEGER NOT NULL,
  revoked_ms   INTEGER
) STRICT;

CREATE TABLE IF NOT EXISTS shards (
  id       INTEGER NOT NULL PRIMARY KEY,
  owner    TEXT    NOT NULL,
  fence    INTEGER NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT;
