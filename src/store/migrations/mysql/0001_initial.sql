-- Events. Lists and deduplication read the views below, which stand on plain indexes here.
CREATE TABLE IF NOT EXISTS events (
  id               VARCHAR(32)  NOT NULL PRIMARY KEY,
  dedup_key        VARCHAR(40)  NOT NULL,
  source           VARCHAR(64)  NOT NULL,
  kind             VARCHAR(128) NOT NULL,
  format           VARCHAR(16)  NOT NULL,
  reader           BIGINT       NOT NULL,
  corp_id          VARCHAR(64),
  user_id          VARCHAR(128),
  external_user_id VARCHAR(128),
  chat_id          VARCHAR(128),
  accepted_ms      BIGINT       NOT NULL,
  payload          LONGBLOB     NOT NULL,
  payload_key      VARCHAR(64)  NOT NULL DEFAULT '',
  sealed           LONGBLOB,
  UNIQUE KEY events_by_key (dedup_key),
  KEY events_by_kind (source, kind, id),
  KEY events_by_user (user_id, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE OR REPLACE VIEW event_list AS
  SELECT id AS position, id, source, kind, format, reader, corp_id, user_id, external_user_id, chat_id,
         accepted_ms, payload
  FROM events;
CREATE OR REPLACE VIEW event_keys AS SELECT dedup_key, id AS event_id FROM events;
CREATE OR REPLACE VIEW event_kinds AS SELECT source, kind, id AS position FROM events;
CREATE OR REPLACE VIEW event_users AS SELECT 0 AS segment, user_id, id AS position FROM events;

CREATE TABLE IF NOT EXISTS facts (
  name  VARCHAR(64) NOT NULL PRIMARY KEY,
  value BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS evidence (
  reference_hash BIGINT       NOT NULL,
  id             VARCHAR(32)  NOT NULL,
  reference      VARCHAR(256) NOT NULL,
  generation     BIGINT       NOT NULL,
  recipient      VARCHAR(128),
  fact           VARCHAR(16)  NOT NULL,
  fact_value     VARCHAR(64)  NOT NULL,
  code           BIGINT,
  text           LONGTEXT,
  source         VARCHAR(64)  NOT NULL,
  event_id       VARCHAR(32),
  at_ms          BIGINT       NOT NULL,
  PRIMARY KEY (reference_hash, id),
  KEY evidence_by_age (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS messages (
  id              VARCHAR(32)  NOT NULL PRIMARY KEY,
  channel         VARCHAR(64)  NOT NULL,
  message_type    VARCHAR(64)  NOT NULL,
  body            LONGTEXT     NOT NULL,
  recipients      LONGTEXT     NOT NULL,
  policy          VARCHAR(32)  NOT NULL,
  idempotency_key VARCHAR(256),
  status          VARCHAR(16)  NOT NULL,
  generation      BIGINT       NOT NULL,
  created_ms      BIGINT       NOT NULL,
  updated_ms      BIGINT       NOT NULL,
  expires_ms      BIGINT,
  UNIQUE KEY messages_by_idempotency_key (idempotency_key),
  KEY messages_by_channel (channel, id),
  KEY messages_by_status (status, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS message_recipients (
  user_id    VARCHAR(128) NOT NULL,
  message_id VARCHAR(32)  NOT NULL,
  PRIMARY KEY (user_id, message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS message_references (
  reference_hash BIGINT       NOT NULL,
  message_id     VARCHAR(32)  NOT NULL,
  reference      VARCHAR(256) NOT NULL,
  PRIMARY KEY (reference_hash, message_id),
  KEY message_references_by_message (message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS deliveries (
  id         VARCHAR(32) NOT NULL PRIMARY KEY,
  target_id  VARCHAR(64) NOT NULL,
  event_id   VARCHAR(32),
  message_id VARCHAR(32),
  run        BIGINT      NOT NULL,
  priority   BIGINT      NOT NULL,
  attempts   BIGINT      NOT NULL,
  state      VARCHAR(16) NOT NULL,
  due_ms     BIGINT,
  started_ms BIGINT,
  expires_ms BIGINT,
  created_ms BIGINT      NOT NULL,
  KEY deliveries_due (target_id, due_ms, id),
  KEY deliveries_by_message (message_id),
  KEY deliveries_by_state (state, id),
  UNIQUE KEY deliveries_by_event (event_id, target_id, run)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS attempts (
  delivery_id VARCHAR(32) NOT NULL,
  number      BIGINT      NOT NULL,
  target_id   VARCHAR(64) NOT NULL,
  at_ms       BIGINT      NOT NULL,
  duration_ms BIGINT      NOT NULL,
  http_status BIGINT,
  errcode     BIGINT,
  error       LONGTEXT,
  answer      LONGTEXT,
  PRIMARY KEY (delivery_id, number),
  KEY attempts_by_target (target_id, at_ms)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS rejections (
  id                  VARCHAR(32)  NOT NULL PRIMARY KEY,
  at_ms               BIGINT       NOT NULL,
  source              VARCHAR(64),
  address             VARCHAR(64)  NOT NULL,
  step                VARCHAR(64)  NOT NULL,
  status              BIGINT       NOT NULL,
  detail              LONGTEXT     NOT NULL,
  expected_receive_id VARCHAR(256),
  found_receive_id    VARCHAR(256),
  count               BIGINT       NOT NULL,
  KEY rejections_by_source (source, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS audit (
  id      VARCHAR(32)  NOT NULL PRIMARY KEY,
  at_ms   BIGINT       NOT NULL,
  actor   VARCHAR(128) NOT NULL,
  address VARCHAR(64)  NOT NULL,
  action  VARCHAR(64)  NOT NULL,
  subject VARCHAR(256) NOT NULL,
  detail  LONGTEXT     NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS api_keys (
  id           VARCHAR(32)  NOT NULL PRIMARY KEY,
  name         VARCHAR(128) NOT NULL,
  shown_prefix VARCHAR(16)  NOT NULL,
  hash         VARCHAR(64)  NOT NULL,
  role         VARCHAR(16)  NOT NULL,
  sources      LONGTEXT     NOT NULL,
  created_ms   BIGINT       NOT NULL,
  revoked_ms   BIGINT,
  UNIQUE KEY api_keys_by_hash (hash)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS shards (
  id       BIGINT      NOT NULL PRIMARY KEY,
  owner    VARCHAR(64) NOT NULL,
  fence    BIGINT      NOT NULL,
  until_ms BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
