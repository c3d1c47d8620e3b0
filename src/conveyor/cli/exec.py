"""`conveyor exec`: runs a command as a job, with its output and exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from asyncio import Future
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from ..client.app import Conveyor
from ..client.job_handle import Job
from ..client.outage_wait import OutageWait
from ..client.task_function import TaskFunction, enqueue_or_nothing
from ..core.event_log import open_event_log
from ..core.file_patterns import FilePatterns
from ..core.job import COMMANDS, AttemptError, JobRecord, OutputChunk, State
from ..core.labels import serves
from ..core.pending import run_sync
from ..core.serving_workers import SILENT
from ..core.unreadable import UNREADABLE
from ..errors import ConveyorError, PassingError, UnavailableError, UsageError
from ..settings import load_settings
from ..store.call_style import BlockingCalls
from ..store.page_walk import read_history
from ..store.protocol import Store
from .shared.application import belt_without_app
from .shared.artifact_download import download_artifacts, make_output_directory
from .shared.exit_codes import FAILED, INTERRUPTED, OK
from .shared.job_output import follow_output
from .shared.options import (
    chosen_options,
    job_options,
    key_options,
    queue_option,
    raw_option,
    url_option,
)
from .shared.output import print_line, print_stderr
from .shared.output_printer import OutputPrinter
from .shared.shell_warning import warn_of_shell
from .shared.signals import handle_signals
from .shared.store_access import choose_command_store, find_workers

# How long to wait for a cancel request when the job has ended, in seconds.
CANCEL_TIMEOUT = 1.0


# Options after the command belong to the command.
@click.command("exec", context_settings={"allow_interspersed_args": False})
@queue_option("Queue to use.", default="exec")
@key_options
@job_options
@click.option(
    "--cwd",
    metavar="PATH",
    help="Working directory (default: the current one, unless the job has files or artifacts or "
    "runs on an agent).",
)
@click.option(
    "-o",
    "--output",
    metavar="DIRECTORY",
    help="Directory for the artifacts (default: the current one).",
)
@click.option("--detach", is_flag=True, help="Print the job's id and exit; workers run the job.")
@raw_option
@url_option
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    queue: str,
    cwd: str | None,
    output: str | None,
    detach: bool,
    raw: bool,
    url: str | None,
    argv: tuple[str, ...],
    **options: Any,
) -> int:
    warn_of_shell()
    chosen = chosen_options(options)
    has_workdir = "files" in chosen or "artifacts" in chosen
    if output is not None:
        if "artifacts" not in chosen:
            raise UsageError("-o requires --artifact: without it there are no files to write")
        if detach:
            raise UsageError(
                "-o cannot be combined with --detach, which downloads nothing: "
                "run `conveyor artifacts ID get -o DIRECTORY` when the job has ended"
            )
        make_output_directory(output)
    store = choose_command_store(load_settings({"url": url}))
    belt = belt_without_app(store.url, store.token)
    try:
        if detach and not belt.store.is_durable:
            raise UsageError(
                f"--detach requires a store that outlives this command, not {belt.url}"
            )
        if not has_workdir and belt.store.is_local:
            cwd = str(Path(cwd or ".").absolute())
        command = belt.command(*argv, cwd=cwd, queue=queue).using(**chosen)
        requires = frozenset(chosen.get("requires", ()))
        stop = StopOnSignal()
        with handle_signals(stop):
            job = stop.enqueue(command)
            if job is None:
                return INTERRUPTED
            code = OK if detach else _follow_job(belt, job, stop, queue, requires, raw=raw)
        if detach:
            return _detach(belt, job, queue, requires)
        return _download(job, output, chosen["artifacts"], code) if "artifacts" in chosen else code
    finally:
        belt.close()


def _detach(belt: Conveyor, job: Job[Any], queue: str, requires: frozenset[str]) -> int:
    """Print the id of a job that workers run."""
    print_line(job.id)
    with suppress(ConveyorError):  # the job is enqueued, whatever becomes of this question
        if not _is_served(belt, queue, requires):
            print_stderr(
                f"waiting: no worker runs commands of queue {queue} now; "
                f"`conveyor why {job.id}` explains what to start"
            )
    return OK


def _download(job: Job[Any], output: str | None, patterns: Sequence[str], code: int) -> int:
    """Download the artifacts; return the exit code, which is FAILED if only this failed."""
    wanted = FilePatterns(patterns)
    try:
        artifacts = job.artifacts()
        for each in artifacts:
            # Otherwise a hostile server or agent could replace any file below the directory.
            if not wanted.matches(each.name):
                raise UsageError(f"{each.name!r} matches no --artifact, so nothing is downloaded")
        download_artifacts(job, artifacts, output)
    except ConveyorError as error:
        print_stderr(f"conveyor exec: {error}; retry with `conveyor artifacts {job.id} get`")
        return code or FAILED
    return code


class StopOnSignal:
    """What SIGTERM and SIGINT do: they cancel the enqueue, and then the job.

    A job that another call has enqueued, and another worker runs (`leaves_job`), is left alone.
    """

    def __init__(self) -> None:
        self.leaves_job = False
        self._job: Job[Any] | None = None
        self._enqueuing: Future[Job[Any]] | None = None
        self._signals: list[signal.Signals] = []
        self._requests: list[threading.Thread] = []

    def __call__(self, number: signal.Signals, count: int) -> None:
        """Handle a signal, in the thread of `handle_signals`."""
        if self.leaves_job and self._job is not None:
            print_stderr(f"{number.name}: leaving job {self._job.id}, which another call enqueued")
            os._exit(128 + number)
        if count == 1:
            print_stderr(
                f"{number.name}: cancelling; "
                "repeat to kill without a grace period, a third time to exit immediately"
            )
        elif count == 2:
            print_stderr(f"{number.name} again: killing without a grace period")
        else:
            job = f"job {self._job.id} may still be running" if self._job else "a job may be left"
            print_stderr(f"{number.name} a third time: exiting; {job}")
            os._exit(128 + number)
        self._signals.append(number)
        self._stop()

    def enqueue(self, command: TaskFunction[[], Any, Any]) -> Job[Any] | None:
        """Enqueue the command and return its job; None if a signal came first: no job is left."""
        with suppress(asyncio.CancelledError):
            self._job = asyncio.run(self._enqueue(command))
            if self._signals:  # it came when the job was accepted
                self._stop()
        return self._job

    def finish(self) -> bool:
        """Wait for the cancel requests; return whether there were any. The store may close then."""
        for request in self._requests:
            request.join(CANCEL_TIMEOUT)
        return bool(self._requests)

    async def _enqueue(self, command: TaskFunction[[], Any, Any]) -> Job[Any]:
        self._enqueuing = asyncio.ensure_future(enqueue_or_nothing(command))
        if self._signals:
            self._enqueuing.cancel()
        return await self._enqueuing

    def _stop(self) -> None:
        if self._job is None:
            if self._enqueuing is not None:
                with suppress(RuntimeError):  # it has just ended
                    self._enqueuing.get_loop().call_soon_threadsafe(self._enqueuing.cancel)
            return
        # In a thread, because the store may be slow, and further signals must still be handled.
        given = self._job, self._signals[-1], len(self._signals) > 1
        request = threading.Thread(target=_cancel, args=given, daemon=True)
        request.start()
        self._requests.append(request)


def _follow_job(
    belt: Conveyor,
    job: Job[Any],
    stop: StopOnSignal,
    queue: str,
    requires: frozenset[str],
    *,
    raw: bool,
) -> int:
    worker = None
    if not _is_served(belt, queue, requires):
        if requires:
            labels = ", ".join(sorted(requires))
            print_stderr(f"waiting: no worker of queue {queue} has the labels {labels}")
        else:
            worker = _LocalWorker(belt, queue)
    stop.leaves_job = job.existing and worker is None
    try:
        record = _print_output(belt.store, job.id, raw=raw)
    finally:
        if worker is not None:
            worker.finish()
    if stop.finish() and record.state is not State.COMPLETED:
        return INTERRUPTED
    return _exit_code(record, belt)


def _cancel(job: Job[Any], number: signal.Signals, force: bool) -> None:
    try:
        job.cancel(reason=f"conveyor exec got {number.name}", force=force)
    except ConveyorError as error:
        print_stderr(f"cannot cancel job {job.id}: {error}")


def _is_served(belt: Conveyor, queue: str, requires: frozenset[str]) -> bool:
    now = belt.store.now()
    return any(
        queue in worker.queues
        and serves(frozenset(worker.labels), requires | {COMMANDS})
        and now - worker.beat_at < SILENT
        and not worker.draining
        for worker in find_workers(belt.store)
    )


def _print_output(store: Store, job_id: str, *, raw: bool) -> JobRecord:
    """Print the output as it arrives until the job is final; return the job."""
    out, err = OutputPrinter(raw=raw), OutputPrinter(to_stderr=True, raw=raw)

    def emit(chunk: OutputChunk) -> None:
        (out if chunk.stream == "stdout" else err).print(chunk)

    try:
        return follow_output(store, job_id, emit)
    finally:
        out.end()
        err.end()


class _CommandResult(msgspec.Struct):
    exit_code: int = 0


def read_exit_code(result: bytes | None) -> int:
    """Return the exit code in a command's result; UnavailableError if it cannot be read."""
    try:
        return msgspec.json.decode(result or b"{}", type=_CommandResult).exit_code
    except UNREADABLE as error:
        raise UnavailableError(f"the result of the command cannot be read: {error}") from error


def _exit_code(record: JobRecord, belt: Conveyor) -> int:
    if record.state is State.COMPLETED:
        return read_exit_code(record.result)
    history = _history(belt.store, record.id)
    print_stderr(f"conveyor exec: {record.error or record.state}")
    exit_code = history[-1].error.exit_code if history else None
    return FAILED if exit_code is None else exit_code


def _history(store: Store, job_id: str) -> list[AttemptError]:
    outage = OutageWait()
    while True:
        try:
            return run_sync(read_history(BlockingCalls(), store, job_id))
        except PassingError as error:  # it was reachable a moment ago
            outage.tolerate(error)


class _LocalWorker:
    """A worker for one queue in a thread of this process."""

    def __init__(self, belt: Conveyor, queue: str) -> None:
        # The command itself says how its job failed.
        self._quiet = logging.NullHandler()
        open_event_log().addHandler(self._quiet)
        self._worker = belt.worker(queues=[queue], slots=1, app="conveyor exec", keep=False)
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._worker.run(),), name="conveyor-exec", daemon=True
        )
        self._thread.start()

    def finish(self) -> None:
        self._worker.call(self._worker.cancel_all)
        self._thread.join(30)
        open_event_log().removeHandler(self._quiet)
