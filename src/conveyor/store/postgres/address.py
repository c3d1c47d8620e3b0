"""The address of a PostgreSQL store: what libpq connects to, and the schema with the jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ...core.address_secrets import PASSWORD, is_secret, join_secrets, split_secrets
from ...errors import UsageError

# What keeps connections between this process and the server. "session": a proxy or a pooler gives a
# client one session of the server. "transaction": each transaction may be in another one.
Pool = Literal["", "session", "transaction"]

SCHEMA = "conveyor"
# A channel of hints has the schema's name and a kind, in PostgreSQL's 63 bytes of a name.
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
CONNECTIONS, MOST_CONNECTIONS = 4, 100
_OWN = ("schema", "connections", "pool", "direct")
_PLACE = ("host", "hostaddr", "port")
# What says which database is meant, if it is not before the "?".
_WHICH = (*_PLACE, "user", "dbname", "service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parts of an address. `url` is as it was given, but without its secrets."""

    url: str
    # The password, and other options of libpq that are secrets.
    secrets: Mapping[str, str] = field(repr=False)
    # For libpq, without the options that are Conveyor's.
    server: str
    schema: str
    # How many connections a process may have, beside the one for hints.
    connections: int
    pool: Pool = ""
    # HOST:PORT of the server itself, for hints.
    direct: str = ""

    @property
    def secret(self) -> str:
        """The secrets as `parse_address` takes them."""
        return join_secrets(self.secrets)

    @property
    def shown(self) -> str:
        """The address for messages, without those of libpq's options that name no database."""
        parts = urlsplit(self.url)
        which = [each for each in parts.query.split("&") if each.partition("=")[0] in _WHICH]
        pool = [f"pool={self.pool}"] if self.pool else []
        query = "&".join([*which, f"schema={self.schema}", *pool])
        return f"{parts.scheme}://{parts.netloc}{parts.path}?{query}"

    @property
    def for_hints(self) -> Address:
        """The address at which a session can listen, if there is one."""
        if not self.direct:
            return self
        host, _, port = self.direct.rpartition(":")
        parts = urlsplit(self.server)
        user, at, _ = parts.netloc.rpartition("@")
        given = [each for each in parse_qsl(parts.query) if each[0] not in _PLACE]
        query = urlencode([*given, ("host", host.strip("[]")), ("port", port)], quote_via=quote)
        server = urlunsplit(parts._replace(netloc=user + at, query=query))
        return replace(self, server=server, pool="", direct="")


def parse_address(url: str, secret: str = "") -> Address:
    """Return the parts of "postgresql://user@host/db?schema=conveyor".

    `secret` is the password for an address without one, or the `secret` of another address.
    """
    try:
        url.encode()  # the bytes of a command line need not be UTF-8
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"the address of a PostgreSQL database cannot be read: {error}") from error
    user, at, place = parts.netloc.rpartition("@")
    user, _, written = user.partition(":")
    given = parse_qsl(parts.query, keep_blank_values=True)
    # libpq takes a password here, too.
    secrets = split_secrets(secret)
    secrets |= {name: value for name, value in given if is_secret(name) and value}
    if written:
        secrets[PASSWORD] = unquote(written)
    query = "&".join(each for each in parts.query.split("&") if not is_secret(each.split("=")[0]))
    parts = parts._replace(netloc=user + at + place, query=query)
    own = {name: value for name, value in given if name in _OWN}
    others = [(name, value) for name, value in given if name not in own and not is_secret(name)]
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
    pool, direct = _pooling(own)
    server = urlunsplit(parts._replace(query=urlencode(others, quote_via=quote)))
    return Address(
        url=urlunsplit(parts),
        secrets=secrets,
        server=server,
        schema=schema,
        connections=int(number),
        pool=pool,
        direct=direct,
    )


def _pooling(own: dict[str, str]) -> tuple[Pool, str]:
    """Return what is between this process and the server, and where the server itself is."""
    given, direct = own.get("pool", ""), own.get("direct", "")
    pool = next((each for each in get_args(Pool) if each == given), None)
    if pool is None or ("pool" in own and not pool):
        raise UsageError(f"pool={given!r:.100}: must be 'transaction' or 'session'")
    host, _, port = direct.rpartition(":")
    if "direct" in own and not (pool == "transaction" and host and port.isdecimal()):
        raise UsageError(
            f"direct={direct!r:.100}: must be HOST:PORT of the server behind a pooler, beside "
            "pool=transaction"
        )
    return pool, direct
