"""Runs commands, each in its own session: captures output, and judges the exit code."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from ..core.command import Command
from ..core.command_policy import UNRESTRICTED, CommandRules
from ..core.error_info import error_info
from ..core.job import ErrorInfo, Stream
from ..core.lifecycle import Failed, Succeeded
from ..core.unreadable import UNREADABLE
from .guard_pool import GuardPool
from .guarded_process import GuardedProcess
from .job_control import (
    JobControl,
    RunResult,
    Stopped,
    StopRequest,
    job_environment,
    trace_environment,
)
from .machine_fault import MachineFault, machine_fault
from .privileges import Privileges, resolve_privileges
from .termination import KILL_TIMEOUT, Termination, note_left_behind

# How long to wait for output after the command has ended, in seconds: a grandchild may hold the
# pipe.
OUTPUT_TIMEOUT = 5.0
# The exit codes of a shell for a program that it cannot execute, or cannot find.
CANNOT_INVOKE, NOT_FOUND = 126, 127
# How much of stderr goes into the error, in bytes and lines.
TAIL_BYTES, TAIL_LINES = 4096, 20
TRACE_VARIABLES = frozenset({"TRACEPARENT", "TRACESTATE"})
FOLDER_VARIABLE = "CONVEYOR_FOLDER"
# What a probe runs: a program that exists wherever this one runs, and ends at once.
PROBE = (sys.executable, "-I", "-S", "-c", "")
PROBE_TIMEOUT = 10.0

NOT_ALLOWED = (
    "this worker does not run commands. It received this job because the job does not require the "
    'label "commands": enqueue it again with belt.command or conveyor exec.'
)
# The signals that the kernel sends to a process that exceeds a limit.
LIMIT_SIGNALS: dict[int, str] = {
    signal.SIGXCPU: ": it exceeded its CPU time (limit cpu)",
    signal.SIGXFSZ: ": it exceeded the maximum file size (limit files)",
}

_decode = msgspec.json.Decoder(Command).decode


class CommandRunner:
    """Runs one program per job, under a guard. The caller closes the `guards` that it passes.

    UsageError if this process cannot grant what the rules say.
    """

    def __init__(
        self,
        *,
        guards: GuardPool | None = None,
        rules: CommandRules = UNRESTRICTED,
        output_timeout: float = OUTPUT_TIMEOUT,
    ) -> None:
        self._rules = rules
        self._privileges = resolve_privileges(rules)
        self._guards = guards or GuardPool()
        self._owns_guards = guards is None
        self._output_timeout = output_timeout

    async def run(self, control: JobControl) -> RunResult:
        """Run one command to its end, or stop its whole process tree."""
        if control.stopping:
            return Stopped()
        if not self._rules.allowed:
            return Failed(ErrorInfo("CommandNotAllowed", NOT_ALLOWED), retry=False)
        try:
            command = _decode(control.job.args)
        except UNREADABLE as error:
            return Failed(error_info(error), retry=False)
        try:
            if control.artifact_root:  # it has a workdir
                command = _in_workdir(command, control.artifact_root)
                control.artifact_root = command.cwd or control.artifact_root
                _give_workdir(control, self._privileges)
            elif command.cwd is not None and not os.path.isabs(command.cwd):
                base = self._privileges.home or self._guards.working_directory()
                command = msgspec.structs.replace(command, cwd=os.path.join(base, command.cwd))
            env = _environment(command, control, self._rules, self._privileges)
            running = _Running(self._guards, command, control, env=env, privileges=self._privileges)
        except (OSError, ValueError) as error:
            return _not_started(command, error)
        try:
            return await running.finish(self._output_timeout)
        finally:
            await running.close()

    async def probe(self) -> MachineFault | None:
        """Run a program that does nothing, as a job's command would run."""
        try:
            process = GuardedProcess(
                self._guards,
                PROBE,
                _ignore_output,
                cwd=self._privileges.home,
                privileges=self._privileges,
            )
        except OSError as error:
            return machine_fault(error)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                failure = await process.started
        except TimeoutError:
            return MachineFault(f"no program started within {PROBE_TIMEOUT:g} s")
        finally:
            await process.close()
        return None if failure is None else MachineFault(str(failure))

    async def close(self) -> None:
        """Close the guards, unless the caller passed them."""
        if self._owns_guards:
            await self._guards.close()


