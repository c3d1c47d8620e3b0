"""A program under a guard, watched by the event loop: its output, its end and that of its tree."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from ..core.command_policy import without_secrets
from ..core.job import ErrorInfo, Stream
from ..core.lifecycle import Crashed, Failed
from .child_protocol import Orders
from .guard.wire import KILL, LENGTH, READ, RUN, TERM
from .guard_pool import Guards
from .privileges import ALL_RIGHTS, Rights
from .termination import KILL as PATIENCE

# A program that another guard guards may hold a pipe and write for ever, so draining has an end.
DRAIN = 16
# How often a guard is asked for that dies before it has done anything.
TRIES = 2

FROZEN = "it was killed because its worker was frozen for {} s: others could soon take its job"
GUARD_LOST = "the process that guards it was killed, and it therefore with that one"

Value = TypeVar("Value")


class Spawned:
    """A program that leads a session of its own, and all that it starts.

    `hear` is called with what it writes. Without `env` it gets that of this process, secrets apart;
    `rights` say who it is, and its limits. The descriptors `stdin` and `more` become its 0 and its
    3, 4 and so on; they are closed here. `started` is done when it runs, with None, or could not,
    with the error. `exited` is done when the program itself has ended, with its exit code or
    -signal, or None if that is not known; `gone` when nothing is left of what it started. Then
    `trouble` is how the job ends if it was no end of the program's own.
    """

    def __init__(
        self,
        guards: Guards,
        argv: Sequence[str],
        hear: Callable[[Stream, bytes], None],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        rights: Rights = ALL_RIGHTS,
        stdin: int | None = None,
        more: Sequence[int] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._guards = guards
        self._names = {"user": f"user {rights.name}", "limits": "its limits", "chdir": cwd}
        self._program = argv[0]
        self._hear = hear
        self.started: asyncio.Future[OSError | None] = self._loop.create_future()
        self.exited: asyncio.Future[int | None] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.left_behind = 0
        self.trouble: Crashed | Failed | None = None
        self._silent = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        self._answers: deque[asyncio.Future[list[int]]] = deque()
        self._tries = 0
        self._spent = False
        self._line: socket.socket | None = None
        self._orders: Orders | None = None
        self._rest = b""
        self._given: list[int] = []
        try:
            # One by one, so that those before it are closed if there is no room for the next.
            self._given += more
            self._given.insert(0, os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin)
            self._given.insert(1, self._open("stdout"))
            self._given.insert(2, self._open("stderr"))
            self._request = _request(
                argv, without_secrets(os.environ) if env is None else env, cwd, rights
            )
            self._launch()
        except BaseException:
            self._let_go()
            raise

    async def signal(self, number: signal.Signals) -> list[int]:
        """Send SIGTERM or SIGKILL to all that runs; return who that was."""
        if self._orders is None or self.gone.done():
            return []
        return await self._order(TERM if number == signal.SIGTERM else KILL, self._orders)

    def drain(self) -> None:
        """Hear what is in the pipes right now."""
        for pipe in list(self._streams):
            for _ in range(DRAIN):
                if not self._read(pipe):
                    break

    async def silence(self, seconds: float) -> None:
        """Wait until nobody can write any more, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._silent.wait()

    async def close(self) -> None:
        """Kill what still runs, wait until it is gone, and let go of the pipes."""
        try:
            if not self.gone.done() and self._orders is not None:
                self._order(KILL, self._orders)
                await asyncio.wait([self.gone], timeout=PATIENCE)
        finally:
            self._lose()
            self._let_go()

    # -- what it writes ------------------------------------------------------------------------

    def _open(self, stream: Stream) -> int:
        ours, its = os.pipe()
        os.set_blocking(ours, False)
        self._streams[ours] = stream
        self._loop.add_reader(ours, self._read, ours)
        return its

    def _read(self, pipe: int) -> bool:
        try:
            data = os.read(pipe, READ)
        except BlockingIOError:
            return False
        if data:
            self._hear(self._streams[pipe], data)
            return True
        self._close(pipe)
        if not self._streams:
            self._silent.set()
        return False

    def _close(self, pipe: int) -> None:
        self._loop.remove_reader(pipe)
        del self._streams[pipe]
        os.close(pipe)

    def _let_go(self) -> None:
        for pipe in list(self._streams):
            self._close(pipe)
        self._close_given()

    def _close_given(self) -> None:
        while self._given:
            os.close(self._given.pop())

    # -- its guard -----------------------------------------------------------------------------

    def _launch(self) -> None:
        self._tries += 1
        self._line = line = self._guards.take()
        self._orders = Orders(line.fileno())
        self._loop.add_reader(line.fileno(), self._listen)
        try:
            socket.send_fds(line, [RUN], self._given)
            self._orders.send(self._request)
        except OSError:  # this guard is dead: it was killed while nobody needed it
            self._listen()

    def _order(self, order: bytes, orders: Orders) -> asyncio.Future[list[int]]:
        answer: asyncio.Future[list[int]] = self._loop.create_future()
        self._answers.append(answer)
        orders.send(order)
        return answer

    def _listen(self) -> None:
        line = self._line
        if line is None:
            return
        try:
            data = line.recv(READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._miss()
            return
        *whole, self._rest = (self._rest + data).split(b"\n")
        for each in whole:
            word, *more = each.decode().split()
            self._take(word, more)

    def _take(self, word: str, more: list[str]) -> None:
        match word, more:
            case "started", []:
                self._begin(None)
            case "failed", [step, code]:
                name = self._names.get(step, self._program)
                self._begin(OSError(int(code), os.strerror(int(code)), name))
            case "signalled", pids:
                self._answers.popleft().set_result([int(pid) for pid in pids])
            case "frozen", [seconds]:
                self.trouble = Crashed(ErrorInfo("WorkerLost", FROZEN.format(seconds)))
            case "exited", [code]:
                _settle(self.exited, int(code))
            case "empty", [killed]:
                self.left_behind = int(killed)
                self._spent = True
                self._lose()
            case _:
                raise AssertionError(f"a guard said {word!r}")

    def _begin(self, error: OSError | None) -> None:
        self._close_given()
        _settle(self.started, error)

    def _miss(self) -> None:
        """Do what is to be done when the guard has ended, which only violence can make it do."""
        if self.started.done():
            self.trouble = Failed(ErrorInfo("GuardLost", GUARD_LOST))
            self._lose()
            return
        self._lose_line()
        try:
            if self._tries == TRIES:
                raise BlockingIOError(errno.EAGAIN, "no guard could be started", self._program)
            self._guards.renew()
            self._launch()
        except OSError as error:
            self._begin(error)
            self._lose()

    def _lose(self) -> None:
        self._lose_line()
        while self._answers:
            _settle(self._answers.popleft(), [])
        _settle(self.started, None)
        _settle(self.exited, None)
        _settle(self.gone, None)

    def _lose_line(self) -> None:
        line, self._line, self._orders = self._line, None, None
        if line is not None:
            self._loop.remove_reader(line.fileno())
            self._loop.remove_writer(line.fileno())
            if self._spent:
                self._guards.keep(line)
            else:
                line.close()


def _settle(future: asyncio.Future[Value], value: Value) -> None:
    if not future.done():
        future.set_result(value)


def _request(argv: Sequence[str], env: Mapping[str, str], cwd: str | None, rights: Rights) -> bytes:
    """Return what a guard needs to know; see guard/wire.py. Raises as subprocess does."""
    if any("=" in name for name in env):
        raise ValueError("illegal environment variable name")
    paths = [argv[0]]
    if not os.path.dirname(argv[0]):
        paths = [os.path.join(folder, argv[0]) for folder in os.get_exec_path(env)]
    settings = [f"{name}={value}" for name, value in env.items()]
    user, limits = (" ".join(map(str, numbers)) for numbers in (rights.user, rights.limits))
    texts = [str(len(paths)), str(len(argv)), cwd or os.getcwd(), user, limits]
    texts += [*paths, *argv, *settings]
    if any("\0" in text for text in texts):
        raise ValueError("embedded null byte")
    request = b"\0".join(map(os.fsencode, texts))
    return len(request).to_bytes(LENGTH, "big") + request
