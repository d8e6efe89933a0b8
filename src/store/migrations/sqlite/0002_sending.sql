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
