-- Who is there to share the shards. On SQLite one process owns everything, so it stays empty.
CREATE TABLE IF NOT EXISTS replicas (
  owner    TEXT    NOT NULL PRIMARY KEY,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
