"""Machines that the user's own commands make: a cloud of files, with real commands."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import wait_for

from conveyor import UnavailableError, UsageError
from conveyor.autoscaler.agent_launch import AgentLaunch
from conveyor.autoscaler.provider import Machine, PoolSpec
from conveyor.autoscaler.providers.open import open_provider

Pool = Callable[..., PoolSpec]
CREATE = """
for each in told["machines"]:
    (cloud / each["id"]).write_text(json.dumps(each))
"""
DESTROY = """
for each in told["ids"]:
    (cloud / each).unlink(missing_ok=True)
"""
LIST = """
kept = [json.loads(path.read_text()) for path in sorted(cloud.iterdir())]
mine = [each for each in kept if each["owner"] == told["owner"]]
names = ("id", "pool", "created_at")
print(json.dumps({"machines": [{name: each[name] for name in names} for each in mine]}))
"""
FAIL = "\nsys.exit('no credit left')\n"
HANG = "\nimport subprocess, time\nsubprocess.run(['sleep', '3600'])\n"


class Cloud:
    """A folder of machines and three commands; `say` replaces what one of them does."""

    def __init__(self, folder: Path, launch: AgentLaunch) -> None:
        self.folder, self.machines, self.launch = folder, folder / "cloud", launch
        self.timeout = 20.0
        self.machines.mkdir()
        for name, does in (("create", CREATE), ("destroy", DESTROY), ("list", LIST)):
            self.say(name, does)

    def say(self, name: str, does: str) -> None:
        head = f"#!{sys.executable} -I\nimport json, sys\nfrom pathlib import Path\n"
        path = self.folder / name
        path.write_text(
            f"{head}cloud = Path({str(self.machines)!r})\ntold = json.load(sys.stdin)\n{does}"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def create(self, pool: PoolSpec, count: int = 1) -> list[Machine]:
        return list(self._do(lambda provider: provider.create(pool, count)))

    def destroy(self, *ids: str) -> None:
        self._do(lambda provider: provider.destroy(ids))

    def list(self) -> list[Machine]:
        return list(self._do(lambda provider: provider.list()))

    def _do(self, act: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            commands = {name: [str(self.folder / name)] for name in ("create", "destroy", "list")}
            settings = {**commands, "timeout": self.timeout}
            provider = open_provider("command", settings, self.launch)
            try:
                return await act(provider)
            finally:
                await provider.close()

        return asyncio.run(run())


@pytest.fixture
def cloud(tmp_path: Path, launch: AgentLaunch) -> Iterator[Cloud]:
    return Cloud(tmp_path, launch)


def test_commands_receive_the_machine_to_create_and_its_agent(cloud: Cloud, pool: Pool) -> None:
    [machine] = cloud.create(pool(size="large"))
    told = json.loads((cloud.machines / machine.id).read_text())
    words = (
        f"agent --server http://jobs.example.com --concurrency 2 --label machine={machine.id} "
        "--label os=linux --queue builds --allow-commands"
    )
    assert told == {
        "id": machine.id,
        "pool": "linux",
        "created_at": machine.created_at,
        "labels": ["os=linux"],
        "slots": 2,
        "options": {"size": "large"},
        "args": words.split(),
        "env": {"CONVEYOR_MACHINE": machine.id},
        "owner": "conveyor",
    }


def test_commands_create_list_and_destroy_machines(cloud: Cloud, pool: Pool) -> None:
    made = cloud.create(pool(), 3)
    assert {each.id for each in cloud.list()} == {each.id for each in made}
    assert {(each.pool, each.state) for each in cloud.list()} == {("linux", "running")}
    cloud.destroy(made[0].id, "never-was")
    cloud.destroy(made[0].id)
    assert {each.id for each in cloud.list()} == {made[1].id, made[2].id}
    assert cloud.create(pool(), 0) == []


def test_machines_created_by_a_failing_command_are_not_forgotten(cloud: Cloud, pool: Pool) -> None:
    cloud.say("create", CREATE.replace('told["machines"]', 'told["machines"][:2]') + FAIL)
    made = cloud.create(pool(), 3)
    assert len(made) == 2
    assert {each.id for each in cloud.list()} == {each.id for each in made}


def test_a_command_that_created_nothing_fails_with_its_output(cloud: Cloud, pool: Pool) -> None:
    cloud.say("create", FAIL)
    with pytest.raises(UnavailableError, match="create exited with 1: no credit left"):
        cloud.create(pool())


def test_when_create_and_list_fail_both_errors_are_reported(cloud: Cloud, pool: Pool) -> None:
    cloud.say("create", FAIL)
    cloud.say("list", "sys.exit('no network')")
    with pytest.raises(
        UnavailableError, match=r"no credit left; listing the machines failed too: .* no network"
    ):
        cloud.create(pool())


def test_a_command_that_exceeds_its_timeout_is_killed_with_its_children(
    cloud: Cloud, pool: Pool
) -> None:
    here = cloud.folder / "pid"
    cloud.say("list", f"import os\nPath({str(here)!r}).write_text(str(os.getpid()))\n{HANG}")
    cloud.timeout = 2.0
    with pytest.raises(UnavailableError, match="it took longer than 2 s"):
        cloud.list()
    group = here.read_text()
    wait_for(lambda: group not in groups())


def test_destroying_a_missing_machine_is_no_error_whatever_the_exit_code(
    cloud: Cloud, pool: Pool
) -> None:
    [machine] = cloud.create(pool())
    cloud.say("destroy", DESTROY + FAIL)
    cloud.destroy(machine.id)
    assert cloud.list() == []


def test_a_failed_destroy_is_an_error(cloud: Cloud, pool: Pool) -> None:
    [machine] = cloud.create(pool())
    cloud.say("destroy", FAIL)
    with pytest.raises(UnavailableError, match="destroy exited with 1"):
        cloud.destroy(machine.id)


@pytest.mark.parametrize("printed", ["", "none", '{"machines": [{"id": 1}]}', "[]"])
def test_an_invalid_list_of_machines_is_refused(cloud: Cloud, printed: str) -> None:
    cloud.say("list", f"print({printed!r})")
    with pytest.raises(UsageError, match="list must print machines as JSON"):
        cloud.list()


def test_a_command_that_reads_nothing_is_no_error(cloud: Cloud) -> None:
    path = cloud.folder / "list"
    path.write_text("#!/bin/sh\necho '{\"machines\": []}'\n")
    assert cloud.list() == []


def test_missing_commands_are_named(cloud: Cloud, launch: AgentLaunch) -> None:
    (cloud.folder / "list").unlink()
    with pytest.raises(UsageError, match="list cannot be run"):
        cloud.list()
    with pytest.raises(UsageError, match="provider command: list must not be empty"):
        open_provider("command", {"create": ["a"], "destroy": ["b"], "list": []}, launch)
    with pytest.raises(UsageError, match="missing required field `destroy`"):
        open_provider("command", {"create": ["a"], "list": ["c"]}, launch)


def groups() -> set[str]:
    """Return the process groups that there are."""
    found: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if state not in "ZX":
            found.add(group)
    return found
