"""An event loop that jobs cannot end: what a job does to it becomes that job's own failure.

In asyncio, SystemExit or KeyboardInterrupt in any task or callback ends the loop, `loop.stop()`
ends it, and any code may cancel any task. A worker shares its loop with its jobs, so here a job's
`sys.exit()` fails the job wherever it is called, and a job cannot cancel the tasks of the worker.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from traceback import walk_tb
from types import CodeType, FrameType
from typing import Any, TypeVar

from ..core.event_log import open_event_log
from ..core.job_context import CURRENT, CurrentJob, link_of
from ..errors import UsageError
from ..runners.job_control import JobControl
from ..system.repeat_filter import WORKER_LOGGERS, bounded_log

log = open_event_log("event_loop")

T = TypeVar("T")

RunUntilComplete = Callable[[asyncio.Future[Any]], Any]


def run_in_event_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, as asyncio.run does, whatever the jobs in it do to the loop.

    UsageError where a loop runs already.
    """
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public one raises
        work.close()
        raise UsageError(
            "a blocking call cannot run a worker here, where an event loop runs: "
            "use `await belt.worker().run()` or `async with belt.worker()`"
        )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of the current policy, which may be another library's, and protect it."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(_create_task)
    # Not a subclass, because the policy decides on the class.
    loop.stop = partial(_stop, loop.stop)  # type: ignore[method-assign]
    loop.run_until_complete = partial(  # type: ignore[method-assign]
        _run_until_complete, loop, loop.run_until_complete
    )
    return loop


class WorkerTask(asyncio.Task[Any]):
    """A task of the worker. A job can cancel only the one that it runs in, not `all_tasks()`."""

    __slots__ = ()

    def cancel(self, msg: Any = None) -> bool:
        """Request a cancel; refused if other code than the worker's own does."""
        job = CURRENT.get()
        if job is not None and not _runs_in(job, self) and not _is_in_interrupt_handler():
            return False
        return super().cancel(msg)


def _runs_in(job: CurrentJob, task: asyncio.Task[Any]) -> bool:
    link = link_of(job)
    return isinstance(link, JobControl) and link.slot is task


def _create_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    **options: Any,
) -> asyncio.Task[Any]:
    kind: type[asyncio.Task[Any]] = WorkerTask if CURRENT.get() is None else asyncio.Task
    return kind(work, loop=loop, **options)


def _stop(stop: Callable[[], None]) -> None:
    if CURRENT.get() is not None:
        raise RuntimeError("a job cannot stop the event loop of its worker")
    stop()


def _run_until_complete(
    loop: asyncio.AbstractEventLoop, run_until_complete: RunUntilComplete, work: Awaitable[Any]
) -> Any:
    main = asyncio.ensure_future(work, loop=loop)
    with bounded_log(WORKER_LOGGERS):
        return _run_to_end(loop, run_until_complete, main)


def _run_to_end(
    loop: asyncio.AbstractEventLoop, run_until_complete: RunUntilComplete, main: asyncio.Future[Any]
) -> Any:
    while True:
        try:
            return run_until_complete(main)
        except (SystemExit, KeyboardInterrupt) as error:
            if main.done() or _is_interrupt(error):
                raise
            _blame(error)
        except RuntimeError as error:  # it was stopped before `main` was done
            if main.done() or loop.is_closed() or loop.is_running():
                raise
            log.error("loop.stopped error=%s", error)  # noqa: TRY400 - its traceback shows only asyncio


def _blame(error: BaseException) -> None:
    """Fail the job whose task or callback raised `error`."""
    name = type(error).__name__
    job = _find_culprit(error)
    link = None if job is None else link_of(job)
    if not isinstance(link, JobControl):
        log.error("loop.exit_ignored error=%s", name, exc_info=error)
        return
    log.error("job.exit_ignored id=%s task=%s error=%s", link.job.id, link.job.task, name)
    link.fail(error)


def _find_culprit(error: BaseException) -> CurrentJob | None:
    """Return the job in whose context the event loop ran the callback that raised `error`."""
    for frame, _ in walk_tb(error.__traceback__):
        handle = frame.f_locals.get("self")
        if isinstance(handle, asyncio.Handle):
            return handle._context.get(CURRENT)  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001 - public from Python 3.12 on
    return None


def _is_interrupt(error: BaseException) -> bool:
    """Whether a signal has raised this KeyboardInterrupt, and no job."""
    code = _interrupt_handler()
    return code is not None and any(
        frame.f_code is code for frame, _ in walk_tb(error.__traceback__)
    )


def _is_in_interrupt_handler() -> bool:
    code = _interrupt_handler()
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - there is no other way to the callers
    while code is not None and frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False


def _interrupt_handler() -> CodeType | None:
    """Return the code of the Python function that handles SIGINT, which asyncio.Runner sets."""
    handler: Any = signal.getsignal(signal.SIGINT)
    handler = getattr(handler, "func", handler)  # a partial
    handler = getattr(handler, "__func__", handler)  # a method
    return getattr(handler, "__code__", None)
