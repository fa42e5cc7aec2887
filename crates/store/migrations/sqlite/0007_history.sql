-- History as people read it, written behind the log. What retention kept of the log is kept by it.
DROP TABLE kept_checkin;

-- How far each stream of the log has been written.
CREATE TABLE history_position (
    stream  INTEGER PRIMARY KEY,
    seq     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Packed check-ins of one monitor, `n` of them; `first` is the number of the first, counted from 1 over the monitor's life.
-- The newest chunk of a monitor grows until it is full, and carries the runs that are open at its end. `until_at` never goes
-- back from one chunk to the next. `failures`: how many of them report a failure.
CREATE TABLE history_chunk (
    monitor_id  INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    from_at     INTEGER NOT NULL,
    until_at    INTEGER NOT NULL,
    open_runs   BLOB NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (monitor_id, first)
) STRICT;

-- While a monitor was not watched: from its pause to the first check-in after it was resumed.
CREATE TABLE history_pause (
    monitor_id  INTEGER NOT NULL,
    from_at     INTEGER NOT NULL,
    resumed_at  INTEGER,
    until_at    INTEGER,
    PRIMARY KEY (monitor_id, from_at)
) STRICT, WITHOUT ROWID;

-- Rollups: the hours of a day in one row, and 32 days in one row. `day` counts from 1970-01-01, `days` is that by 32.
CREATE TABLE history_hours (
    monitor_id  INTEGER NOT NULL,
    day         INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (monitor_id, day)
) STRICT;

CREATE TABLE history_days (
    monitor_id  INTEGER NOT NULL,
    days        INTEGER NOT NULL,
    body        BLOB NOT NULL,
    PRIMARY KEY (monitor_id, days)
) STRICT;

-- The hours before `until_at` are rolled up, as the incident events up to `event` tell them.
CREATE TABLE history_rolled (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    until_at    INTEGER NOT NULL,
    event       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
