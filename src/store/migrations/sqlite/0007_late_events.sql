-- Events that were committed well after their ids were made. Empty here: a file's events are read in the order of
-- their commits.
CREATE TABLE IF NOT EXISTS late_events (
  id       TEXT NOT NULL,
  event_id TEXT NOT NULL,
  PRIMARY KEY (id, event_id)
) STRICT, WITHOUT ROWID;
