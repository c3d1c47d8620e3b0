-- What applications declare about their tasks (JSON), for those who enqueue them by name.
CREATE TABLE task (
    name TEXT PRIMARY KEY,
    defaults BLOB NOT NULL
) STRICT, WITHOUT ROWID;
