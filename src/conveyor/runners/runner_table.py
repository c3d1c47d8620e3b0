"""Which runner runs which kind of job: a kind is one row here and one module of this package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..core.command_policy import UNRESTRICTED, CommandRules
from ..core.task import Kind
from .command import CommandRunner
from .coroutine import CoroutineRunner
from .guard_pool import GuardPool
from .job_control import Runner
from .process import ProcessRunner
from .thread import ThreadRunner


class Runners(Mapping[Kind, Runner]):
    """The runners of one worker. They start threads and processes on demand."""

    def __init__(
        self,
        *,
        slots: int,
        max_jobs: int,
        max_rss_mb: int,
        lease_for: float,
        commands: CommandRules = UNRESTRICTED,
    ) -> None:
        self._guards = guards = GuardPool(lease_for=lease_for)
        self.process = ProcessRunner(slots, max_jobs=max_jobs, max_rss_mb=max_rss_mb, guards=guards)
        self._by_kind: dict[Kind, Runner] = {
            "coroutine": CoroutineRunner(),
            "thread": ThreadRunner(slots),
            "process": self.process,
            "command": CommandRunner(guards=guards, rules=commands),
        }

    def __getitem__(self, kind: Kind) -> Runner:
        return self._by_kind[kind]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_kind)

    def __len__(self) -> int:
        return len(self._by_kind)

    async def close(self) -> None:
        """End all threads and processes."""
        for runner in self._by_kind.values():
            await runner.close()
        await self._guards.close()
