"""Unique keys as a program gives them: made of arguments, and with `on_conflict`."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from conveyor import Conveyor, EndedJob, State, UsageError
from conveyor.store.memory.store import MemoryStore
from conveyor.testing import FakeClock

ID = uuid.UUID(int=7)


class Size(enum.Enum):
    SMALL = "s"


@dataclass
class Order:
    id: int
    of: str


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def belt(clock: FakeClock) -> Iterator[Conveyor]:
    opened = Conveyor(store=MemoryStore(clock))
    yield opened
    opened.close()


def test_a_key_is_made_of_the_arguments_of_each_call(belt: Conveyor) -> None:
    @belt.task(key="report:{user}:{day}")
    def report(user: int, day: str = "today") -> None: ...

    first = report.enqueue(1)
    assert first.record.options.key == "report:1:today"
    for same in (report.enqueue(1, "today"), report.enqueue(user=1), report.bind(1)):
        job = report.enqueue_many([same])[0] if not hasattr(same, "existing") else same
        assert (job.id, job.existing) == (first.id, True)
    assert not report.enqueue(2).existing
    assert [job.existing for job in report.enqueue_many([(1,), (3,), {"user": 3}])] == [
        True,
        False,
        True,
    ]


def test_values_are_in_a_key_as_they_are_in_json(belt: Conveyor) -> None:
    @belt.task(key="{who}/{size}/{order.id}/{fast}")
    def send(who: uuid.UUID, size: Size, order: Order, fast: bool = False) -> None: ...

    job = send.enqueue(ID, Size.SMALL, Order(5, "x"))
    assert job.record.options.key == f"{ID}/s/5/false"


def test_using_gives_another_key_or_none(belt: Conveyor) -> None:
    @belt.task(key="a:{user}", on_conflict="replace")
    def send(user: int) -> None: ...

    assert send.using(key="b:{user}").enqueue(1).record.options.key == "b:1"
    assert send.using(key="c").enqueue(1).record.options.key == "c"
    plain = send.using(key=None).enqueue(1)
    assert (plain.record.options.key, plain.record.options.on_conflict) == (None, "keep")


@pytest.mark.parametrize("through", ["task", "using"])
def test_a_name_that_is_no_parameter_is_refused_where_it_is_written(
    belt: Conveyor, through: str
) -> None:
    def send(user: int, day: str) -> None: ...

    declare = belt.task(key="{usr}") if through == "task" else _using_usr(belt)
    with pytest.raises(UsageError, match="has no argument 'usr'; it has: user, day"):
        declare(send)


def _using_usr(belt: Conveyor) -> Any:
    return lambda function: belt.task(function).using(key="{usr}")


def test_a_keyword_that_the_task_does_not_name_is_a_field_of_its_others(belt: Conveyor) -> None:
    @belt.task(key="{a}:{rest.b}")
    def send(a: int, **rest: int) -> None: ...

    assert send.enqueue(1, b=2).record.options.key == "1:2"
    with pytest.raises(UsageError, match=r"needs 'rest.b', which the call does not have"):
        send.enqueue(1)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "'user' is None in JSON"), (1.5, "only strings, integers and booleans")],
)
def test_a_value_that_cannot_be_in_a_key_is_refused_at_the_call(
    belt: Conveyor, value: object, said: str
) -> None:
    @belt.task(key="{user}")
    def send(user: Any) -> None: ...

    with pytest.raises(UsageError, match=said):
        send.enqueue(value)
    with pytest.raises(UsageError, match=r"key '\{user\}' of this call: a name must be"):
        send.enqueue("x" * 201)
    with pytest.raises(UsageError, match="of this call: a name must be"):
        send.enqueue("")
    assert belt.jobs() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_conflict": "overwrite"}, "must be one of keep, replace, postpone, join"),
        ({"on_conflict": "replace"}, "needs a key: add key="),
        ({"on_conflict": "replace", "key": None}, "needs a key: add key="),
        ({"key": "k", "postpone_limit": 5}, "postpone_limit=5 needs on_conflict='postpone'"),
        ({"key": "k", "on_conflict": "postpone", "postpone_limit": "x"}, "postpone_limit"),
        ({"key": 5}, "a name must be a string"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    belt: Conveyor, options: dict[str, Any], said: str
) -> None:
    @belt.task
    def send(user: int) -> None: ...

    with pytest.raises(UsageError, match=said):
        send.using(**options).enqueue(1)
    assert belt.jobs() == []


def test_a_handle_says_whether_the_job_took_over_the_call(belt: Conveyor) -> None:
    @belt.task(key="{doc}", on_conflict="replace")
    def index(doc: int, version: int) -> None: ...

    first = index.enqueue(1, 1)
    later = index.enqueue(1, 2)
    kept = index.using(on_conflict="keep").enqueue(1, 3)
    assert [(job.existing, job.replaced) for job in (first, later, kept)] == [
        (False, False),
        (True, True),
        (True, False),
    ]
    assert first.refresh().record.args == b'{"doc":1,"version":2}'


def test_debounce_starts_once_after_the_last_call(belt: Conveyor, clock: FakeClock) -> None:
    started: list[tuple[int, int]] = []

    @belt.task(key="{doc}", on_conflict="postpone", postpone_limit="1m")
    def index(doc: int, version: int) -> None:
        started.append((doc, version))

    for version in range(20):
        index.using(delay=5).enqueue(1, version)
        belt.store.stage(limit=10).result()
        clock.advance(4)
    assert started == []
    [job] = belt.jobs()
    assert job.run_at == job.enqueued_at + 60
    belt.work(timeout=30, keep=False)
    assert started == [(1, 19)]


def test_throttle_starts_at_most_once_in_an_interval(belt: Conveyor, clock: FakeClock) -> None:
    started: list[int] = []

    @belt.task(key="sync:{customer}", on_conflict="replace")
    def sync(customer: int, version: int) -> None:
        started.append(version)

    for version in range(25):
        sync.using(delay=10).enqueue(1, version)
        belt.store.stage(limit=10).result()
        if belt.jobs(states=[State.AVAILABLE]):
            belt.work(timeout=30, keep=False)
        clock.advance(1)
    assert started == [10, 21]


def test_a_declared_key_is_that_of_jobs_that_are_sent_by_name(belt: Conveyor) -> None:
    @belt.task(name="report", key="{user}:{day}", on_conflict="join")
    def report(user: uuid.UUID, day: str = "today") -> None: ...

    belt.work(queues=["nothing"], keep=False)
    here = report.enqueue(ID)
    elsewhere = Conveyor(store=belt.store)
    there = elsewhere.send("report", {"user": str(ID)})
    assert (there.id, there.existing) == (here.id, True)
    assert there.record.options.on_conflict == "join"
    other = elsewhere.send("report", {"user": str(ID)}, key="own:{user}")
    assert other.record.options.key == f"own:{ID}"
    with pytest.raises(UsageError, match="needs 'user', which the call does not have"):
        elsewhere.send("report", {})


def test_a_schedule_has_the_key_of_its_arguments(belt: Conveyor) -> None:
    @belt.schedule("@daily", args=(4,))
    @belt.task(key="{user}")
    def report(user: int) -> None: ...

    [schedule] = belt.schedules
    assert schedule.job().options.key == "4"
    with pytest.raises(UsageError, match="'user' is None"):
        belt.schedule("@daily", name="b", args=(None,))(belt.task(key="{user}", name="b")(anything))


def anything(user: Any) -> None: ...


def test_a_command_has_keys_too(belt: Conveyor) -> None:
    build = belt.command("make", cwd="/src").using(key="{cwd}", on_conflict="join")
    first, second = build.enqueue(), build.enqueue()
    assert (first.record.options.key, second.id) == ("/src", first.id)


def test_a_task_with_a_key_cannot_be_a_callback(belt: Conveyor) -> None:
    @belt.task(key="{ended.id}", on_conflict="join")
    def alert(ended: EndedJob) -> None: ...

    with pytest.raises(UsageError, match="cannot be a callback with"):
        belt.task(on_discarded=alert)(anything)
    belt.task(on_discarded=alert.using(key=None))(anything)


def test_one_key_for_several_calls_is_refused_unless_it_names_arguments(belt: Conveyor) -> None:
    task = belt.task(anything)
    with pytest.raises(UsageError, match="key 'k' cannot name several jobs"):
        task.using(key="k").enqueue_many([(1,), (2,)])
    assert len({job.id for job in task.using(key="{user}").enqueue_many([(1,), (2,)])}) == 2
