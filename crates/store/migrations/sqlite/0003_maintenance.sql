-- When something is known to be worked on. `selector` is the label selector; `spec` holds the rest as JSON. `over_at` is when
-- one that comes once is over: decisions read the others.
CREATE TABLE maintenance (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id      INTEGER NOT NULL REFERENCES project (id),
    rev             INTEGER NOT NULL,
    name            TEXT NOT NULL,
    description     TEXT NOT NULL,
    selector        TEXT NOT NULL,
    spec            TEXT NOT NULL,
    over_at         INTEGER,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;
