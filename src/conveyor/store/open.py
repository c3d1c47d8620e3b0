"""Opens a store by its URL. A kind of store is one package and one line here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..core.clock import Clock
from ..errors import UnavailableError, UsageError
from ..settings import (
    MEMORY,
    POSTGRES,
    SERVERS,
    TOKEN,
    has_password_in,
    load_settings,
    token_from,
    without_password,
)
from .memory.store import MemoryStore
from .protocol import Store

if TYPE_CHECKING:
    from .postgres.migrate import Migration
    from .postgres.scratch_schemas import ScratchSchemas
    from .postgres.server_checks import Examined
    from .postgres.store import PostgresStore
    from .sql.store import SqlStore
    from .sqlite.store import SqliteStore


KNOWN = (
    "'memory:', a path like 'jobs.db', 'sqlite:///jobs.db' or 'sqlite:////var/jobs.db', "
    "'postgresql://user@host/db', and a server like 'https://jobs.example.com'"
)


def open_store(url: str, clock: Clock | None = None, token: str | None = None) -> Store:
    """Open the store at an address; UsageError for an address of no known kind.

    `token` is for a server, and the password of a database; None takes the configured one.
    """
    # Drivers are imported only where they are needed: memory and the command line's help go
    # without.
    scheme = _checked_scheme(url)
    if url in MEMORY:
        return MemoryStore(clock)
    if scheme in SERVERS:
        return _open_http(url, clock, token)
    if scheme in POSTGRES:
        return _open_postgres(url, clock, token or "")
    return _open_sqlite(url, clock)


def open_for_move(url: str) -> SqlStore:
    """Open a store from or to which jobs are moved, whatever its mark says."""
    scheme = _checked_scheme(url)
    if url in MEMORY or scheme in SERVERS:
        raise UsageError(
            f"jobs cannot be moved from or to {without_password(url)}: name a SQLite file or a "
            "PostgreSQL database"
        )
    if scheme in POSTGRES:
        return _open_postgres(url, None, "", for_move=True)
    return _open_sqlite(url, for_move=True)


def open_migration(url: str) -> Migration:
    """Return the migration of the PostgreSQL store at an address."""
    try:
        from .postgres.address import parse_address  # noqa: PLC0415
        from .postgres.migrate import Migration  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing_driver(error) from error
    return Migration(parse_address(url))


def open_scratch_schemas(url: str) -> ScratchSchemas:
    """Return what makes and drops stores in the PostgreSQL database at an address."""
    try:
        from .postgres.scratch_schemas import ScratchSchemas  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing_driver(error) from error
    return ScratchSchemas(url)


def examine_server(url: str, password: str) -> list[Examined]:
    """Return what is to be said about the PostgreSQL server at an address."""
    from .postgres.address import parse_address  # noqa: PLC0415
    from .postgres.server_checks import examine  # noqa: PLC0415

    return examine(parse_address(url, password))


def check_store_exists(url: str) -> None:
    """Raise UnavailableError if opening this store would create it."""
    scheme = _checked_scheme(url)
    if url in MEMORY:
        raise UnavailableError(
            "no store at memory: a store in memory can be used only by the process that has it; "
            "name a file or a server with --url or CONVEYOR_URL"
        )
    if scheme in (*SERVERS, *POSTGRES):  # opening one of these creates nothing
        return
    path = os.path.abspath(url.removeprefix("sqlite:///").partition("?")[0])
    if not os.path.isfile(path) or not os.path.getsize(path):
        shown = os.path.abspath(without_password(url).removeprefix("sqlite:///").partition("?")[0])
        raise UnavailableError(
            f"no store at {shown}; run this in the application's directory, or name the store with "
            "--url or CONVEYOR_URL"
        )


def _checked_scheme(url: str) -> str:
    """Return the scheme of an address, or the beginning of a path; UsageError if none is known."""
    scheme, colon, _ = url.partition(":")
    is_remote = scheme in (*SERVERS, *POSTGRES)
    is_named = is_remote or url in MEMORY or scheme == "sqlite" or not colon or "/" in scheme
    if not url or not is_named or (has_password_in(url) and not is_remote):
        raise UsageError(f"there is no store for {without_password(url)!r}; known are {KNOWN}")
    return scheme


def _open_sqlite(url: str, clock: Clock | None = None, *, for_move: bool = False) -> SqliteStore:
    from .sqlite.store import SqliteStore  # noqa: PLC0415

    return SqliteStore.open(url, clock, for_move=for_move)


def _open_postgres(
    url: str, clock: Clock | None, password: str, *, for_move: bool = False
) -> PostgresStore:
    try:
        from .postgres.store import PostgresStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _missing_driver(error) from error
    return PostgresStore(url, password=password, clock=clock, for_move=for_move)


def _missing_driver(error: ModuleNotFoundError) -> UsageError:
    return UsageError(
        f"PostgreSQL needs {error.name}: install it with `pip install conveyor[postgres]`"
    )


def _open_http(url: str, clock: Clock | None, token: str | None) -> Store:
    settings = load_settings()
    try:
        from .http.store import HttpStore  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{url} needs {error.name}: install it with `pip install conveyor[http]`"
        ) from error
    return HttpStore(
        url,
        token=token_from(settings) if token is None else token,
        ca_file=str(settings["ca_file"]),
        clock=clock,
    )


__all__ = ["KNOWN", "TOKEN", "check_store_exists", "open_store"]
