-- Columns of a file have room for sealed texts as they are; see ../mysql.
SELECT 1;
