-- What an interactive card of an app can be changed with: once, within 72 hours of its sending.
CREATE TABLE IF NOT EXISTS card_codes (
  message_id VARCHAR(32)   NOT NULL PRIMARY KEY,
  code       VARCHAR(1024) NOT NULL,
  at_ms      BIGINT        NOT NULL,
  spent_ms   BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Links in messages whose opening is noticed.
CREATE TABLE IF NOT EXISTS links (
  token      VARCHAR(64)   NOT NULL PRIMARY KEY,
  message_id VARCHAR(32)   NOT NULL,
  recipient  VARCHAR(128),
  url        VARCHAR(2048) NOT NULL,
  KEY links_by_message (message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Files given to us to be sent, in parts of a megabyte, with the platform's own name for each while it has one.
CREATE TABLE IF NOT EXISTS files (
  id          VARCHAR(32)  NOT NULL PRIMARY KEY,
  channel     VARCHAR(64)  NOT NULL,
  kind        VARCHAR(16)  NOT NULL,
  name        VARCHAR(256) NOT NULL,
  platform_id VARCHAR(512),
  uploaded_ms BIGINT
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS file_parts (
  id      VARCHAR(32) NOT NULL,
  part    BIGINT      NOT NULL,
  content LONGBLOB    NOT NULL,
  PRIMARY KEY (id, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
