"""Where jobs live: one protocol, and a store for memory, SQLite and HTTP each."""
