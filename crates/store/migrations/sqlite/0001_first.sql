-- Times are signed 64-bit microseconds since the epoch, UTC. Every row that a person made has its project.

CREATE TABLE installation (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    created_at  INTEGER NOT NULL,
    key_id      TEXT NOT NULL,
    key_check   BLOB NOT NULL
) STRICT;

CREATE TABLE project (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    ping_key_hash   BLOB,
    ping_key_cipher BLOB
) STRICT;

-- The log: one row is one group commit of one stream; a stream is one process start.
-- `head` is used by stream 0 (configuration) alone. `folded`: nothing of it is left to read at boot.
CREATE TABLE log_stream (
    stream  INTEGER PRIMARY KEY AUTOINCREMENT,
    replica TEXT NOT NULL,
    opened  INTEGER NOT NULL,
    ended   INTEGER,
    head    INTEGER,
    folded  INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO log_stream (stream, replica, opened, head) VALUES (0, 'configuration', 0, 0);

CREATE TABLE log (
    stream  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    put     INTEGER NOT NULL,
    kind    INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

-- Where the log stood when rows of `monitor_state` were written: rows carry the cut, this maps it to the vector.
CREATE TABLE log_cut (
    cut     INTEGER PRIMARY KEY,
    epoch   INTEGER NOT NULL,
    vector  BLOB NOT NULL
) STRICT;

CREATE TABLE checkpoint (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    cut     INTEGER NOT NULL,
    vector  BLOB NOT NULL
) STRICT;

CREATE TABLE outage (
    stream  INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    g0      INTEGER NOT NULL,
    g1      INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    name    TEXT PRIMARY KEY,
    epoch   INTEGER NOT NULL,
    holder  INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO lease (name, epoch, holder, expires) VALUES ('decider', 0, 0, 0);

-- Equal settings are one row; a state row names the settings that it was folded with.
CREATE TABLE settings (
    id      INTEGER PRIMARY KEY,
    body    TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE monitor_state (
    id      INTEGER PRIMARY KEY,
    cut     INTEGER NOT NULL,
    state   BLOB NOT NULL
) STRICT;

CREATE TABLE monitor (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id      INTEGER NOT NULL REFERENCES project (id),
    rev             INTEGER NOT NULL,
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    slug            TEXT NOT NULL,
    description     TEXT NOT NULL,
    severity        TEXT NOT NULL,
    labels          TEXT NOT NULL,
    owner           TEXT NOT NULL,
    runbook_url     TEXT NOT NULL,
    channels        TEXT,
    settings_id     INTEGER NOT NULL REFERENCES settings (id),
    token_hash      BLOB NOT NULL UNIQUE,
    token_cipher    BLOB NOT NULL,
    old_token_hash  BLOB,
    old_token_until INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    UNIQUE (project_id, kind, name),
    UNIQUE (project_id, slug)
) STRICT;

CREATE TABLE channel (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id      INTEGER NOT NULL REFERENCES project (id),
    rev             INTEGER NOT NULL,
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    config_cipher   BLOB NOT NULL,
    is_default      INTEGER NOT NULL,
    is_system       INTEGER NOT NULL,
    remind_every    INTEGER NOT NULL,
    digest          INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

-- An incident outlives its monitor, so it keeps what people need of it.
CREATE TABLE incident (
    id              INTEGER PRIMARY KEY,
    project_id      INTEGER NOT NULL REFERENCES project (id),
    monitor_id      INTEGER NOT NULL,
    monitor_kind    TEXT NOT NULL,
    monitor_name    TEXT NOT NULL,
    labels          TEXT NOT NULL,
    severity        TEXT NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT NOT NULL,
    reopened        INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    detected_at     INTEGER NOT NULL,
    acknowledged_at INTEGER,
    resolved_at     INTEGER,
    evidence        TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX incident_open ON incident (monitor_id) WHERE resolved_at IS NULL;
CREATE INDEX incident_of_monitor ON incident (monitor_id, id);

-- The timeline of incidents and the transitions of the engine in one: `seq` is consecutive, given by the decider.
CREATE TABLE incident_event (
    seq         INTEGER PRIMARY KEY,
    epoch       INTEGER NOT NULL,
    cut         INTEGER NOT NULL,
    project_id  INTEGER NOT NULL,
    monitor_id  INTEGER NOT NULL,
    incident_id INTEGER NOT NULL REFERENCES incident (id),
    kind        TEXT NOT NULL,
    at          INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    reopened    INTEGER NOT NULL,
    by_whom     TEXT,
    note        TEXT,
    evidence    TEXT NOT NULL,
    silence     TEXT
) STRICT;
CREATE INDEX incident_event_of_incident ON incident_event (incident_id, seq);

-- The outbox. state: 0 pending, 1 delivered, 2 superseded, 3 dead. `claim` fences a late finish.
CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT NOT NULL UNIQUE,
    project_id  INTEGER NOT NULL,
    channel_id  INTEGER NOT NULL,
    incident_id INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    state       INTEGER NOT NULL,
    claim       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    decided_at  INTEGER NOT NULL,
    finished_at INTEGER,
    grouped     TEXT,
    detail      TEXT,
    UNIQUE (channel_id, incident_id, seq)
) STRICT;
CREATE INDEX delivery_due ON delivery (next_at) WHERE state = 0;
CREATE INDEX delivery_dead ON delivery (id) WHERE state = 3;
CREATE INDEX delivery_of_incident ON delivery (incident_id);

CREATE TABLE delivery_attempt (
    delivery_id INTEGER NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    n           INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    latency     INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    status      INTEGER,
    detail      TEXT NOT NULL,
    PRIMARY KEY (delivery_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id      INTEGER NOT NULL REFERENCES project (id),
    name            TEXT NOT NULL,
    role            TEXT NOT NULL,
    hash            BLOB NOT NULL UNIQUE,
    region          TEXT,
    cluster         TEXT,
    created_at      INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE person (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    email           TEXT NOT NULL UNIQUE,
    password_hash   TEXT NOT NULL,
    role            TEXT NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    hash        BLOB PRIMARY KEY,
    person_id   INTEGER REFERENCES person (id) ON DELETE CASCADE,
    seen_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE setup_code (
    hash        BLOB PRIMARY KEY,
    expires     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What retention keeps of a monitor when it drops the log row: its last check-in, its last failing one.
CREATE TABLE kept_checkin (
    monitor_id  INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    record      BLOB NOT NULL,
    PRIMARY KEY (monitor_id, position)
) STRICT, WITHOUT ROWID;
