-- Kinds and users are indexed apart from keys: `events_listed` is the last `seq` that lists find.
INSERT OR IGNORE INTO facts (name, value) SELECT 'events_listed', value FROM facts WHERE name = 'events_indexed';
