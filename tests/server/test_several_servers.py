"""Several servers of one PostgreSQL store: any of them does, and one is killed under load."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest
from balancer import Balancer
from deployment import Deployment, ServerThread, wait_for
from remote_jobs import run_until_file, wait_for_output

from conveyor import Conveyor, JobCancelledError, State
from conveyor.autoscaler.elector import Elector
from conveyor.client.job_handle import Job
from conveyor.core.access import agent_suffix
from conveyor.server.worker_api import LOOK_EVERY
from conveyor.store.http.store import HttpStore
from conveyor.store.messages import Claimant, Want
from conveyor.store.open import open_store
from postgres_schema import Schemas

# What a job does: it writes down that it ran.
WORK = 'echo "$CONVEYOR_JOB_ID" >> ran; sleep 0.02'
BEFORE, AFTER, ROUNDS = 20, 20, 2
PATIENCE = 60.0
# How long a scaler leads without renewing that, in seconds.
LEADERSHIP = 1.0


@pytest.fixture
def shared(schemas: Schemas, tmp_path: Path) -> Iterator[Deployment]:
    with schemas.one() as url:
        made = Deployment(tmp_path, store=url)
        yield made
        made.close()


class Producer:
    """Enqueues jobs one after the other until told to stop, and keeps the ids."""

    def __init__(self, belt: Conveyor, folder: Path) -> None:
        self.accepted: list[str] = []
        self._work = belt.command("sh", "-c", WORK, cwd=folder)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.accepted.append(self._work.enqueue().id)


def completed(belt: Conveyor) -> int:
    return sum(queue.counts.get(State.COMPLETED, 0) for queue in belt.store.counts().result(60))


def test_one_server_of_two_is_killed_under_load_and_nothing_is_lost_or_doubled(
    shared: Deployment, tmp_path: Path
) -> None:
    killed = shared.server()
    _, other = shared.another_server()
    balancer = shared.closing(Balancer([shared.url, other]))
    agents = [shared.agent("-c", "2", url=balancer.url) for _ in range(2)]
    belt = shared.closing(Conveyor(balancer.url, token=shared.admin))
    direct = shared.closing(Conveyor(other, token=shared.admin))
    waited = belt.command(*run_until_file(tmp_path / "go")).enqueue()
    wait_for_output(waited, "going")
    producer = Producer(belt, tmp_path)
    wait_for(lambda: completed(direct) >= BEFORE)
    killed.stop(signal.SIGKILL)
    accepted = len(producer.accepted)
    wait_for(lambda: len(producer.accepted) >= accepted + AFTER)
    producer.stop()
    (tmp_path / "go").touch()
    # The same object asks the other server, through the same address.
    assert waited.result(PATIENCE) == {"exit_code": 0}
    wait_for(lambda: completed(direct) >= len(producer.accepted) + 1)
    ran = Counter((tmp_path / "ran").read_text().splitlines())
    assert ran == Counter(producer.accepted)
    [queue] = direct.store.counts().result(60)
    counts = {state: count for state, count in queue.counts.items() if count}
    assert counts == {State.COMPLETED: len(producer.accepted) + 1}
    assert [agent.stop() for agent in agents] == [0, 0]


@pytest.fixture
def pair(schemas: Schemas, tmp_path: Path) -> Iterator[tuple[Deployment, str, str]]:
    """Return two servers of one store, and a deployment whose agents are at the second one."""
    with schemas.one() as url:
        made = Deployment(tmp_path, store=url)
        servers = [ServerThread(open_store(url), tokens=True) for _ in range(2)]
        made.url = servers[1].url
        yield made, servers[0].url, servers[1].url
        made.close()
        for server in servers:
            server.close()


def test_a_job_that_is_enqueued_at_one_server_wakes_a_claim_that_waits_at_another(
    pair: tuple[Deployment, str, str],
) -> None:
    made, one, other = pair
    belt = made.closing(Conveyor(one, token=made.admin))
    token = made.token("agent")
    agents = made.closing(HttpStore(other, token=token))
    work = belt.command("true")
    claimant = Claimant(f"waits{agent_suffix(token)}", 60.0, frozenset({"commands"}), 10.0)
    began = monotonic()
    with ThreadPoolExecutor(1) as threads:
        for _ in range(ROUNDS):
            claiming = threads.submit(claim, agents, claimant)
            job = work.enqueue()
            assert claiming.result(PATIENCE) == job.id
    # Without a hint, a claim that waits looks after that time.
    assert monotonic() - began < LOOK_EVERY


def claim(store: HttpStore, claimant: Claimant) -> str:
    while True:
        found = store.claim([Want("default", 1)], claimant, limit=1).result(PATIENCE).jobs
        if found:
            return found[0].id


def test_output_cancel_and_files_go_through_any_server(
    pair: tuple[Deployment, str, str], tmp_path: Path
) -> None:
    made, one, _ = pair
    made.agent("-c", "2")
    belt = made.closing(Conveyor(one, token=made.admin))
    job: Job[dict[str, int]] = belt.command(*run_until_file(tmp_path / "go")).enqueue()
    following = made._start("logs", ["logs", "-f", job.id, "--url", one], token_of(made))
    following.wait_for_output("going")
    (tmp_path / "go").touch()
    assert following.popen.wait(PATIENCE) == 0
    assert following.log.read_text().endswith("done\n")
    stopped: Job[dict[str, int]] = belt.command("sh", "-c", "echo going; sleep 60").enqueue()
    wait_for_output(stopped, "going")
    assert stopped.cancel(wait=PATIENCE)
    with pytest.raises(JobCancelledError):
        stopped.result(PATIENCE)
    (tmp_path / "source").write_bytes(b"text")
    script = ("sh", "-c", "cat in in > out")
    copied = belt.command(*script, files={"in": tmp_path / "source"}, artifacts=["out"]).enqueue()
    copied.result(PATIENCE)
    copied.download("out", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"texttext"


def test_the_leadership_of_a_scaler_that_died_moves_to_the_one_at_another_server(
    pair: tuple[Deployment, str, str],
) -> None:
    made, one, other = pair

    first, second = (
        Elector(
            made.closing(HttpStore(url, token=made.admin)),
            "scaler",
            url,
            elapsed=monotonic,
            ttl=LEADERSHIP,
        )
        for url in (one, other)
    )

    async def main() -> None:
        await first.acquire()
        assert (await second.acquire()).holder == one
        # The first one renews no more.
        while not second.is_leader:
            await asyncio.sleep(0.01)
            await second.acquire()
        assert not first.is_leader

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def token_of(made: Deployment) -> dict[str, str]:
    return {"CONVEYOR_TOKEN": made.admin}
