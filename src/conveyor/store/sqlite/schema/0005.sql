-- Who leads, or led last: of the scalers, say. `term` counts the holders; the note is handed on.
CREATE TABLE leader (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until REAL NOT NULL,
    since REAL NOT NULL,
    term INTEGER NOT NULL,
    note TEXT NOT NULL
) STRICT;
