"""Machines that the user's own commands create, list and destroy, with JSON in and out.

    create   in:  {"machines": [{id, pool, created_at, labels, slots, options, args, env, owner}]}
             out: ignored
    destroy  in:  {"ids": [id]}
             out: ignored
    list     in:  {"owner": name}
             out: {"machines": [{id, pool, created_at, state, detail}]}

The ids are assigned here and not by the cloud, so that a machine is found even if the command that
created it failed: the commands store id, pool and created_at as tags. `args` are the arguments of
`conveyor` on the machine, `env` its environment variables.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import Collection, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec

from ...core.unreadable import UNREADABLE
from ...errors import ConveyorError, UnavailableError, UsageError
from ..agent_launch import AgentLaunch, agent_args, agent_environment, new_machine_id
from ..fan_out import log
from ..provider import Machine, PoolSpec, ProvisioningState

# How much of the end of stderr an error shows, in bytes.
MAX_STDERR = 2000
MAX_STDOUT = 16 << 20


class CommandSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The three commands, as argument lists. `timeout` is for each run, in seconds."""

    create: tuple[str, ...]
    destroy: tuple[str, ...]
    list: tuple[str, ...]
    owner: str = "conveyor"
    timeout: float = 120.0


class RequestedMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine in the input of `create`."""

    id: str
    pool: str
    created_at: float
    labels: tuple[str, ...]
    slots: int
    options: dict[str, Any]
    args: Sequence[str]
    env: dict[str, str]
    owner: str


class ListedMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine in the output of `list`."""

    id: str
    pool: str
    created_at: float
    state: ProvisioningState = "running"
    detail: str = ""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `list`."""

    machines: Sequence[ListedMachine]


class CommandProvider:
    """Runs the three commands."""

    def __init__(self, settings: CommandSettings, launch: AgentLaunch) -> None:
        for name in ("create", "destroy", "list"):
            if not getattr(settings, name):
                raise UsageError(f"provider command: {name} must not be empty")
        self._settings, self._launch = settings, launch

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Run `create` once. If it fails, return the machines that it created nevertheless."""
        if count < 1:
            return []
        now = time.time()
        requested = [self._request_for(pool, now) for _ in range(count)]
        try:
            await self._run(self._settings.create, {"machines": requested})
        except ConveyorError as error:
            ids = {each.id for each in requested}
            created = [each for each in await self._list_after(error) if each.id in ids]
            if not created:
                raise
            log.warning("machines.half_made made=%d of=%d error=%s", len(created), count, error)
            return created
        return [
            Machine(id=each.id, pool=pool.name, created_at=now, state="starting")
            for each in requested
        ]

    async def destroy(self, ids: Collection[str]) -> None:
        """Run `destroy`. If it fails and `list` has none of the machines, that is a success."""
        if not ids:
            return
        try:
            await self._run(self._settings.destroy, {"ids": sorted(ids)})
        except ConveyorError as error:
            left = [each.id for each in await self._list_after(error) if each.id in ids]
            if left:
                raise

    async def list(self) -> Sequence[Machine]:
        """Run `list`."""
        command = self._settings.list
        out = await self._run(command, {"owner": self._settings.owner})
        try:
            return decode_listing(out)
        except UsageError as error:
            raise UsageError(f"{command[0]} {error}") from error

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _request_for(self, pool: PoolSpec, now: float) -> RequestedMachine:
        machine = new_machine_id(pool)
        return RequestedMachine(
            id=machine,
            pool=pool.name,
            created_at=now,
            labels=pool.labels,
            slots=pool.slots,
            options=pool.options,
            args=agent_args(self._launch, pool, machine),
            env=agent_environment(self._launch, machine),
            owner=self._settings.owner,
        )

    async def _list_after(self, error: ConveyorError) -> Sequence[Machine]:
        try:
            return await self.list()
        except ConveyorError as another:
            raise UnavailableError(
                f"{error}; listing the machines failed too: {another}"
            ) from error

    async def _run(self, command: Sequence[str], message: dict[str, Any]) -> bytes:
        # Files, because a process that the command leaves behind would keep pipes open.
        with TemporaryFile() as stdin, TemporaryFile() as stdout, TemporaryFile() as stderr:
            stdin.write(msgspec.json.encode(message))
            stdin.seek(0)
            code = await self._wait(command, stdin, stdout, stderr)
            if code:
                reason = (
                    _read_end(stderr, MAX_STDERR).decode(errors="replace").strip()
                    or "no output on stderr"
                )
                raise UnavailableError(f"{command[0]} exited with {code}: {reason}")
            stdout.seek(0)
            printed = stdout.read(MAX_STDOUT + 1)
        if len(printed) > MAX_STDOUT:
            raise UsageError(f"{command[0]} printed more than {MAX_STDOUT >> 20} MiB")
        return printed

    async def _wait(
        self, command: Sequence[str], stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]
    ) -> int:
        try:
            # A session of its own, so that all its processes can be killed.
            process = await asyncio.create_subprocess_exec(
                *command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be run: {error}") from error
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await process.wait()
        except TimeoutError as error:
            raise UnavailableError(
                f"{command[0]} was killed: it took longer than {self._settings.timeout:g} s"
            ) from error
        finally:
            await _kill_session(process)


def decode_listing(printed: bytes) -> Sequence[Machine]:
    """Return the machines in the output of `list`; UsageError if it is not valid."""
    try:
        listing = msgspec.json.decode(printed, type=Listing)
    except UNREADABLE as error:
        text = printed[:200].decode(errors="replace")
        raise UsageError(f"must print machines as JSON: {error}; it printed {text!r}") from error
    return [msgspec.convert(each, Machine, from_attributes=True) for each in listing.machines]


async def _kill_session(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _read_end(file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
    return file.read(size)
