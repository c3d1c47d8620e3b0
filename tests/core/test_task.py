"""How a function runs as a task, and what it is called."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from conveyor.core.job import Options
from conveyor.core.task import kind_of, task
from conveyor.errors import UsageError


def blocking() -> int:
    return 1


async def coroutine() -> int:
    return 1


@pytest.mark.parametrize(
    ("function", "run", "timeout", "kind"),
    [
        (coroutine, None, None, "coroutine"),
        (coroutine, None, 5.0, "coroutine"),
        (coroutine, "coroutine", 5.0, "coroutine"),
        (coroutine, "process", None, "process"),
        (blocking, None, None, "thread"),
        (blocking, None, 5.0, "process"),  # a thread cannot be stopped
        (blocking, "thread", None, "thread"),
        (blocking, "process", None, "process"),
    ],
)
def test_a_function_runs_as_what_it_is_unless_told_otherwise(
    function: Any, run: Any, timeout: float | None, kind: str
) -> None:
    assert kind_of(function, run=run, timeout=timeout) == kind
    made = task(function, run=run, options=Options(timeout=timeout))
    assert (made.kind, made.options.timeout) == (kind, timeout)


@pytest.mark.parametrize(
    ("function", "run", "timeout", "said"),
    [
        (blocking, "coroutine", None, "needs an `async def`"),
        (coroutine, "thread", None, "cannot run='thread'"),
        (blocking, "thread", 5.0, "cannot have a timeout"),
        (blocking, "fiber", None, "got 'fiber'"),
    ],
)
def test_a_kind_that_does_not_suit_the_function_is_refused(
    function: Any, run: Any, timeout: float | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        kind_of(function, run=run, timeout=timeout)


def test_a_task_is_found_by_its_module_and_named_after_it() -> None:
    made = task(blocking)
    assert made.where == f"{__name__}:blocking"
    assert made.name == f"{__name__}.blocking"
    assert (made.function, made.priority, made.options) == (blocking, 0, Options())
    named = task(blocking, name="other", priority=7)
    assert (named.name, named.priority, named.where) == ("other", 7, made.where)


@pytest.mark.parametrize("thing", [partial(blocking), 7, None])
def test_what_has_no_name_is_no_task(thing: Any) -> None:
    with pytest.raises(UsageError, match="a task needs a function that has a name"):
        task(thing)
