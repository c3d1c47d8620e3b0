"""Whatever comes in: one clear error that names job or file and the way out; the worker goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import Conveyor, EncodingError, JobDiscardedError, UsageError, current_job
from conveyor.cli.why import explain_job
from conveyor.core.job import NewJob


@pytest.fixture
def belt(tmp_path: Path) -> Iterator[Conveyor]:
    opened = Conveyor(tmp_path / "jobs.db")
    yield opened
    opened.close()


def good(belt: Conveyor) -> Any:
    @belt.task(name="good")
    async def task(value: Any = None) -> str:
        return "fine"

    return task


def ended(belt: Conveyor, bad: Any) -> str:
    """Run a bad job among good ones; return the bad one's error."""
    task = good(belt) if "good" not in belt.functions else belt.functions["good"]
    before, job, after = task.enqueue(), bad(), task.enqueue()
    belt.work(timeout=60, keep=False)
    assert (before.result(30), after.result(30)) == ("fine", "fine")
    with pytest.raises(JobDiscardedError) as error:
        belt.job(job if isinstance(job, str) else job.id).result(30)
    return str(error.value)


def straight(belt: Conveyor, task: str, args: bytes = b"{}") -> str:
    """Put a job into the store behind the producer's back."""
    return belt.store.insert([NewJob(id=f"job-{task}", task=task, args=args)]).result(10).ids[0]  # type: ignore[union-attr]


def test_a_ten_megabyte_argument_is_refused_and_named(belt: Conveyor) -> None:
    task = good(belt)
    with pytest.raises(EncodingError, match=r"above the limit of 1,048,576; .*'value'"):
        task.enqueue("x" * 10_000_000)
    assert belt.jobs() == []


def test_the_limit_on_arguments_can_be_raised(tmp_path: Path) -> None:
    belt = Conveyor(tmp_path / "jobs.db", args_limit=20_000_000)
    job = good(belt).enqueue("x" * 10_000_000)
    belt.work(timeout=30, keep=False)
    assert job.result(30) == "fine"
    belt.close()


def test_a_wrong_argument_is_refused_where_it_is_written(belt: Conveyor) -> None:
    task = good(belt)
    with pytest.raises(UsageError, match="colour"):
        task.enqueue(colour="red")
    with pytest.raises(EncodingError, match="'value'"):
        task.enqueue(value=object())
    with pytest.raises(UsageError, match="unknown option 'colour'"):
        task.using(colour="red")
    assert belt.jobs() == []


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("gone.away", b"{}", "no task named 'gone.away' is registered in"),
        ("good", b'{"colour": 1}', "it has no parameter colour"),
    ],
)
def test_a_job_that_this_code_cannot_run_waits_for_other_code_without_an_attempt(
    belt: Conveyor, name: str, args: bytes, said: str
) -> None:
    task = good(belt)
    before, bad, after = task.enqueue(), straight(belt, name, args), task.enqueue()
    assert belt.work(timeout=60, keep=False) == 2
    assert (before.result(30), after.result(30)) == ("fine", "fine")
    job = belt.store.get(bad).result()
    assert (job.state, job.attempt) == ("retryable", 0)
    assert said in str(job.error)
    assert job.run_at - (job.unsupported_since or 0) == pytest.approx(1.0)


def test_during_a_rolling_deploy_a_new_job_waits_for_a_new_worker(belt: Conveyor) -> None:
    new = Conveyor(store=belt.store)

    @new.task(name="send", retries=0)
    def with_copy(to: str, copy: str) -> str:
        return f"{to}, {copy}"

    @belt.task(name="send")
    def send(to: str) -> str:
        return to

    job = with_copy.enqueue("ann", "bob")
    assert belt.work(keep=False) == 0
    said = explain_job(belt.store, job.id)
    assert "it has no parameter copy" in said
    assert "deploy workers of queue 'default' with this version of task 'send'" in said
    belt.store.retry(job.id).result()  # instead of waiting for a second
    assert new.work(keep=False) == 1
    assert job.result(30) == "ann, bob"


