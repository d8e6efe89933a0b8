-- Who is there to share the shards: a row is good until `until_ms`, steady ms.
CREATE TABLE IF NOT EXISTS replicas (
  owner    VARCHAR(64) NOT NULL PRIMARY KEY,
  until_ms BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
