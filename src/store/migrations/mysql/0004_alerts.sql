-- What people were last told about: a total that rises is told by the one replica that raises it here.
CREATE TABLE IF NOT EXISTS alert_totals (
  name  VARCHAR(64) NOT NULL PRIMARY KEY,
  total BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
