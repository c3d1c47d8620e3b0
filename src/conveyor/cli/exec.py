"""`conveyor exec`: a command as a job, with its output here and its exit code as ours."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path
from typing import Any

import click
import msgspec

from ..client.app import Conveyor
from ..client.job_handle import Job
from ..client.outage_wait import Patience
from ..core.explain import SILENT
from ..core.job import COMMANDS, AttemptError, JobRecord, OutputChunk, State
from ..core.labels import serves
from ..errors import ConveyorError, PassingError, UsageError
from ..settings import load_settings
from ..store.protocol import Store
from .shared.artifact_download import download_artifacts, make_output_directory
from .shared.exit_codes import FAILED, INTERRUPTED
from .shared.job_output import follow_output
from .shared.options import chosen_options, job_options, url_option
from .shared.output import print_stderr, write_bytes
from .shared.shell_warning import warn_of_shell
from .shared.signals import listening

# How long a cancel may still be on its way when the job has ended, in seconds.
LAST = 1.0


# Options end where the command begins: what follows is its own.
@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("--queue", default="exec", show_default=True, help="The queue to go through.")
@job_options
@click.option(
    "--cwd",
    help="The folder to run in (default: this one, unless it has one of its own or is run by a "
    "server's agents).",
)
@click.option("-o", "--output", metavar="FOLDER", help="Where artifacts are put (default: here).")
@url_option
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    queue: str,
    cwd: str | None,
    output: str | None,
    url: str | None,
    argv: tuple[str, ...],
    **options: Any,
) -> int:
    warn_of_shell()
    chosen = chosen_options(options)
    own = "files" in chosen or "artifacts" in chosen
    if output is not None:
        if "artifacts" not in chosen:
            raise UsageError("-o says where artifacts are put: name some with --artifact")
        make_output_directory(output)
    belt = Conveyor(str(load_settings({"url": url})["url"]))
    try:
        if not own and belt.store.is_local:
            cwd = str(Path(cwd or ".").absolute())
        job = belt.command(*argv, cwd=cwd, queue=queue).using(**chosen).enqueue()
        code = _follow(belt, job, queue, frozenset(chosen.get("requires", ())))
        return _download(job, output, code) if "artifacts" in chosen else code
    finally:
        belt.close()


def _download(job: Job[Any], output: str | None, code: int) -> int:
    """Get the artifacts, and return the exit code: the command's, unless only this has failed."""
    try:
        download_artifacts(job, job.artifacts(), output)
    except ConveyorError as error:
        print_stderr(f"conveyor exec: {error}. `conveyor artifacts {job.id} get` tries that again.")
        return code or FAILED
    return code


def _follow(belt: Conveyor, job: Job[Any], queue: str, requires: frozenset[str]) -> int:
    cancels: list[threading.Thread] = []

    def act(number: signal.Signals, count: int) -> None:
        if count == 1:
            print_stderr(
                f"{number.name}: cancelling (again: with no grace; a third time: leaves at once)"
            )
        elif count == 2:
            print_stderr(f"{number.name} again: cancelling with no grace")
        else:
            print_stderr(f"{number.name} once more: leaving; job {job.id} may still run")
            os._exit(128 + number)
        # In a thread, as it may take long to reach the store, and signals are heard meanwhile.
        request = threading.Thread(target=_cancel, args=(job, number, count > 1), daemon=True)
        request.start()
        cancels.append(request)

    with listening(act):
        worker = None
        if not _is_served(belt, queue, requires):
            if requires:
                print_stderr(
                    f"no worker of queue {queue} has the labels {', '.join(sorted(requires))} yet"
                )
            else:
                worker = _LocalWorker(belt, queue)
        try:
            record = follow_output(belt.store, job.id, _emit)
        finally:
            if worker is not None:
                worker.finish()
    for request in cancels:  # not beyond the store, which is closed soon
        request.join(LAST)
    if cancels and record.state is not State.COMPLETED:
        return INTERRUPTED
    return _exit_code(record, belt)


def _cancel(job: Job[Any], number: signal.Signals, force: bool) -> None:
    try:
        job.cancel(reason=f"conveyor exec got {number.name}", force=force)
    except ConveyorError as error:
        print_stderr(f"job {job.id} is not cancelled: {error}")


def _is_served(belt: Conveyor, queue: str, requires: frozenset[str]) -> bool:
    now = belt.store.now()
    return any(
        queue in worker.queues
        and serves(frozenset(worker.labels), requires | {COMMANDS})
        and now - worker.beat_at < SILENT
        and not worker.draining
        for worker in belt.store.workers().result()
    )


def _emit(chunk: OutputChunk) -> None:
    write_bytes(chunk.data, to_stderr=chunk.stream != "stdout")


def _exit_code(record: JobRecord, belt: Conveyor) -> int:
    if record.state is State.COMPLETED:
        return int(msgspec.json.decode(record.result or b"{}").get("exit_code", 0))
    history = _history(belt.store, record.id)
    print_stderr(f"conveyor exec: {record.error or record.state}")
    exit_code = history[-1].error.exit_code if history else None
    return FAILED if exit_code is None else exit_code


def _history(store: Store, job_id: str) -> list[AttemptError]:
    patience = Patience()
    while True:
        try:
            return store.history(job_id).result()
        except PassingError as error:  # it was there a moment ago, to say that the job has ended
            patience.bear(error)


class _LocalWorker:
    """A worker for one queue in a thread of this process."""

    def __init__(self, belt: Conveyor, queue: str) -> None:
        self._worker = belt.worker(queues=[queue], slots=1, app="conveyor exec", keep=False)
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._worker.run(),), name="conveyor-exec", daemon=True
        )
        self._thread.start()

    def finish(self) -> None:
        self._worker.call(self._worker.cancel_all)
        self._thread.join(30)
