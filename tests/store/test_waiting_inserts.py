"""How the enqueues of coroutines are put into statements, without a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from calls import new

from conveyor.core.job import NewJob
from conveyor.core.pending import Pending
from conveyor.errors import UnavailableError
from conveyor.store.messages import Accepted, Offered
from conveyor.store.postgres.connection import LostError, UnknownOutcomeError
from conveyor.store.postgres.waiting_inserts import MOST_BYTES, MOST_JOBS, WaitingInserts


class Threads:
    """Keeps operations until the test runs them."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], Any]] = []

    def run(self, operation: Callable[[], Any]) -> Pending[Any]:
        self.waiting.append(operation)
        return Pending()

    resume = run

    def run_next(self) -> None:
        self.waiting.pop(0)()


class Server:
    """Inserts what it is given, or fails as the test says."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.alone: list[bool] = []
        self.fails_together: Exception | None = None
        self.fails_alone: Exception | None = None
        self.meanwhile: Callable[[], object] = bool

    def insert_together(
        self, requests: Sequence[Sequence[NewJob]], _capacity: int | None
    ) -> list[Accepted]:
        self.together.append(len(requests))
        self.meanwhile()
        if self.fails_together is not None:
            raise self.fails_together
        return [accepted(jobs) for jobs in requests]

    def insert(
        self, jobs: Sequence[NewJob], _capacity: int | None, _general: object, *, in_doubt: bool
    ) -> Accepted:
        self.alone.append(in_doubt)
        if self.fails_alone is not None:
            raise self.fails_alone
        return accepted(jobs)


def accepted(jobs: Sequence[NewJob]) -> Accepted:
    return Accepted(tuple(each.id for each in jobs))


def general(*, again: bool) -> Any:
    raise AssertionError(again)


class Case:
    def __init__(self, sharers: int = 2) -> None:
        self.threads, self.server = Threads(), Server()
        self.inserts = WaitingInserts(self.server, self.threads, sharers=sharers)  # type: ignore[arg-type]
        self.calls: list[tuple[list[NewJob], Pending[Accepted | Offered]]] = []

    def add(self, calls: int, *, jobs: int = 1, capacity: int | None = None, **given: Any) -> None:
        for _ in range(calls):
            request = [new(**given) for _ in range(jobs)]
            self.calls.append((request, self.inserts.add(request, capacity, general)))

    def run_all(self) -> None:
        while self.threads.waiting:
            self.threads.run_next()

    def is_answered(self) -> bool:
        return all(
            pending.done and pending.result(0) == accepted(jobs) for jobs, pending in self.calls
        )


def test_two_statements_share_what_waits() -> None:
    case = Case()
    case.add(64)
    assert len(case.threads.waiting) == 2
    # While the first statement is under way, the second thread comes.
    case.server.meanwhile = lambda: case.threads.run_next() if case.threads.waiting else None
    case.run_all()
    assert case.server.together == [32, 32]
    assert case.is_answered()


def test_one_connection_has_one_statement_and_others_operations_come_between() -> None:
    case = Case(sharers=1)
    case.add(3)
    case.server.meanwhile = lambda: case.add(2) if len(case.calls) < 5 else None
    between: list[int] = []
    case.threads.run(lambda: between.append(len(case.server.together)))
    case.run_all()
    assert case.server.together == [3, 2]
    assert between == [1]
    assert case.is_answered()


def test_calls_after_a_pause_are_inserted_as_before() -> None:
    case = Case()
    for _ in range(3):
        case.add(4)
        assert len(case.threads.waiting) == 2
        case.run_all()
    assert case.is_answered()


@pytest.mark.parametrize(
    ("given", "most"),
    [
        ({"jobs": MOST_JOBS // 4}, 4),
        ({"args": bytes(MOST_BYTES // 3 + 1)}, 3),
    ],
)
def test_a_statement_is_bounded(given: dict[str, Any], most: int) -> None:
    case = Case()
    case.add(20, **given)
    case.run_all()
    assert max(case.server.together) == most
    assert case.is_answered()


def test_each_queue_and_bound_has_its_own_statement() -> None:
    case = Case(sharers=1)
    case.add(2, queue="a")
    case.add(3, queue="b")
    case.add(4, queue="b", capacity=9)
    case.run_all()
    assert case.server.together == [2, 3, 4]
    assert case.is_answered()


def test_a_lost_answer_leaves_each_call_in_doubt() -> None:
    case = Case(sharers=1)
    case.server.fails_together = UnknownOutcomeError("")
    case.add(3)
    case.run_all()
    assert case.server.alone == [True] * 3
    assert case.is_answered()


def test_an_error_that_nobody_expects_is_answered_and_hinders_no_later_call() -> None:
    case = Case(sharers=1)
    case.server.fails_together = case.server.fails_alone = ValueError("?")
    case.add(3)
    case.run_all()
    assert case.server.alone == [True] * 3
    for _, pending in case.calls:
        with pytest.raises(ValueError, match=r"\?"):
            pending.result(0)
    case.calls.clear()
    case.server.fails_together = case.server.fails_alone = None
    case.add(2)
    case.run_all()
    assert case.is_answered()


def test_calls_wait_for_a_lost_server_together_and_not_one_after_the_other() -> None:
    case = Case(sharers=1)
    case.server.fails_together = case.server.fails_alone = LostError("db cannot be reached")
    case.add(5)
    case.run_all()
    assert case.server.alone == [False]
    for _, pending in case.calls:
        with pytest.raises(UnavailableError, match="db cannot be reached"):
            pending.result(0)
