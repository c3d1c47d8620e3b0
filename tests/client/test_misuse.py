"""What a newcomer writes by mistake is refused where it is written, with the way out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, UsageError
from conveyor.errors import UnavailableError


@pytest.fixture
def belt() -> Iterator[Conveyor]:
    opened = Conveyor("memory:")
    yield opened
    opened.close()


def in_loop(belt: Conveyor) -> object:
    async def work() -> int:
        return belt.work(keep=False)

    return asyncio.run(work())


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> Any:
    yield 1


MISTAKES: dict[str, tuple[Callable[[Any], object], str]] = {
    "a worker in a loop": (in_loop, "where an event loop runs: use `await belt.worker().run()`"),
    "a timeout as text": (lambda belt: belt.send("t").result("5"), "seconds or None, got '5'"),
    "a wait as text": (lambda belt: belt.send("t").cancel(wait="5"), "seconds or None, got '5'"),
    "a schedule of no task": (lambda belt: belt.schedule("@daily")(print), "is no task"),
    "no rule": (lambda belt: belt.schedule(None), "a schedule must be a string, got None"),
    "a time zone": (
        lambda belt: belt.schedule("@daily", timezone=5),
        "zone must be a string, got 5",
    ),
    "a generator": (lambda belt: belt.task(generate), "generate is a generator"),
    "an async generator": (lambda belt: belt.task(generate_async), "is a generator"),
    "a variable with =": (lambda belt: belt.command("a", env={"A=B": ""}), "got 'A=B'"),
    "a variable of no name": (lambda belt: belt.command("a", env={"": ""}), "got ''"),
    "codes as text": (lambda belt: belt.command("a", ok_exit_codes="0"), "0 to 255, got '0'"),
    "one code": (lambda belt: belt.command("a", ok_exit_codes=0), "0 to 255, got 0"),
    "a large code": (lambda belt: belt.command("a", ok_exit_codes=[256]), "255, got [256]"),
    "meta as a list": (lambda belt: belt.send("t", meta=[1]), "must be a dictionary, got [1]"),
    "a queue as a number": (lambda belt: belt.jobs(queue=5), "queue must be a name or None, got 5"),
    "tasks": (lambda belt: belt.jobs(task=["t"]), "task must be a name or None, got ['t']"),
    "a negative wait": (lambda belt: belt.send("t").result(-1), "0 or more seconds, got -1"),
    "a token that is none": (lambda _: Conveyor("jobs.db", token=5), "a string or None, got 5"),  # type: ignore[arg-type]
    "such a token later": (lambda belt: belt.divert("jobs.db", token=b"x"), "None, got b'x'"),
    "a page by id": (lambda belt: belt.jobs(before="x"), "the `seq` of a job, got 'x'"),
    "a page beyond": (lambda belt: belt.jobs(before=1 << 63), "the `seq` of a job, got 92"),
    "a limit as text": (lambda _: Conveyor(args_limit="1k"), "args_limit must be an integer"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_way_out(belt: Conveyor, mistake: str) -> None:
    make, said = MISTAKES[mistake]
    with pytest.raises(UsageError, match=re.escape(said)):
        make(belt)


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    belt = Conveyor(tmp_path)
    with pytest.raises(UnavailableError, match=r"is a directory; name a file in it"):
        belt.send("t")
    belt.close()
