-- History as people read it, written behind the log. What retention kept of the log is kept by it.
DROP TABLE kept_checkin;

-- How far each stream of the log has been written.
CREATE TABLE history_position (
    stream  BIGINT PRIMARY KEY,
    seq     BIGINT NOT NULL
);

-- Packed check-ins of one monitor, `n` of them; `first` is the number of the first, counted from 1 over the monitor's life.
-- The newest chunk of a monitor grows until it is full, and carries the runs that are open at its end. `until_at` never goes
-- back from one chunk to the next. `failures`: how many of them report a failure.
CREATE TABLE history_chunk (
    monitor_id  BIGINT NOT NULL,
    first       BIGINT NOT NULL,
    n           BIGINT NOT NULL,
    failures    BIGINT NOT NULL,
    from_at     BIGINT NOT NULL,
    until_at    BIGINT NOT NULL,
    open_runs   BYTEA NOT NULL,
    body        BYTEA NOT NULL,
    PRIMARY KEY (monitor_id, first)
) WITH (fillfactor = 80);

-- While a monitor was not watched: from its pause to the first check-in after it was resumed.
CREATE TABLE history_pause (
    monitor_id  BIGINT NOT NULL,
    from_at     BIGINT NOT NULL,
    resumed_at  BIGINT,
    until_at    BIGINT,
    PRIMARY KEY (monitor_id, from_at)
);

-- Rollups: the hours of a day in one row, and 32 days in one row. `day` counts from 1970-01-01, `days` is that by 32.
CREATE TABLE history_hours (
    monitor_id  BIGINT NOT NULL,
    day         BIGINT NOT NULL,
    body        BYTEA NOT NULL,
    PRIMARY KEY (monitor_id, day)
) WITH (fillfactor = 80);

CREATE TABLE history_days (
    monitor_id  BIGINT NOT NULL,
    days        BIGINT NOT NULL,
    body        BYTEA NOT NULL,
    PRIMARY KEY (monitor_id, days)
) WITH (fillfactor = 80);

-- The hours before `until_at` are rolled up, as the incident events up to `event` tell them.
CREATE TABLE history_rolled (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    until_at    BIGINT NOT NULL,
    event       BIGINT NOT NULL
);
