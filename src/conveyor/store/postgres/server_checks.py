"""What `conveyor doctor` says about a PostgreSQL server: its version, and what hurts there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ..messages import Hint
from .address import Address
from .connection import Connection
from .migrate import read_version, schemas
from .notifier import PostgresNotifier
from .roles import ROLES, granted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From when on something is worth a line."""

    # How much this machine's clock may differ from the server's, in seconds.
    skew: float = 5.0
    # How old a transaction may be that keeps the server from removing dead rows, in seconds.
    transaction: float = 60.0
    # How many transactions may have begun since the oldest that somebody can still see.
    horizon: int = 1_000_000
    # How many bytes of its log the server may keep for a replica that is not connected.
    kept_log: int = 1 << 30
    # How many dead rows of a table are too many, if they are more than the living ones, or if the
    # table is one of those that claims walk.
    dead_rows: int = 100_000
    # Which share of the server's connections may be in use.
    connections: float = 0.9
    # Within how many seconds a notification must arrive.
    heard: float = 5.0


LIMITS = Limits()

# name of the setting, the value that hurts, why
_HURTING = (
    ("fsync", "off", "a crash of the machine can destroy the database"),
    ("full_page_writes", "off", "a crash of the machine can destroy the database"),
    ("synchronous_commit", "off", "a crash loses jobs whose enqueue has returned"),
    ("autovacuum", "off", "claims become slower with every job that has run"),
)
_MADE = re.compile(
    r"^(CREATE|DROP) (?:OR REPLACE |UNIQUE )?(TABLE|VIEW|INDEX|FUNCTION) (?:IF EXISTS )?(\w+)",
    re.MULTILINE,
)

_HOLDING_SESSIONS = """SELECT pid, coalesce(application_name, ''),
    coalesce(state, 'of another user'),
    extract(epoch FROM clock_timestamp() - xact_start)::BIGINT,
    greatest(age(backend_xmin), age(backend_xid))::BIGINT
FROM pg_stat_activity
WHERE (xact_start < clock_timestamp() - $1::FLOAT8 * INTERVAL '1 second'
        OR greatest(age(backend_xmin), age(backend_xid)) > $2::BIGINT)
    AND datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend'
    AND pid <> pg_backend_pid()
ORDER BY xact_start, 5 DESC LIMIT 5"""
_PREPARED = """SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::BIGINT
FROM pg_prepared_xacts
WHERE database = current_database()
    AND prepared < clock_timestamp() - $1::FLOAT8 * INTERVAL '1 second'
ORDER BY prepared LIMIT 5"""
# How much of its log the server keeps for each slot, and how many transactions have begun since the
# oldest that the slot's replica can still see.
_SLOTS = """SELECT slot_name::TEXT, active, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
    restart_lsn)::BIGINT AS kept, age(xmin)::BIGINT AS since
FROM pg_replication_slots WHERE wal_status IS DISTINCT FROM 'lost'
ORDER BY kept DESC NULLS LAST LIMIT 100"""
# The tables that claims walk; `ready` can have many living rows behind the dead ones.
_WALKED = ["ready", "running"]
_DEAD = """SELECT relname::TEXT, n_dead_tup, n_live_tup FROM pg_stat_user_tables
WHERE schemaname = $1 AND n_dead_tup > $2::BIGINT
    AND (n_dead_tup > n_live_tup OR relname = ANY ($3::TEXT[]))
ORDER BY n_dead_tup DESC LIMIT 5"""

# What is found, whether it is well, and in words.
Examined = tuple[str, bool, str]


def examine(
    address: Address, *, limits: Limits = LIMITS, now: Callable[[], float] = time.time
) -> list[Examined]:
    """Examine the server of a store; an UnavailableError if it cannot be reached."""
    connection = Connection(address)
    try:
        server_time, at = connection.begin(reads=True)
        skew = server_time - (now() - time.monotonic() + at)
        examined = [
            _version(connection),
            *_settings(connection),
            *_rights(connection),
            *_missing(connection),
            *_old_transactions(connection, limits),
            *_slots(connection, limits),
            *_dead_rows(connection, limits.dead_rows),
            *_connections(connection, limits.connections),
            _clock(skew, limits.skew),
        ]
        connection.roll_back()
        return [*examined, _notifications(address, limits.heard)]
    except psycopg.Error as error:
        raise connection.translate(error) from error
    finally:
        connection.close()


