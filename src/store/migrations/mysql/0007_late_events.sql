-- Events that were committed well after their ids were made (drained from a spool, or of a replica whose clock is
-- behind): whoever reads events forward by id finds them here. `id` is the time of the insert.
CREATE TABLE IF NOT EXISTS late_events (
  id       VARCHAR(32) NOT NULL,
  event_id VARCHAR(32) NOT NULL,
  PRIMARY KEY (id, event_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
