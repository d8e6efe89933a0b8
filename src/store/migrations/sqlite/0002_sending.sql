-- What an interactive card of an app can be changed with: once, within 72 hours of its sending.
CREATE TABLE IF NOT EXISTS card_codes (
  message_id TEXT    NOT NULL PRIMARY KEY,
  code       TEXT    NOT NULL,
  at_ms      INTEGER NOT NULL,
  spent_ms   INTEGER
) STRICT, WITHOUT ROWID;
