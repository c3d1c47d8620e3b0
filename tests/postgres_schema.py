"""Schemas for tests: made once in each process, and emptied for the next test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import psycopg

from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration

NUMBERS = itertools.count(1)
# `note_change` and `state_change` are those of state_changes.py.
EMPTY = """
DROP FUNCTION IF EXISTS {schema}.note_change CASCADE;
DROP TABLE IF EXISTS {schema}.state_change;
DO $$ DECLARE each record; BEGIN
    FOR each IN SELECT relname FROM pg_class
        WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r'
            AND relname <> 'schema_version'
    LOOP EXECUTE format('DELETE FROM {schema}.%I', each.relname); END LOOP;
    FOR each IN SELECT relname FROM pg_class
        WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'S'
    LOOP PERFORM setval(format('{schema}.%I', each.relname), 1, false); END LOOP;
END $$
"""


class Schemas:
    """The schemas of this process in one server."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._free: list[str] = []

    @property
    def folder(self) -> str:
        """The folder with the server's unix socket."""
        return self.server.partition("host=")[2]

    @contextmanager
    def one(self) -> Iterator[str]:
        """Lend the URL of an empty schema."""
        schema = self._free.pop() if self._free else self._make()
        yield f"{self.server}&schema={schema}"
        with psycopg.connect(self.server, autocommit=True) as session:
            session.execute(EMPTY.format(schema=schema).encode())
        self._free.append(schema)

    def _make(self) -> str:
        schema = f"test_{os.getpid()}_{next(NUMBERS)}"
        Migration(parse_address(f"{self.server}&schema={schema}")).run()
        return schema


class Admin:
    """A session beside the store's."""

    def __init__(self, url: str) -> None:
        self.schema = parse_address(url).schema
        self.session = psycopg.connect(parse_address(url).server, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def run(self, statement: str, *params: Any) -> Sequence[Any]:
        cursor = self.session.execute(statement.encode(), params or None)
        return cursor.fetchall() if cursor.description else []
