"""Makes dumps of what this worker's jobs do, on request, even while its event loop is blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

from ..core.event_log import open_event_log
from ..core.stack import Frame, ProcessState, StackDump
from ..errors import ConveyorError
from ..runners.job_control import JobControl
from ..runners.process_states import processes_below, processes_of_command
from ..runners.stack_frames import frames_of_coroutine, frames_of_thread
from ..store.messages import Lease
from ..store.protocol import Store
from .held_jobs import HeldJobs

log = open_event_log("stack_reporter")

# How long a child process may take to answer, and the store, in seconds.
CHILD_TIMEOUT, STORE_TIMEOUT = 2.0, 10.0
# How often one thread looks for requests before it ends; a hint starts the next one.
MAX_ROUNDS = 100
NOT_STARTED = "its code has not started, or has ended"
HOLDS_INTERPRETER = "the child process did not answer: its code does not let other threads run"
BLOCKED_LOOP = "this coroutine blocks the event loop of its worker"
BEHIND_BLOCKED_LOOP = "the event loop of its worker is blocked, by another coroutine"


class StackReporter:
    """Makes dumps in a thread of its own, which exists only while some are requested."""

    def __init__(self, *, store: Store, worker: str, held: HeldJobs) -> None:
        self._store = store
        self._worker = worker
        self._held = held
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._requested = False
        self._asking: asyncio.Task[None] | None = None

    def run_beside(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note the event loop that runs the jobs. Must be called in it."""
        self._loop, self._loop_thread = loop, threading.get_ident()

    def look(self) -> None:
        """Look for requests. Any thread may call it; it does not block."""
        with self._lock:
            self._requested = True
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="conveyor-stacks", daemon=True)
                with suppress(RuntimeError):  # no room for a thread: the next look may find it
                    thread.start()
                    self._thread = thread

    def ask_if_running(self) -> None:
        """Ask for requests if there can be any: hints may be lost. Must be called in the loop."""
        if self._held.is_running and self._loop is not None and self._asking is None:
            self._asking = self._loop.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            if await self._store.stack_requests(self._worker):
                self.look()
        except ConveyorError:  # the next heartbeat asks again
            return
        finally:
            self._asking = None

    def _run(self) -> None:
        for _ in range(MAX_ROUNDS):
            with self._lock:
                if not self._requested:
                    self._thread = None
                    return
                self._requested = False
            try:
                self._answer_all()
            except Exception as error:  # noqa: BLE001 - the next request starts anew
                log.warning("stack.not_sent error=%s", str(error) or type(error).__name__)
        with self._lock:
            self._thread = None

    def _answer_all(self) -> None:
        for lease in self._store.stack_requests(self._worker).result(STORE_TIMEOUT):
            row = self._held.get(lease)
            if row is not None and row.control is not None:
                self._answer(lease, row.control)

    def _answer(self, lease: Lease, control: JobControl) -> None:
        self._store.put_stack(lease, self.dump(control)).result(STORE_TIMEOUT)

    def dump(self, control: JobControl) -> StackDump:
        """Return what a job does now."""
        match control.task.kind:
            case "coroutine":
                frames, note = self._coroutine_frames(control)
                return _dump(control, frames, note=note)
            case "thread":
                return _dump(control, frames_of_thread(control.thread))
            case "process":
                return self._dump_process(control)
            case "command":
                return _dump(control, processes=processes_of_command(control.job.id))

    def _coroutine_frames(self, control: JobControl) -> tuple[list[Frame], str]:
        loop, slot = self._loop, control.slot
        stepping = None if loop is None else asyncio.current_task(loop)
        if stepping is not None and stepping is slot:
            return frames_of_thread(self._loop_thread), BLOCKED_LOOP
        frames = frames_of_coroutine(control.code)
        return frames, "" if stepping is None else BEHIND_BLOCKED_LOOP

    def _dump_process(self, control: JobControl) -> StackDump:
        loop, request = self._loop, control.request_frames
        if loop is None or request is None:
            return _dump(control)
        answered = threading.Event()
        frames: list[Frame] = []

        def receive(found: Sequence[Frame]) -> None:
            frames.extend(found)
            answered.set()

        loop.call_soon_threadsafe(request, receive)
        note = "" if answered.wait(CHILD_TIMEOUT) else HOLDS_INTERPRETER
        return _dump(control, frames, processes_below(control.child_pid), note)


def _dump(
    control: JobControl,
    frames: Sequence[Frame] = (),
    processes: Sequence[ProcessState] = (),
    note: str = "",
) -> StackDump:
    if not frames and not processes:
        note = note or NOT_STARTED
    return StackDump(
        kind=control.task.kind, frames=tuple(frames), processes=tuple(processes), note=note
    )
