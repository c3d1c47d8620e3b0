"""Machines that are processes here: real agents, also of a scaler that was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deployment import Deployment, wait_for

from conveyor import Conveyor, UnavailableError, UsageError
from conveyor.autoscaler.agent_launch import AgentLaunch, machine_of
from conveyor.autoscaler.provider import Machine, PoolSpec
from conveyor.autoscaler.providers.open import open_provider
from conveyor.autoscaler.providers.process import MachineNote
from conveyor.system.process_identity import is_running, pid_started
from proc import environment

Pool = Callable[..., PoolSpec]
# Nobody listens there, so an agent stays one that asks for its server.
NOBODY = AgentLaunch(server="http://127.0.0.1:9", args=("--allow-commands",))


class Farm:
    """A provider, a new one for each call, as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.launch, self.grace = folder, NOBODY, 20.0

    def create(self, pool: PoolSpec, count: int = 1) -> list[Machine]:
        return list(self._do(lambda provider: provider.create(pool, count)))

    def destroy(self, *ids: str) -> None:
        self._do(lambda provider: provider.destroy(ids))

    def list(self) -> list[Machine]:
        return list(self._do(lambda provider: provider.list()))

    def note(self, machine: str) -> MachineNote:
        return msgspec.json.decode((self.folder / f"{machine}.json").read_bytes(), type=MachineNote)

    def rewrite(self, machine: str, **what: Any) -> None:
        note = msgspec.structs.replace(self.note(machine), **what)
        (self.folder / f"{machine}.json").write_bytes(msgspec.json.encode(note))

    def _do(self, act: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            settings = {"folder": str(self.folder), "grace": self.grace}
            provider = open_provider("process", settings, self.launch)
            try:
                return await act(provider)
            finally:
                await provider.close()

        return asyncio.run(run())


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    made = Farm(tmp_path / "machines")
    yield made
    made.destroy(*(each.id for each in made.list()))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path)
    yield made
    made.close()


def test_an_agent_is_started_works_is_found_by_its_machine_and_is_stopped(
    deployment: Deployment, farm: Farm
) -> None:
    deployment.server()
    token = deployment.folder / "token"
    token.write_text(deployment.token("agent"))
    farm.launch = AgentLaunch(
        server=deployment.url, token_file=str(token), args=("--allow-commands",)
    )
    [machine] = farm.create(PoolSpec(name="linux", labels=("os=linux",), slots=2))
    wait_for(lambda: farm.list()[0].state == "running")
    belt = Conveyor(deployment.url, token=deployment.admin)
    job = belt.command("true").using(requires=["os=linux"]).enqueue()
    assert job.result(60) == {"exit_code": 0}
    [worker] = [each for each in belt.store.workers().result() if each.slots]
    assert worker.id == farm.list()[0].agent
    assert worker.slots == 2
    assert machine_of(worker.labels) == machine.id
    assert f"CONVEYOR_MACHINE={machine.id}" in environment(worker.pid)
    farm.destroy(machine.id)
    assert [each for each in belt.store.workers().result() if each.slots] == []
    belt.close()
    assert farm.list() == []
    assert list(farm.folder.iterdir()) == []


