"""A worker has a sidecar for as long as it runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner_helpers import eventually

from conveyor import Conveyor, State
from conveyor.core.job import NewJob
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import Claimant, Want
from conveyor.system.process_identity import worker_info
from conveyor.worker import sidecar_process
from conveyor.worker.sidecar_process import SidecarArguments
from conveyor.worker.worker import Worker


@pytest.fixture
def belt(tmp_path: Path) -> Iterator[Conveyor]:
    opened = Conveyor(tmp_path / "jobs.db")
    yield opened
    opened.close()


def sidecar(worker: Worker) -> subprocess.Popen[bytes] | None:
    return worker.parts.sidecar.process


async def replaced(worker: Worker, old: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    await eventually(lambda: sidecar(worker) not in (None, old))
    new = sidecar(worker)
    assert new is not None
    assert old.stdin is not None
    old.stdin.close()
    return new


def test_a_sidecar_that_has_died_is_started_again(
    belt: Conveyor, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with belt.worker() as worker:
            await eventually(lambda: sidecar(worker))
            first = sidecar(worker)
            assert first is not None
            first.kill()
            second = await replaced(worker, first)
            assert second.poll() is None
        assert second.wait(60) == 0

    asyncio.run(main())
    assert "sidecar.ended code=-9" in caplog.text


def test_a_sidecar_starts_where_the_working_directory_is_gone_and_beside_files_of_any_name(
    belt: Conveyor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("queue", "token", "secrets", "uuid", "socket", "ssl", "platform", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of the application')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(here)
    here.rmdir()

    async def main() -> int:
        async with belt.worker() as worker:
            await eventually(lambda: sidecar(worker))
            process = sidecar(worker)
        assert process is not None
        return process.wait(60)

    assert asyncio.run(main()) == 0


def test_a_sidecar_logs_the_jobs_that_it_discards(
    belt: Conveyor, capfd: pytest.CaptureFixture[str]
) -> None:
    @belt.task
    def deadly() -> None: ...

    job = deadly.using(crash_limit=1).enqueue()
    store = belt.store
    assert store.claim([Want("default", 1)], Claimant("dead"), limit=1).result().jobs
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(60)
    arguments = SidecarArguments(url=store.url, worker="dead", lease_for=60, pid=gone.pid)
    process = sidecar_process.start(arguments)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0
    stderr = capfd.readouterr().err
    assert f"ERROR conveyor.job job.discarded id={job.id} task=" in stderr
    assert "the worker's process died" in stderr


class NetworkStore(MemoryStore):
    """A store to which a call may still be on its way when its process is dead."""

    can_be_partitioned = True


def test_a_sidecar_also_returns_what_a_claim_took_that_came_after_its_worker_s_death() -> None:
    store = NetworkStore()
    info = worker_info("dead", now=store.now())
    store.beat(info).result()
    store.insert([NewJob(id="a", task="t")]).result()
    states: list[State] = []

    def claim_late(_seconds: float) -> None:
        states.append(store.get("a").result().state)
        assert store.claim([Want("default", 1)], Claimant("dead"), limit=1).result().jobs

    store.claim([Want("default", 1)], Claimant("dead"), limit=1).result()
    arguments = SidecarArguments(url="", worker="dead", lease_for=60, pid=0)
    sidecar_process.return_jobs(arguments, "it was killed", store, "", claim_late)
    assert [*states, store.get("a").result().state] == [State.AVAILABLE, State.AVAILABLE]
    assert store.workers().result() == []
    # One that has left in good order has no call on its way, and nothing is waited for.
    sidecar_process.return_jobs(arguments, "", store, "", claim_late)
    assert len(states) == 1
    store.close()


def test_a_sidecar_that_cannot_start_keeps_no_worker_from_working(
    belt: Conveyor, monkeypatch: pytest.MonkeyPatch
) -> None:
    @belt.task
    async def one() -> int:
        return 1

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", os.devnull)
            async with belt.worker() as worker:
                job = await one.aenqueue()
                await eventually(lambda: job.refresh().record.is_final)
                assert sidecar(worker) is None
                patch.undo()
                await eventually(lambda: sidecar(worker))

    asyncio.run(main())