def _version(connection: Connection) -> Examined:
    [(version,)] = _ask(connection, "SHOW server_version")
    schema = connection.address.schema
    [(size,)] = _ask(
        connection,
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::BIGINT FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = to_regnamespace($1)",
        schema,
    )
    return "server", True, f"PostgreSQL {version}, {size:,} bytes in {schema}"


def _settings(connection: Connection) -> Iterator[Examined]:
    wrong = [
        f"{name}={value}: {why}; set it to on"
        for name, value, why in _HURTING
        if _ask(connection, f"SHOW {name}") == [(value,)]
    ]
    for text in wrong:
        yield "settings", False, text
    if not wrong:
        yield "settings", True, "no setting endangers jobs"


def _rights(connection: Connection) -> Iterator[Examined]:
    """Say which role's rights this user has."""
    tables = [name for name, _ in _relations(connection, "rpv")]
    lacking: list[str] = []
    for role in ROLES:
        missing = [name for name in tables if not _may(connection, name, granted(role, name))]
        if not missing:
            yield "rights", True, f"this user has the rights of a {role}"
            return
        lacking = lacking or missing
    shown = ", ".join(lacking)
    yield (
        "rights",
        False,
        f"this user may not read and write {shown}; grant it a role of `conveyor migrate --roles`",
    )


def _may(connection: Connection, table: str, rights: str) -> bool:
    """Whether this user has these privileges; of some columns is enough where they are named."""
    name = f"{connection.address.schema}.{table}"
    for right, columns in re.findall(r"(\w+)( \([^)]*\))?", rights):
        check = "has_any_column_privilege" if columns else "has_table_privilege"
        if _ask(connection, f"SELECT {check}($1, $2)", name, right) == [(False,)]:
            return False
    return True


def _missing(connection: Connection) -> Iterator[Examined]:
    """Say what the steps of the schema have made, and is not there."""
    made: dict[str, str] = {}
    version, _ = read_version(connection)
    for verb, kind, name in _MADE.findall("\n".join(schemas()[:version])):
        if verb == "CREATE":
            made[name] = kind.lower()
        else:
            made.pop(name, None)
    relations = dict(_relations(connection, "rpviI"))
    functions = _ask(
        connection,
        "SELECT proname::TEXT FROM pg_proc WHERE pronamespace = to_regnamespace($1)",
        connection.address.schema,
    )
    there = {name for name, is_valid in relations.items() if is_valid}
    there |= {name for (name,) in functions}
    lost = [f"{kind} {name}" for name, kind in made.items() if name not in there]
    if lost:
        yield (
            "schema",
            False,
            (
                f"missing or invalid: {', '.join(lost)}; create them as `conveyor migrate --sql` "
                "does for an empty schema"
            ),
        )


def _relations(connection: Connection, kinds: str) -> list[tuple[str, bool]]:
    """Return the names of tables, views and indexes, and whether an index is valid."""
    return _ask(
        connection,
        "SELECT relname::TEXT, coalesce(indisvalid, TRUE) FROM pg_class "
        "LEFT JOIN pg_index ON indexrelid = pg_class.oid "
        "WHERE relnamespace = to_regnamespace($1) AND NOT relispartition "
        "AND strpos($2, relkind::TEXT) > 0 ORDER BY 1",
        connection.address.schema,
        kinds,
    )


