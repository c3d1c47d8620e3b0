"""What every store promises about the tasks that applications declare to it."""

from __future__ import annotations

from conveyor.core.job import Options, TaskDefaults
from conveyor.store.protocol import Store

SEND = TaskDefaults(name="shop.send", queue="mail", priority=3, options=Options(retries=5))


def test_the_newest_declaration_of_a_task_stands(store: Store) -> None:
    assert store.task_defaults("shop.send").result(10) is None
    store.put_tasks([SEND, TaskDefaults(name="other")]).result(10)
    assert store.task_defaults("shop.send").result(10) == SEND
    changed = TaskDefaults(name="shop.send", queue="mail", options=Options(timeout=9.0))
    store.put_tasks([changed]).result(10)
    assert store.task_defaults("shop.send").result(10) == changed
    assert store.task_defaults("other").result(10) == TaskDefaults(name="other")
    store.put_tasks([]).result(10)
