-- Which set of documents made it (`systole apply --set`); NULL for what was made by hand.
ALTER TABLE monitor ADD COLUMN set_name TEXT COLLATE "C";
ALTER TABLE channel ADD COLUMN set_name TEXT COLLATE "C";
