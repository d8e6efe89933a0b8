-- Business systems that get events. `spec` is what was asked for, as JSON; `secrets` is sealed with the master key.
CREATE TABLE IF NOT EXISTS endpoints (
  id              VARCHAR(32) NOT NULL PRIMARY KEY,
  name            VARCHAR(64) NOT NULL,
  origin          VARCHAR(16) NOT NULL,
  state           VARCHAR(16) NOT NULL,
  reason          LONGTEXT,
  spec            LONGTEXT NOT NULL,
  secrets         LONGTEXT NOT NULL,
  payload_version BIGINT NOT NULL,
  revision        BIGINT NOT NULL,
  created_ms      BIGINT NOT NULL,
  updated_ms      BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Rises with each change of what is shared: `endpoints`.
CREATE TABLE IF NOT EXISTS versions (
  name  VARCHAR(64) NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Unfinished deliveries of endpoints that want an order: the first row of a key is the one that may go. A row goes
-- when its delivery is finished; a dead letter that blocks its key keeps it.
CREATE TABLE IF NOT EXISTS delivery_order (
  target_id   VARCHAR(64) NOT NULL,
  order_key   VARCHAR(160) NOT NULL,
  delivery_id VARCHAR(32) NOT NULL,
  PRIMARY KEY (target_id, order_key, delivery_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What was sent, word for word, where an endpoint has events changed before they leave.
CREATE TABLE IF NOT EXISTS delivery_bodies (
  delivery_id VARCHAR(32) NOT NULL PRIMARY KEY,
  body        LONGBLOB NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Orders to deliver stored events once more. `place` is how far the walk over the events has come.
CREATE TABLE IF NOT EXISTS replays (
  id          VARCHAR(32) NOT NULL PRIMARY KEY,
  endpoint_id VARCHAR(32) NOT NULL,
  run         BIGINT NOT NULL,
  state       VARCHAR(16) NOT NULL,
  spec        LONGTEXT NOT NULL,
  per_s_max   BIGINT NOT NULL,
  place       VARCHAR(64) NOT NULL,
  looked_at   BIGINT NOT NULL,
  queued      BIGINT NOT NULL,
  created_ms  BIGINT NOT NULL,
  updated_ms  BIGINT NOT NULL,
  KEY replays_by_state (state, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