def test_an_agent_has_its_own_session_and_none_of_the_settings_of_its_scaler(
    farm: Farm, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVEYOR_HEALTH_FILE", "/nowhere/health.json")
    [machine] = farm.create(pool(env={"A": "1"}))
    pid = farm.note(machine.id).pid
    assert os.getsid(pid) == pid
    ours = {each for each in environment(pid) if each.startswith(("CONVEYOR_", "A="))}
    assert ours == {f"CONVEYOR_MACHINE={machine.id}", "A=1"}


def test_machines_of_a_dead_scaler_are_found_and_stopped(farm: Farm, tmp_path: Path) -> None:
    program = f"""
import asyncio
from conveyor.autoscaler.agent_launch import AgentLaunch
from conveyor.autoscaler.provider import PoolSpec
from conveyor.autoscaler.providers.open import open_provider

launch = AgentLaunch(server={NOBODY.server!r}, args={NOBODY.args!r})
provider = open_provider("process", {{"folder": {str(farm.folder)!r}}}, launch)
asyncio.run(provider.create(PoolSpec(name="linux"), 2))
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=tmp_path)
    found = farm.list()
    assert [(each.pool, each.state) for each in found] == [("linux", "starting")] * 2
    notes = [farm.note(each.id) for each in found]
    farm.destroy(*(each.id for each in found))
    assert [note for note in notes if is_running(note.pid, note.started)] == []
    assert farm.list() == []


def test_a_process_is_found_even_if_its_scaler_died_before_recording_it(
    farm: Farm, pool: Pool
) -> None:
    [machine] = farm.create(pool())
    known = farm.note(machine.id)
    farm.rewrite(machine.id, pid=0, started=0.0)
    # Its command line is that of this process until it has become another program.
    wait_for(lambda: farm.list()[0].state == "starting")
    assert farm.note(machine.id) == known


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_a_process_of_another_user_is_not_taken_for_an_agent(farm: Farm, pool: Pool) -> None:
    [machine] = farm.create(pool())
    process = farm.note(machine.id)
    farm.destroy(machine.id)
    forged = ["sh", "-c", "read line", f"machine={machine.id}"]
    with subprocess.Popen(forged, stdin=subprocess.PIPE, user=65534, cwd="/") as other:
        (farm.folder / f"{machine.id}.json").write_bytes(
            msgspec.json.encode(msgspec.structs.replace(process, pid=0, started=0.0))
        )
        [found] = farm.list()
        assert found.state == "gone"
        farm.destroy(machine.id)
        assert other.poll() is None


def test_a_process_is_found_even_if_a_power_cut_emptied_its_record(farm: Farm, pool: Pool) -> None:
    [machine] = farm.create(pool())
    known = farm.note(machine.id)
    (farm.folder / f"{machine.id}.json").write_bytes(b"")
    [seen] = farm.list()
    assert (seen.id, seen.pool, seen.state) == (machine.id, "linux", "starting")
    farm.destroy(machine.id)
    assert not is_running(known.pid, known.started)


def test_a_process_that_was_recorded_but_not_started_is_gone(farm: Farm, pool: Pool) -> None:
    [machine] = farm.create(pool())
    note = farm.note(machine.id)
    os.kill(note.pid, signal.SIGKILL)
    wait_for(lambda: farm.list()[0].state == "gone")
    farm.rewrite(machine.id, pid=0, started=0.0)
    assert farm.list()[0].state == "gone"
    farm.destroy(machine.id)
    assert farm.list() == []


@pytest.mark.parametrize("how", ["another began with its pid", "the host was rebooted"])
def test_a_process_that_is_not_ours_is_left_alone(farm: Farm, pool: Pool, how: str) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        [machine] = farm.create(pool())
        ours = farm.note(machine.id)
        os.kill(ours.pid, signal.SIGKILL)
        wait_for(lambda: farm.list()[0].state == "gone")
        started = pid_started(stranger.pid)
        if how.startswith("another"):
            farm.rewrite(machine.id, pid=stranger.pid, started=started - 1)
        else:
            farm.rewrite(machine.id, pid=stranger.pid, started=started, boot="before")
        assert farm.list()[0].state == "gone"
        farm.destroy(machine.id)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_agent_that_exited_is_gone_and_its_last_output_says_why(farm: Farm, pool: Pool) -> None:
    farm.launch = AgentLaunch(server="nonsense")
    [machine] = farm.create(pool())
    wait_for(lambda: farm.list()[0].state == "gone")
    assert "invalid server" in farm.list()[0].detail
    farm.destroy(machine.id, machine.id)
    farm.destroy(machine.id)


def test_an_agent_that_exited_is_eventually_forgotten_without_a_destroy(
    farm: Farm, pool: Pool
) -> None:
    farm.launch = AgentLaunch(server="nonsense")
    old, new = farm.create(pool(), 2)
    wait_for(lambda: {each.state for each in farm.list()} == {"gone"})
    os.utime(farm.folder / f"{old.id}.log", (1, 1))
    [another] = farm.create(pool())
    assert {each.id for each in farm.list()} == {new.id, another.id}


def test_an_agent_that_ignores_sigterm_is_killed_after_the_grace_period(
    farm: Farm, pool: Pool
) -> None:
    [machine] = farm.create(pool())
    note = farm.note(machine.id)
    os.kill(note.pid, signal.SIGSTOP)
    farm.grace = 0.1
    farm.destroy(machine.id)
    assert not is_running(note.pid, note.started)
    assert farm.list() == []


def test_a_machine_that_a_dead_scaler_was_stopping_is_killed_after_the_grace_period(
    farm: Farm, pool: Pool
) -> None:
    [machine] = farm.create(pool())
    # The end was begun, by a scaler that is gone, and the grace is over.
    farm.rewrite(machine.id, stopping_at=1.0)
    assert farm.list()[0].state == "stopping"
    farm.destroy(machine.id)
    assert farm.list() == []


def test_a_pool_is_validated_before_anything_is_started(farm: Farm, pool: Pool) -> None:
    with pytest.raises(UsageError, match=r"pool linux:.*`image`"):
        farm.create(pool(image="x"))
    with pytest.raises(UsageError, match="pool name 'Big One' must be"):
        farm.create(PoolSpec(name="Big One"))
    assert farm.list() == []


def test_a_one_shot_agent_runs_one_job_and_exits(deployment: Deployment, farm: Farm) -> None:
    deployment.server()
    token = deployment.folder / "token"
    token.write_text(deployment.token("agent"))
    farm.launch = AgentLaunch(server=deployment.url, token_file=str(token))
    belt = deployment.closing(Conveyor(deployment.url, token=deployment.admin))
    work = belt.command("true").using(requires=["kind=once"])
    first, second = work.enqueue(), work.enqueue()
    farm.create(PoolSpec(name="linux", labels=("kind=once",), commands=True, one_shot=True))
    assert first.result(60) == {"exit_code": 0}
    wait_for(lambda: farm.list()[0].state == "gone")
    assert [each for each in belt.store.workers().result() if each.slots] == []
    assert belt.job(second.id).state == "available"
    assert belt.store.get(second.id).result().lease == 0


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_http_providers_name_the_missing_setting(name: str) -> None:
    program = f"""
import sys
sys.modules["aiohttp"] = None
from conveyor import UsageError
from conveyor.autoscaler.agent_launch import AgentLaunch
from conveyor.autoscaler.providers.open import open_provider
try:
    open_provider({name!r}, {{}}, AgentLaunch(server="http://localhost"))
except UsageError as error:
    print(error)
"""
    command = [sys.executable, "-W", "error", "-c", program]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said == f"provider {name} needs aiohttp: install it with `pip install conveyor[http]`\n"


def test_there_is_no_provider_of_another_name() -> None:
    with pytest.raises(UsageError, match="choose from process, command, docker, kubernetes"):
        open_provider("cloud", {}, NOBODY)
    with pytest.raises(UsageError, match=r"provider process:.*`gracious`"):
        open_provider("process", {"gracious": 1}, NOBODY)


@pytest.mark.parametrize("what", ["writable by others", "of another user", "a link"])
def test_notes_that_others_can_write_are_not_believed(
    farm: Farm, pool: Pool, tmp_path: Path, what: str
) -> None:
    farm.folder.mkdir(mode=0o700)
    assert farm.list() == []
    if what == "of another user":
        if os.geteuid() != 0:
            pytest.skip("only root can give a directory to another user")
        os.chown(farm.folder, 65534, -1)
    elif what == "a link":
        farm.folder.rename(tmp_path / "elsewhere")
        farm.folder.symlink_to(tmp_path / "elsewhere")
    else:
        farm.folder.chmod(0o770)
    for act in (farm.list, lambda: farm.create(pool()), lambda: farm.destroy("x")):
        with pytest.raises(UnavailableError, match=r"the notes of machines in .* cannot be"):
            act()
    assert list(farm.folder.iterdir()) == []
    if farm.folder.is_symlink():
        farm.folder.unlink()
    else:
        farm.folder.rmdir()
