"""The exact capacity of a bounded queue of PostgreSQL, with many producers at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from calls import counted, new, offer, put

from conveyor.core.job import State
from conveyor.errors import QueueFullError
from conveyor.store.messages import Offered
from conveyor.store.postgres import quick_insert
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.sql.transaction import Lanes

LIMIT = 60.0
PRODUCERS, TRIES, CAPACITY = 16, 15, 100
# Children of one process, which has loaded everything: 16 programs would take seconds to start.
PRODUCE = """
import json, os, sys
from conveyor.core.job import NewJob
from conveyor.errors import QueueFullError
from conveyor.store.postgres.store import PostgresStore

url, producers, tries, capacity = sys.argv[1], *map(int, sys.argv[2:])
gate, open_gate = os.pipe()
answers, answer = os.pipe()
for number in range(producers):
    if os.fork():
        continue
    os.close(open_gate)
    store = PostgresStore(url)
    os.write(answer, b"r")
    os.read(gate, 1)  # until all are there
    for each in range(tries):
        try:
            job = NewJob(id=f"{number}-{each}", task="t", queue="q")
            store.insert([job], capacity=capacity, when_full="fail").result(60)
            os.write(answer, b"a")
        except QueueFullError:
            pass
    store.close()
    os._exit(0)
os.close(answer)
ready = b""
while len(ready) < producers:
    ready += os.read(answers, 1)
os.close(open_gate)
accepted = 0
while data := os.read(answers, 1000):
    accepted += data.count(b"a")
codes = [os.wait()[1] for _ in range(producers)]
print(json.dumps([accepted, codes]))
"""


def test_sixteen_processes_fill_a_queue_exactly(url: str, postgres: PostgresStore) -> None:
    numbers = [str(number) for number in (PRODUCERS, TRIES, CAPACITY)]
    ran = subprocess.run(
        [sys.executable, "-c", PRODUCE, url, *numbers],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [CAPACITY, [0] * PRODUCERS], ran.stderr
    assert counted(postgres)["q"][State.AVAILABLE] == CAPACITY
    assert postgres.check().result() == []


class Producer:
    """A session that inserts one job into a queue with a bound of two, of which one is taken."""

    def __init__(self, store: PostgresStore) -> None:
        transactions = store._driver._opened.transactions  # type: ignore[attr-defined]
        self.lanes: Lanes = transactions._lanes
        self.now = store.now()
        self.connection = Connection(parse_address(store.url))
        self.answer: bool | None = None

    def insert(self, *, capacity: int | None = 2, locking: bool = True) -> None:
        planned = quick_insert.plan_insert([new()], capacity, self.lanes, self.now)
        assert planned is not None
        if locking:
            self.answer = quick_insert.insert(self.connection, planned)
        else:
            self.answer = bool(self.connection.query("insert_bounded", planned))

    def is_waiting(self, beside: Connection) -> bool:
        pid = self.connection.session.info.backend_pid
        found = beside.session.execute(
            "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", (pid,)
        )
        return bool(found.fetchall())


@pytest.fixture
def producers(postgres: PostgresStore) -> Iterator[tuple[Producer, Producer]]:
    put(postgres, new(), capacity=2)
    first, second = Producer(postgres), Producer(postgres)
    yield first, second
    first.connection.close()
    second.connection.close()


def test_a_producer_waits_for_one_whose_insert_is_not_committed(
    postgres: PostgresStore, producers: tuple[Producer, Producer]
) -> None:
    first, second = producers
    first.connection.begin(reads=False)
    first.connection.query("lock_queue", (["q"],))
    first.insert(locking=False)
    waiting = threading.Thread(target=second.insert)
    waiting.start()
    deadline = time.monotonic() + LIMIT
    while not second.is_waiting(first.connection):
        assert time.monotonic() < deadline
    first.connection.commit(wrote=False)
    waiting.join(LIMIT)
    assert (first.answer, second.answer) == (True, False)
    assert counted(postgres)["q"][State.AVAILABLE] == 2


def test_without_the_lock_two_producers_would_overfill_the_queue(
    postgres: PostgresStore, producers: tuple[Producer, Producer]
) -> None:
    first, second = producers
    first.connection.begin(reads=False)
    first.insert(locking=False)
    second.insert(locking=False)
    first.connection.commit(wrote=False)
    assert (first.answer, second.answer) == (True, True)
    assert counted(postgres)["q"][State.AVAILABLE] == 3


def test_what_waits_for_more_room_is_not_overtaken_by_what_fits(postgres: PostgresStore) -> None:
    put(postgres, new(), capacity=2)
    assert isinstance(offer(postgres, new(), new(), capacity=2), Offered)
    with pytest.raises(QueueFullError):
        put(postgres, new(), capacity=2, when_full="fail")


def test_another_bound_is_declared_by_the_next_producer(postgres: PostgresStore) -> None:
    put(postgres, new(), new(), capacity=2)
    put(postgres, new(), capacity=3)
    with pytest.raises(QueueFullError):
        put(postgres, new(), capacity=3, when_full="fail")
    put(postgres, new())
    assert counted(postgres)["q"][State.AVAILABLE] == 4


def test_a_new_bound_counts_what_was_enqueued_without_one_once_that_is_committed(
    postgres: PostgresStore,
) -> None:
    put(postgres, new())  # from now on the lane is known
    unbounded = Producer(postgres)
    unbounded.connection.begin(reads=False)
    unbounded.insert(capacity=None)
    put(postgres, new(), capacity=2)
    unbounded.connection.commit(wrote=False)
    unbounded.connection.close()
    with pytest.raises(QueueFullError, match=r"full \(3/2\)"):
        put(postgres, new(), capacity=2, when_full="fail")


def test_a_request_that_does_not_fit_adds_nothing(postgres: PostgresStore) -> None:
    put(postgres, new(), capacity=3)
    with pytest.raises(QueueFullError):
        put(postgres, new(), new(), new(), capacity=3, when_full="fail")
    put(postgres, new(), new(), capacity=3)
    assert counted(postgres)["q"][State.AVAILABLE] == 3


def test_an_error_in_the_middle_of_a_transaction_leaves_the_session_usable(
    postgres: PostgresStore, producers: tuple[Producer, Producer]
) -> None:
    first, _ = producers
    planned = quick_insert.plan_insert([new(id="twice")], 2, first.lanes, first.now)
    assert planned is not None
    assert quick_insert.insert(first.connection, planned)
    with pytest.raises(psycopg.errors.UniqueViolation, match="twice"):
        first.connection.transact(
            ("lock_queue", (["q"],)), ("insert_bounded", {**planned, "capacity": 2, "available": 0})
        )
    assert first.connection.query("queue", ("q",))[0][0] == 2
    assert not first.connection.is_lost
