-- Events of a customer are found by them. MySQL adds an index only once and cannot be asked to add it if it is missing.
SET @missing = (SELECT COUNT(*) = 0 FROM information_schema.statistics
  WHERE table_schema = DATABASE() AND table_name = 'events' AND index_name = 'events_by_customer');
SET @add = IF(@missing, 'CREATE INDEX events_by_customer ON events (external_user_id, id)', 'DO 0');
CREATE OR REPLACE VIEW event_customers AS SELECT external_user_id, id AS position FROM events;
PREPARE add_index FROM @add;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
