"""`conveyor doctor` finds each fault of a PostgreSQL server, and says what to do."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.pq import ConnStatus, ExecStatus, PGconn
from test_postgres_roles import opened_as

from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.server_checks import Limits, examine

Run = Callable[[str], None]


@pytest.fixture
def run(url: str) -> Run:
    """Return a function that runs SQL in the schema."""
    address = parse_address(url)

    def run(text: str) -> None:
        # In a session of its own, whose end writes its statistics.
        with psycopg.connect(address.server, autocommit=True) as session:
            session.execute(f"SET search_path = {address.schema}".encode())
            session.execute(text.encode())

    return run


def found(url: str, name: str, **given: object) -> list[tuple[bool, str]]:
    limits = Limits(**given)  # type: ignore[arg-type]
    examined = examine(parse_address(url), limits=limits)
    return [(is_well, text) for each, is_well, text in examined if each == name]


def test_a_server_without_faults_of_the_schema_is_well(url: str) -> None:
    examined = examine(parse_address(url), limits=Limits(transaction=1e6, heard=60, skew=60))
    assert {name for name, is_well, _ in examined if not is_well} == {"settings"}
    [(_, rights)] = found(url, "rights")
    assert rights == "this user has the rights of a worker"


def test_settings_that_lose_data_are_named(url: str) -> None:
    named = [text.partition(":")[0] for is_well, text in found(url, "settings") if not is_well]
    assert named == [
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "autovacuum=off",
    ]


@contextmanager
def without(run: Run, lost: str, restored: str) -> Iterator[None]:
    run(lost)
    try:
        yield
    finally:
        run(restored)


def test_a_missing_index_is_named(url: str, run: Run) -> None:
    with without(run, "DROP INDEX audit_at", "CREATE INDEX audit_at ON audit (at)"):
        [(is_well, text)] = found(url, "schema")
    assert not is_well
    assert text.startswith("missing or invalid: index audit_at; create")


def test_an_invalid_index_is_named(url: str, run: Run) -> None:
    of_audit = "WHERE indexrelid = 'audit_at'::REGCLASS"
    with without(
        run,
        f"UPDATE pg_index SET indisvalid = FALSE {of_audit}",
        f"UPDATE pg_index SET indisvalid = TRUE {of_audit}",
    ):
        [(_, text)] = found(url, "schema")
    assert "index audit_at" in text


def test_a_missing_function_is_named(url: str, run: Run) -> None:
    address = parse_address(url)
    with psycopg.connect(address.server) as session:
        [(name,)] = session.execute(
            "SELECT min(proname)::TEXT FROM pg_proc WHERE pronamespace = %s::REGNAMESPACE",
            (address.schema,),
        ).fetchall()
    with without(
        run, f"ALTER FUNCTION {name} RENAME TO moved", f"ALTER FUNCTION moved RENAME TO {name}"
    ):
        [(is_well, text)] = found(url, "schema")
    assert not is_well
    assert f"function {name}" in text


def test_a_transaction_that_is_forgotten_is_named(url: str) -> None:
    with psycopg.connect(parse_address(url).server, application_name="a forgotten one") as idle:
        idle.execute("SELECT 1")
        texts = [text for _, text in found(url, "transactions", transaction=0.0)]
        pid = idle.info.backend_pid
    [text] = [each for each in texts if f"session {pid} " in each]
    assert "(a forgotten one, idle in transaction)" in text
    assert f"pg_terminate_backend({pid})" in text


def test_a_transaction_of_another_user_is_named_by_what_has_begun_since(url: str) -> None:
    server = parse_address(url).server
    with (
        psycopg.connect(server, application_name="a forgotten one") as idle,
        psycopg.connect(server, autocommit=True) as other,
        opened_as("reader", url) as reader,
    ):
        idle.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        idle.execute("SELECT 1")
        for _ in range(5):
            other.execute("SELECT pg_current_xact_id()")
        texts = [text for _, text in found(reader.url, "transactions", transaction=0.0, horizon=4)]
        [text] = [each for each in texts if f"session {idle.info.backend_pid} " in each]
    assert re.search(r"has a transaction open for [\d,]+ transactions of others", text)


def test_a_prepared_transaction_that_is_forgotten_is_named(url: str) -> None:
    with psycopg.connect(parse_address(url).server, autocommit=True) as session:
        session.execute("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'forgotten'")
        try:
            texts = [text for _, text in found(url, "transactions", transaction=0.0)]
        finally:
            session.execute("ROLLBACK PREPARED 'forgotten'")
    assert any("transaction 'forgotten' was prepared 0 s ago" in text for text in texts)


@contextmanager
def replication_slot(url: str) -> Iterator[str]:
    """Make a slot that reserves the log from now on."""
    name = f"slot_{parse_address(url).schema}"
    with psycopg.connect(parse_address(url).server, autocommit=True) as session:
        session.execute("SELECT pg_create_physical_replication_slot(%s, TRUE)", (name,))
        try:
            yield name
        finally:
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            session.execute(f"{drop} WHERE slot_name = %s".encode(), (name,))


def slots(url: str, name: str, **given: object) -> list[str]:
    """Return what is said about a slot."""
    told = found(url, "replication", **given)
    assert not any(is_well for is_well, _ in told)
    return [text for _, text in told if f"slot '{name}'" in text]


def test_a_replication_slot_that_nobody_uses_is_named_with_the_log_that_it_keeps(
    url: str, run: Run
) -> None:
    with replication_slot(url) as name:
        run("CREATE TABLE written AS SELECT generate_series(1, 1000); DROP TABLE written")
        assert slots(url, name) == []
        [text] = slots(url, name, kept_log=1000)
    assert re.match(r"the server keeps [\d,]+ bytes of its log for slot '\w+', that no", text)
    assert f"SELECT pg_drop_replication_slot('{name}')" in text


class Replica:
    """A replica that is connected to a slot from `start` on, and says what it can still see."""

    def __init__(self, url: str, slot: str, start: str) -> None:
        self._ask = PGconn.connect(f"{parse_address(url).server}&replication=true".encode())
        assert self._ask.status == ConnStatus.OK, self._ask.error_message
        begun = self._ask.exec_(f"START_REPLICATION SLOT {slot} PHYSICAL {start}".encode())
        assert begun.status == ExecStatus.COPY_BOTH, begun.error_message

    def sees(self, xmin: int) -> None:
        self._ask.put_copy_data(struct.pack("!cqIIII", b"h", 0, xmin, 0, 0, 0))
        self._ask.flush()

    def close(self) -> None:
        self._ask.finish()


def test_a_replication_slot_that_keeps_dead_rows_is_named_connected_or_not(
    url: str, until: Callable[[Callable[[], object]], None]
) -> None:
    with (
        psycopg.connect(parse_address(url).server, autocommit=True) as session,
        replication_slot(url) as name,
    ):
        [(oldest,)] = session.execute("SELECT pg_current_xact_id()::TEXT::INT8").fetchall()
        for _ in range(5):
            session.execute("SELECT pg_current_xact_id()")
        [(start,)] = session.execute(
            "SELECT restart_lsn::TEXT FROM pg_replication_slots WHERE slot_name = %s", (name,)
        ).fetchall()
        replica = Replica(url, name, start)
        replica.sees(oldest)
        until(lambda: slots(url, name, horizon=4))
        [text] = slots(url, name, horizon=4, kept_log=-1)
        assert re.match(r"slot '\w+', whose replica is connected, keeps the dead rows of \d+", text)
        assert "hot_standby_feedback=off" in text
        replica.close()
        until(lambda: "that no replica uses now" in slots(url, name, horizon=4)[0])
        [text] = slots(url, name, horizon=4)
        assert f"SELECT pg_drop_replication_slot('{name}')" in text


def test_dead_rows_before_a_backlog_are_named_while_a_snapshot_keeps_them(
    url: str, run: Run, until: Callable[[Callable[[], object]], None]
) -> None:
    values = "lane, rank, run_at, seq, size, id"
    run(
        f"INSERT INTO ready ({values}) SELECT 1, -1, n, n, 1, n FROM generate_series(1, 30000) AS n"
    )
    with psycopg.connect(parse_address(url).server) as idle:
        idle.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        idle.execute("SELECT 1")
        run("DELETE FROM ready WHERE seq <= 10000")
        run("VACUUM ready")

        def of_ready() -> list[str]:
            told = found(url, "dead rows", dead_rows=5000)
            return [text for _, text in told if "table ready " in text]

        until(of_ready)
        assert re.search(r"table ready has 10,000 dead rows and 20,000 others", of_ready()[0])
    run("VACUUM ready")
    until(lambda: not of_ready())


def test_a_table_with_more_dead_rows_than_others_is_named(
    url: str, run: Run, until: Callable[[Callable[[], object]], None]
) -> None:
    # More than other tests have left in other tables, as the five worst are named.
    run(
        "INSERT INTO audit (at, who, place, what, subject, detail) "
        "SELECT 1, '', '', '', '', '' FROM generate_series(1, 50000)"
    )
    run("DELETE FROM audit")

    def of_audit() -> list[str]:
        told = found(url, "dead rows", dead_rows=50)
        return [text for is_well, text in told if not is_well and "table audit " in text]

    until(of_audit)
    [text] = of_audit()
    assert re.search(r"table audit has 5\d,\d{3} dead rows", text)
    assert "run VACUUM" in text


def test_a_server_with_few_connections_left_is_told(url: str) -> None:
    [(is_well, text)] = found(url, "connections", connections=0.0)
    assert not is_well
    assert "raise max_connections" in text


def test_a_clock_that_is_wrong_is_told(url: str) -> None:
    examined = examine(parse_address(url), now=lambda: time.time() + 3600)
    [(is_well, text)] = [(well, text) for name, well, text in examined if name == "clock"]
    assert not is_well
    assert "s; synchronise both" in text


def test_a_user_with_some_rights_is_told_which(url: str) -> None:
    with opened_as("producer", url) as store:
        [(is_well, text)] = found(store.url, "rights")
        assert (is_well, text) == (True, "this user has the rights of a producer")
    with opened_as("reader", url) as store:
        [(is_well, text)] = found(store.url, "rights")
        assert (is_well, text) == (True, "this user has the rights of a reader")


def test_a_user_who_lacks_rights_is_told_of_which_tables(url: str, run: Run) -> None:
    with opened_as("worker", url) as store:
        run(f"REVOKE INSERT ON offer FROM {parse_address(url).schema}_worker")
        run(f"REVOKE SELECT ON lane FROM {parse_address(url).schema}_worker")
        [(is_well, text)] = found(store.url, "rights")
    assert not is_well
    assert text.startswith("this user may not read and write lane, offer; grant")
