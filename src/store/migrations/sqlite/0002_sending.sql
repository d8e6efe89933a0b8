-- What an interactive card of an app can be changed with: once, within 72 hours of its sending.
CREATE TABLE IF NOT EXISTS card_codes (
  message_id TEXT    NOT NULL PRIMARY KEY,
  code       TEXT    NOT NULL,
  at_ms      INTEGER NOT NULL,
  spent_ms   INTEGER
) STRICT, WITHOUT ROWID;

-- Links in messages whose opening is noticed.
CREATE TABLE IF NOT EXISTS links (
  token      TEXT NOT NULL PRIMARY KEY,
  message_id TEXT NOT NULL,
  recipient  TEXT,
  url        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_by_message ON links (message_id);

-- Files given to us to be sent, in parts of a megabyte, with the platform's own name for each while it has one.
CREATE TABLE IF NOT EXISTS files (
  id          TEXT    NOT NULL PRIMARY KEY,
  channel     TEXT    NOT NULL,
  kind        TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  platform_id TEXT,
  uploaded_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS file_parts (
  id      TEXT    NOT NULL,
  part    INTEGER NOT NULL,
  content BLOB    NOT NULL,
  PRIMARY KEY (id, part)
) STRICT;
