"""Runs commands: a session of their own, output as it comes, an exit code that is judged."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ..core.command import Command
from ..core.command_policy import ANYTHING, CommandRules
from ..core.error_info import error_info
from ..core.job import ErrorInfo, Stream
from ..core.lifecycle import Failed, Succeeded
from .guard_pool import Guards
from .guarded_process import Spawned
from .job_control import Control, Ending, Stop, Stopped, job_environment
from .privileges import Rights, rights_for
from .termination import KILL, Ladder, note_left_behind

# How long output is waited for after the command has ended: a grandchild may hold the pipe.
OUTPUT_WAIT = 5.0
TAIL = 4096
FOLDER = "CONVEYOR_FOLDER"
LAST_LINES = 20
# What may be different a moment later; everything else that prevents a start will stay.
PASSING = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY}

NOT_ALLOWED = (
    "this worker is not allowed to run commands. It has taken this one because the job does not "
    'require the label "commands": enqueue it again with belt.command or conveyor exec.'
)
# What the kernel sends to a process that meets a limit.
LIMIT_SIGNALS: dict[int, str] = {
    signal.SIGXCPU: ": it has used all the time it may compute (limit cpu)",
    signal.SIGXFSZ: ": it wrote a larger file than it may (limit files)",
}

_decode = msgspec.json.Decoder(Command).decode


class CommandRunner:
    """One program a job, under a guard. `guards` are closed by whoever gives them.

    UsageError when this process may not do what the rules say.
    """

    def __init__(
        self,
        *,
        guards: Guards | None = None,
        rules: CommandRules = ANYTHING,
        output_wait: float = OUTPUT_WAIT,
    ) -> None:
        self._rules = rules
        self._rights = rights_for(rules)
        self._guards = guards or Guards()
        self._own = guards is None
        self._output_wait = output_wait

    async def run(self, control: Control) -> Ending:
        """Run one command to its end, or stop its whole process tree."""
        if control.stopping:
            return Stopped()
        if not self._rules.allowed:
            return Failed(ErrorInfo("CommandNotAllowed", NOT_ALLOWED), retry=False)
        try:
            command = _decode(control.job.args)
        except msgspec.MsgspecError as error:
            return Failed(error_info(error), retry=False)
        try:
            if control.root:  # it works in a folder of its own
                command = _in_folder(command, control.root)
                control.root = command.cwd or control.root
                _give(control, self._rights)
            elif command.cwd is not None:
                base = self._rights.home or os.getcwd()
                command = msgspec.structs.replace(command, cwd=os.path.join(base, command.cwd))
            env = _environment(command, control, self._rules, self._rights)
            running = _Running(self._guards, command, control, env=env, rights=self._rights)
        except (OSError, ValueError) as error:
            return _not_started(command, error)
        try:
            return await running.finish(self._output_wait)
        finally:
            await running.close()

    async def close(self) -> None:
        """Let go of guards that are only its own."""
        if self._own:
            await self._guards.close()


class _Running:
    """One running command."""

    def __init__(
        self,
        guards: Guards,
        command: Command,
        control: Control,
        *,
        env: Mapping[str, str],
        rights: Rights,
    ) -> None:
        self._command = command
        self._control = control
        self._tail = b""
        self._spawned = Spawned(
            guards,
            command.argv,
            self._hear,
            env=env,
            cwd=command.cwd or rights.home,
            rights=rights,
        )
        self._ladder = Ladder(self._spawned, control)

    async def finish(self, output_wait: float) -> Ending:
        self._control.on_stop(self._stop)
        error = await self._spawned.started
        code = await self._spawned.exited
        await asyncio.wait([self._spawned.gone], timeout=KILL)
        notes = await self._ladder.end()
        if error is not None:
            return _not_started(self._command, error)
        await self._spawned.silence(output_wait)
        if self._spawned.trouble is not None:
            return self._spawned.trouble
        if self._ladder.begun or code is None:
            return Stopped(notes)
        note_left_behind(self._spawned.left_behind, self._control)
        return self._judge(code)

    async def close(self) -> None:
        await self._spawned.close()

    def _stop(self, request: Stop) -> None:
        if self._ladder.begun or not self._spawned.exited.done():
            self._ladder.stop(request)

    def _judge(self, code: int) -> Ending:
        if code in self._command.ok_exit_codes:
            return Succeeded(msgspec.json.encode({"exit_code": code}))
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with {code}"
        if -code in LIMIT_SIGNALS:
            how += LIMIT_SIGNALS[-code]
        lines = self._tail.decode(errors="replace").splitlines(keepends=True)
        said = "".join(lines[-LAST_LINES:])
        message = f"{self._command.argv[0]} {how}"
        exit_code = 128 - code if code < 0 else code  # as a shell reports it
        return Failed(ErrorInfo("CommandFailed", message, said, exit_code=exit_code))

    def _hear(self, stream: Stream, data: bytes) -> None:
        self._control.write(stream, data)
        if stream == "stderr":
            self._tail = (self._tail + data[-TAIL:])[-TAIL:]


def signal_name(number: int) -> str:
    """Return "SIGKILL" for 9, and so on."""
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _environment(
    command: Command, control: Control, rules: CommandRules, rights: Rights
) -> dict[str, str]:
    inherited = {**rules.passed_on(os.environ), **rights.env} if command.inherit_env else {}
    folder = {FOLDER: control.place.path} if control.root and control.place else {}
    return {**inherited, **command.env, **job_environment(control.job), **folder}


def _in_folder(command: Command, folder: str) -> Command:
    """Return the command with its directory within the folder; an absolute one stays."""
    given = command.cwd or ""
    cwd = os.path.normpath(os.path.join(folder, given))
    if not os.path.isabs(given) and os.path.commonpath([cwd, folder]) != folder:
        raise ValueError(f"its cwd={given!r} leads out of the job's folder")
    return msgspec.structs.replace(command, cwd=cwd)


def _give(control: Control, rights: Rights) -> None:
    """Give a job's folder to the user it runs as."""
    if rights.other is not None and control.place is not None:
        control.owner, group = rights.other
        control.place.give(control.owner, group)


def _not_started(command: Command, error: OSError | ValueError) -> Failed:
    program, cwd = command.argv[0], command.cwd
    match error:
        case OSError() if cwd is not None and not Path(cwd).is_dir():
            message = f"{program!r} was not started: this worker has no directory {cwd!r}"
        case FileNotFoundError():
            message = (
                f"there is no program {program!r} on this worker. Install it there, "
                "give its full path, or set PATH in env."
            )
        case _:
            message = f"{program!r} was not started: {error}"
    passing = isinstance(error, OSError) and error.errno in PASSING
    bases = tuple(base.__name__ for base in type(error).__mro__[:-1])
    return Failed(ErrorInfo("CommandNotStarted", message, bases=bases), retry=passing)
