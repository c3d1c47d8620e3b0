"""Sending by name, calls with options of their own, and looking jobs up from coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conveyor import (
    Conveyor,
    EncodingError,
    Job,
    NotFoundError,
    QueueFullError,
    State,
    TaskFunction,
    UsageError,
)
from conveyor.core.pending import Pending
from conveyor.store.memory.store import MemoryStore


@pytest.fixture(params=["memory", "sqlite"])
def belt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Conveyor]:
    opened = Conveyor("memory:" if request.param == "memory" else tmp_path / "jobs.db")
    yield opened
    opened.close()


def declare(belt: Conveyor) -> TaskFunction[..., str, Any]:
    @belt.queue("mail").task(name="app.greet", retries=2, priority=3)
    async def greet(to: str, times: int = 1) -> str:
        return f"hello {to}" * times

    return greet


# -- by name ---------------------------------------------------------------------------------------


def test_a_job_sent_by_name_is_run_by_the_application_that_has_the_task(tmp_path: Path) -> None:
    sender, receiver = Conveyor(tmp_path / "jobs.db"), Conveyor(tmp_path / "jobs.db")
    declare(receiver)
    job = sender.send("app.greet", {"to": "ann"}, queue="mail", priority=7)
    assert (job.record.queue, job.record.priority) == ("mail", 7)
    assert receiver.work(timeout=30, keep=False) == 1
    assert job.result(10) == "hello ann"
    sender.close()
    receiver.close()


def test_a_coroutine_can_send_by_name(belt: Conveyor) -> None:
    async def send() -> Job[Any]:
        return await belt.asend("elsewhere.task", {"number": 1}, delay="1h")

    record = asyncio.run(send()).record
    assert (record.task, record.queue, record.args) == (
        "elsewhere.task",
        "default",
        b'{"number":1}',
    )
    assert record.state is State.SCHEDULED


def test_a_task_that_is_declared_here_is_sent_with_its_own_options_and_checks(
    belt: Conveyor,
) -> None:
    declare(belt)
    for arguments in (("ann",), {"to": "ann"}):
        record = belt.send("app.greet", arguments, retries=4).record
        assert (record.queue, record.priority, record.options.retries) == ("mail", 3, 4)
        assert record.args == b'{"to":"ann"}'
    with pytest.raises(UsageError, match="to"):
        belt.send("app.greet", {"too": "ann"})
    assert asyncio.run(belt.asend("app.greet", ("bob",))).record.queue == "mail"
    assert belt.queues["mail"].depth == 3


def test_a_task_without_arguments_needs_none(belt: Conveyor) -> None:
    assert belt.send("elsewhere.task").record.args == b"{}"


def test_a_bound_that_another_application_has_set_stays(belt: Conveyor, tmp_path: Path) -> None:
    other = Conveyor(tmp_path / "other.db")
    owner = Conveyor(tmp_path / "other.db")
    owner.queue("small", capacity=1).task(name="tiny")(print).enqueue()
    with pytest.raises(QueueFullError, match="1/1"):
        other.send("tiny", queue="small", when_full="refuse")
    assert [each.capacity for each in other.store.counts().result()] == [1]
    owner.close()
    other.close()


def test_a_job_sent_by_name_follows_the_rule_of_a_queue_that_is_declared_here(
    belt: Conveyor,
) -> None:
    belt.queue("small", capacity=1, when_full="refuse")
    belt.send("elsewhere.task", queue="small")
    with pytest.raises(QueueFullError, match="1/1"):
        belt.send("elsewhere.task", queue="small")


@pytest.mark.parametrize(
    ("task", "arguments", "options", "message"),
    [
        ("elsewhere.task", ("ann",), {}, "not declared here, so its arguments must be a mapping"),
        ("elsewhere.task", "ann", {}, "not declared here, so its arguments must be a mapping"),
        ("elsewhere.task", {"to": object()}, {}, "object"),
        ("elsewhere.task", {"to": float("nan")}, {}, "nan"),
        ("elsewhere.task", {1: 2}, {}, "keys must be strings"),
        ("elsewhere.task", {}, {"to": "ann"}, "unknown option 'to'"),
        ("", {}, {}, "task: a name must be"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(
    belt: Conveyor, task: str, arguments: Any, options: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        belt.send(task, arguments, **options)
    assert belt.jobs() == []


def test_arguments_sent_by_name_have_the_same_limit() -> None:
    belt = Conveyor("memory:", args_limit=100)
    with pytest.raises(EncodingError, match="above the limit of 100"):
        belt.send("elsewhere.task", {"text": "x" * 100})


def test_a_command_sent_by_name_requires_a_worker_that_runs_commands(belt: Conveyor) -> None:
    job = belt.send("conveyor.command", {"argv": ["true"]})
    assert job.record.options.requires == ("commands",)


# -- options of single calls -----------------------------------------------------------------------


def test_each_call_of_enqueue_many_can_have_its_own_options(belt: Conveyor) -> None:
    greet = declare(belt)
    names = ["ann", "bob", "ann"]
    jobs = greet.enqueue_many(
        [
            *(greet.using(key=name, meta={"n": n}).bind(name) for n, name in enumerate(names)),
            ("cat",),
            {"to": "dan"},
        ]
    )
    assert [job.existing for job in jobs] == [False, False, True, False, False]
    assert jobs[0].id == jobs[2].id
    records = [job.record for job in jobs]
    assert [each.options.key for each in records] == ["ann", "bob", "ann", None, None]
    assert [each.options.meta for each in records] == [{"n": 0}, {"n": 1}, {"n": 0}, {}, {}]
    assert {each.priority for each in records} == {3}
    belt.work(timeout=30, keep=False)
    assert jobs[4].result(10) == "hello dan"


def test_each_call_can_have_its_own_files(belt: Conveyor, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    greet = declare(belt)
    jobs = greet.enqueue_many(
        [greet.bind("c"), *(greet.using(files={"in": tmp_path / name}).bind(name) for name in "ab")]
    )
    sizes = [[file.name for file in job.record.options.files] for job in jobs]
    assert sizes == [[], ["in"], ["in"]]
    digests = {file.digest for job in jobs for file in job.record.options.files}
    assert len(digests) == 2


def test_calls_that_cannot_be_enqueued_together_are_refused(belt: Conveyor) -> None:
    greet = declare(belt)

    @belt.task
    async def other() -> None: ...

    for wrong, message in (
        ([greet.using(queue="post").bind("ann")], "have the same queue"),
        ([greet.using(wait=1).bind("ann")], "have the same wait"),
        ([other.bind()], "a call of .*other cannot be enqueued as app.greet"),
        ("abc", "takes a list of calls, got 'abc'"),
        ({"to": "ann"}, "takes a list of calls"),
        (["abc"], "'abc' is no call of app.greet; a call is a tuple"),
        ([7], "7 is no call of app.greet"),
    ):
        with pytest.raises(UsageError, match=message):
            greet.enqueue_many(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="key 'x' cannot name several jobs"):
        greet.using(key="x").enqueue_many([("ann",), ("bob",)])
    assert belt.jobs() == []


def test_one_key_and_one_call_are_enqueued(belt: Conveyor) -> None:
    greet = declare(belt)
    [job] = greet.using(key="x").enqueue_many([("ann",)])
    assert job.record.options.key == "x"


def test_a_wrong_argument_fails_where_the_call_is_bound(belt: Conveyor) -> None:
    with pytest.raises(EncodingError):
        declare(belt).bind(to=7)


# -- looking jobs up -------------------------------------------------------------------------------


def test_a_coroutine_finds_jobs_as_a_blocking_caller_does(belt: Conveyor) -> None:
    greet = declare(belt)
    jobs = greet.enqueue_many([("ann",), ("bob",), ("cat",)])
    belt.work(timeout=30, keep=False)

    async def look() -> None:
        assert await (await belt.ajob(jobs[0].id)) == "hello ann"
        assert await belt.ajobs(queue="mail", states=["completed"]) == belt.jobs(queue="mail")
        first, *_ = await belt.ajobs(limit=1)
        assert first.id == jobs[2].id
        rest = await belt.ajobs(before=first.seq, task="app.greet")
        assert [each.id for each in rest] == [jobs[1].id, jobs[0].id]
        with pytest.raises(NotFoundError):
            await belt.ajob("no-such-job")

    asyncio.run(look())


class Awaited(Pending[Any]):
    """An answer for which no thread may block."""

    def result(self, timeout: float | None = None) -> Any:
        raise AssertionError("it would block the event loop")


class StoreOfALoop(MemoryStore):
    """Answers what looks jobs up only to coroutines."""

    def get(self, job_id):  # type: ignore[no-untyped-def]
        return self.only_awaited(super().get(job_id))

    def find(self, which, *, limit, include=()):  # type: ignore[no-untyped-def]
        return self.only_awaited(super().find(which, limit=limit, include=include))

    def only_awaited(self, answer: Pending[Any]) -> Pending[Any]:
        awaited = Awaited()
        awaited.resolve(answer.result())
        return awaited


def test_a_coroutine_that_looks_jobs_up_does_not_block_its_loop() -> None:
    belt = Conveyor(store=StoreOfALoop())

    async def look() -> None:
        job = await belt.asend("elsewhere.task", {})
        assert (await belt.ajob(job.id)).id == job.id
        assert [each.id for each in await belt.ajobs()] == [job.id]

    asyncio.run(look())
    belt.close()


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ({"states": "discarded"}, r"must be a list of states, got a string: write \['discarded'\]"),
        ({"states": ["failed"]}, "unknown state 'failed'; choose from: scheduled"),
        ({"limit": 0}, "limit must be 1 to 1,000, got 0"),
        ({"limit": 1001}, "limit must be 1 to 1,000, got 1001"),
    ],
)
def test_a_wrong_filter_is_refused_with_the_reason(
    belt: Conveyor, which: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        belt.jobs(**which)
    with pytest.raises(UsageError, match=message):
        asyncio.run(belt.ajobs(**which))