class _Running:
    """One running command."""

    def __init__(
        self,
        guards: GuardPool,
        command: Command,
        control: JobControl,
        *,
        env: Mapping[str, str],
        privileges: Privileges,
    ) -> None:
        self._command = command
        self._control = control
        self._tail = b""
        self._process = GuardedProcess(
            guards,
            command.argv,
            self._on_output,
            env=env,
            cwd=command.cwd or privileges.home,
            privileges=privileges,
        )
        self._termination = Termination(self._process, control)

    async def finish(self, output_timeout: float) -> RunResult:
        self._control.on_stop(self._stop)
        error = await self._process.started
        code = await self._process.exited
        await asyncio.wait([self._process.gone], timeout=KILL_TIMEOUT)
        notes = await self._termination.wait()
        if error is not None:
            return _not_started(self._command, error)
        await self._process.wait_for_output(output_timeout)
        if self._process.failure is not None:
            return self._process.failure
        if self._termination.started or code is None:
            return Stopped(notes)
        note_left_behind(self._process.left_behind, self._control)
        return self._judge(code)

    async def close(self) -> None:
        await self._process.close()

    def _stop(self, request: StopRequest) -> None:
        if self._termination.started or not self._process.exited.done():
            self._termination.start(request)

    def _judge(self, code: int) -> RunResult:
        if code in self._command.ok_exit_codes:
            return Succeeded(msgspec.json.encode({"exit_code": code}))
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with {code}"
        if -code in LIMIT_SIGNALS:
            how += LIMIT_SIGNALS[-code]
        lines = self._tail.decode(errors="replace").splitlines(keepends=True)
        tail = "".join(lines[-TAIL_LINES:])
        message = f"{self._command.argv[0]} {how}"
        exit_code = 128 - code if code < 0 else code  # as a shell reports it
        return Failed(ErrorInfo("CommandFailed", message, tail, exit_code=exit_code))

    def _on_output(self, stream: Stream, data: bytes) -> None:
        self._control.write(stream, data)
        if stream == "stderr":
            self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]


def signal_name(number: int) -> str:
    """Return the name of a signal: "SIGKILL" for 9."""
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _environment(
    command: Command, control: JobControl, rules: CommandRules, privileges: Privileges
) -> dict[str, str]:
    inherited = {**rules.passed_on(os.environ), **privileges.env} if command.inherit_env else {}
    folder = (
        {FOLDER_VARIABLE: control.workdir.path} if control.artifact_root and control.workdir else {}
    )
    trace = {} if "TRACEPARENT" in command.env else trace_environment(control.trace)
    if trace:  # the worker's own is another trace
        inherited = {name: each for name, each in inherited.items() if name not in TRACE_VARIABLES}
    return {**inherited, **trace, **command.env, **job_environment(control.job), **folder}


def _in_workdir(command: Command, folder: str) -> Command:
    """Return the command with its cwd resolved in the job's workdir; an absolute cwd stays."""
    given = command.cwd or ""
    cwd = os.path.normpath(os.path.join(folder, given))
    if not os.path.isabs(given) and os.path.commonpath([cwd, folder]) != folder:
        raise ValueError(f"its cwd={given!r} is outside the job's folder")
    return msgspec.structs.replace(command, cwd=cwd)


def _give_workdir(control: JobControl, privileges: Privileges) -> None:
    """Give the workdir to the user that the command runs as."""
    if privileges.other_user is not None and control.workdir is not None:
        control.workdir_owner, group = privileges.other_user
        control.workdir.give_to(control.workdir_owner, group)


def _not_started(command: Command, error: OSError | ValueError) -> Failed | MachineFault:
    fault = machine_fault(error)
    if fault is not None:
        return fault
    program, cwd = command.argv[0], command.cwd
    exit_code = CANNOT_INVOKE if isinstance(error, OSError) else None
    match error:
        case OSError() if cwd is not None and not Path(cwd).is_dir():
            message = f"cannot start {program!r}: this worker has no directory {cwd!r}"
            exit_code = None
        case FileNotFoundError():
            exit_code = NOT_FOUND
            message = (
                f"cannot find program {program!r} on this worker: install it there, "
                "give its full path, or set PATH in env"
            )
        case _:
            message = f"cannot start {program!r}: {error}"
    # Its file is still open for writing, perhaps because it was just installed.
    transient = isinstance(error, OSError) and error.errno == errno.ETXTBSY
    bases = tuple(base.__name__ for base in type(error).__mro__[:-1])
    told = ErrorInfo("CommandNotStarted", message, bases=bases, exit_code=exit_code)
    return Failed(told, retry=transient)


def _ignore_output(_stream: Stream, _data: bytes) -> None:
    """Ignore what a probe writes."""
