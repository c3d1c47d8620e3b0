"""Types run from a function's signature through the job to its result. Checked by mypy, not run.

A line with `# expect: code` must give that error, every other line none.
"""

from typing import Any, assert_type

from conveyor import Conveyor, Job, JobRecord

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
