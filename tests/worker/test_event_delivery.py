"""Whatever a handler of events does, the worker goes on, and the log says once what is wrong."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from conveyor import Event, JobRescued, ScalerActed, UsageError
from conveyor.core.hooks import Hooks
from conveyor.worker.event_delivery import EventDelivery

Until = Callable[[Callable[[], object]], None]


def acted(number: int = 0) -> ScalerActed:
    return ScalerActed(at=0.0, did="start", subject="pool", why="", count=number)


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    caplog.set_level(logging.WARNING, logger="conveyor.events")

    def lines(what: str) -> list[str]:
        return [text for text in map(logging.LogRecord.getMessage, caplog.records) if what in text]

    return lines


def close(delivery: EventDelivery) -> None:
    asyncio.run(delivery.close(60))


def test_handlers_get_the_events_of_their_classes_in_order(hooks: Hooks) -> None:
    every: list[Event] = []
    rescues: list[Event] = []
    hooks.subscribe(Event, every.append)
    hooks.subscribe((JobRescued,), rescues.append)
    delivery = EventDelivery(hooks)
    rescued = JobRescued(at=1.0, worker="w", job_id="a")
    for event in (acted(1), rescued, acted(2)):
        delivery.emit(event)
    close(delivery)
    assert every == [acted(1), rescued, acted(2)]
    assert rescues == [rescued]


def test_without_a_handler_there_is_no_thread(hooks: Hooks) -> None:
    hooks.subscribe(JobRescued, str)
    delivery = EventDelivery(hooks)
    before = threading.active_count()
    delivery.emit(acted())
    assert threading.active_count() == before
    assert not delivery.wants(ScalerActed)
    assert delivery.wants(JobRescued)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_raises_costs_no_other_its_events(
    hooks: Hooks, logged: Callable[[str], list[str]], error: BaseException, is_async: bool
) -> None:
    got: list[Event] = []

    def fails(event: Event) -> None:
        raise error

    async def fails_later(event: Event) -> None:
        await asyncio.sleep(0)
        raise error

    hooks.subscribe(Event, fails_later if is_async else fails)
    hooks.subscribe(Event, got.append)
    delivery = EventDelivery(hooks)
    for number in range(3):
        delivery.emit(acted(number))
    close(delivery)
    assert got == [acted(0), acted(1), acted(2)]
    [line] = logged("handler_failed handler=")
    assert "fails" in line
    assert logged("events.lost") == ["events.lost dropped=0 handlers_failed=3"]


def test_what_a_blocked_handler_does_not_take_is_dropped_and_counted(
    hooks: Hooks, logged: Callable[[str], list[str]]
) -> None:
    entered, gate = threading.Event(), threading.Event()

    def blocks(event: Event) -> None:
        entered.set()
        gate.wait(60)

    hooks.subscribe(Event, blocks)
    delivery = EventDelivery(hooks, most=3)
    delivery.emit(acted())
    assert entered.wait(60)
    for number in range(5):
        delivery.emit(acted(number))
    assert delivery.dropped == 2
    [line] = logged("events.dropped")
    assert "blocks" in line
    assert "3 events wait" in line
    asyncio.run(delivery.close(0.01))
    assert delivery.dropped == 5
    delivery.emit(acted())
    assert delivery.dropped == 6, "after the end nothing waits any more"
    gate.set()
    assert len(logged("events.dropped")) == 1
    assert logged("events.lost") == ["events.lost dropped=5 handlers_failed=0"]


def test_an_async_handler_that_takes_too_long_is_cancelled(
    hooks: Hooks, logged: Callable[[str], list[str]], until: Until
) -> None:
    cancelled, got = threading.Event(), []

    async def hangs(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    hooks.subscribe(Event, hangs)
    hooks.subscribe(Event, got.append)
    delivery = EventDelivery(hooks, handler_timeout=0.01)
    delivery.emit(acted())
    until(lambda: got)
    close(delivery)
    assert cancelled.is_set()
    assert len(logged("handler_failed")) == 1


def test_handlers_share_an_event_loop_but_no_context(hooks: Hooks) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    seen: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def sets(event: Event) -> None:
        loops.append(asyncio.get_running_loop())

    def reads(event: Event) -> None:
        seen.append(variable.get())
        variable.set(1)

    hooks.subscribe(Event, sets)
    hooks.subscribe(Event, reads)
    delivery = EventDelivery(hooks)
    for number in range(2):
        delivery.emit(acted(number))
    close(delivery)
    assert seen == [0, 0]
    assert loops[0] is loops[1]


def test_a_log_that_fails_harms_nothing(hooks: Hooks, until: Until) -> None:
    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit

    got: list[Event] = []

    def fails(event: Event) -> None:
        got.append(event)
        raise ValueError

    log, handler = logging.getLogger("conveyor.events"), Raises()
    log.addHandler(handler)
    hooks.subscribe(Event, fails)
    delivery = EventDelivery(hooks, most=1)
    try:
        for number in range(50):
            delivery.emit(acted(number))
        until(lambda: got)
        delivery.emit(acted(50))
        until(lambda: len(got) > 1)
        close(delivery)
    finally:
        log.removeHandler(handler)


@pytest.mark.parametrize("kinds", [str, (), "job.started", (JobRescued, int), None])
def test_what_is_no_event_class_is_refused(hooks: Hooks, kinds: Any) -> None:
    with pytest.raises(UsageError, match="name event classes"):
        hooks.subscribe(kinds, str)


def test_what_cannot_be_called_is_no_handler(hooks: Hooks) -> None:
    with pytest.raises(UsageError, match="must be callable"):
        hooks.subscribe(Event, 3)
