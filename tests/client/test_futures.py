"""A Conveyor is a concurrent.futures.Executor, and its futures' cancel works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, as_completed, wait
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, JobDiscardedError, State, UsageError, current_job

Until = Callable[..., None]


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else str(tmp_path / "jobs.db")


def double(number: int) -> int:
    return 2 * number


def fail(text: str) -> None:
    raise LookupError(text)


GATE = threading.Event()


def held() -> bool:
    return GATE.wait(30)


def listen() -> None:
    current_job().sleep(30)


def test_it_is_an_executor_with_submit_and_map(url: str) -> None:
    with Conveyor(url) as belt:
        assert isinstance(belt, Executor)
        futures = [belt.submit(double, number) for number in range(5)]
        assert {future.result(30) for future in as_completed(futures, 30)} == {0, 2, 4, 6, 8}
        assert list(belt.map(double, range(3), timeout=30)) == [0, 2, 4]
    with pytest.raises(RuntimeError, match="after shutdown"):
        belt.submit(double, 1)


def test_a_call_that_raises_ends_its_future_with_an_error_that_names_it(url: str) -> None:
    with Conveyor(url) as belt:
        error = belt.submit(fail, "gone").exception(30)
    assert isinstance(error, JobDiscardedError)
    assert "LookupError: gone" in str(error)


def test_cancelling_a_future_that_waits_cancels_its_job(url: str) -> None:
    GATE.clear()
    with Conveyor(url) as belt:
        slots = [belt.submit(held) for _ in range(64)]
        assert slots[-1].cancel()
        assert slots[-1].cancelled()
        GATE.set()
        assert all(future.result(30) for future in slots[:-1])
        with pytest.raises(CancelledError):
            slots[-1].result(1)


def test_cancelling_a_future_that_runs_ends_it_once_its_code_has_stopped(
    url: str, until: Until
) -> None:
    with Conveyor(url) as belt:
        future: Any = belt.submit(listen)
        until(lambda: future.job.refresh().state is State.RUNNING)
        assert future.cancel() is False
        assert wait([future], 30).done
        with pytest.raises(CancelledError):
            future.result(1)


def test_shutdown_can_cancel_what_has_not_begun(url: str) -> None:
    GATE.clear()
    belt = Conveyor(url)
    futures = [belt.submit(held) for _ in range(64)]
    stopping = threading.Thread(target=belt.shutdown, kwargs={"cancel_futures": True})
    stopping.start()
    assert wait(futures[-1:], 30).done
    GATE.set()
    stopping.join(30)
    assert not stopping.is_alive()
    assert any(future.cancelled() or future.exception() for future in futures)
    assert any(not future.cancelled() and future.exception() is None for future in futures)


def test_a_function_without_a_name_runs_in_memory_only(tmp_path: Path) -> None:
    with Conveyor("memory:") as belt:
        assert belt.submit(lambda number: number + 1, 1).result(30) == 2
    with Conveyor(tmp_path / "jobs.db") as belt, pytest.raises(UsageError, match="by name"):
        belt.submit(lambda: None)
