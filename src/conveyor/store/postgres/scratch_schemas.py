"""Schemas of a database that are made for a short use, and dropped after it."""

from __future__ import annotations

import itertools
import os
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import psycopg

from ...core.address_secrets import PASSWORD
from ...errors import UnavailableError
from .address import parse_address
from .connection import Connection
from .migrate import Migration


class ScratchSchemas:
    """Makes stores in one database, and drops them at the end of its context.

    Their names begin with `prefix`, which no other process uses. `password` is the one in the
    address, if there is one.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_address(url)
        self.password = self._address.secrets.get(PASSWORD, "")
        self.prefix = f"conveyor_scratch_{os.urandom(4).hex()}_"
        self._numbers = itertools.count(1)
        self._made: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._made:
            self._drop_all()

    def make(self) -> str:
        """Make a store in a schema of its own; return its address, without a password.

        Other secrets are in it, because libpq takes them from nowhere else.
        """
        schema = f"{self.prefix}{next(self._numbers)}"
        server = self._address.server
        secrets = {each: value for each, value in self._address.secrets.items() if each != PASSWORD}
        query = urlencode({"schema": schema, **secrets}, quote_via=quote)
        url = f"{server}{'&' if '?' in server else '?'}{query}"
        try:
            Migration(parse_address(url, self.password)).run()
        except UnavailableError as error:
            if isinstance(error.__cause__, psycopg.errors.InsufficientPrivilege):
                raise UnavailableError(
                    f"{self._address.shown} allows no new schema: {error.__cause__}. "
                    "Use another role, or GRANT CREATE ON DATABASE … TO this one."
                ) from error
            raise
        self._made.append(schema)
        return url

    def _drop_all(self) -> None:
        connection = Connection(self._address)
        try:
            for schema in self._made:
                connection.script(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
        except psycopg.Error as error:
            raise connection.translate(error) from error
        finally:
            connection.close()
