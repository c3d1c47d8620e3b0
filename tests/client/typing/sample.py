"""Types run from a function's signature through the job to its result. Checked by mypy, not run.

A line with `# expect: code` must give that error, every other line none.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, assert_type

from conveyor import (
    Conveyor,
    CurrentJob,
    EndedJob,
    Event,
    Job,
    JobDiscarded,
    JobEnded,
    JobRecord,
    JobRetrying,
    WorkerStarted,
)

belt = Conveyor("memory:")
images = belt.queue("images", capacity=10)


@images.task(timeout=60, retries=3)
def thumbnail(path: str, width: int = 320) -> bytes:
    return path.encode() * width


@belt.task
async def fetch(url: str) -> list[str]:
    return [url]


def call_as_before() -> None:
    assert_type(thumbnail("cat.jpg", width=1), bytes)
    thumbnail(1)  # expect: arg-type
    thumbnail("cat.jpg", height=1)  # expect: call-arg


def enqueue() -> None:
    job = thumbnail.enqueue("cat.jpg", width=640)
    assert_type(job, Job[bytes])
    assert_type(job.result(timeout=1), bytes)
    assert_type(thumbnail.using(priority=5, delay="5m", key="cat").enqueue("cat.jpg"), Job[bytes])
    thumbnail.enqueue()  # expect: call-arg
    thumbnail.enqueue("cat.jpg", width="wide")  # expect: arg-type
    thumbnail.using(colour="red")  # expect: call-arg
    thumbnail.using(when_full="explode")  # expect: arg-type
    belt.queue("mail", when_full="explode")  # expect: arg-type


def enqueue_many() -> None:
    bound = thumbnail.using(key="cat").bind("cat.jpg")
    jobs = thumbnail.enqueue_many([bound, ("dog.jpg",), {"path": "eel.jpg"}])
    assert_type(jobs, list[Job[bytes]])
    thumbnail.enqueue_many([thumbnail.bind(name, width=1) for name in ("a", "b")])
    thumbnail.bind(1)  # expect: arg-type
    thumbnail.enqueue_many([fetch.bind("a")])  # expect: list-item
    thumbnail.enqueue_many(["cat.jpg"])  # expect: list-item


async def send() -> None:
    assert_type(belt.send("app.resize", {"width": 1}, priority=5, delay="5m"), Job[Any])
    assert_type(await belt.asend("app.resize", ("cat.jpg",)), Job[Any])
    belt.send("app.resize", width=1)  # expect: call-arg
    belt.send("app.resize", "cat.jpg")  # expect: arg-type
    assert_type(await belt.ajob("id"), Job[Any])
    assert_type(await belt.ajobs(queue="images"), list[JobRecord])


async def wait() -> None:
    assert_type(await fetch("a"), list[str])
    job = await fetch.aenqueue("a")
    assert_type(job, Job[list[str]])
    assert_type(await job, list[str])
    await fetch.aenqueue(b"a")  # expect: arg-type


def execute() -> None:
    assert_type(belt.submit(len, "four").result(), int)
    belt.submit(len, 4)  # expect: arg-type
    assert_type(belt.command("make").enqueue().result(), dict[str, int])


@belt.task
def alert(ended: EndedJob, level: int = 1) -> None: ...


@belt.task(on_discarded=alert, on_finished=alert.using(queue="urgent"))
async def charge(card: str) -> int:
    return 1


def callbacks() -> None:
    charge.using(on_discarded=None).enqueue("4242")
    charge.using(on_discarded=fetch)  # expect: arg-type
    charge.using(on_finished=len)  # expect: arg-type
    belt.send("charge", on_finished=alert)


@belt.on(JobDiscarded)
def discarded(event: JobDiscarded) -> str:
    assert_type(event.exception, BaseException | None)
    return event.error.type


@belt.on((JobDiscarded, JobRetrying))
async def failed(event: JobDiscarded | JobRetrying) -> None:
    assert_type(event.job, JobRecord)


def ended(event: JobEnded) -> None: ...


def started(event: WorkerStarted) -> None: ...


def handlers() -> None:
    assert_type(discarded.__name__, str)
    belt.on(JobDiscarded, ended)
    belt.on((JobDiscarded, JobRetrying), failed)
    belt.on((JobDiscarded, JobRetrying), ended)
    belt.on(Event, print)
    belt.on(JobEnded, discarded)  # expect: arg-type
    belt.on(JobDiscarded, started)  # expect: arg-type
    belt.on("job.discarded", ended)  # expect: call-overload


@belt.around
def scope(job: CurrentJob) -> Iterator[None]:
    assert_type(job.id, str)
    yield


@belt.around
@contextmanager
def managed(job: CurrentJob) -> Iterator[int]:
    yield 1


@belt.around
async def opened(job: CurrentJob) -> AsyncIterator[None]:
    yield


def no_argument() -> Iterator[None]:
    yield


def arounds() -> None:
    belt.around(no_argument)  # expect: type-var
