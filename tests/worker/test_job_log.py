"""Failing jobs leave a line in the log that error trackers understand, whatever their kind."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conveyor import Conveyor, Snooze, current_job
from conveyor.core.job import ErrorInfo, State
from conveyor.core.lifecycle import Failed
from conveyor.job_log import RemoteError, log_failure
from shop import Running, Until, belt, fail, fresh_store, queue, too_long, waits_for_stop, work

_fresh_store = pytest.fixture(autouse=True)(fresh_store)


class Records(logging.Handler):
    """Keeps what is logged about jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "conveyor.job":
            self.kept.append(record)

    def facts(self) -> list[tuple[Any, ...]]:
        return [
            (each.levelname, each.job_id, each.task, each.queue, each.attempt)  # type: ignore[attr-defined]
            for each in self.kept
        ]


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@queue.task(name="fails twice", retries=1, backoff=0)
async def fails_twice() -> None:
    raise ValueError("no such thing")


@queue.task(name="forges a line", retries=0)
async def forges_a_line() -> None:
    raise ValueError("no\n2026-01-01 INFO all is well \x1b]0;title\a")


@belt.queue("short", capacity=1, when_full="drop_oldest").task(name="bounded")
async def bounded() -> None: ...


@queue.task(name="naps")
async def naps_once() -> None:
    if current_job().lease == 1:
        raise Snooze(0.0)


@pytest.mark.parametrize("kind", fail)
def test_a_discarded_job_is_an_error_with_its_exception(records: Records, kind: str) -> None:
    job = fail[kind].using(retries=0).enqueue("raise")
    work()
    assert records.facts() == [("ERROR", job.id, f"fail {kind}", "q", 1)]
    [record] = records.kept
    assert record.exc_info is not None
    raised = record.exc_info[1]
    assert isinstance(raised, RemoteError if kind == "process" else ValueError)
    assert "no such thing" in str(raised)
    assert "shop.py" in logging.Formatter().format(record)


def test_a_retry_is_a_warning(records: Records) -> None:
    job = fails_twice.enqueue()
    work()
    assert records.facts() == [
        ("WARNING", job.id, "fails twice", "q", 1),
        ("ERROR", job.id, "fails twice", "q", 2),
    ]
    assert "attempt=1/2 error=ValueError: no such thing" in records.kept[0].getMessage()


def test_a_job_of_an_unknown_task_is_a_warning(records: Records) -> None:
    job = Conveyor(store=belt.store).send("shop.unknown", {}, queue="q")
    work()
    assert records.facts() == [("WARNING", job.id, "shop.unknown", "q", 1)]
    assert "no task named 'shop.unknown' is registered" in records.kept[0].getMessage()


def test_a_failure_of_a_job_whose_cancel_was_requested_leaves_no_line(records: Records) -> None:
    job = naps_once.enqueue().record
    claimed = msgspec.structs.replace(job, state=State.RUNNING, cancel_requested_at=1.0)
    log_failure(claimed, Failed(ErrorInfo("ValueError", "no such thing")))
    assert records.facts() == []


def test_a_failed_command_and_a_timeout_are_errors_that_say_why(records: Records) -> None:
    belt.command("sh", "-c", "echo reason >&2; exit 3", queue="q").enqueue()
    too_long.using(retries=0).enqueue()
    work()
    texts = sorted(logging.Formatter().format(each) for each in records.kept)
    assert [each.levelname for each in records.kept] == ["ERROR", "ERROR"]
    assert "exited with 3" in texts[0]
    assert "reason" in texts[0]
    assert "Timeout" in texts[1]
    assert "CancelledError" not in texts[1]


def test_a_job_that_expired_is_a_warning_and_one_that_was_dropped_is_no_more_than_information(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "conveyor.job")
    late = naps_once.using(expires_at=time.time() - 1).enqueue()
    dropped = bounded.enqueue()
    bounded.enqueue()
    work()
    assert records.facts() == [
        ("INFO", dropped.id, "bounded", "short", 0),
        ("WARNING", late.id, "naps", "q", 0),
    ]
    assert not any(each.exc_info for each in records.kept)
    assert "error=Expired: it was not started before its expires_at" in records.kept[1].getMessage()


def test_what_succeeds_snoozes_or_is_cancelled_leaves_no_line(
    records: Records, until: Until
) -> None:
    naps_once.enqueue()
    job = waits_for_stop.enqueue()
    with Running():
        until(lambda: job.refresh().record.started_at)
        assert job.cancel(wait=10)
    assert records.facts() == []


def test_an_error_cannot_forge_lines_of_the_log(records: Records) -> None:
    forges_a_line.enqueue()
    work()
    message = records.kept[0].getMessage()
    assert message.isprintable()
    assert "no\\n2026-01-01 INFO" in message


def test_a_handler_that_raises_stops_no_worker(records: Records) -> None:
    def refuse(_record: logging.LogRecord) -> bool:
        raise RuntimeError("broken filter")

    records.addFilter(refuse)
    jobs = [fails_twice.enqueue(), naps_once.enqueue()]
    work()
    assert [job.refresh().record.state for job in jobs] == ["discarded", "completed"]


def test_names_that_a_record_factory_has_set_lose_no_line(records: Records) -> None:
    usual = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = usual(*args, **kwargs)
        made.task = made.job_id = "mine"
        return made

    logging.setLogRecordFactory(factory)
    try:
        job = fails_twice.using(retries=0).enqueue()
        work()
    finally:
        logging.setLogRecordFactory(usual)
    assert records.facts() == [("ERROR", job.id, "fails twice", "q", 1)]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Run a script that has configured no logging; return its stderr."""

    def run(text: str) -> str:
        (tmp_path / "script.py").write_text(text)
        command = [sys.executable, "script.py"]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        ).stderr

    return run


def test_without_any_configuration_errors_and_warnings_reach_stderr(
    script: Callable[[str], str],
) -> None:
    stderr = script(
        "import asyncio, logging\n"
        "from conveyor import Conveyor\n"
        "belt = Conveyor('memory:')\n"
        "@belt.task(retries=0)\n"
        "async def bad():\n"
        "    logging.getLogger('shop').warning('of the job')\n"
        "    raise ValueError('no such thing')\n"
        "async def main():\n"
        "    async with belt.worker():\n"
        "        logging.getLogger('shop').warning('beside the worker')\n"
        "        logging.getLogger('shop').info('too quiet')\n"
        "        job = await bad.aenqueue()\n"
        "        await job.await_final()\n"
        "asyncio.run(main())\n"
    )
    assert "beside the worker" in stderr
    assert "job.discarded" in stderr
    assert "of the job" not in stderr
    assert "too quiet" not in stderr
