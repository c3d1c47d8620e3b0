"""An application that wraps its jobs, in a module that child processes import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from conveyor import Conveyor, CurrentJob, current_job

belt = Conveyor("memory:")
trail: ContextVar[str] = ContextVar("trail", default="")


@belt.around
def outer(job: CurrentJob) -> Iterator[None]:
    token = trail.set(f"outer of {job.task}")
    try:
        yield
    finally:
        print("outer left")
        trail.reset(token)


@belt.around
@contextmanager
def middle(_job: CurrentJob) -> Iterator[None]:
    trail.set(f"{trail.get()}, middle")
    yield


@belt.around
async def inner(job: CurrentJob) -> AsyncIterator[None]:
    assert current_job().id == job.id
    await asyncio.sleep(0)
    token = trail.set(f"{trail.get()}, inner")
    try:
        yield
    finally:
        trail.reset(token)
        print("inner left")


@belt.task(name="coroutine")
async def as_coroutine(fails: bool) -> str:
    return end(fails)


@belt.task(name="thread", run="thread")
def as_thread(fails: bool) -> str:
    return end(fails)


@belt.task(name="process", run="process")
def as_process(fails: bool) -> str:
    return end(fails)


@belt.task(name="async process", run="process")
async def as_async_process(fails: bool) -> str:
    await asyncio.sleep(0)
    return end(fails)


def end(fails: bool) -> str:
    if fails:
        raise ValueError(trail.get())
    return trail.get()


def plain() -> str:
    return trail.get()


KINDS = (as_coroutine, as_thread, as_process, as_async_process)
