"""A program that runs under a guard: its output, its exit, and the end of all that it started."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ..core.command_policy import without_secrets
from ..core.job import ErrorInfo, Stream
from ..core.lifecycle import Crashed, Failed
from ..core.timeout import wait_for_event
from .child_protocol import PipeWriter
from .guard.wire import KILL, LENGTH, READ_SIZE, RUN, TERM
from .guard_pool import GuardPool
from .machine_fault import MachineError
from .privileges import UNCHANGED, Privileges
from .termination import KILL_TIMEOUT

# Reads per pipe while draining. A program of another guard may hold the pipe and write forever.
MAX_DRAIN_READS = 16
# How often a program is launched if its guard dies before it starts the program.
MAX_LAUNCHES = 2

FROZEN = "killed because its worker was frozen for {} s: its lease was about to expire"
GUARD_LOST = "killed because the guard process above it was killed"

# The events of a guard, with their fields.
EVENT = re.compile(
    r"started|failed (start|user|chdir|limits|exec) \d{1,9}|signalled( \d{1,9})*"
    r"|frozen \d{1,9}\.\d|exited -?\d{1,9}|empty \d{1,9}",
    re.ASCII,
)

Value = TypeVar("Value")


class GuardedProcess:
    """A program that leads its own session, and all that it starts.

    `on_output` is called with what it writes. Without `env`, it gets this process's environment
    except secrets. `stdin` and `more` become its descriptors 0 and 3, 4, ...; they are closed here.

    `started` is done with None when it runs, or with the error that prevented it. `exited` is done
    when the program itself has ended, with its exit code, -signal, or None if unknown. `gone` is
    done when nothing is left of all that it started. Then `failure` is how the job ends if the
    program did not end by itself or by a stop.
    """

    def __init__(
        self,
        guards: GuardPool,
        argv: Sequence[str],
        on_output: Callable[[Stream, bytes], None],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        privileges: Privileges = UNCHANGED,
        stdin: int | None = None,
        more: Sequence[int] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._guards = guards
        self._program = argv[0]
        # What an error in a step of the launch is about; see guard/wire.py.
        self._subjects = {"user": f"user {privileges.name}", "limits": "its limits", "chdir": cwd}
        self._on_output = on_output
        self.started: asyncio.Future[OSError | None] = self._loop.create_future()
        self.exited: asyncio.Future[int | None] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.left_behind = 0
        self.failure: Crashed | Failed | None = None
        self._output_closed = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        self._replies: deque[asyncio.Future[list[int]]] = deque()
        self._launches = 0
        self._guard_idle = False
        self._guard: socket.socket | None = None
        self._orders: PipeWriter | None = None
        self._partial_line = b""
        self._program_fds: list[int] = []
        try:
            # One by one, so that all are closed if the process runs out of descriptors.
            self._program_fds += more
            self._program_fds.insert(
                0, os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin
            )
            self._program_fds.insert(1, self._open_pipe("stdout"))
            self._program_fds.insert(2, self._open_pipe("stderr"))
            env = without_secrets(os.environ) if env is None else env
            directory = cwd or guards.working_directory()
            self._request = encode_request(argv, env, directory, privileges)
            self._launch()
        except BaseException:
            self._close_descriptors()
            raise

    async def signal(self, number: signal.Signals) -> list[int]:
        """Send SIGTERM or SIGKILL to all processes; return their pids."""
        if self._orders is None or self.gone.done():
            return []
        return await self._send_order(TERM if number == signal.SIGTERM else KILL, self._orders)

    def drain(self) -> None:
        """Read what is in the pipes now."""
        for pipe in list(self._streams):
            for _ in range(MAX_DRAIN_READS):
                if not self._read_output(pipe):
                    break

    async def wait_for_output(self, seconds: float) -> None:
        """Wait until all output has been read, at most `seconds`."""
        await wait_for_event(self._output_closed, seconds)

    async def close(self) -> None:
        """Kill what still runs, wait until it is gone, and close the pipes."""
        try:
            if not self.gone.done() and self._orders is not None:
                self._send_order(KILL, self._orders)
                await asyncio.wait([self.gone], timeout=KILL_TIMEOUT)
        finally:
            self._finish()
            self._close_descriptors()

    # -- its output ----------------------------------------------------------------------------

    def _open_pipe(self, stream: Stream) -> int:
        ours, its = os.pipe()
        os.set_blocking(ours, False)
        self._streams[ours] = stream
        self._loop.add_reader(ours, self._read_output, ours)
        return its

    def _read_output(self, pipe: int) -> bool:
        try:
            data = os.read(pipe, READ_SIZE)
        except BlockingIOError:
            return False
        if data:
            self._on_output(self._streams[pipe], data)
            return True
        self._close_pipe(pipe)
        if not self._streams:
            self._output_closed.set()
        return False

    def _close_pipe(self, pipe: int) -> None:
        self._loop.remove_reader(pipe)
        del self._streams[pipe]
        os.close(pipe)

    def _close_descriptors(self) -> None:
        for pipe in list(self._streams):
            self._close_pipe(pipe)
        self._close_program_fds()

    def _close_program_fds(self) -> None:
        while self._program_fds:
            os.close(self._program_fds.pop())

    # -- its guard -----------------------------------------------------------------------------

    def _launch(self) -> None:
        self._launches += 1
        self._guard = guard = self._guards.acquire()
        self._orders = PipeWriter(guard.fileno())
        self._loop.add_reader(guard.fileno(), self._read_guard)
        try:
            socket.send_fds(guard, [RUN], self._program_fds)
            self._orders.send(self._request)
        except OSError:  # this guard was killed while it was idle
            self._read_guard()

    def _send_order(self, order: bytes, orders: PipeWriter) -> asyncio.Future[list[int]]:
        reply: asyncio.Future[list[int]] = self._loop.create_future()
        self._replies.append(reply)
        orders.send(order)
        return reply

    def _read_guard(self) -> None:
        guard = self._guard
        if guard is None:
            return
        try:
            data = guard.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_guard_exit()
            return
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        for line in lines:
            event = decode_event(line)
            if event is None:  # it is broken; without its socket it kills all that it has started
                self._on_guard_exit()
                return
            self._on_event(event[0], event[1:])

    def _on_event(self, event: str, fields: list[str]) -> None:
        match event, fields:
            case "started", []:
                self._set_started(None)
            case "failed", [step, code]:
                # Only the program and a directory of its own can be the job's mistake.
                is_own = step == "exec" or (step == "chdir" and self._subjects["chdir"] is not None)
                subject = self._subjects.get(step, self._program)
                kind = OSError if is_own else MachineError
                self._set_started(kind(int(code), os.strerror(int(code)), subject))
            case "signalled", pids if self._replies:
                self._replies.popleft().set_result([int(pid) for pid in pids])
            case "frozen", [seconds]:
                self.failure = Crashed(ErrorInfo("WorkerLost", FROZEN.format(seconds)))
            case "exited", [code]:
                _set_once(self.exited, int(code))
            case "empty", [killed]:
                self.left_behind = int(killed)
                self._guard_idle = True
                self._finish()
            case _:
                return

    def _set_started(self, error: OSError | None) -> None:
        self._close_program_fds()
        _set_once(self.started, error)

    def _on_guard_exit(self) -> None:
        """Launch again, or fail the job: a guard exits early only if it is killed."""
        if self.started.done():
            self.failure = Failed(ErrorInfo("GuardLost", GUARD_LOST))
            self._finish()
            return
        self._release_guard()
        try:
            if self._launches == MAX_LAUNCHES:
                raise MachineError(errno.EAGAIN, "each guard ended before it started the program")
            self._guards.reset()
            self._launch()
        except OSError as error:
            self._set_started(error)
            self._finish()

    def _finish(self) -> None:
        self._release_guard()
        while self._replies:
            _set_once(self._replies.popleft(), [])
        _set_once(self.started, None)
        _set_once(self.exited, None)
        _set_once(self.gone, None)

    def _release_guard(self) -> None:
        guard, self._guard, self._orders = self._guard, None, None
        if guard is not None:
            self._loop.remove_reader(guard.fileno())
            self._loop.remove_writer(guard.fileno())
            if self._guard_idle:
                self._guards.release(guard)
            else:
                guard.close()


def decode_event(line: bytes) -> list[str] | None:
    """Return an event and its fields, see guard/wire.py; None for what no guard sends."""
    text = line.decode(errors="replace")
    return text.split(" ") if EVENT.fullmatch(text) else None


def _set_once(future: asyncio.Future[Value], value: Value) -> None:
    if not future.done():
        future.set_result(value)


def encode_request(
    argv: Sequence[str], env: Mapping[str, str], cwd: str, privileges: Privileges
) -> bytes:
    """Encode a request to a guard; see guard/wire.py. Raises what subprocess would raise."""
    if any("=" in name for name in env):
        raise ValueError("illegal environment variable name")
    paths = [argv[0]]
    if not os.path.dirname(argv[0]):
        paths = [os.path.join(folder, argv[0]) for folder in os.get_exec_path(env)]
    settings = [f"{name}={value}" for name, value in env.items()]
    user, limits = (" ".join(map(str, numbers)) for numbers in (privileges.user, privileges.limits))
    fields = [str(len(paths)), str(len(argv)), cwd, user, limits]
    fields += [*paths, *argv, *settings]
    if any("\0" in field for field in fields):
        raise ValueError("embedded null byte")
    request = b"\0".join(map(os.fsencode, fields))
    return len(request).to_bytes(LENGTH, "big") + request
