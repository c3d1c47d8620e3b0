"""A worker of a store that maintains itself only beats; child processes get the store's secret."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conveyor import Conveyor
from conveyor.store.memory.store import MemoryStore
from conveyor.system import own_program
from conveyor.worker import sidecar_process
from shop import soon

MAINTENANCE = ("stage", "rescue", "prune", "workers", "put_schedule", "schedules", "tick")


class MaintainsItself(MemoryStore):
    """A store that is maintained by its server; it notes what is asked of it all the same."""

    maintains_itself = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def __getattribute__(self, name: str) -> object:
        if name in (*MAINTENANCE, "beat", "leave"):
            self.asked.add(name)
        return super().__getattribute__(name)


def test_a_worker_of_a_store_that_maintains_itself_only_beats() -> None:
    store = MaintainsItself()
    belt = Conveyor(store=store)

    @belt.task
    def tidy() -> None:
        pass

    belt.schedule("@hourly")(tidy)

    async def main() -> None:
        async with belt.worker() as worker:
            await soon(lambda: worker.idle)
            maintenance = worker.parts.maintenance
            maintenance.pruner.make_due()
            rounds = maintenance.rounds
            maintenance.wake(sweep=True)
            await soon(lambda: maintenance.rounds > rounds)

    asyncio.run(main())
    assert store.asked == {"beat", "leave"}


def test_a_worker_of_a_store_that_maintains_itself_is_ordered_to_be_quiet() -> None:
    async def main() -> None:
        store = MaintainsItself()
        belt = Conveyor(store=store)
        async with belt.worker() as worker:
            await soon(lambda: "beat" in store.asked)
            await store.order(worker.id, "quiet")
            await soon(lambda: worker.parts.dispatcher.quiet)

    asyncio.run(main())


TELL = (
    "import json, os, sys; "
    "print(json.dumps([sys.stdin.readline(), os.environ.get('CONVEYOR_TOKEN'), sys.argv[1:]]))"
)


@pytest.mark.parametrize("secret", ["", "a token"])
def test_a_sidecar_gets_the_secret_of_the_store_where_nobody_can_read_it(
    secret: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv("CONVEYOR_TOKEN", "another token")
    boot = f"{TELL[:-1]}, file=open({str(told)!r}, 'w'))\nmain = str\n"
    monkeypatch.setattr(own_program, "BOOT", boot)
    arguments = sidecar_process.SidecarArguments(
        url="memory:", worker="w", lease_for=60.0, pid=os.getpid()
    )
    sidecar_process.stop(sidecar_process.start(arguments, secret))
    line, in_environment, args = json.loads(told.read_text())
    assert line == f"{secret}\n"
    assert in_environment is None
    assert not secret or secret not in " ".join(args)


@pytest.mark.parametrize("secret", ["", "a token"])
def test_the_program_that_a_worker_becomes_is_told_what_opens_the_store(secret: str) -> None:
    program = (
        "import sys; sys.path[:] = sys.argv[3:]\n"
        "from conveyor.cli.shared import exec_handoff\n"
        "from conveyor.system import own_program\n"
        "own_program.BOOT = sys.argv[1] + '\\nmain = str\\n'\n"
        "exec_handoff.hand_off_and_exit('memory:', 'w', [], 0, sys.argv[2])"
    )
    env = {**os.environ, "CONVEYOR_TOKEN": "another token"}
    told = subprocess.run(
        [sys.executable, "-c", program, TELL, secret, *sys.path],
        env=env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    line, in_environment, args = json.loads(told.stdout)
    assert json.loads(line)["token"] == secret
    assert in_environment is None
    assert "a token" not in args


def test_local_stores_are_maintained_by_their_workers_and_have_no_secret() -> None:
    store = MemoryStore()
    assert (store.maintains_itself, store.secret) == (False, "")
