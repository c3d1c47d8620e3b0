"""Runs blocking jobs in child processes, which can be killed whatever the job does."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import spawn
from typing import Any

from ..core.job import ErrorInfo, Stream
from ..core.lifecycle import Failed
from ..core.stack import Frame
from ..core.task import Task
from ..core.timeout import wait_for_event
from ..errors import UsageError
from ..system.own_program import own_program
from .child_protocol import (
    DUMP,
    STOP,
    WORKDIR_CREATED,
    WORKDIR_FAILED,
    ArtifactNamed,
    ChildMessage,
    ChildReady,
    CompletionBegun,
    FramesTaken,
    FunctionStarted,
    JobDone,
    JobMessage,
    MessageReader,
    OutputWritten,
    PipeWriter,
    ProgressReport,
    RunJob,
    WaitNoted,
    WorkdirNeeded,
    encode,
)
from .command import signal_name
from .guard_pool import GuardPool
from .guarded_process import MAX_DRAIN_READS, GuardedProcess
from .job_control import JobControl, RunResult, Stopped, StopRequest
from .machine_fault import MachineFault, machine_fault
from .termination import KILL_TIMEOUT, Termination

# How long a child may take to start, in seconds, and how much of its last output is reported.
READY_TIMEOUT, TAIL_BYTES = 30.0, 4096
# How much more memory a child may use than its imports needed, if that was much already.
GROWTH = 1.25
CHILD = "conveyor.runners.child"
MAIN_KEYS = ("init_main_from_name", "init_main_from_path", "sys_argv", "orig_dir")


class ProcessRunner:
    """At most `size` child processes, each used for many jobs.

    A child is replaced after `max_jobs` jobs (0 for any number), or when it has grown above
    `max_rss_mb` MiB. One whose imports needed about as much has not grown: a new one would be no
    smaller. The caller closes the `guards` that it passes.
    """

    def __init__(
        self,
        size: int,
        *,
        max_jobs: int = 0,
        max_rss_mb: int = 512,
        guards: GuardPool | None = None,
    ) -> None:
        self._guards = guards or GuardPool()
        self._owns_guards = guards is None
        self._size = asyncio.Semaphore(size)
        self._max_jobs = max_jobs
        self._max_rss = max_rss_mb << 20
        self._idle: list[_ChildProcess] = []
        self._children: set[_ChildProcess] = set()

    def prewarm(self) -> None:
        """Start a child before the first job needs it."""
        if not self._idle:
            self._idle.append(self._start_child())

    async def run(self, control: JobControl) -> RunResult:
        """Run one blocking job in a child that runs no other job meanwhile."""
        async with self._size:
            if control.stopping:
                return Stopped()
            try:
                child = await self._get_child()
            except OSError as error:
                return machine_fault(error) or MachineFault(f"no child process: {error}")
            try:
                run_result = await child.run(control)
            except BaseException:
                await self._discard(child)
                raise
            if child.broken or control.stopping or self._is_worn(child):
                await self._discard(child)
            else:
                self._idle.append(child)
            return run_result

    async def probe(self) -> MachineFault | None:
        """Start a child, and keep it for the next job."""
        try:
            child = await self._get_child()
        except OSError as error:
            return MachineFault(f"no child process: {error}")
        fault = await child.wait_until_ready()
        if fault is None:
            self._idle.append(child)
        else:
            await self._discard(child)
        return fault

    async def close(self) -> None:
        """Kill all children."""
        await asyncio.gather(*map(self._discard, list(self._children)))
        if self._owns_guards:
            await self._guards.close()

    def _is_worn(self, child: _ChildProcess) -> bool:
        if 0 < self._max_jobs <= child.jobs:
            return True
        return child.rss > max(self._max_rss, GROWTH * child.imported_rss)

    async def _get_child(self) -> _ChildProcess:
        while self._idle:
            child = self._idle.pop()
            if not child.broken:
                return child
            await self._discard(child)
        return self._start_child()

    def _start_child(self) -> _ChildProcess:
        child = _ChildProcess(self._guards)
        self._children.add(child)
        return child

    async def _discard(self, child: _ChildProcess) -> None:
        self._children.discard(child)
        await child.close()


class _ChildProcess:
    """One child process, as the worker sees it."""

    def __init__(self, guards: GuardPool) -> None:
        self.jobs = 0
        self.rss = self.imported_rss = 0
        self.broken = False
        self._ready = asyncio.Event()
        self._begun = False
        self._pid = 0
        self._on_frames: Callable[[Sequence[Frame]], None] | None = None
        self._workdir_fault: MachineFault | None = None
        self._last_output = b""
        self._control: JobControl | None = None
        self._run_result: asyncio.Future[RunResult] | None = None
        self._termination: Termination | None = None
        (stdin, requests), (control_fd, controls), (messages, message_fd) = _open_pipes(3)
        level = str(logging.getLogger().level)
        try:
            self._process = GuardedProcess(
                guards,
                own_program(CHILD, level, runs_application=True),
                self._on_output,
                stdin=stdin,
                more=(message_fd, control_fd),
            )
        except BaseException:
            for end in (requests, controls, messages):
                os.close(end)
            raise
        self._requests, self._controls = PipeWriter(requests), PipeWriter(controls)
        self._messages = MessageReader(messages, self._on_message)
        self._process.exited.add_done_callback(self._on_exit)

    async def run(self, control: JobControl) -> RunResult:
        """Run a job in the child, which is then ready for the next job, or broken."""
        self.jobs += 1
        self._begun = False
        self._workdir_fault = None
        self._control = control
        self._on_frames = None
        control.child_pid, control.request_frames = self._pid, self._request_frames
        self._run_result = asyncio.get_running_loop().create_future()
        where = control.task.where
        main = _main_script() if where.startswith("__main__:") else {}
        folder, created = _workdir_state(control)
        schema = control.completions.schema if control.completions else ""
        arounds = tuple(each.where for each in control.task.arounds)
        if any(each.startswith("__main__:") for each in arounds):
            main = _main_script()
        run = RunJob(control.job, where, main, folder, created, schema, control.trace, arounds)
        self._requests.send(encode(run) + b"\n")
        self._termination = Termination(self._process, control)
        control.on_stop(self._stop)
        try:
            run_result = await self._run_result
            notes = await self._termination.wait()
            if self.broken:
                await asyncio.wait([self._process.gone], timeout=KILL_TIMEOUT)
        finally:
            self._control = None
            self._run_result = None
        if isinstance(run_result, Failed) and not self._begun:
            return _missing_source(control.task) or run_result
        return Stopped(notes) if isinstance(run_result, Stopped) else run_result

    async def wait_until_ready(self) -> MachineFault | None:
        """Wait until it could run a job; return the fault that prevents that."""
        await wait_for_event(self._ready, READY_TIMEOUT)
        if self.broken:
            return self._start_fault()
        return None if self._ready.is_set() else MachineFault("a child process does not start")

    async def close(self) -> None:
        """Kill the process, if it runs, and all that it started; close its pipes."""
        self.broken = True
        self._process.exited.remove_done_callback(self._on_exit)
        self._requests.close()
        self._controls.close()
        self._messages.close()
        await self._process.close()

    def _on_output(self, stream: Stream, data: bytes) -> None:
        if not self._ready.is_set():
            self._last_output = (self._last_output + data)[-TAIL_BYTES:]
        # Output between two jobs comes from a process that the last job left behind.
        if self._control is not None:
            self._control.write(stream, data)

    def _on_message(self, message: ChildMessage | None) -> None:
        control = self._control
        match message:
            case None:
                self.broken = True  # the job wrote to descriptors that are not its own
                self._finish(Failed(ErrorInfo("ProcessDied", "its process sent invalid messages")))
            case ChildReady(pid):
                self._pid = pid
                if control is not None:
                    control.child_pid = pid
                self._ready.set()
            case JobDone(run_result, rss):
                self.rss = rss
                # What the job printed was in the pipes before it reported its end.
                self._process.drain()
                if isinstance(run_result, MachineFault) and self._workdir_fault is not None:
                    run_result = self._workdir_fault  # the child does not know why
                self._finish(run_result)
            case _ if control is not None:  # else it is about a job that has ended
                self._on_job_message(control, message)
            case _:
                return

    def _on_job_message(self, control: JobControl, message: JobMessage) -> None:
        match message:
            case FunctionStarted(imported_rss):
                self.imported_rss = imported_rss
                self._begun = True
                control.begin()
            case ProgressReport(progress):
                control.report_progress(progress)
            case OutputWritten(stream, data):
                control.write(stream, data)
            case WaitNoted(what):
                self._note_wait(control, what)
            case CompletionBegun():
                control.completing = True
            case ArtifactNamed(name, path):
                control.register_artifact(name, path)
            case WorkdirNeeded():
                self._workdir_fault = _create_workdir(control)
                self._controls.send(WORKDIR_FAILED if self._workdir_fault else WORKDIR_CREATED)
            case FramesTaken(frames):
                receive, self._on_frames = self._on_frames, None
                if receive is not None:
                    receive(frames)

    def _note_wait(self, control: JobControl, what: str) -> None:
        # STOP ends the wait itself, in the child; this event only names it here.
        if what:
            control.waits[self._ready] = what
        else:
            control.waits.pop(self._ready, None)

    def _request_frames(self, receive: Callable[[Sequence[Frame]], None]) -> None:
        """Have the child send the frames of the job that it runs."""
        if self._control is not None and not self.broken:
            self._on_frames = receive
            self._controls.send(DUMP)

    def _stop(self, request: StopRequest) -> None:
        if self._termination is not None and self._run_result is not None:
            if not self._termination.started:
                self._controls.send(STOP)
            self._termination.start(request)

    def _on_exit(self, exited: asyncio.Future[int | None]) -> None:
        self.broken = True
        for _ in range(MAX_DRAIN_READS):
            if not self._messages.read():
                break
        self._process.drain()
        if not self._ready.is_set():
            stopping = self._control is not None and self._control.stopping
            self._finish(Stopped() if stopping else self._start_fault())
            self._ready.set()
        elif self._process.failure is not None:
            self._finish(self._process.failure)
        elif self._control is not None and self._control.stopping:
            self._finish(Stopped())
        elif self._control is not None:
            self._finish(Failed(_describe_death(exited.result())))

    def _start_fault(self) -> MachineFault:
        started, exited = self._process.started, self._process.exited
        error = started.result() if started.done() else None
        lines = self._last_output.decode(errors="replace").strip().splitlines()
        if error is not None:
            why = str(error)
        elif lines:
            why = lines[-1]
        else:
            why = _describe_death(exited.result() if exited.done() else None).message
        return MachineFault(f"a child process could not start: {why}")

    def _finish(self, run_result: RunResult) -> None:
        if self._run_result is not None and not self._run_result.done():
            self._run_result.set_result(run_result)


def _missing_source(task: Task) -> MachineFault | None:
    """Return the fault that the file of a task is gone, from which this worker has imported it."""
    module = sys.modules.get(task.where.partition(":")[0])
    path = getattr(module, "__file__", None)
    if path is None or os.path.exists(path):
        return None
    return MachineFault(f"the file of task {task.name!r} is gone: {path}")


def _open_pipes(count: int) -> list[tuple[int, int]]:
    with ExitStack() as stack:
        pipes: list[tuple[int, int]] = []
        for _ in range(count):
            pipes.append(os.pipe())
            for end in pipes[-1]:
                stack.callback(os.close, end)
        stack.pop_all()  # all are open: the caller closes them
    return pipes


def _workdir_state(control: JobControl) -> tuple[str, bool]:
    """Return the path of the job's workdir, and whether it exists."""
    if control.workdir_root is None:
        return "", False
    workdir = control.planned_workdir()
    try:
        return workdir.path, workdir.created
    except OSError:  # there is no directory for temporary files
        return "", False


def _create_workdir(control: JobControl) -> MachineFault | None:
    try:
        control.folder()
    except (OSError, UsageError) as error:
        control.write("mark", f"[cannot create the job's folder: {error}]\n".encode())
        return MachineFault(f"no job's folder can be created: {error}")
    return None


def _main_script() -> dict[str, Any]:
    """Return what a child needs to import the script that is `__main__` here."""
    data = spawn.get_preparation_data("conveyor")
    return {key: data[key] for key in MAIN_KEYS if key in data}


def _describe_death(code: int | None) -> ErrorInfo:
    if code is None:
        how = "could not be started"
    elif code >= 0:
        how = f"exited with {code} during the job"
    elif -code == signal.SIGKILL:
        how = "was killed by SIGKILL, possibly by the kernel's OOM killer"
    else:
        how = f"was killed by {signal_name(-code)}"
    return ErrorInfo("ProcessDied", f"its process {how}")
