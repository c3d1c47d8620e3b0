"""`on_discarded=` and `on_finished=` of tasks and of single calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conveyor import Conveyor, EndedJob, State, UsageError


class Shop:
    """A Conveyor with tasks that end differently, and what its callbacks were told."""

    def __init__(self) -> None:
        self.belt = belt = Conveyor("memory:")
        self.told: list[tuple[str, EndedJob]] = []

        @belt.task(name="alert", priority=5)
        def alert(ended: EndedJob, level: int = 1) -> None:
            self.told.append(("alert", ended))

        @belt.queue("after").task(name="after", retries=2)
        async def after(ended: EndedJob) -> None:
            self.told.append(("after", ended))

        @belt.task(name="fails", on_discarded=alert)
        def fails() -> None:
            raise ValueError("broken")

        @belt.task(name="works", on_finished=after)
        async def works() -> int:
            return 3

        self.alert, self.after, self.fails, self.works = alert, after, fails, works

    def work(self) -> list[tuple[str, EndedJob]]:
        self.belt.work(timeout=60)
        return self.told


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.belt.close()


def test_the_callback_of_a_task_gets_the_job_that_ended(shop: Shop) -> None:
    job = shop.fails.enqueue()
    [(name, ended)] = shop.work()
    assert (name, ended.id, ended.task, ended.queue) == ("alert", job.id, "fails", "default")
    assert ended.state is State.DISCARDED
    assert ended.error is not None
    assert str(ended.error) == "ValueError: broken"
    assert shop.belt.job(ended.id).history()[0].error.traceback


def test_the_result_is_found_by_the_id(shop: Shop) -> None:
    shop.works.enqueue()
    [(name, ended)] = shop.work()
    assert (name, ended.state, ended.error) == ("after", State.COMPLETED, None)
    assert shop.belt.job(ended.id).result() == 3


def test_a_call_may_have_other_callbacks_than_its_task(shop: Shop) -> None:
    shop.fails.using(on_discarded=None).enqueue()
    shop.works.using(on_finished=None, on_discarded=shop.alert).enqueue()
    assert shop.work() == []
    shop.fails.using(on_finished=shop.after).enqueue()
    assert sorted(name for name, _ in shop.work()) == ["after", "alert"]


def test_each_call_of_a_batch_may_have_its_own(shop: Shop) -> None:
    shop.works.enqueue_many(
        [
            (),
            shop.works.using(on_finished=None).bind(),
            shop.works.using(on_finished=shop.alert).bind(),
        ]
    )
    assert sorted(name for name, _ in shop.work()) == ["after", "alert"]


def test_a_callback_has_the_queue_and_the_options_that_it_is_given(shop: Shop) -> None:
    shop.works.using(on_finished=shop.alert.using(queue="urgent", retries=7)).enqueue()
    shop.belt.work(timeout=60, queues=["default"])
    [job] = shop.belt.jobs(queue="urgent")
    assert (job.task, job.priority, job.options.retries) == ("alert", 5, 7)


def test_a_job_that_is_sent_by_name_has_the_callbacks_of_its_task(shop: Shop) -> None:
    shop.belt.store.put_tasks([task.defaults for task in shop.belt.tasks.values()]).result()
    other = Conveyor(store=shop.belt.store)
    other.send("fails")
    other.send("fails", on_discarded=shop.after)
    assert sorted(name for name, _ in shop.work()) == ["after", "alert"]


def test_a_scheduled_job_has_the_callbacks_of_its_task(shop: Shop) -> None:
    shop.belt.schedule("every 1s", name="s")(shop.works)
    [schedule] = shop.belt.schedules
    assert [each.task for each in schedule.job().callbacks] == ["after"]


def test_a_callback_that_fails_is_retried_and_has_no_callback_of_its_own(shop: Shop) -> None:
    @shop.belt.task(retries=1, backoff=0)
    def breaks(ended: EndedJob) -> None:
        shop.told.append(("breaks", ended))
        raise ValueError

    shop.works.using(on_finished=breaks).enqueue()
    assert [name for name, _ in shop.work()] == ["breaks", "breaks"]


def nothing() -> None: ...
def two(a: EndedJob, b: int) -> None: ...
def keyword(*, ended: EndedJob) -> None: ...
def text(ended: str) -> None: ...
def more(ended: EndedJob, /, *rest: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (nothing, "must take one argument, the EndedJob"),
        (two, "must take one argument, the EndedJob"),
        (keyword, "must take one argument, the EndedJob"),
        (text, "annotate its parameter 'ended' as conveyor.EndedJob"),
        (more, "must take one argument, the EndedJob"),
    ],
)
def test_a_task_that_cannot_take_the_job_is_no_callback(
    shop: Shop, function: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=f"on_finished: .*{message}"):
        shop.works.using(on_finished=shop.belt.task(function))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "k"}, "cannot be a callback with key"),
        ({"delay": 5}, "cannot be a callback with delay"),
        ({"run_at": 5}, "cannot be a callback with run_at"),
        ({"expires_at": 5}, "cannot be a callback with expires_at"),
        ({"wait": 5}, "cannot be a callback with wait"),
    ],
)
def test_an_option_of_one_enqueue_is_refused_on_a_callback(
    shop: Shop, options: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        shop.works.using(on_finished=shop.alert.using(**options))


def test_a_callback_with_callbacks_is_refused_with_the_remedy(shop: Shop) -> None:
    deep = shop.after.using(on_discarded=shop.alert)
    with pytest.raises(UsageError, match="on_discarded=None, on_finished=None"):
        shop.works.using(on_finished=deep)
    shop.works.using(on_finished=deep.using(on_discarded=None, on_finished=None)).enqueue()
    assert [name for name, _ in shop.work()] == ["after"]


@pytest.mark.parametrize("wrong", [3, "alert", print])
def test_what_is_no_task_is_no_callback(shop: Shop, wrong: Any) -> None:
    with pytest.raises(UsageError, match="must be a task that takes an EndedJob"):
        shop.works.using(on_discarded=wrong)


def test_a_command_is_no_callback(shop: Shop) -> None:
    command: Any = shop.belt.command("true")
    with pytest.raises(UsageError, match="cannot be a callback"):
        shop.works.using(on_discarded=command)
