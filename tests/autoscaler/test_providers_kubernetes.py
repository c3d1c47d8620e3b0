"""Machines that are Jobs of Kubernetes, against an API for tests that knows what is documented."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cluster import Cluster

from conveyor import UnavailableError, UsageError
from conveyor.autoscaler.agent_launch import AgentLaunch, convert_options
from conveyor.autoscaler.provider import PoolSpec, Provider
from conveyor.autoscaler.providers.kubernetes import KubernetesProvider, KubernetesSettings
from conveyor.autoscaler.providers.open import open_provider

Pool = Callable[..., PoolSpec]
Scene = Callable[[Provider, Cluster], Awaitable[None]]
ROLE = Path(__file__).parents[2] / "deploy" / "scaler-role.yaml"


def play(
    tmp_path: Path, launch: AgentLaunch, scene: Scene, waits: list[float] | None = None
) -> None:
    """Have a scene with a provider and a cluster, which must find nothing wrong."""
    waited = [] if waits is None else waits

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    async def run() -> None:
        async with Cluster(tmp_path) as cluster:
            settings = convert_options(KubernetesSettings, table(cluster), "test")
            provider = KubernetesProvider(settings, launch, sleep=wait)
            try:
                await scene(provider, cluster)
            finally:
                await provider.close()
        assert cluster.wrong == []

    asyncio.run(run())


def table(cluster: Cluster) -> dict[str, Any]:
    return {"api": cluster.url, "account": str(cluster.account), "grace": 7, "timeout": 5.0}


def test_a_job_runs_one_agent_once_with_its_token_from_a_secret(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        spec = pool(
            image="farm:1",
            token_secret="farm-token",
            env={"A": "1"},
            pod={"nodeSelector": {"disk": "fast"}},
            container={"resources": {"requests": {"cpu": "2"}}},
        )
        [machine] = await provider.create(spec, 1)
        job = cluster.jobs[machine.id]
        assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 600)
        pod = job["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == {"disk": "fast"}
        assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Never", 7)
        assert pod["volumes"][0]["secret"]["secretName"] == "farm-token"
        [agent] = pod["containers"]
        words = (
            f"agent --server http://jobs.example.com --concurrency 2 "
            f"--token-file /run/conveyor/token --label machine={machine.id} --label os=linux "
            "--queue builds --allow-commands"
        )
        assert agent["args"] == words.split()
        assert agent["env"][-1] == {"name": "CONVEYOR_MACHINE", "value": machine.id}
        assert agent["resources"] == {"requests": {"cpu": "2"}}

    play(tmp_path, launch, scene)


def test_jobs_are_made_listed_and_deleted_and_are_stopping_until_their_pods_are_gone(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        made = {each.id for each in await provider.create(pool(image="farm:1"), 3)}
        listed = await provider.list()
        assert {each.id for each in listed} == made
        assert {(each.pool, each.state) for each in listed} == {("linux", "starting")}
        gone = min(made)
        await provider.destroy([gone, "never-was"])
        states = {each.id: each.state for each in await provider.list()}
        assert states == dict.fromkeys(made, "starting") | {gone: "stopping"}
        cluster.settle()
        await provider.destroy([gone])
        assert set(cluster.jobs) == made - {gone}

    play(tmp_path, launch, scene)


def test_jobs_of_others_are_neither_listed_nor_deleted(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        settings = table(cluster) | {"owner": "another"}
        other = open_provider("kubernetes", settings, launch)
        [theirs] = await other.create(pool(image="farm:1"), 1)
        assert await provider.list() == []
        await provider.destroy([theirs.id])
        assert [each.id for each in await other.list()] == [theirs.id]
        await other.close()

    play(tmp_path, launch, scene)


def test_a_list_is_read_page_by_page(tmp_path: Path, launch: AgentLaunch, pool: Pool) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        made = await provider.create(pool(image="farm:1"), 7)
        cluster.largest = 3
        cluster.asked.clear()
        assert {each.id for each in await provider.list()} == {each.id for each in made}
        assert cluster.asked == ["GET"] * 3

    play(tmp_path, launch, scene)


def test_a_list_whose_pages_have_expired_is_begun_anew(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        await provider.create(pool(image="farm:1"), 2)
        expired = (410, "Expired", "The provided continue parameter is too old")
        cluster.faults = {"GET": [expired]}
        assert len(await provider.list()) == 2
        cluster.faults = {"GET": [expired] * 3}
        with pytest.raises(UnavailableError, match="the list of Jobs expired 3 times"):
            await provider.list()

    play(tmp_path, launch, scene)


def test_a_job_whose_creation_was_not_answered_is_made_once(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        cluster.faults = {"POST": ["lose"]}
        [machine] = await provider.create(pool(image="farm:1"), 1)
        assert [each.id for each in await provider.list()] == [machine.id]

    play(tmp_path, launch, scene)


def test_a_job_whose_creation_is_never_answered_is_listed_nevertheless(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        cluster.faults = {"POST": ["lose", "lose"]}
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await provider.create(pool(image="farm:1"), 1)
        assert [each.state for each in await provider.list()] == ["starting"]

    play(tmp_path, launch, scene)


def test_an_api_that_is_too_busy_is_asked_again_when_it_said(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    waits: list[float] = []

    async def scene(provider: Provider, cluster: Cluster) -> None:
        busy = (429, "TooManyRequests", "too many requests")
        cluster.faults = {"POST": [busy, busy]}
        assert len(await provider.create(pool(image="farm:1"), 1)) == 1
        assert waits == [3.0, 3.0]
        cluster.faults = {"POST": [busy] * 4}
        with pytest.raises(UnavailableError, match="429, too many requests"):
            await provider.create(pool(image="farm:1"), 1)

    play(tmp_path, launch, scene, waits)


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ((403, "Forbidden", "jobs is forbidden"), UsageError, "scaler-role.yaml"),
        ((403, "Forbidden", "exceeded quota: farm"), UnavailableError, "exceeded quota"),
        ((404, "NotFound", "no namespace"), UsageError, "404, no namespace"),
        ((409, "AlreadyExists", "already exists"), UnavailableError, "already exists"),
        ((422, "Invalid", "spec is invalid"), UsageError, "422, spec is invalid"),
        ((503, "ServiceUnavailable", "etcd is away"), UnavailableError, "503, etcd is away"),
    ],
)
def test_errors_of_the_api_say_what_was_asked_and_what_it_said(
    tmp_path: Path, launch: AgentLaunch, pool: Pool, fault: Any, error: Any, said: str
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        cluster.faults = {"POST": [fault]}
        with pytest.raises(error, match=f"create a Job of pool linux: .*{said}"):
            await provider.create(pool(image="farm:1"), 1)
        cluster.faults = {"POST": [fault]}
        assert len(await provider.create(pool(image="farm:1"), 2)) == 1

    play(tmp_path, launch, scene)


def test_a_job_that_is_gone_when_it_is_deleted_is_no_error(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        [machine] = await provider.create(pool(image="farm:1"), 1)
        cluster.faults = {"DELETE": [(404, "NotFound", "not found")]}
        await provider.destroy([machine.id])

    play(tmp_path, launch, scene)


@pytest.mark.parametrize(
    ("status", "state", "detail"),
    [
        ({"active": 1, "ready": 0}, "starting", ""),
        ({"active": 1, "ready": 1}, "running", ""),
        ({"conditions": [{"type": "Complete", "status": "True"}]}, "gone", "Complete"),
        (
            {
                "conditions": [
                    {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
                ]
            },
            "gone",
            "Failed BackoffLimitExceeded",
        ),
    ],
)
def test_the_status_of_a_job_says_how_the_machine_is(
    tmp_path: Path, launch: AgentLaunch, pool: Pool, status: Any, state: str, detail: str
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        [machine] = await provider.create(pool(image="farm:1"), 1)
        cluster.jobs[machine.id]["status"] = status
        [seen] = await provider.list()
        assert (seen.state, seen.detail) == (state, detail)

    play(tmp_path, launch, scene)


def test_a_token_that_is_replaced_is_read_again(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        await provider.list()
        cluster.give_token("second")
        assert await provider.list() == []
        cluster.token = "third"
        with pytest.raises(UnavailableError, match="401, Unauthorized"):
            await provider.list()

    play(tmp_path, launch, scene)


def test_an_api_that_nobody_vouches_for_is_not_told_the_token(
    tmp_path: Path, launch: AgentLaunch
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        (tmp_path / "other").mkdir()
        other = Cluster(tmp_path / "other")
        (cluster.account / "ca.crt").write_bytes((other.account / "ca.crt").read_bytes())
        with pytest.raises(UnavailableError, match="certificate"):
            await provider.list()
        assert cluster.asked == []

    play(tmp_path, launch, scene)


def test_where_there_is_no_service_account_that_is_said(
    tmp_path: Path, launch: AgentLaunch
) -> None:
    with pytest.raises(UsageError, match="is this a pod with a service account"):
        open_provider("kubernetes", {"account": str(tmp_path)}, launch)


def test_the_cluster_for_tests_notices_what_is_not_documented(
    tmp_path: Path, launch: AgentLaunch, pool: Pool
) -> None:
    async def scene(provider: Provider, cluster: Cluster) -> None:
        await provider.create(pool(image="farm:1", pod={"nodeSelecter": {}}), 1)
        assert "nodeSelecter" in cluster.wrong.pop()

    play(tmp_path, launch, scene)


def test_the_role_for_the_scaler_is_a_role_of_kubernetes() -> None:
    for each in yaml.safe_load_all(ROLE.read_text()):
        kubernetes_validate.validate(each, "1.32", strict=True)
