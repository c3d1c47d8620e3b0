"""Opens a session of the server, directly or through a pooler, with what our statements rely on."""

from __future__ import annotations

import os
import socket
from typing import Any

import psycopg
from psycopg import capabilities, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ...errors import UnavailableError
from .address import Address
from .limited_session import ANSWER_TIMEOUT, LimitedSession

CONNECT_TIMEOUT = 10
# What the server ends by itself, in milliseconds: a statement that hangs, and a transaction whose
# client has vanished with locks in its hands.
STATEMENT_TIMEOUT, IDLE_TIMEOUT = 60_000, 30_000
# How a server that has vanished from the network is noticed within a minute, in seconds and, the
# last one, milliseconds. The address may say otherwise.
DETECTION = {
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_ARRIVED = b"SELECT pg_backend_pid(), current_setting('search_path')"
REMEDY = "add pool=transaction to its URL (docs/postgres.md, Poolers)"


class PoolerError(UnavailableError):
    """A pooler is between this process and the server, and the address does not say so."""


def needed_settings(address: Address, *, migrating: bool) -> dict[str, str]:
    """Return the settings of the server that every statement of ours needs."""
    return {
        "search_path": address.schema,
        "statement_timeout": str(0 if migrating else STATEMENT_TIMEOUT),
        "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT),
        # A plan that was made while a table was small must not scan it when it has grown.
        "enable_seqscan": "off",
        # Where a table has no other plan, its scan then looks so costly that it would be compiled.
        "jit": "off",
    }


def clock_and_settings(settings: dict[str, str]) -> str:
    """Return the query that reads the clock, and makes settings for the rest of its transaction."""
    local = "".join(f", set_config('{name}', '{value}', TRUE)" for name, value in settings.items())
    return f"SELECT extract(epoch FROM clock_timestamp())::FLOAT8{local}"  # noqa: S608 - our own


def open_session(address: Address, *, migrating: bool) -> LimitedSession:
    """Open a session that has the settings, or whose transactions each make them."""
    given: dict[str, Any] = dict(conninfo_to_dict(address.server))
    known: dict[str, Any] = {
        **DETECTION,
        "connect_timeout": CONNECT_TIMEOUT,
        "application_name": f"conveyor {socket.gethostname()}:{os.getpid()}",
        **given,
        "client_encoding": "UTF8",
    }
    if address.pool != "transaction":
        settings = needed_settings(address, migrating=migrating)
        settings["default_transaction_isolation"] = "read\\ committed"
        parts = [given.get("options", ""), *(f"-c {name}={settings[name]}" for name in settings)]
        known["options"] = " ".join(parts)
    known |= address.secrets
    try:
        session = LimitedSession.connect(make_conninfo(**known), autocommit=True)
    except psycopg.OperationalError as error:
        if "startup parameter" in str(error):
            raise PoolerError(f"a pooler answers for {address.shown}: {REMEDY}") from error
        raise
    session.limit = None if migrating else ANSWER_TIMEOUT
    try:
        if address.pool != "transaction":
            _check_settings(session, address)
        elif not _keeps_prepared(session):
            session.prepare_threshold = None
    except BaseException:
        session.close()
        raise
    return session


def _check_settings(session: LimitedSession, address: Address) -> None:
    [(pid, search_path)] = session.execute(_ARRIVED, prepare=False).fetchall()
    if search_path != address.schema:
        raise PoolerError(f"a pooler drops the settings of sessions for {address.shown}: {REMEDY}")
    if not address.pool and pid != session.info.backend_pid:
        raise PoolerError(
            f"a pooler or a proxy answers for {address.shown}: {REMEDY}, or pool=session if it "
            "gives each client a session of the server"
        )


def _keeps_prepared(session: LimitedSession) -> bool:
    """Whether a pooler brings prepared statements along to whichever session runs a transaction.

    One that does, as PgBouncer since 1.21, gives them names of its own in the server.
    """
    if not capabilities.has_send_close_prepared():
        return False
    name = f"conveyor_{os.urandom(8).hex()}"
    with session.transaction():
        session.pgconn.prepare(name.encode(), b"SELECT 1")
        query = "SELECT 1 FROM pg_prepared_statements WHERE name = %s"
        is_known = session.execute(query, (name,), prepare=False).fetchall()
        if is_known:
            session.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)), prepare=False)
        else:
            session.pgconn.close_prepared(name.encode())
    return not is_known
