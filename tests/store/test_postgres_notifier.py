"""PostgreSQL's hints over the network, and what the thread that sends them does beside."""

from __future__ import annotations

import threading
import time

import msgspec
from calls import claim, counted, new, put, settle

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.store.messages import Hint, Report
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.notifier import (
    ADD_UP_EVERY,
    FORGET_EVERY,
    LONGEST_PAUSE,
    MARKS,
    PostgresNotifier,
)
from conveyor.store.postgres.store import PostgresStore
from postgres_schema import Admin


def test_another_process_hears_a_hint_also_after_its_session_was_ended(
    url: str, postgres: PostgresStore, admin: Admin
) -> None:
    other = PostgresStore(url)
    heard: list[Hint] = []
    came = threading.Event()

    def hear(hint: Hint) -> None:
        heard.append(hint)
        came.set()

    other.listen(["work"], hear)
    put(postgres, new())
    assert came.wait(30)
    assert heard[0] == Hint("work", ("q",))
    came.clear()
    admin.run(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE query LIKE 'LISTEN%%' AND query LIKE %s",
        f"%{admin.schema}%",
    )
    # It hears of anything that it may have missed.
    assert came.wait(30)
    assert heard[-1] == Hint("work")
    other.close()


def test_many_subjects_are_told_as_any(url: str, postgres: PostgresStore) -> None:
    other = PostgresStore(url)
    came = threading.Event()
    heard: list[Hint] = []

    def hear(hint: Hint) -> None:
        heard.append(hint)
        came.set()

    other.listen(["final"], hear)
    put(postgres, *(new(id=f"{number:030}") for number in range(400)))
    jobs = claim(postgres, 400)
    postgres.settle([Report(job.id, job.lease, Succeeded()) for job in jobs]).result()
    assert came.wait(30)
    assert heard[0] == Hint("final")
    other.close()


def test_counts_are_added_up_and_stay_the_same(postgres: PostgresStore, admin: Admin) -> None:
    for _ in range(5):
        put(postgres, new())
    notifier = postgres._driver._opened.notifier  # type: ignore[attr-defined]
    connection = Connection(parse_address(postgres.url))
    notifier._add_up(connection)
    connection.close()
    assert admin.run(f"SELECT count(*) FROM {admin.schema}.tally") == [(0,)]
    assert admin.run(f"SELECT available FROM {admin.schema}.queue") == [(5,)]
    assert counted(postgres)["q"][State.AVAILABLE] == 5


def test_counts_of_a_queue_that_another_transaction_holds_are_added_up_later(
    url: str, admin: Admin
) -> None:
    notifier = PostgresNotifier(parse_address(url))
    connection = Connection(parse_address(url))
    admin.run(f"INSERT INTO {admin.schema}.queue (name) VALUES ('held'), ('free')")
    for name in ("held", "free"):
        admin.run(f"INSERT INTO {admin.schema}.tally VALUES (%s, 0, 1, 0, 0, 0, 0, 0)", name)
    with admin.session.transaction():
        admin.run(f"SELECT 1 FROM {admin.schema}.queue WHERE name = 'held' FOR UPDATE")
        notifier._add_up(connection)
        assert admin.run(f"SELECT queue FROM {admin.schema}.tally") == [("held",)]
        assert notifier._has_tallied
    notifier._add_up(connection)
    assert admin.run(f"SELECT queue FROM {admin.schema}.tally") == []
    assert not notifier._has_tallied
    connection.close()


def test_what_counts_show_no_more_is_added_up_and_stays_the_same(
    postgres: PostgresStore, admin: Admin
) -> None:
    put(postgres, *(new() for _ in range(5)))
    put(postgres, new(queue="other"))
    for queue, limit in (("q", 5), ("other", 1)):
        for job in claim(postgres, limit, queue=queue):
            settle(postgres, job, Succeeded())
            postgres.delete(job.id).result()
    before = [each.totals for each in postgres.counts().result()]
    notifier = PostgresNotifier(parse_address(postgres.url))
    connection = Connection(parse_address(postgres.url))
    notifier._add_up(connection)
    put(postgres, new())
    notifier._add_up(connection)
    connection.close()
    rows = admin.run(f"SELECT queue, deleted FROM {admin.schema}.past_tally ORDER BY queue")
    assert rows == [("other", 1), ("q", 5)]
    other, q = [each.totals for each in postgres.counts().result()]
    assert [other, msgspec.structs.replace(q, enqueued=5)] == before
    assert q.enqueued == 6


def test_an_idle_process_asks_for_changed_counts_more_and_more_rarely(
    url: str, admin: Admin
) -> None:
    notifier = PostgresNotifier(parse_address(url))
    connection = Connection(parse_address(url))

    def pause_after(*, change: bool) -> float:
        if change:
            admin.run(f"INSERT INTO {admin.schema}.tally VALUES ('q', 0, 0, 0, 0, 0, 0, 0)")
        notifier._add_up(connection)
        return notifier._pause

    assert pause_after(change=True) == ADD_UP_EVERY
    pauses = [pause_after(change=False) for _ in range(6)]
    assert pauses == [2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pause_after(change=True) == ADD_UP_EVERY
    connection.close()


def test_marks_are_forgotten_once_a_minute_unless_there_are_many(url: str, admin: Admin) -> None:
    notifier = PostgresNotifier(parse_address(url))
    connection = Connection(parse_address(url))
    admin.run(
        f"INSERT INTO {admin.schema}.commit_mark (id, is_committed) "
        f"SELECT '00' || number, TRUE FROM generate_series(1, {MARKS + 1}) AS number"
    )
    notifier._forget_marks(connection)
    assert notifier._forget_at < time.monotonic() + FORGET_EVERY / 2
    notifier._forget_marks(connection)
    assert notifier._forget_at > time.monotonic() + FORGET_EVERY / 2
    assert admin.run(f"SELECT count(*) FROM {admin.schema}.commit_mark WHERE id < '1'")[0][0] < 2
    connection.close()
