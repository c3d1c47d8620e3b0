"""Output reaches the store in order, before its job ends, and again after an interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from conveyor.core.job import JobRecord, OutputChunk, Progress, State
from conveyor.core.pending import Pending, failed, ready
from conveyor.errors import UnavailableError, UsageError
from conveyor.runners.capture import OutputBuffer
from conveyor.store.messages import Lease, Renewal, Verdict
from conveyor.testing import FakeClock
from conveyor.worker.held_jobs import HeldJobs
from conveyor.worker.output_sender import MAX_CALL, REPEAT_FOR, OutputSender

JOB = JobRecord(
    seq=1, id="a", task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
    run_at=0.0, enqueued_at=0.0, lease=1,
)  # fmt: skip


class Far:
    """A store beyond a network. What it is asked while `error` stands, it does not answer to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.wrote: list[bytes] = []
        self.said: list[float] = []
        self.verdict: Verdict = "continue"
        self.answers_too_little = False
        self.learnt: list[tuple[Lease, Verdict]] = []

    def apply_once(self, lease: Lease, renewal: Renewal) -> None:
        self.learnt.append((lease, renewal.verdict))

    def write_output(self, chunks: Sequence[OutputChunk]) -> Pending[list[Renewal]]:
        if self.error is not None:
            return failed(self.error)
        if self.answers_too_little:
            return ready([])
        self.wrote.append(b"".join(chunk.data for chunk in chunks))
        return ready([Renewal(job_id, self.verdict) for job_id in {each.job_id for each in chunks}])

    def set_progress(self, reports: Sequence[tuple[Lease, Progress]]) -> Pending[list[Renewal]]:
        if self.error is not None:
            return failed(self.error)
        self.said += [progress.done for _, progress in reports]
        return ready([Renewal(lease.id, self.verdict) for lease, _ in reports])


def sender_to(
    far: Far, output: OutputBuffer, elapsed: Callable[[], float] = lambda: 0.0
) -> OutputSender:
    return OutputSender(
        store=far,  # type: ignore[arg-type]
        output=output,
        held=HeldJobs(),
        verdicts=far,  # type: ignore[arg-type]
        keeps_call_order=False,
        elapsed=elapsed,
    )


def test_unacknowledged_output_is_sent_first_the_next_time() -> None:
    async def main() -> None:
        far, output = Far(), OutputBuffer()
        sender = sender_to(far, output)
        output.write(JOB, "stdout", b"one ")
        output.set_progress(JOB, Progress(1.0))
        far.error = UnavailableError("away")
        with pytest.raises(UnavailableError):  # so that nothing is reported before it
            await sender.send()
        output.write(JOB, "stdout", b"two ")
        await sender.flush()  # says so, and goes on
        far.error = None
        output.write(JOB, "stdout", b"three")
        await sender.flush()
        assert far.wrote == [b"one ", b"two three"]
        assert far.said == [1.0]

    asyncio.run(main())


def test_output_unacknowledged_for_two_minutes_is_dropped_and_newer_output_is_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        clock, far, output = FakeClock(), Far(), OutputBuffer()
        sender = sender_to(far, output, clock.now)
        output.write(JOB, "stdout", b"old")
        far.error = UnavailableError("away")
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await sender.send()
            clock.advance(REPEAT_FOR / 2)
        await sender.flush()  # for the last time
        far.error = None
        output.write(JOB, "stdout", b"new")
        await sender.flush()
        assert far.wrote == [b"new"]

    asyncio.run(main())
    assert "output.lost error=away" in caplog.text


def test_output_that_the_store_refuses_delays_no_other_output() -> None:
    async def main() -> None:
        far, output = Far(), OutputBuffer()
        sender = sender_to(far, output)
        output.write(JOB, "stdout", b"too much")
        far.error = UsageError("too large")
        assert await sender.send() == []
        far.error = None
        output.write(JOB, "stdout", b"fine")
        await sender.flush()
        assert far.wrote == [b"fine"]

    asyncio.run(main())


def test_large_output_is_sent_in_requests_of_limited_size() -> None:
    async def main() -> None:
        far, output = Far(), OutputBuffer()
        output.write(JOB, "stdout", bytes(900_000))
        await sender_to(far, output).flush()
        assert [len(load) <= MAX_CALL for load in far.wrote] == [True, True]
        assert sum(map(len, far.wrote)) == 900_000

    asyncio.run(main())


def test_stop_requests_in_responses_to_output_are_passed_on() -> None:
    async def main() -> None:
        far, output = Far(), OutputBuffer()
        sender = sender_to(far, output)
        output.write(JOB, "stdout", b"one")
        await sender.flush()
        assert far.learnt == []
        far.verdict = "cancel"
        output.set_progress(JOB, Progress(1.0))
        await sender.flush()
        assert far.learnt == [(Lease("a", 1), "cancel")]

    asyncio.run(main())


def test_a_server_that_answers_about_fewer_jobs_counts_as_unreachable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        far, output = Far(), OutputBuffer()
        sender = sender_to(far, output)
        output.write(JOB, "stdout", b"one")
        far.answers_too_little = True
        await sender.flush()
        far.answers_too_little = False
        await sender.flush()
        assert far.wrote == [b"one"]

    asyncio.run(main())
    assert "the store answered about 0 of 1 leases" in caplog.text