@pytest.mark.parametrize("args", [b"{", b"{\xff"])
def test_stored_arguments_that_cannot_be_read_fail_their_own_job_only(
    belt: Conveyor, args: bytes
) -> None:
    good(belt)
    said = ended(belt, lambda: straight(belt, "good", args))
    assert "good" in said


def test_a_module_that_does_not_import_in_the_child_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It imports here, and not in the child process: an environment that differs.
    (tmp_path / "fragile.py").write_text(
        "import os\n"
        "from conveyor import Conveyor\n"
        "if os.getpid() != int(os.environ['PARENT']): raise RuntimeError('no licence here')\n"
        "belt = Conveyor('jobs.db')\n"
        "@belt.task(name='heavy', run='process')\n"
        "def heavy() -> None: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    script = (
        "import os; os.environ['PARENT'] = str(os.getpid())\n"
        "import json, fragile; belt = fragile.belt\n"
        "async def fine() -> str: return 'fine'\n"
        "other = belt.task(name='fine')(fine)\n"
        "jobs = [fragile.heavy.enqueue(), other.enqueue()]\n"
        "belt.work(timeout=60, keep=False)\n"
        "print(json.dumps([job.refresh().record.error or job.result(30) for job in jobs]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    bad, fine = json.loads(ran.stdout)
    assert fine == "fine"
    assert "fragile" in bad
    assert "no licence here" in bad


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
def test_a_result_that_json_cannot_hold_fails_the_job_by_the_task_s_name(
    belt: Conveyor, kind: str
) -> None:
    def bad() -> object:
        return {1, object()}

    async def bad_async() -> object:
        return bad()

    task = belt.task(name="bad")(bad if kind == "thread" else bad_async)
    said = ended(belt, task.enqueue)
    assert "bad" in said
    assert "JSON" in said


def test_an_exception_that_cannot_be_printed_is_still_an_error(belt: Conveyor) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @belt.task(name="odd")
    def odd() -> None:
        raise OddError

    assert "OddError" in ended(belt, odd.enqueue)


def test_a_worker_survives_a_full_disk_and_loses_nothing(tmp_path: Path) -> None:
    # A limit on the size of files is a full disk, for this process.
    script = """
import asyncio, json, logging, resource, signal, sys
from conveyor import Conveyor, State
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
logging.disable(logging.CRITICAL)
belt = Conveyor(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

@belt.task(name="fill")
async def fill(number: int) -> str:
    if number == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
        asyncio.get_running_loop().call_later(
            0.5, resource.setrlimit, resource.RLIMIT_FSIZE, (hard, hard)
        )
    return "x" * 2000

jobs = fill.enqueue_many([(number,) for number in range(200)])
async def main():
    worker = belt.worker(slots=1, keep=False)
    running = asyncio.create_task(worker.run())
    for job in jobs:
        await job.await_final(timeout=30)
    worker.drain()
    await running
asyncio.run(main())
states = [job.refresh().state for job in jobs]
print(json.dumps([states.count(State.COMPLETED), belt.store.check().result(10)]))
belt.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "jobs.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [200, []]


@pytest.mark.parametrize("url", ["memory:", "jobs.db"])
def test_what_a_job_does_to_its_meta_reaches_no_other_job(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    belt = Conveyor(url)

    @belt.task(name="vandal")
    async def vandal() -> Any:
        meta = current_job().meta
        meta.setdefault("list", []).append(1)
        meta["odd"] = object()
        return current_job().meta

    given: dict[str, Any] = {"list": []}
    with_meta = vandal.using(meta=given)
    jobs = [vandal.enqueue(), vandal.enqueue(), with_meta.enqueue(), with_meta.enqueue()]
    belt.work(timeout=60, keep=False)
    assert [job.result(30) for job in jobs] == [{}, {}, given, given]
    assert jobs[-1].refresh().record.options.meta == {"list": []}
    belt.close()
