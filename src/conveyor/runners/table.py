"""Which runner runs which kind of job. A kind is one line here and one module beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..core.command_policy import ANYTHING, CommandRules
from ..core.task import Kind
from .command import CommandRunner
from .coroutine import CoroutineRunner
from .guard_pool import Guards
from .job_control import Runner
from .process import ProcessRunner
from .thread import ThreadRunner


class Runners(Mapping[Kind, Runner]):
    """The runners of one worker. They start threads and processes only when they are needed."""

    def __init__(
        self,
        *,
        slots: int,
        max_jobs: int,
        max_rss_mb: int,
        lease_for: float,
        commands: CommandRules = ANYTHING,
    ) -> None:
        self._guards = guards = Guards(lease_for=lease_for)
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
        """Let go of every thread and process."""
        for runner in self._by_kind.values():
            await runner.close()
        await self._guards.close()
