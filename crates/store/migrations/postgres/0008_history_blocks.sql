-- Check-ins that history has read from the log and not yet put to their monitors' others: a row of a random monitor's would be
-- a page for each check-in.

-- What one batch of the log says of the monitors of one group, packed by monitor, and never changed. `place` is the number of the
-- batch times 2^22 plus that of the group.
CREATE TABLE history_block (
    place       BIGINT PRIMARY KEY,
    body        BYTEA NOT NULL
);

-- The newest batch.
CREATE TABLE history_batch (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    newest      BIGINT NOT NULL
);

-- The 1024 monitors whose number divided by that is `id`. Blocks up to the batch `folded` are folded into chunks, those of the monitors
-- below `next` up to `folding`. What is not: `blocks` of `since` and later batches, with `checkins`, `bytes`, none older than `from_at`.
CREATE TABLE history_group (
    id          BIGINT PRIMARY KEY,
    folded      BIGINT NOT NULL,
    folding     BIGINT NOT NULL,
    next        BIGINT NOT NULL,
    since       BIGINT NOT NULL,
    blocks      BIGINT NOT NULL,
    checkins    BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    from_at     BIGINT NOT NULL
) WITH (fillfactor = 50);

-- Of the hour that begins at `hour` the monitors up to this one are rolled up. It means nothing unless `until_at` is the same: an older
-- version knows only that.
ALTER TABLE history_rolled ADD COLUMN hour BIGINT;
ALTER TABLE history_rolled ADD COLUMN monitor BIGINT;

-- The few that a check-in may end.
CREATE INDEX history_pause_resumed ON history_pause (monitor_id) WHERE until_at IS NULL AND resumed_at IS NOT NULL;
