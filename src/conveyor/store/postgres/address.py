"""The address of a PostgreSQL store: what libpq connects to, and the schema with the jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ...errors import UsageError

SCHEMA = "conveyor"
# A channel of hints has the schema's name and a kind, in PostgreSQL's 63 bytes of a name.
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
CONNECTIONS, MOST_CONNECTIONS = 4, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parts of an address. `url` is as it was given, but without a password."""

    url: str
    password: str = field(repr=False)
    # For libpq, without the options that are Conveyor's.
    server: str
    schema: str
    # How many connections a process may have, beside the one for hints.
    connections: int

    @property
    def shown(self) -> str:
        """The address for messages, without libpq's options."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}?schema={self.schema}"


def parse_address(url: str, password: str = "") -> Address:
    """Return the parts of "postgresql://user@host/db?schema=conveyor".

    `password` is for an address without one.
    """
    try:
        url.encode()  # the bytes of a command line need not be UTF-8
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"the address of a PostgreSQL database cannot be read: {error}") from error
    user, at, place = parts.netloc.rpartition("@")
    user, _, written = user.partition(":")
    parts = parts._replace(netloc=user + at + place)
    given = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in given if name in ("schema", "connections")}
    others = [(name, value) for name, value in given if name not in own]
    schema = own.get("schema", SCHEMA)
    if not _SCHEMA_NAME.fullmatch(schema):
        raise UsageError(
            f"schema={schema!r}: the name of a schema must have up to 48 lowercase letters, digits "
            "and underscores, and must not start with a digit"
        )
    number = own.get("connections", str(CONNECTIONS))
    if not number.isdecimal() or len(number) > 3 or not 1 <= int(number) <= MOST_CONNECTIONS:
        raise UsageError(
            f"connections={number!r:.100}: a process can have 1 to {MOST_CONNECTIONS} connections"
        )
    server = urlunsplit(parts._replace(query=urlencode(others, quote_via=quote)))
    return Address(
        url=urlunsplit(parts),
        password=unquote(written) or password,
        server=server,
        schema=schema,
        connections=int(number),
    )
