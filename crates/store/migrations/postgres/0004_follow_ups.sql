-- Why a delivery is sent now, where its kind does not say; whether it is held back by a maintenance window; whether its
-- death has been told on the system channels.
ALTER TABLE delivery ADD COLUMN occasion TEXT COLLATE "C";
ALTER TABLE delivery ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN death_told BIGINT NOT NULL DEFAULT 0;
UPDATE delivery SET death_told = 1 WHERE state = 3;
CREATE INDEX delivery_death ON delivery (id) WHERE state = 3 AND death_told = 0;
CREATE INDEX delivery_held ON delivery (next_at) WHERE state = 0 AND held = 1;
-- What a channel was told of late decides whether more goes at once or as a digest.
CREATE INDEX delivery_decided ON delivery (decided_at);
