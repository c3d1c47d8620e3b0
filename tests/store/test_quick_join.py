"""What an enqueue in the application's transaction costs, and what it leaves where it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from callback_calls import BOTH, tasks, told
from calls import claim, counted, new, offer, put, settle

from conveyor import Conveyor
from conveyor.core.job import NewJob, State
from conveyor.core.lifecycle import Succeeded
from conveyor.core.pending import run_sync
from conveyor.errors import DuplicateIdError, QueueFullError, UsageError
from conveyor.store.messages import Accepted, Hint, Offered
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.store import PostgresStore
from postgres_proxy import Proxy, Traffic
from postgres_schema import Schemas

# The end of a request that is answered: of a statement with parameters, and of one without.
SYNC, QUERY = b"S", b"Q"


def send(to: str) -> None: ...


def to_of(args: bytes) -> str:
    """Return the argument of a job."""
    return str(msgspec.json.decode(args)["to"])


@pytest.fixture
def belt(url: str) -> Iterator[Conveyor]:
    belt = Conveyor(url)
    yield belt
    belt.close()


@pytest.fixture
def session(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(parse_address(url).server) as session:
        yield session


@pytest.fixture
def trips(
    url: str, schemas: Schemas, tmp_path: Path
) -> Iterator[Callable[[Callable[[psycopg.Connection[Any]], object]], int]]:
    """Return how many round trips a call in a transaction takes."""
    with (
        Proxy(tmp_path, Path(schemas.folder)) as proxy,
        psycopg.connect(proxy.url) as session,
    ):

        def count(call: Callable[[psycopg.Connection[Any]], object]) -> int:
            session.execute("SELECT 1")  # begins a transaction
            traffic = proxy.traffic = Traffic()
            call(session)
            proxy.traffic = None
            session.commit()
            ends = (SYNC, QUERY)
            return sum(each[:1] in ends for each in traffic.messages["request"])

        yield count


@pytest.mark.parametrize("capacity", [None, 10])
@pytest.mark.parametrize("options", [{}, {"key": "k"}, {"delay": 60}, {"priority": 3}])
def test_a_job_takes_two_round_trips_where_there_is_room(
    belt: Conveyor, trips: Any, capacity: int | None, options: dict[str, Any]
) -> None:
    queue = belt.queue("q", capacity=capacity)
    task = queue.task(send).using(**options)
    task.using(key=None).enqueue("first")  # from now on there are the queue and its lane
    assert trips(lambda session: task.using(connection=session).enqueue("ann")) == 2
    assert queue.depth == 2


def test_several_jobs_take_as_many_and_keep_their_order(belt: Conveyor, trips: Any) -> None:
    task = belt.task(send)
    task.enqueue("first")
    calls = [(str(n),) for n in range(50)]
    assert trips(lambda session: task.using(connection=session).enqueue_many(calls)) == 2
    found = [to_of(each.args) for each in belt.jobs()]
    assert found == [*(to for (to,) in reversed(calls)), "first"]


def test_a_statement_that_is_cancelled_leaves_the_transaction_usable(
    belt: Conveyor, session: psycopg.Connection[Any], url: str
) -> None:
    task = belt.task(send)
    task.enqueue("first")
    with psycopg.connect(parse_address(url).server) as other:
        task.using(connection=other, key="k").enqueue("ann")
        session.execute("CREATE TEMP TABLE mine (a INT)")
        session.execute("SET LOCAL statement_timeout = '50ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            task.using(connection=session, key="k").enqueue("ben")
        session.execute("SELECT * FROM mine")
        task.using(connection=session).enqueue("cid")
        session.commit()
    assert sorted(to_of(each.args) for each in belt.jobs()) == ["ann", "cid", "first"]


def test_an_id_that_is_taken_leaves_nothing_of_the_call(
    postgres: PostgresStore, session: psycopg.Connection[Any]
) -> None:
    put(postgres, new(id="taken"), capacity=9)
    session.execute("CREATE TEMP TABLE mine (a INT)")
    with pytest.raises(DuplicateIdError):
        join(postgres, session, new(id="other", key="k"), new(id="taken"), capacity=9)
    assert join(postgres, session, new(id="again", key="k"), capacity=9).existing == ()
    session.execute("SELECT * FROM mine")
    session.commit()
    assert [job.id for job in claim(postgres, 9)] == ["taken", "again"]
    assert counted(postgres)["q"][State.AVAILABLE] == 0


def test_a_producer_that_waits_for_room_is_not_overtaken(
    postgres: PostgresStore, session: psycopg.Connection[Any]
) -> None:
    put(postgres, new(), capacity=3)
    offered = offer(postgres, new(), new(), new(), capacity=3)
    with pytest.raises(QueueFullError):
        join(postgres, session, new(), capacity=3)
    session.rollback()
    assert isinstance(offered, Offered)
    postgres.withdraw(offered.offer).result()
    assert join(postgres, session, new(), capacity=3).ids


def test_another_capacity_is_declared_and_a_new_lane_is_made(
    postgres: PostgresStore, session: psycopg.Connection[Any]
) -> None:
    put(postgres, new(), new(), capacity=2)
    join(postgres, session, new(), capacity=3)
    join(postgres, session, new(requires=("gpu",)))
    session.commit()
    assert postgres.queue_info("q").result().depth == 4
    assert postgres.queue_info("q").result().capacity is None


def join(
    postgres: PostgresStore,
    session: psycopg.Connection[Any],
    *jobs: NewJob,
    capacity: int | None = None,
) -> Accepted:
    return run_sync(
        postgres.insert_within(
            session, jobs, capacity=capacity, when_full="refuse", in_coroutine=False
        )
    )


def test_a_bound_holds_while_a_transaction_before_is_open(
    postgres: PostgresStore,
    session: psycopg.Connection[Any],
    url: str,
    until: Callable[[Callable[[], object]], None],
) -> None:
    refused: list[str] = []

    def join_too() -> None:
        with psycopg.connect(parse_address(url).server) as other:
            try:
                join(postgres, other, new(), capacity=2)
            except QueueFullError as error:
                refused.append(str(error))

    put(postgres, new(), capacity=2)
    join(postgres, session, new(), capacity=2)
    second = threading.Thread(target=join_too)
    second.start()
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
    until(lambda: not second.is_alive() or session.execute(waiting).fetchall())
    session.commit()
    second.join()
    assert (len(refused), postgres.queue_info("q").result().depth) == (1, 2)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_bounded_queue_with_room_needs_read_committed(
    postgres: PostgresStore, session: psycopg.Connection[Any], isolation: str
) -> None:
    put(postgres, new(), capacity=9)
    put(postgres, new(queue="unbounded"))
    session.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
    with pytest.raises(UsageError, match="needs READ COMMITTED"):
        join(postgres, session, new(), capacity=9)
    assert join(postgres, session, new(queue="unbounded")).ids


def test_a_job_keeps_its_callbacks(
    postgres: PostgresStore, session: psycopg.Connection[Any]
) -> None:
    put(postgres, new())  # from now on there are the queue and its lane
    join(postgres, session, new(id="joined", callbacks=BOTH))
    session.commit()
    for job in claim(postgres, 2):
        assert settle(postgres, job, Succeeded())
    assert tasks(postgres) == ["after"]
    assert told(postgres, "after").id == "joined"


def test_others_are_told_of_each_kind_of_job_at_the_commit(
    postgres: PostgresStore,
    session: psycopg.Connection[Any],
    url: str,
    until: Callable[[Callable[[], object]], None],
) -> None:
    put(postgres, new())
    heard: list[Hint] = []
    other = PostgresStore(url)
    other.listen(["work", "due"], heard.append)
    join(postgres, session, new(), new(delay=60.0))
    session.commit()
    until(lambda: {Hint("work", ("q",)), Hint("due", ("q",))}.issubset(heard))
    other.close()
