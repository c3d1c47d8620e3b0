"""A store that refuses reports ends no worker, and costs only the jobs that it cannot take."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from served import Serving

from conveyor import Conveyor, State
from conveyor.core.job import ErrorInfo
from conveyor.core.lifecycle import Cancelled, Crashed, Failed, Interrupted, Succeeded
from conveyor.core.pending import Pending, failed
from conveyor.errors import UsageError
from conveyor.server.server_config import ServerConfig
from conveyor.store.http.report_parts import PART_COUNT, report_parts
from conveyor.store.http.store import HttpStore
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Exchanged, Report
from conveyor.worker.held_jobs import REFUSED

LONG = 60.0
BAD = b'"bad"'


class Choosy(MemoryStore):
    """Refuses a call with a bad result, or with more than `most` reports."""

    def __init__(self, most: int, *, refuses_all_of: str = "") -> None:
        super().__init__()
        self.most = most
        self.never = refuses_all_of
        self.refused = 0

    def exchange(self, reports: Sequence[Report], *args: Any, **options: Any) -> Pending[Exchanged]:
        return self._refusal(reports) or super().exchange(reports, *args, **options)

    def settle(self, reports: Sequence[Report]) -> Pending[Exchanged]:
        return self._refusal(reports) or super().settle(reports)

    def _refusal(self, reports: Sequence[Report]) -> Pending[Exchanged] | None:
        bad = any(each.outcome == Succeeded(BAD) or each.id == self.never for each in reports)
        if not bad and len(reports) <= self.most:
            return None
        self.refused += 1
        return failed(UsageError("the body is too large"))


def results_of(
    store: Any, results: Sequence[str], never: int | None = None, times: int = 1
) -> list[Any]:
    """Run a job for each result, all of which end at once; return their records."""
    belt = Conveyor(store=store)

    @belt.task
    async def give(result: str) -> str:
        running.append(result)
        if len(running) == len(results):
            all_run.set()
        await all_run.wait()
        return result * times

    jobs = give.enqueue_many([(result,) for result in results])
    if never is not None:
        store.never = jobs[never].id

    async def main() -> None:
        worker = belt.worker(slots=len(results))
        ending = asyncio.create_task(worker.run())
        await all_run.wait()
        worker.drain(LONG)
        await ending

    running: list[str] = []
    all_run = asyncio.Event()
    asyncio.run(asyncio.wait_for(main(), LONG))
    return [job.refresh().record for job in jobs]


def test_results_that_are_too_large_together_are_reported_in_parts() -> None:
    serving = Serving(MemoryStore(), config=ServerConfig(body_limit=3 << 20))
    store = HttpStore(serving.url)
    try:
        records = results_of(store, "01234567", times=1_000_000)
        assert {record.state for record in records} == {State.COMPLETED}
        sizes = [record.result.count(str(place).encode()) for place, record in enumerate(records)]
        assert sizes == [1_000_000] * 8
    finally:
        store.close()
        serving.close()


@pytest.mark.parametrize("results", [["a", "bad", "c", "d", "e"], ["bad"], ["a", "b", "bad"]])
def test_a_result_that_the_store_refuses_fails_its_job_and_no_other(results: list[str]) -> None:
    store = Choosy(most=100)
    records = results_of(store, results)
    assert store.refused, "this shows nothing"
    for result, record in zip(results, records, strict=True):
        if result == "bad":
            assert record.state is State.DISCARDED
            assert record.error.startswith(f"{REFUSED}: the store refused the outcome")
            assert "the body is too large" in record.error
        else:
            assert record.state is State.COMPLETED


def test_a_job_of_which_the_store_takes_no_report_does_not_hold_up_the_others() -> None:
    store = Choosy(most=100)
    records = results_of(store, ["a", "b", "c"], never=1)
    assert [record.state for record in records] == [
        State.COMPLETED,
        State.RUNNING,  # until its lease ends
        State.COMPLETED,
    ]


def test_a_store_that_takes_few_reports_gets_few_at_once() -> None:
    store = Choosy(most=2)
    records = results_of(store, [str(number) for number in range(9)])
    assert {record.state for record in records} == {State.COMPLETED}
    assert store.refused


def test_a_claim_that_the_store_refuses_is_repeated() -> None:
    class Refusing(MemoryStore):
        refusals = 2

        def exchange(self, *args: Any, **options: Any) -> Pending[Exchanged]:
            if self.refusals:
                self.refusals -= 1
                return failed(UsageError("no such address"))
            return super().exchange(*args, **options)

    store = Refusing()
    [record] = results_of(store, ["a"])
    assert (record.state, store.refusals) == (State.COMPLETED, 0)


ERROR = ErrorInfo("E", "m" * 100_000, "t" * 50_000, ("b" * 500,) * 10)


@pytest.mark.parametrize(
    "outcome", [Succeeded(b"1" * 900_000), Failed(ERROR), Crashed(ERROR), Cancelled("r" * 170_000)]
)
def test_a_part_has_at_most_a_mebibyte_or_one_report(outcome: Any) -> None:
    reports = [Report(str(number), 1, outcome) for number in range(3)]
    assert [len(part) for part in report_parts(reports)] == [1, 1, 1]


def test_small_reports_are_one_part() -> None:
    reports = [Report(str(number), 1, Succeeded(b"1" * 100)) for number in range(1000)]
    assert report_parts(reports) == [reports]


def test_reports_stay_in_order_and_none_is_left_out() -> None:
    reports = [
        Report(str(number), 1, Succeeded(b"1" * (400_000 * (number % 3)))) for number in range(10)
    ]
    assert [each for part in report_parts(reports) for each in part] == reports


def test_a_part_has_no_more_reports_than_a_server_accepts() -> None:
    reports = [Report(str(number), 1, Interrupted()) for number in range(2 * PART_COUNT + 1)]
    parts = report_parts(reports)
    assert max(map(len, parts)) <= PART_COUNT
    assert sum(map(len, parts)) == len(reports)


def test_no_reports_are_one_part() -> None:
    assert report_parts([]) == [[]]
