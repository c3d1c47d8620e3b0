"""Runs commands: a session of their own, output as it comes, an exit code that is judged."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections import deque
from contextlib import suppress

import msgspec

from ..command import Command
from ..failure import error_info
from ..job import ErrorInfo, Stream
from ..lifecycle import Failed, Succeeded
from .control import Control, Ending, Stop, Stopped
from .ladder import stop_tree, sweep

# How long output is waited for after the command has ended: a grandchild may hold the pipe.
OUTPUT_WAIT = 5.0
READ = 1 << 16
LAST_LINES = 20

_decode = msgspec.json.Decoder(Command).decode


class CommandRunner:
    """One child process a job, started from the event loop's thread."""

    async def run(self, control: Control) -> Ending:
        """Run one command to its end, or stop its whole process tree."""
        try:
            command = _decode(control.job.args)
        except msgspec.MsgspecError as error:
            return Failed(error_info(error), retry=False)
        try:
            child = await _start(command, control)
        except (OSError, ValueError) as error:
            what = f"{command.argv[0]!r} in {command.cwd or os.getcwd()}"
            info = ErrorInfo("CommandNotStarted", f"{what}: {error}", bases=("OSError",))
            return Failed(info, retry=False)
        return await _Run(child, command, control).finish()

    async def close(self) -> None:
        """Nothing is held."""


class _Run:
    """One running command."""

    def __init__(
        self, child: asyncio.subprocess.Process, command: Command, control: Control
    ) -> None:
        self._child = child
        self._command = command
        self._control = control
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)
        self._stopping: asyncio.Task[tuple[str, ...]] | None = None
        self._pumps = [
            asyncio.create_task(self._pump(child.stdout, "stdout")),
            asyncio.create_task(self._pump(child.stderr, "stderr")),
        ]

    async def finish(self) -> Ending:
        self._control.on_stop(self._stop)
        code = await self._child.wait()
        notes = await self._stopping if self._stopping is not None else ()
        if self._stopping is None:
            sweep(self._child.pid, set())
        _, late = await asyncio.wait(self._pumps, timeout=OUTPUT_WAIT)
        for pump in late:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._child._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio has no other way to let go of a pipe that a grandchild holds
        return self._judge(code, notes)

    def _stop(self, request: Stop) -> None:
        if self._stopping is None and self._child.returncode is None:
            grace = self._control.job.options.grace
            self._stopping = asyncio.ensure_future(stop_tree(self._child.pid, grace))

    def _judge(self, code: int, notes: tuple[str, ...]) -> Ending:
        if self._stopping is not None:
            return Stopped(notes)
        if code in self._command.ok_exit_codes:
            return Succeeded(msgspec.json.encode({"exit_code": code}))
        how = f"was killed by {_signal_name(-code)}" if code < 0 else f"exited with {code}"
        tail = b"".join(self._last).decode(errors="replace")
        return Failed(ErrorInfo("CommandFailed", f"{self._command.argv[0]} {how}", tail))

    async def _pump(self, pipe: asyncio.StreamReader | None, stream: Stream) -> None:
        while pipe is not None and (data := await pipe.read(READ)):
            self._control.write(stream, data)
            if stream == "stderr":
                self._last.extend(data.splitlines(keepends=True)[-LAST_LINES:])


async def _start(command: Command, control: Control) -> asyncio.subprocess.Process:
    job = control.job
    env = {**(os.environ if command.inherit_env else {}), **command.env}
    env |= {
        "CONVEYOR_JOB_ID": job.id,
        "CONVEYOR_ATTEMPT": str(job.attempt),
        "CONVEYOR_LEASE": str(job.lease),
    }
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=command.cwd,
        env=env,
        start_new_session=True,
    )


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
