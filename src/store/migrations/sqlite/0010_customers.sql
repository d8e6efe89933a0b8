-- Events of a customer are found by them; few events have one, so the index needs no batches.
CREATE INDEX IF NOT EXISTS events_by_customer ON events (external_user_id) WHERE external_user_id IS NOT NULL;
CREATE VIEW IF NOT EXISTS event_customers AS SELECT external_user_id, seq AS position FROM events;
