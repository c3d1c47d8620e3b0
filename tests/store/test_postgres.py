"""What only PostgreSQL has: sessions that end, lost answers, conflicts, one round trip."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from calls import claim, counted, new, put, settle

from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.core.pending import Pending
from conveyor.errors import (
    ConveyorError,
    DuplicateIdError,
    UnavailableError,
)
from conveyor.store.messages import Accepted, Claimant, Offered, Report, Want
from conveyor.store.open import open_store
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.connection import Connection
from conveyor.store.postgres.store import PostgresStore
from conveyor.store.sql.executor import Params
from conveyor.store.sql.rows import Row
from postgres_schema import Admin

# -- lost connections ------------------------------------------------------------------------------


def kill_session(store: PostgresStore, admin: Admin) -> None:
    """Have the server end the session that the store would use next."""
    [connection] = store._driver._opened.transactions._pool._free  # type: ignore[attr-defined]
    admin.run("SELECT pg_terminate_backend(%s, 10000)", connection.session.info.backend_pid)


def test_a_call_after_its_session_was_ended_connects_again(
    postgres: PostgresStore, admin: Admin
) -> None:
    kill_session(postgres, admin)
    [job_id] = put(postgres, new())
    kill_session(postgres, admin)
    assert [job.id for job in claim(postgres)] == [job_id]


ONE_ROUND_TRIP = ("insert_unbounded", "insert_one_unbounded", "exchange_plain")


class Lossy(Connection):
    """Loses the connection around a COMMIT or a call that needs none, once."""

    lose: str = ""

    def script(self, text: bytes) -> None:
        with self.losing(is_chosen=text.endswith(b"COMMIT")):
            super().script(text)

    def query(self, name: str, params: Params = ()) -> list[Row]:
        with self.losing(is_chosen=name in ONE_ROUND_TRIP):
            return super().query(name, params)

    def transact(self, *calls: tuple[str, Params]) -> list[Row]:
        with self.losing(is_chosen=True):
            return super().transact(*calls)

    @contextmanager
    def losing(self, *, is_chosen: bool) -> Iterator[None]:
        lose = Lossy.lose if is_chosen else ""
        if lose:
            Lossy.lose = ""
        if lose == "request":
            pid = self.session.info.backend_pid
            self.session.pgconn.finish()
            # Otherwise it may still hold rows when the call is repeated.
            with psycopg.connect(self.address.server, autocommit=True) as beside:
                beside.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        yield
        if lose == "answer":
            self.session.pgconn.finish()
            raise psycopg.OperationalError("the answer was lost")


@pytest.fixture
def lossy(postgres: PostgresStore) -> Iterator[PostgresStore]:
    pool = postgres._driver._opened.transactions._pool  # type: ignore[attr-defined]
    pool.discard()
    pool._connect = lambda: Lossy(parse_address(postgres.url))
    yield postgres
    Lossy.lose = ""


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_an_insert_whose_commit_got_no_answer_is_there_once(
    lossy: PostgresStore, lost: str
) -> None:
    Lossy.lose = lost
    ids = put(lossy, new(key="k"), new())
    assert [job.id for job in claim(lossy, 9)] == ids
    assert counted(lossy)["q"][State.RUNNING] == 2


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("capacity", [None, 4])
def test_an_insert_in_one_round_trip_that_got_no_answer_is_there_once(
    lossy: PostgresStore, lost: str, count: int, capacity: int | None
) -> None:
    put(lossy, new(id="first"), capacity=capacity)  # from now on the lane is known
    Lossy.lose = lost
    ids = put(lossy, *(new() for _ in range(count)), capacity=capacity)
    assert not Lossy.lose
    assert [job.id for job in claim(lossy, 9)] == ["first", *ids]
    with pytest.raises(DuplicateIdError):
        put(lossy, new(id=ids[0]))


@pytest.mark.parametrize("lost", ["", "request", "answer"])
def test_coroutines_that_insert_at_once_each_get_their_own_answer(
    lossy: PostgresStore, lost: str
) -> None:
    put(lossy, new(id="first"))

    async def insert_all() -> list[object]:
        requests = [[new(id=f"{n}-a"), new(id=f"{n}-b")] for n in range(20)]
        requests.append([new(id="first")])
        pending = [lossy.insert(jobs) for jobs in requests]
        Lossy.lose = lost
        return await asyncio.gather(*map(wait, pending), return_exceptions=True)

    async def wait(pending: Pending[Accepted | Offered]) -> object:
        return await pending

    *answers, refused = asyncio.run(insert_all())
    assert answers == [Accepted((f"{n}-a", f"{n}-b")) for n in range(20)]
    # If the answer was lost, nobody can tell whose the job of that id is.
    assert isinstance(refused, DuplicateIdError) or (lost and refused == Accepted(("first",)))
    claimed = [job.id for job in claim(lossy, 99)]
    assert sorted(claimed) == sorted(["first", *(f"{n}-{x}" for n in range(20) for x in "ab")])


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_claim_whose_commit_got_no_answer_is_answered(lossy: PostgresStore, lost: str) -> None:
    ids = put(lossy, new(), new())
    Lossy.lose = lost
    [first] = claim(lossy)
    Lossy.lose = lost
    exchanged = lossy.exchange(
        [Report(first.id, first.lease, Succeeded(b"1"))], [Want("q", 9)], Claimant("w"), limit=9
    ).result()
    assert exchanged.settled == (first.id,)
    assert [job.id for job in exchanged.jobs] == ids[1:]
    assert [job.attempt for job in (first, *exchanged.jobs)] == [1, 1]


def test_sessions_that_end_all_the_time_lose_and_double_nothing(
    postgres: PostgresStore, admin: Admin
) -> None:
    ids: list[list[str]] = [[] for _ in range(4)]

    def produce(number: int) -> None:
        for _ in range(25):
            ids[number] += put(postgres, new(id=f"{number}-{len(ids[number])}"))

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        admin.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY(%s)",
            [
                connection.session.info.backend_pid
                for connection in postgres._driver._opened.transactions._pool._free  # type: ignore[attr-defined]
                if not connection.is_lost
            ],
        )
    for thread in threads:
        thread.join()
    accepted = [job_id for each in ids for job_id in each]
    assert len(accepted) == 100
    assert sorted(job.id for job in claim(postgres, 200)) == sorted(accepted)


def test_a_server_that_cannot_be_reached_is_named_without_the_password() -> None:
    with pytest.raises(UnavailableError, match=r"postgresql://me@127\.0\.0\.1:1/db") as refused:
        open_store("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(refused.value)


def test_calls_take_their_arguments_by_name(postgres: PostgresStore) -> None:
    job = new()
    assert postgres.insert(jobs=[job]).result() == Accepted((job.id,))
    claimed = postgres.claim(wants=[Want("q", 1)], claimant=Claimant("w"), limit=1).result().jobs
    reports = [Report(job.id, claimed[0].lease, Succeeded())]
    given = {"wants": [Want("q", 1)], "claimant": Claimant("w"), "limit": 1}
    assert postgres.exchange(reports=reports, **given).result().settled == (job.id,)  # type: ignore[arg-type]
    assert postgres.settle(reports=reports).result().settled == ()


# -- conflicts -------------------------------------------------------------------------------------


def together(*calls: Callable[[], object]) -> list[object]:
    """Make calls in threads at once; return the answers or the errors."""
    answers: list[object] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def make(number: int, call: Callable[[], object]) -> None:
        gate.wait()
        try:
            answers[number] = call()
        except ConveyorError as error:
            answers[number] = error

    threads = [threading.Thread(target=make, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_many_that_insert_one_key_at_once_one_does(postgres: PostgresStore) -> None:
    answers = together(*(lambda: tuple(put(postgres, new(key="k"))) for _ in range(8)))
    assert len(set(answers)) == 1
    assert len(claim(postgres, 9)) == 1


def test_many_that_use_a_queue_and_labels_first_share_them(postgres: PostgresStore) -> None:
    together(*(lambda: put(postgres, new(queue="n", requires=("gpu",))) for _ in range(8)))
    assert counted(postgres)["n"][State.AVAILABLE] == 8
    assert len(claim(postgres, 9, queue="n", labels=("gpu",))) == 8
    assert postgres.check().result() == []


def test_batches_in_opposite_orders_of_keys_are_all_answered(postgres: PostgresStore) -> None:
    keys = [f"k{number}" for number in range(20)]
    batches = [[new(key=key) for key in order] for order in (keys, keys[::-1]) * 2]
    answers = together(*(lambda jobs=jobs: put(postgres, *jobs) for jobs in batches))
    assert all(isinstance(answer, list) for answer in answers), answers
    assert len(claim(postgres, 99)) == 20


def test_claims_never_share_a_job_and_never_wait_for_each_other(postgres: PostgresStore) -> None:
    ids = put(postgres, *(new() for _ in range(200)))
    answers = together(*(lambda: claim(postgres, 50) for _ in range(4)))
    claimed = [job.id for jobs in answers for job in jobs]  # type: ignore[attr-defined]
    claimed += [job.id for job in claim(postgres, 200)]
    assert sorted(claimed) == sorted(ids)


def test_what_workers_settle_and_operators_cancel_at_once_ends_once(
    postgres: PostgresStore,
) -> None:
    put(postgres, *(new() for _ in range(30)))
    jobs = claim(postgres, 30)
    together(
        *(lambda job=job: settle(postgres, job, Succeeded()) for job in jobs[:15]),
        *(lambda job=job: postgres.cancel(job.id, reason="r").result() for job in jobs),
    )
    counts = counted(postgres)["q"]
    assert counts[State.COMPLETED] == 15
    assert counts[State.RUNNING] == 15
    assert postgres.check().result() == []


# -- what is rare in an exchange of one round trip -----------------------------------------------


def test_a_claim_does_not_return_a_job_whose_row_is_damaged(
    postgres: PostgresStore, admin: Admin
) -> None:
    bad, good = put(postgres, new(), new())
    admin.run(f"UPDATE {admin.schema}.body SET args = '[7]' WHERE id = %s", bad)
    assert [job.id for job in claim(postgres, 9)] == [good]
    told = postgres.get(bad).result()
    assert told.state is State.DISCARDED
    assert "checksum" in (told.error or "")
    assert counted(postgres)["q"][State.DISCARDED] == 1
    assert counted(postgres)["q"][State.RUNNING] == 1


def test_a_claim_whose_answer_was_lost_does_not_return_a_damaged_job_either(
    lossy: PostgresStore, admin: Admin
) -> None:
    _, bad, good = put(lossy, new(), new(), new())
    claim(lossy)  # from now on the lane is known
    admin.run(f"UPDATE {admin.schema}.body SET args = '[7]' WHERE id = %s", bad)
    Lossy.lose = "answer"
    assert [job.id for job in claim(lossy, 9)] == [good]
    assert not Lossy.lose
    assert lossy.get(bad).result().state is State.DISCARDED
    assert counted(lossy)["q"][State.RUNNING] == 2


def test_a_job_reported_twice_is_settled_once(postgres: PostgresStore) -> None:
    put(postgres, new())
    [job] = claim(postgres)
    reports = [Report(job.id, lease, Succeeded(b"1")) for lease in (job.lease, job.lease, 99)]
    assert postgres.settle(reports).result().settled == (job.id,)
    assert postgres.get(job.id).result().state is State.COMPLETED
    assert counted(postgres)["q"][State.COMPLETED] == sum(counted(postgres)["q"].values()) == 1


def test_a_lost_report_and_a_lost_answer_are_told_together(lossy: PostgresStore) -> None:
    ids = put(lossy, new(), new(), new())
    first, second = claim(lossy, 2)
    Lossy.lose = "answer"
    reports = [
        Report(first.id, first.lease, Succeeded(b"1")),
        Report(second.id, second.lease + 1, Succeeded(b"2")),
    ]
    exchanged = lossy.exchange(reports, [Want("q", 9)], Claimant("w"), limit=9).result()
    assert exchanged.settled == (first.id,)
    assert [(job.id, job.lease, job.worker) for job in exchanged.jobs] == [(ids[2], 1, "w")]
