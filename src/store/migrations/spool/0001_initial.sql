-- Callbacks that were accepted while the database was away, in the order of their acceptance. Columns as in the
-- tables of the same name in ../sqlite, without the indexes that only lists need.
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
  payload          BLOB    NOT NULL
) STRICT;

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
CREATE INDEX IF NOT EXISTS evidence_by_event ON evidence (event_id);

-- What the database takes in no way: kept, looked at by people, in nobody's way.
CREATE TABLE IF NOT EXISTS set_aside (
  event_id TEXT    NOT NULL PRIMARY KEY,
  reason   TEXT    NOT NULL,
  at_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
