-- Room for sealed texts, which are longer than what they hold.
ALTER TABLE links MODIFY url LONGTEXT NOT NULL;
ALTER TABLE files MODIFY name LONGTEXT NOT NULL;
