-- What people were last told about: a total that rises is told by the one replica that raises it here.
CREATE TABLE IF NOT EXISTS alert_totals (
  name  TEXT    NOT NULL PRIMARY KEY,
  total INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
