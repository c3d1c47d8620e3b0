"""What a worker counts for its metrics, read from a real scrape of real jobs of all kinds."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conveyor import Conveyor, Job, Snooze, current_job
from conveyor.core.job import JobRecord, State
from conveyor.core.lifecycle import Succeeded
from conveyor.core.task import task
from conveyor.errors import UsageError
from conveyor.runners.capture import OutputBuffer
from conveyor.runners.job_control import JobControl
from conveyor.testing import FakeClock
from conveyor.worker import attempt_metrics, metrics_server
from conveyor.worker.metrics_exposition import WorkerExposition
from conveyor.worker.metrics_server import MetricsServer
from conveyor.worker.worker import Worker
from scrape import OPENMETRICS, Scrape

NAMES = {"queue": "default", "task": "t"}


@contextmanager
def serving(worker: Worker) -> Iterator[MetricsServer]:
    metrics = worker.parts.metrics
    assert metrics is not None
    with MetricsServer("127.0.0.1", 0, WorkerExposition(metrics.read).render) as server:
        yield server


def scrape(server: MetricsServer, accept: str = "") -> Scrape:
    return Scrape(f"http://127.0.0.1:{server.port}/metrics", accept=accept)


def work(belt: Conveyor, *jobs: Job[Any], accept: str = "", **options: Any) -> Scrape:
    """Run a worker until the jobs are final, and return its metrics after that."""

    async def main() -> Scrape:
        async with asyncio.timeout(60), belt.worker(measured=True, **options) as worker:
            with serving(worker) as server:
                for job in jobs:
                    await job.await_final()
                return await asyncio.to_thread(scrape, server, accept)

    return asyncio.run(main())


def outcomes(found: Scrape, **names: str) -> dict[str, float]:
    """Return how many attempts had each outcome, if any."""
    counted = {
        each: found("conveyor_worker_attempts_total", outcome=each, **{**NAMES, **names})
        for each in attempt_metrics.OUTCOMES
    }
    return {outcome: count for outcome, count in counted.items() if count}


@pytest.fixture
def belt() -> Iterator[Conveyor]:
    opened = Conveyor("memory:")
    yield opened
    opened.close()


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_waiting_and_running_times_are_histograms_by_queue_and_task(
    belt: Conveyor, accept: str
) -> None:
    @belt.queue("mail").task(name="send")
    async def send() -> None:
        await asyncio.sleep(0)

    @belt.task(name="t")
    def other() -> None: ...

    jobs = [*send.enqueue_many([(), ()]), other.enqueue()]
    found = work(belt, *jobs, queues=["mail", "default"], accept=accept)
    for name in ("conveyor_worker_waiting_seconds", "conveyor_worker_running_seconds"):
        mail = {"queue": "mail", "task": "send"}
        assert found.families[name].type == "histogram"
        assert found(f"{name}_count", **mail) == 2
        assert found(f"{name}_count", **NAMES) == 1
        assert found(f"{name}_bucket", le="+Inf", **mail) == 2
        assert found(f"{name}_bucket", le="7200.0", **mail) == 2
        assert 0 <= found(f"{name}_sum", **mail) < 60


def test_each_duration_falls_into_the_first_bucket_that_it_does_not_exceed() -> None:
    histogram = attempt_metrics.Histogram()
    for seconds in (0.0, 0.005, 0.0051, 7200.0, 7201.0):
        histogram.observe(seconds)
    assert histogram.counts == [2, 1, *[0] * 11, 1, 1]
    assert histogram.total == 14401.0101


def test_a_wait_counts_from_when_the_attempt_could_have_run() -> None:
    clock, ticks = FakeClock(1000.0), iter([5.0, 7.5])
    counting = attempt_metrics.AttemptMetrics(
        now=clock.now, elapsed=lambda: next(ticks), written=lambda _: 12
    )
    job = JobRecord(
        seq=1, id="j", task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
        run_at=970.0, enqueued_at=1.0,
    )  # fmt: skip
    control = JobControl(job, task(lambda: None, name="t"), OutputBuffer())
    counting.end(control, counting.begin(control), Succeeded())
    counts = counting.counts["q", "t"]
    assert (counts.waiting.total, counts.running.total, counts.output_bytes) == (30.0, 2.5, 12)


def test_a_clock_that_was_set_back_makes_no_negative_wait() -> None:
    clock = FakeClock(1000.0)
    counting = attempt_metrics.AttemptMetrics(
        now=clock.now, elapsed=lambda: 0.0, written=lambda _: 0
    )
    job = JobRecord(
        seq=1, id="j", task="t", queue="q", args=b"{}", state=State.RUNNING, priority=0,
        run_at=2000.0, enqueued_at=1.0,
    )  # fmt: skip
    counting.begin(JobControl(job, task(lambda: None, name="t"), OutputBuffer()))
    assert counting.counts["q", "t"].waiting.total == 0.0


def test_attempts_are_counted_by_their_outcome(belt: Conveyor) -> None:
    state = {"snoozed": False}

    @belt.task(name="t", retries=1, backoff=0.0)
    async def t(how: str) -> None:
        match how:
            case "fail":
                raise ValueError("no")
            case "snooze" if not state["snoozed"]:
                state["snoozed"] = True
                raise Snooze(0)
            case "hang":
                await asyncio.sleep(60)

    jobs = [
        t.enqueue("work"),
        t.enqueue("fail"),
        t.enqueue("snooze"),
        t.using(timeout=0.01, retries=0).enqueue("hang"),
    ]
    found = work(belt, *jobs)
    assert outcomes(found) == {"succeeded": 2, "failed": 2, "snoozed": 1, "timed_out": 1}


def test_a_cancelled_attempt_is_not_a_failed_one(belt: Conveyor) -> None:
    @belt.task(name="t")
    async def t() -> None:
        job.cancel(wait=None)
        await asyncio.sleep(60)

    job = t.enqueue()
    assert outcomes(work(belt, job)) == {"cancelled": 1}


def test_commands_and_jobs_in_processes_are_counted_with_what_they_wrote(belt: Conveyor) -> None:
    job = belt.command("sh", "-c", "printf 12345; exit 3").enqueue()
    found = work(belt, job)
    names = {"queue": "default", "task": "conveyor.command"}
    assert outcomes(found, **names) == {"failed": 1}
    assert found("conveyor_worker_output_bytes_total", **names) == 5


def test_output_counts_up_to_its_limit(belt: Conveyor) -> None:
    @belt.task(name="t", output_limit=10)
    def t() -> None:
        current_job().write_output("stdout", b"x" * 99)

    assert work(belt, t.enqueue())("conveyor_worker_output_bytes_total", **NAMES) == 10


def test_pairs_of_names_beyond_the_limit_count_as_others(belt: Conveyor) -> None:
    most = attempt_metrics.MAX_PAIRS

    async def nothing() -> None: ...

    tasks = [belt.task(name=f"t{number}")(nothing) for number in range(most + 2)]
    found = work(belt, *[task.enqueue() for task in tasks], slots=1)
    shown = found.values("conveyor_worker_attempts_total", "task")
    assert shown == {*(f"t{number}" for number in range(most)), "(other)"}
    others = {"queue": "(other)", "task": "(other)", "outcome": "succeeded"}
    assert found("conveyor_worker_attempts_total", **others) == 2
    assert found("conveyor_worker_attempts_beyond_limit_total") == 2


def test_a_worker_shows_its_slots_and_its_state(belt: Conveyor) -> None:
    started, go = threading.Event(), threading.Event()

    @belt.task(name="t")
    def t() -> None:
        started.set()
        go.wait(30)

    async def main() -> Scrape:
        async with asyncio.timeout(60), belt.worker(measured=True, slots=3) as worker:
            with serving(worker) as server:
                await asyncio.to_thread(started.wait, 30)
                worker.be_quiet()
                found = await asyncio.to_thread(scrape, server)
                go.set()
                return found

    t.enqueue()
    found = asyncio.run(main())
    assert found("conveyor_worker_slots") == 3
    assert found("conveyor_worker_slots_busy") == 1
    assert found("conveyor_worker_state", state="quiet") == 1
    assert found("conveyor_worker_state", state="ready") == 0
    assert found("conveyor_worker_lease_renewals_late_total") == 0
    assert found("conveyor_worker_lease_renewals_failed_total") == 0
    assert found("conveyor_worker_events_dropped_total") == 0
    assert "process_cpu_seconds_total" in found.names


def test_a_blocked_event_loop_is_scraped_all_the_same(belt: Conveyor) -> None:
    found: list[Scrape] = []

    @belt.task(name="t")
    async def t() -> None:
        thread = threading.Thread(target=lambda: found.append(scrape(server)))
        thread.start()
        thread.join(30)  # which blocks the event loop

    async def main() -> None:
        nonlocal server
        async with asyncio.timeout(60), belt.worker(measured=True) as worker:
            with serving(worker) as server:
                await job.await_final()

    server: Any = None
    job = t.enqueue()
    asyncio.run(main())
    assert found[0]("conveyor_worker_slots_busy") == 1


def test_a_worker_without_metrics_counts_nothing(belt: Conveyor) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), belt.worker() as worker:
            assert worker.parts.metrics is None

    asyncio.run(main())


def ask(port: int, host: str, path: str = "/metrics") -> int:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    line.request("GET", path, headers={"Host": host})
    status = line.getresponse().status
    line.close()
    return status


def test_a_foreign_name_that_leads_to_this_machine_gets_nothing() -> None:
    with MetricsServer("127.0.0.1", 0, lambda _: (b"", "text/plain")) as server:
        assert ask(server.port, "evil.example:80") == 403
        assert ask(server.port, "") == 403
        assert ask(server.port, f"localhost:{server.port}") == 200
        assert ask(server.port, f"127.0.0.1:{server.port}", "/") == 404


def test_a_port_that_is_taken_is_an_error_that_names_it() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port} for metrics: .*port"):
        MetricsServer("127.0.0.1", port, lambda _: (b"", ""))
    taken.close()


def test_idle_clients_take_no_more_than_their_share() -> None:
    with MetricsServer("127.0.0.1", 0, lambda _: (b"", "text/plain")) as server:
        address = "127.0.0.1", server.port
        idle = [socket.create_connection(address) for _ in range(metrics_server.MAX_CLIENTS)]
        with socket.create_connection(address, timeout=20) as one_more:
            assert one_more.recv(1) == b""
        for each in idle:
            each.close()


def test_a_fault_of_ours_is_logged_and_the_next_scrape_is_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = iter([ValueError("a bug"), b"fine"])

    def render(_accept: str) -> tuple[bytes, str]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer, "text/plain"

    with MetricsServer("127.0.0.1", 0, render) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server.port, "localhost")
        assert ask(server.port, "localhost") == 200
    assert caplog.messages == ["metrics.failed"]