def _old_transactions(connection: Connection, limits: Limits) -> Iterator[Examined]:
    """Name what keeps the server from removing dead rows, five of each kind at most.

    How long a session of another user has been in its transaction is not shown to everybody, but
    how many transactions have begun since is.
    """
    limit, age = limits.transaction, limits.horizon
    for pid, name, state, seconds, since in _ask(connection, _HOLDING_SESSIONS, limit, age):
        shown = f"{seconds:,} s" if seconds is not None else f"{since:,} transactions of others"
        yield (
            "transactions",
            False,
            (
                f"session {pid} ({name}, {state}) has a transaction open for {shown}; the "
                "server cannot remove dead rows meanwhile, so claims become slower: end it, or "
                f"SELECT pg_terminate_backend({pid})"
            ),
        )
    for name, seconds in _ask(connection, _PREPARED, limit):
        yield (
            "transactions",
            False,
            (
                f"transaction {name!r} was prepared {seconds:,} s ago and keeps dead rows: end it "
                "with COMMIT PREPARED or ROLLBACK PREPARED"
            ),
        )


def _slots(connection: Connection, limits: Limits) -> Iterator[Examined]:
    """Name the replication slots that fill the disk, or keep dead rows."""
    for name, is_active, kept, since in _ask(connection, _SLOTS):
        used = "whose replica is connected" if is_active else "that no replica uses now"
        drop = f"SELECT pg_drop_replication_slot('{name}')"
        if not is_active and kept is not None and kept > limits.kept_log:
            yield (
                "replication",
                False,
                (
                    f"the server keeps {kept:,} bytes of its log for slot {name!r}, {used}, until "
                    f"its disk is full: start the replica, or {drop} if there is none any more; "
                    "max_slot_wal_keep_size limits that"
                ),
            )
        if since is not None and since > limits.horizon:
            remedy = "end its long queries, or set hot_standby_feedback=off there"
            yield (
                "replication",
                False,
                (
                    f"slot {name!r}, {used}, keeps the dead rows of {since:,} transactions, so "
                    f"claims become slower: {remedy if is_active else drop}"
                ),
            )


def _dead_rows(connection: Connection, limit: int) -> Iterator[Examined]:
    schema = connection.address.schema
    for table, dead, alive in _ask(connection, _DEAD, schema, limit, _WALKED):
        yield (
            "dead rows",
            False,
            (
                f"table {table} has {dead:,} dead rows and {alive:,} others: autovacuum does not "
                f"keep up; run VACUUM {schema}.{table} and look for old transactions"
            ),
        )


def _connections(connection: Connection, limit: float) -> Iterator[Examined]:
    [(used, most)] = _ask(
        connection,
        "SELECT count(*), current_setting('max_connections')::BIGINT FROM pg_stat_activity "
        "WHERE backend_type = 'client backend'",
    )
    text = f"{used} of {most} connections of the server are in use"
    if used < limit * most:
        yield "connections", True, text
    else:
        yield (
            "connections",
            False,
            (
                f"{text}; raise max_connections, lower connections= in the URL, or put a pooler in "
                "between"
            ),
        )


def _clock(skew: float, limit: float) -> Examined:
    text = f"this machine's clock differs from the server's by {abs(skew):.1f} s"
    is_well = abs(skew) <= limit
    return "clock", is_well, text if is_well else f"{text}; synchronise both (chrony, NTP)"


def _notifications(address: Address, limit: float) -> Examined:
    """Send a hint from one session to another."""
    heard = threading.Event()
    listening, ringing = PostgresNotifier(address), PostgresNotifier(address)
    try:
        listening.listen(["access"], lambda _: heard.set())
        if listening.polls:
            return (
                "hints",
                True,
                (
                    "behind the pooler, workers look once a second; name the server with "
                    "direct=HOST:PORT in the URL for notifications"
                ),
            )
        ringing.notify(Hint("access"))
        if heard.wait(limit):
            return "hints", True, "notifications arrive"
        return (
            "hints",
            False,
            (
                "notifications do not arrive, so workers notice new jobs only when they look by "
                "themselves; connect to the server directly, or name a pooler with pool=transaction"
            ),
        )
    finally:
        ringing.close()
        listening.close()


def _ask(connection: Connection, question: str, *values: object) -> list[tuple[Any, ...]]:
    given: Sequence[object] = values
    return psycopg.RawCursor(connection.session).execute(question.encode(), given).fetchall()
