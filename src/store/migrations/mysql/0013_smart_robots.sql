-- Callbacks of smart robots whose `response_url` was used: it works once.
CREATE TABLE IF NOT EXISTS event_responses (
  id    VARCHAR(32) NOT NULL PRIMARY KEY,
  at_ms BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Answers of smart robots that grow: what the platform is told when it asks for the rest.
CREATE TABLE IF NOT EXISTS event_streams (
  id        VARCHAR(32) NOT NULL PRIMARY KEY,
  source    VARCHAR(64) NOT NULL,
  body      LONGTEXT    NOT NULL,
  finished  BIGINT      NOT NULL,
  opened_ms BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
