-- Callbacks of smart robots whose `response_url` was used: it works once.
CREATE TABLE IF NOT EXISTS event_responses (
  id    TEXT   NOT NULL PRIMARY KEY,
  at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Answers of smart robots that grow: what the platform is told when it asks for the rest.
CREATE TABLE IF NOT EXISTS event_streams (
  id        TEXT   NOT NULL PRIMARY KEY,
  source    TEXT   NOT NULL,
  body      TEXT   NOT NULL,
  finished  INTEGER NOT NULL,
  opened_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
