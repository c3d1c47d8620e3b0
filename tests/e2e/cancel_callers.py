"""Callers of cancel: the worker's own process, another process through the API, and the CLI."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import host

from conveyor.client.job_handle import Job

PATIENCE = 30.0


class Answer(NamedTuple):
    """When a job's cancel was asked for, and whether the caller was told that it is cancelled.

    `asked_at` is None where only the store knows it.
    """

    asked_at: float | None
    cancelled: bool


class Asker(Protocol):
    """Asks for cancels. `together`: all of a group with one call, which takes `lead` seconds."""

    together: bool
    lead: float

    async def ask(self, jobs: Sequence[Job[Any]]) -> list[Answer]:
        """Cancel the jobs and wait until they have ended."""
        ...


class OtherProcess:
    """Asks from here, through the API."""

    together, lead = False, 0.0

    async def ask(self, jobs: Sequence[Job[Any]]) -> list[Answer]:
        [job] = jobs
        asked_at = time.time()
        return [Answer(asked_at, await job.acancel(wait=PATIENCE))]


class SameProcess:
    """A worker that is told to ask for itself: host.py."""

    together, lead = False, 0.0

    def __init__(self, process: Process) -> None:
        self.process = process
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, folder: Path, slots: int) -> SameProcess:
        argv = [sys.executable, host.__file__, str(slots)]
        return cls(await asyncio.create_subprocess_exec(*argv, cwd=folder, stdin=PIPE, stdout=PIPE))

    async def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self._reading
        assert await self.process.wait() == 0

    async def ask(self, jobs: Sequence[Job[Any]]) -> list[Answer]:
        [job] = jobs
        assert self.process.stdin is not None
        self._waiting[job.id] = asyncio.get_running_loop().create_future()
        asked_at = time.time()
        self.process.stdin.write(f"{job.id}\n".encode())
        return [Answer(asked_at, await self._waiting[job.id])]

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            job_id, answer = line.decode().split()
            self._waiting[job_id].set_result(answer == "True")


class CommandLine:
    """`conveyor cancel`, with all jobs of a group at once."""

    together = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # How long it takes until the command comes to the point; learnt from each call.
        self.lead = 0.3

    async def ask(self, jobs: Sequence[Job[Any]]) -> list[Answer]:
        ids = [job.id for job in jobs]
        argv = [sys.executable, "-m", "conveyor", "cancel", *ids, "--wait", str(PATIENCE)]
        started = time.time()
        process = await asyncio.create_subprocess_exec(
            *argv, "--url", "jobs.db?durability=normal", cwd=self._folder, stdout=PIPE, stderr=PIPE
        )
        out, err = (each.decode() for each in await process.communicate())
        await asyncio.gather(*(job.arefresh() for job in jobs))
        asked = [job.record.cancel_requested_at for job in jobs]
        self.lead = min((at for at in asked if at is not None), default=started + 0.3) - started
        said = dict(line.split() for line in out.splitlines())
        assert list(said) == ids, out + err
        late = [job_id for job_id in ids if said[job_id] != "cancelled"]
        assert process.returncode == (1 if late else 0), out + err
        assert all(f"job {job_id} is already {said[job_id]}" in err for job_id in late[:10]), err
        return [
            Answer(at, said[job_id] == "cancelled") for at, job_id in zip(asked, ids, strict=True)
        ]
