-- Lists stand on plain indexes here; see ../sqlite.
SELECT 1;
