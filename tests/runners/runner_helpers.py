"""What the runners' tests share: jobs made up on the spot, and a sink that remembers."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from conveyor.core.command import command_task, validate_command
from conveyor.core.job import JobRecord, Options, Progress, State, StopNote, Stream
from conveyor.core.lifecycle import Succeeded
from conveyor.core.task import Kind, task
from conveyor.runners.job_control import JobControl, OutputSink, Runner, RunResult, StopRequest

CANCEL = StopRequest("cancel", "by hand")
LONG = 60.0


class RecordingSink:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written: dict[tuple[str, Stream], bytearray] = defaultdict(bytearray)
        self.progress_reports: list[Progress] = []
        self.stop_notes: list[str] = []

    def write(self, job: JobRecord, stream: Stream, data: bytes) -> None:
        with self._lock:
            self._written[job.id, stream] += data

    def set_progress(self, job: JobRecord, progress: Progress) -> None:
        self.progress_reports.append(progress)

    def set_stop_notes(self, job: JobRecord, notes: Sequence[StopNote]) -> None:
        self.stop_notes = [note.text for note in notes]

    def text(self, stream: Stream = "stdout", job_id: str = "job") -> str:
        return self._written[job_id, stream].decode()


def record(task_name: str, args: bytes = b"{}", *, id: str = "job", **options: Any) -> JobRecord:  # noqa: A002
    return JobRecord(
        seq=1,
        id=id,
        task=task_name,
        queue="default",
        args=args,
        state=State.RUNNING,
        priority=0,
        run_at=0.0,
        enqueued_at=0.0,
        attempt=2,
        lease=7,
        options=Options(**options),
    )


def call(
    function: Callable[..., Any],
    *args: Any,
    run: Kind | None = None,
    sink: OutputSink | None = None,
    id: str = "job",  # noqa: A002
    **options: Any,
) -> JobControl:
    """Return the control of a job that calls a function."""
    made = task(function, run=run)
    job = record(made.name, made.args.encode(args, {}), id=id, **options)
    return JobControl(job, made, sink or RecordingSink())


def process(function: Callable[..., Any], *args: Any, **more: Any) -> JobControl:
    """Return the control of a job that calls a function in a child process."""
    return call(function, *args, run="process", **more)


def command(
    *argv: str,
    sink: OutputSink | None = None,
    id: str = "job",  # noqa: A002
    grace: float = 10.0,
    output_limit: int = 1 << 20,
    **how: Any,
) -> JobControl:
    """Return the control of a job that runs a command."""
    args = msgspec.json.encode(validate_command(argv, **how))
    made = command_task()
    job = record(made.name, args, id=id, grace=grace, output_limit=output_limit)
    return JobControl(job, made, sink or RecordingSink())


def shell(script: str, *args: str, **more: Any) -> JobControl:
    """Return the control of a job that runs a shell script."""
    return command("sh", "-c", script, "sh", *args, **more)


def pids(path: Path) -> list[int]:
    """Return the process numbers that a job has written down."""
    return [int(pid) for pid in path.read_text().split()]


def run_jobs(runner: Callable[[], Runner], *controls: JobControl) -> list[RunResult]:
    """Run jobs at once, each in a slot of its own, and return how they ended."""

    async def main() -> list[RunResult]:
        made = runner()
        try:
            async with asyncio.timeout(LONG):
                return await asyncio.gather(*(made.run(control) for control in controls))
        finally:
            await made.close()

    return asyncio.run(main())


async def eventually(done: Callable[[], object]) -> None:
    """Let the loop go round until something is so."""
    deadline = monotonic() + LONG
    while not done():
        assert monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def value(ending: RunResult) -> Any:
    """Return what a job returned."""
    assert isinstance(ending, Succeeded), ending
    return None if ending.result is None else msgspec.json.decode(ending.result)


def is_alive(pid: int) -> bool:
    """Say whether a process still runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
