-- Whom their own link took off a channel, and when: a JSON list, encrypted as the recipients are.
ALTER TABLE channel ADD COLUMN unsubscribed_cipher BYTEA;
