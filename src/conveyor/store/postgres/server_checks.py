"""What `conveyor doctor` says about a PostgreSQL server: its version, and settings that hurt."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from ..messages import Hint
from .address import Address
from .connection import Connection
from .notifier import PostgresNotifier

# A clock that differs by more than this is worth a look, in seconds.
SKEW = 5.0
# How old a transaction may be that keeps the server from removing dead rows, in seconds.
OLD_TRANSACTION = 300
# How many dead rows in the table of jobs are too many, beside the living ones.
DEAD_ROWS = 100_000
HEARD_WITHIN = 5.0

# name of the setting, the value that hurts, why
_HURTING = (
    ("fsync", "off", "a crash of the machine can destroy the database"),
    ("full_page_writes", "off", "a crash of the machine can destroy the database"),
    ("synchronous_commit", "off", "a crash loses jobs whose enqueue has returned"),
    ("autovacuum", "off", "claims become slower with every job that has run"),
)

# What is found, whether it is well, and in words.
Examined = tuple[str, bool, str]


def examine(address: Address) -> list[Examined]:
    """Examine the server of a store; an UnavailableError if it cannot be reached."""
    connection = Connection(address)
    try:
        return [
            _version(connection),
            *_settings(connection),
            *_rights(connection),
            *_old_transactions(connection),
            *_dead_rows(connection),
            _clock(connection),
            _notifications(address),
        ]
    except psycopg.Error as error:
        raise connection.translate(error) from error
    finally:
        connection.close()


def _version(connection: Connection) -> Examined:
    [(version,)] = _ask(connection, "SHOW server_version")
    [(size,)] = _ask(
        connection,
        "SELECT sum(pg_total_relation_size(oid))::BIGINT FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace",
    )
    return "server", True, f"PostgreSQL {version}, {size:,} bytes in {connection.address.schema}"


def _settings(connection: Connection) -> Iterator[Examined]:
    wrong = [
        f"{name}={value}: {why}"
        for name, value, why in _HURTING
        if _ask(connection, f"SHOW {name}") == [(value,)]
    ]
    for text in wrong:
        yield "settings", False, text
    if not wrong:
        yield "settings", True, "no setting endangers jobs"


def _rights(connection: Connection) -> Iterator[Examined]:
    missing = _ask(
        connection,
        "SELECT relname::TEXT FROM pg_class WHERE relkind IN ('r', 'v') "
        "AND relnamespace = current_schema()::regnamespace AND relname <> 'schema_version' "
        "AND NOT has_table_privilege(oid, CASE relkind WHEN 'v' THEN 'SELECT' "
        "ELSE 'SELECT, INSERT, UPDATE, DELETE' END) ORDER BY 1",
    )
    if missing:
        names = ", ".join(name for (name,) in missing)
        yield "rights", False, f"this user may not read and write {names}; grant it"


def _old_transactions(connection: Connection) -> Iterator[Examined]:
    rows = _ask(
        connection,
        "SELECT pid, coalesce(application_name, ''), state, "
        "extract(epoch FROM now() - xact_start)::BIGINT FROM pg_stat_activity "
        "WHERE xact_start < now() - $1::FLOAT8 * interval '1 second' "
        "AND datname = current_database() ORDER BY xact_start LIMIT 5",
        OLD_TRANSACTION,
    )
    for pid, name, state, seconds in rows:
        yield (
            "transactions",
            False,
            (
                f"session {pid} ({name}, {state}) has a transaction open for {seconds:,} s; the "
                "server cannot remove dead rows meanwhile, so claims become slower"
            ),
        )


def _dead_rows(connection: Connection) -> Iterator[Examined]:
    [(dead, alive)] = _ask(
        connection,
        "SELECT coalesce(sum(n_dead_tup), 0)::BIGINT, coalesce(sum(n_live_tup), 0)::BIGINT "
        "FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'job'",
    )
    if dead > DEAD_ROWS and dead > alive:
        yield (
            "dead rows",
            False,
            (
                f"the table of jobs has {dead:,} dead rows and {alive:,} others: autovacuum does "
                "not keep up; run VACUUM and look for old transactions"
            ),
        )


def _clock(connection: Connection) -> Examined:
    server_time, at = connection.begin(reads=True)
    connection.roll_back()
    skew = server_time - (time.time() - time.monotonic() + at)
    text = f"this machine's clock differs from the server's by {abs(skew):.1f} s"
    return "clock", abs(skew) <= SKEW, text


def _notifications(address: Address) -> Examined:
    """Send a hint from one session to another."""
    heard = threading.Event()
    listening, ringing = PostgresNotifier(address), PostgresNotifier(address)
    try:
        listening.listen(["access"], lambda _: heard.set())
        ringing.notify(Hint("access"))
        if heard.wait(HEARD_WITHIN):
            return "hints", True, "notifications arrive"
        return (
            "hints",
            False,
            (
                "notifications do not arrive, so workers notice new jobs only when they look by "
                "themselves; connect to the server without a pooler"
            ),
        )
    finally:
        ringing.close()
        listening.close()


def _ask(connection: Connection, question: str, *values: object) -> list[tuple[Any, ...]]:
    return psycopg.RawCursor(connection.session).execute(question.encode(), values).fetchall()
