"""Machines that the user's own commands make, list and take away, with JSON in and out.

    create   in:  {"machines": [{id, pool, created_at, labels, slots, options, args, env, owner}]}
             out: nothing that is read
    destroy  in:  {"ids": [id]}
             out: nothing that is read
    list     in:  {"owner": name}
             out: {"machines": [{id, pool, created_at, state, detail}]}

The ids are given here and not by the cloud, so that a machine whose creation was not answered is
found by them: the commands keep id, pool and created_at as tags of what they make. `args` is what
follows `conveyor` on the machine's command line, `env` what its environment needs.
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

from ...errors import ConveyorError, UnavailableError, UsageError
from ..agent_launch import Launch, agent_args, agent_environment, new_machine_id
from ..fan_out import log
from ..provider import Machine, MachineState, PoolSpec

# How much of what a command says on stderr stands in an error, in bytes.
SAID = 2000
LARGEST = 16 << 20


class CommandSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The three commands, as lists of words. `timeout` is for each of them, in seconds."""

    create: tuple[str, ...]
    destroy: tuple[str, ...]
    list: tuple[str, ...]
    owner: str = "conveyor"
    timeout: float = 120.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as `create` is told of it."""

    id: str
    pool: str
    created_at: float
    labels: tuple[str, ...]
    slots: int
    options: dict[str, Any]
    args: Sequence[str]
    env: dict[str, str]
    owner: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as `list` tells of it."""

    id: str
    pool: str
    created_at: float
    state: MachineState = "running"
    detail: str = ""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What `list` prints."""

    machines: Sequence[Known]


class CommandProvider:
    """Any cloud with a command line."""

    def __init__(self, settings: CommandSettings, launch: Launch) -> None:
        for name in ("create", "destroy", "list"):
            if not getattr(settings, name):
                raise UsageError(f"provider command: say what to run to {name} machines")
        self._settings, self._launch = settings, launch

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Run `create`, once for all. When that fails, what it made nevertheless is looked up."""
        if count < 1:
            return []
        now = time.time()
        wanted = [self._wanted(pool, now) for _ in range(count)]
        try:
            await self._run(self._settings.create, {"machines": wanted})
        except ConveyorError as error:
            ids = {each.id for each in wanted}
            made = [each for each in await self._listed(error) if each.id in ids]
            if not made:
                raise
            log.warning("machines.half_made made=%d of=%d error=%s", len(made), count, error)
            return made
        return [
            Machine(id=each.id, pool=pool.name, created_at=now, state="starting") for each in wanted
        ]

    async def destroy(self, ids: Collection[str]) -> None:
        """Run `destroy`. That it fails is no error when `list` knows none of them any more."""
        if not ids:
            return
        try:
            await self._run(self._settings.destroy, {"ids": sorted(ids)})
        except ConveyorError as error:
            left = [each.id for each in await self._listed(error) if each.id in ids]
            if left:
                raise

    async def list(self) -> Sequence[Machine]:
        """Run `list`."""
        command = self._settings.list
        out = await self._run(command, {"owner": self._settings.owner})
        try:
            listing = msgspec.json.decode(out, type=Listing)
        except msgspec.MsgspecError as error:
            text = out[:200].decode(errors="replace")
            raise UsageError(
                f"{command[0]} did not print machines as JSON: {error}. It printed {text!r}"
            ) from error
        return [msgspec.convert(each, Machine, from_attributes=True) for each in listing.machines]

    async def close(self) -> None:
        """Nothing is held."""

    def _wanted(self, pool: PoolSpec, now: float) -> Wanted:
        machine = new_machine_id(pool)
        return Wanted(
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

    async def _listed(self, error: ConveyorError) -> Sequence[Machine]:
        try:
            return await self.list()
        except ConveyorError as another:
            raise UnavailableError(
                f"{error}; and what there is could not be listed: {another}"
            ) from error

    async def _run(self, command: Sequence[str], told: dict[str, Any]) -> bytes:
        # Files in place of pipes: what a command leaves behind would hold those open.
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(msgspec.json.encode(told))
            given.seek(0)
            code = await self._finish(command, given, out, err)
            if code:
                said = _end_of(err, SAID).decode(errors="replace").strip() or "nothing on stderr"
                raise UnavailableError(f"{command[0]} ended with {code}: {said}")
            out.seek(0)
            printed = out.read(LARGEST + 1)
        if len(printed) > LARGEST:
            raise UsageError(f"{command[0]} printed more than {LARGEST >> 20} MiB")
        return printed

    async def _finish(
        self, command: Sequence[str], given: IO[bytes], out: IO[bytes], err: IO[bytes]
    ) -> int:
        try:
            # A session of its own, so that all it started can be ended.
            process = await asyncio.create_subprocess_exec(
                *command, stdin=given, stdout=out, stderr=err, start_new_session=True
            )
        except OSError as error:
            raise UsageError(f"{command[0]} cannot be run: {error}") from error
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await process.wait()
        except TimeoutError as error:
            raise UnavailableError(
                f"{command[0]} was stopped: it took longer than {self._settings.timeout:g} s"
            ) from error
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _end_of(file: IO[bytes], size: int) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - size))
    return file.read(size)
