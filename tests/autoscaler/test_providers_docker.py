"""Machines that are containers, against an engine for tests that knows only what is documented."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from engine import Engine

from conveyor import UnavailableError, UsageError
from conveyor.autoscaler.agent_launch import AgentLaunch
from conveyor.autoscaler.provider import PoolSpec, Provider
from conveyor.autoscaler.providers.open import open_provider

Pool = Callable[..., PoolSpec]
Scene = Callable[[Provider, Engine], Awaitable[None]]
CREATE, START = "POST /containers/create", "POST /containers/{id}/start"
STOP, DELETE = "POST /containers/{id}/stop", "DELETE /containers/{id}"


def play(tmp_path: Path, launch: AgentLaunch, scene: Scene, **engine: Any) -> Engine:
    """Have a scene with a provider and an engine, which must find nothing wrong."""

    async def run() -> Engine:
        async with Engine(tmp_path, **engine) as made:
            settings = {"socket": made.socket, "grace": 3, "timeout": 5.0}
            provider = open_provider("docker", settings, launch)
            try:
                await scene(provider, made)
            finally:
                await provider.close()
        assert made.wrong == []
        return made

    return asyncio.run(run())


def test_a_container_runs_an_agent_that_is_found_by_its_machine(tmp_path: Path, pool: Pool) -> None:
    launch = AgentLaunch(server="https://jobs", token_file="/srv/token", ca_file="/srv/ca.pem")

    async def scene(provider: Provider, engine: Engine) -> None:
        spec = pool(image="farm:1", env={"A": "1"}, args=("--app", "shop:belt"), host={"Memory": 9})
        [machine] = await provider.create(spec, 1)
        config = engine.containers[machine.id]["Config"]
        words = (
            f"agent --server https://jobs --concurrency 2 --token-file /run/conveyor/token "
            f"--label machine={machine.id} --label os=linux --queue builds --app shop:belt"
        )
        assert config["Cmd"] == words.split()
        assert set(config["Env"]) == {
            "A=1",
            f"CONVEYOR_MACHINE={machine.id}",
            "CONVEYOR_CA_FILE=/run/conveyor/ca.pem",
        }
        assert config["HostConfig"]["Memory"] == 9
        assert config["HostConfig"]["Binds"] == [
            "/srv/token:/run/conveyor/token:ro",
            "/srv/ca.pem:/run/conveyor/ca.pem:ro",
        ]
        assert config["StopTimeout"] == 3

    play(tmp_path, launch, scene)


def test_containers_are_created_listed_and_removed_and_others_are_left_alone(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        engine.foreign("database")
        made = {each.id for each in await provider.create(pool(image="farm:1"), 3)}
        listed = await provider.list()
        assert {each.id for each in listed} == made
        assert {(each.pool, each.state) for each in listed} == {("linux", "running")}
        gone = min(made)
        await provider.destroy([gone, "database", "never-was"])
        await provider.destroy([gone])
        assert set(engine.containers) == {"database"} | made - {gone}

    play(tmp_path, launch, scene)


def test_another_provider_finds_the_containers_again(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        [machine] = await provider.create(pool(image="farm:1"), 1)
        again = open_provider("docker", {"socket": engine.socket}, launch)
        assert [each.id for each in await again.list()] == [machine.id]
        await again.close()
        other = open_provider("docker", {"socket": engine.socket, "owner": "another"}, launch)
        assert await other.list() == []
        await other.close()

    play(tmp_path, launch, scene)


def test_a_container_is_created_once_even_if_the_response_is_lost(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        engine.faults = {CREATE: ["lose"], START: ["lose"]}
        [machine] = await provider.create(pool(image="farm:1"), 1)
        assert [(each.id, each.state) for each in await provider.list()] == [
            (machine.id, "running")
        ]

    play(tmp_path, launch, scene)


def test_a_container_is_listed_even_if_its_creation_is_never_answered(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        engine.faults = {CREATE: ["lose", "lose"]}
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await provider.create(pool(image="farm:1"), 1)
        [machine] = await provider.list()
        assert machine.state == "starting"
        await provider.destroy([machine.id])
        assert engine.containers == {}

    play(tmp_path, launch, scene)


def test_a_container_that_cannot_be_started_is_removed_and_the_others_are_kept(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        engine.faults = {START: [(500, "no such device")]}
        made = await provider.create(pool(image="farm:1"), 2)
        assert [each.id for each in made] == list(engine.containers)
        engine.faults = {START: [(500, "no such device")]}
        with pytest.raises(UnavailableError, match=r"start a container.*no such device"):
            await provider.create(pool(image="farm:1"), 1)
        assert len(engine.containers) == 1

    play(tmp_path, launch, scene)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ((500, "disk full"), UnavailableError, "create a container of pool linux: 500, disk full"),
        ((400, "bad parameter"), UsageError, "create a container of pool linux: 400, bad param"),
    ],
)
def test_errors_of_the_engine_contain_the_request_and_its_response(
    tmp_path: Path, launch: AgentLaunch, pool: Pool, fault: Any, error: Any, said: str
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        engine.faults = {CREATE: [fault]}
        with pytest.raises(error, match=said):
            await provider.create(pool(image="farm:1"), 1)

    play(tmp_path, launch, scene)


def test_a_container_that_is_already_being_removed_is_no_error(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        [machine] = await provider.create(pool(image="farm:1"), 1)
        engine.faults = {STOP: [(404, "No such container")], DELETE: [(409, "in progress")]}
        await provider.destroy([machine.id])

    play(tmp_path, launch, scene)


@pytest.mark.parametrize(
    ("state", "meant"),
    [("created", "starting"), ("exited", "gone"), ("dead", "errored"), ("removing", "stopping")],
)
def test_a_container_that_does_not_run_is_reported(
    tmp_path: Path, launch: AgentLaunch, pool: Pool, state: str, meant: str
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        [machine] = await provider.create(pool(image="farm:1"), 1)
        engine.containers[machine.id] |= {"State": state, "Status": "Exited (1) now"}
        [seen] = await provider.list()
        assert (seen.state, seen.detail) == (meant, "Exited (1) now")

    play(tmp_path, launch, scene)


def test_a_container_that_exited_is_eventually_removed_without_a_destroy(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        made = await provider.create(pool(image="farm:1"), 3)
        old, new, running = (engine.containers[each.id] for each in made)
        old |= {"State": "exited"}
        new |= {"State": "exited", "Created": int(time.time())}
        engine.faults = {DELETE: [(500, "not now")]}
        await provider.create(pool(image="farm:1"), 1)
        assert len(engine.containers) == 4
        await provider.create(pool(image="farm:1"), 1)
        assert old["Id"] not in [each["Id"] for each in engine.containers.values()]
        assert len(engine.containers) == 4
        assert running["State"] == "running"

    play(tmp_path, launch, scene)


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"), [("1.41", "1.12", "1.41"), ("1.60", "1.44", "1.51")]
)
def test_the_api_version_is_one_that_both_support(
    tmp_path: Path, launch: AgentLaunch, pool: Pool, newest: str, oldest: str, spoken: str
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        assert len(await provider.create(pool(image="farm:1"), 1)) == 1

    engine = play(tmp_path, launch, scene, newest=newest, oldest=oldest)
    assert engine.versions == {spoken}


def test_an_engine_without_a_common_api_version_is_refused(
    tmp_path: Path, launch: AgentLaunch
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        with pytest.raises(UsageError, match=r"supports API versions 1\.90 to 1\.99"):
            await provider.list()

    play(tmp_path, launch, scene, newest="1.99", oldest="1.90")


def test_a_pool_is_validated_before_anything_is_created(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        with pytest.raises(UsageError, match=r"pool linux:.*`imaeg`"):
            await provider.create(pool(image="farm:1", imaeg="x"), 1)
        with pytest.raises(UsageError, match="no image 'farm:2'; pull or build it"):
            await provider.create(pool(image="farm:2"), 1)
        assert engine.containers == {}

    play(tmp_path, launch, scene)


def test_a_missing_engine_is_unavailable(tmp_path: Path, launch: AgentLaunch) -> None:
    async def ask() -> None:
        provider = open_provider("docker", {"socket": str(tmp_path / "none")}, launch)
        try:
            await provider.list()
        finally:
            await provider.close()

    with pytest.raises(UnavailableError, match="Docker at"):
        asyncio.run(ask())


def test_the_test_engine_rejects_undocumented_requests(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, engine: Engine) -> None:
        await provider.create(pool(image="farm:1", host={"Memroy": 1}), 1)
        assert "'Memroy' was unexpected" in engine.wrong.pop()

    play(tmp_path, launch, scene)
