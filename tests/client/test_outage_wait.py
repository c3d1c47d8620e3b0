"""Who waits for a job waits for a server that is away too, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from conveyor.cli.shared.job_output import follow_output
from conveyor.client.job_handle import Job
from conveyor.client.outage_wait import MAX_OUTAGE, OutageWait
from conveyor.core.codec import ResultCodec
from conveyor.core.job import JobRecord, NewJob, OutputChunk, State
from conveyor.core.lifecycle import Succeeded
from conveyor.core.pending import Pending, failed
from conveyor.errors import PassingError, UnavailableError, WaitTimeoutError
from conveyor.store.hint_waiters import HintWaiters
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Report, Want

GONE = PassingError("the server cannot be reached")


class Leaving(MemoryStore):
    """A store that is `away` for the next so many looks."""

    away = 0
    silent = False

    def get(self, job_id: str) -> Pending[JobRecord]:
        if self.silent:
            return Pending()
        return failed(GONE) if self._is_away() else super().get(job_id)

    def cancel(self, job_id: str, *, reason: str, force: bool = False) -> Pending[JobRecord]:
        return Pending() if self.silent else super().cancel(job_id, reason=reason, force=force)

    def output(
        self, job_id: str, *, after: int = 0, limit: int = 100
    ) -> Pending[list[OutputChunk]]:
        return (
            failed(GONE)
            if after and self._is_away()
            else super().output(job_id, after=after, limit=limit)
        )

    def _is_away(self) -> bool:
        self.away -= 1
        return self.away >= 0


@pytest.fixture
def store() -> Iterator[Leaving]:
    made = Leaving()
    made.insert([NewJob(id="job", task="t", queue="q", args=b"{}")]).result()
    yield made
    made.close()


@pytest.fixture
def job(store: Leaving) -> Job[object]:
    return Job("job", store=store, hint_waiters=HintWaiters(store), results=ResultCodec())


def run(store: Leaving) -> None:
    """Have the job write two lines and end."""
    [job] = store.claim([Want("q", 1)], Claimant("w"), limit=1).result().jobs
    lines = [b"one\n", b"two\n"]
    store.write_output(
        [
            OutputChunk(
                job_id=job.id,
                lease=job.lease,
                offset=4 * number,
                stream="stdout",
                at=0.0,
                data=line,
            )
            for number, line in enumerate(lines)
        ]
    ).result()
    store.settle([Report(job.id, job.lease, Succeeded(b"7"))]).result()


def test_a_server_that_is_away_is_borne_for_a_while_and_then_no_more() -> None:
    now = [0.0]
    outage = OutageWait(elapsed=lambda: now[0])
    outage.tolerate(GONE)
    now[0] = MAX_OUTAGE - 1
    outage.tolerate(GONE)
    now[0] = MAX_OUTAGE
    with pytest.raises(PassingError):
        outage.tolerate(GONE)


def test_one_that_answered_in_between_may_be_away_as_long_again() -> None:
    now = [0.0]
    outage = OutageWait(elapsed=lambda: now[0])
    outage.tolerate(GONE)
    now[0] = MAX_OUTAGE - 1
    outage.server_answered()
    now[0] = MAX_OUTAGE + 1
    outage.tolerate(GONE)


def test_nobody_waits_for_it_longer_than_he_said() -> None:
    now = [0.0]
    outage = OutageWait(5.0, elapsed=lambda: now[0])
    outage.tolerate(GONE)
    now[0] = 5.0
    with pytest.raises(PassingError):
        outage.tolerate(GONE)


def test_a_result_comes_though_the_server_was_away(store: Leaving, job: Job[object]) -> None:
    run(store)
    store.away = 2
    assert job.result(60) == 7


def test_so_it_does_to_a_coroutine(store: Leaving, job: Job[object]) -> None:
    run(store)
    store.away = 2
    assert asyncio.run(job.aresult(60)) == 7


def test_when_the_time_runs_out_the_error_says_what_was_the_matter(
    store: Leaving, job: Job[object]
) -> None:
    store.away = 1 << 30
    with pytest.raises(UnavailableError, match="cannot be reached"):
        job.result(0.01)
    store.away = 0
    with pytest.raises(WaitTimeoutError, match="still available"):
        job.result(0.01)


def test_nobody_waits_beyond_the_timeout_for_a_store_that_is_there_and_does_not_answer(
    store: Leaving, job: Job[object]
) -> None:
    store.silent = True
    with pytest.raises(UnavailableError, match="has not answered in time"):
        job.result(0.01)
    with pytest.raises(UnavailableError, match="has not answered in time"):
        asyncio.run(job.aresult(0.01))
    with pytest.raises(UnavailableError, match="has not answered in time"):
        job.cancel(0.01)


def test_output_is_followed_over_an_absence_and_no_line_comes_twice(store: Leaving) -> None:
    run(store)
    lines: list[bytes] = []

    def emit(chunk: OutputChunk) -> None:
        lines.append(chunk.data)
        store.away = 2

    assert follow_output(store, "job", emit).state is State.COMPLETED
    assert lines == [b"one\n", b"two\n"]
