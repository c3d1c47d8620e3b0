"""Workers and programs that the tests of guarding kill, freeze and let try to escape."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from runner_helpers import eventually, shell

from conveyor import Conveyor
from conveyor.runners.command import CommandRunner
from conveyor.runners.guard_pool import GuardPool


def escape(path: Path) -> str:
    """Return a script that leaves a process forked twice, in a session of its own, with no env.

    It goes on once the pid of that one is written down.
    """
    far = f"echo \\$\\$ > {path}.part; mv {path}.part {path}; exec sleep 300"
    near = f'(setsid sh -c "{far}" </dev/null >/dev/null 2>&1 &)'
    return f"env -i setsid sh -c '{near}'; while ! [ -s {path} ]; do sleep 0.01; done"


def work(folder: str) -> None:
    """Work as `conveyor worker` does."""
    belt = Conveyor(f"{folder}/jobs.db")
    asyncio.run(belt.worker(slots=2, keep=False).run())


def fork_and_work(folder: str) -> None:
    """Work, while a fork of the worker holds all that it held when its first command ran."""
    path = Path(folder, "pids")

    async def main() -> None:
        runner = CommandRunner()
        running = asyncio.create_task(runner.run(shell(f"{escape(path)}; exec sleep 300")))
        await eventually(path.exists)
        fork_and_tell(Path(folder, "fork"))
        await running

    asyncio.run(main())


def fork_and_tell(path: Path) -> None:
    fork = os.fork()
    if fork == 0:
        time.sleep(300)
        os._exit(0)
    path.write_text(str(fork))


def be_frozen(folder: str) -> None:
    """Run a command under a short lease, and say how it ended."""

    async def main() -> None:
        guards = GuardPool(lease_for=1.0)
        runner = CommandRunner(guards=guards)
        script = f"{escape(Path(folder, 'pids'))}; exec sleep 300"
        print(await runner.run(shell(script)), flush=True)
        await guards.close()

    asyncio.run(main())


if __name__ == "__main__":
    {"work": work, "fork_and_work": fork_and_work, "be_frozen": be_frozen}[sys.argv[1]](sys.argv[2])
