"""What every store promises about the tasks that applications declare to it."""

from __future__ import annotations

from calls import claim, new, put

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


def test_a_job_enqueued_before_its_task_was_declared_is_completed_when_it_is_claimed(
    store: Store,
) -> None:
    put(
        store,
        new(id="early", task="shop.send", timeout=9.0, given=("timeout",)),
        new(id="own", task="shop.send", timeout=9.0),
        new(id="unknown", task="shop.other", timeout=9.0, given=("timeout",)),
    )
    declared = Options(retries=5, timeout=1.0, requires=("smtp",), key="task")
    store.put_tasks([TaskDefaults(name="shop.send", options=declared)]).result(10)
    claimed = {job.id: job.options for job in claim(store, limit=3)}
    assert claimed == {
        "early": Options(retries=5, timeout=9.0),
        "own": Options(timeout=9.0),
        "unknown": Options(timeout=9.0, given=("timeout",)),
    }
    for job_id, options in claimed.items():
        stored = store.get(job_id).result(10)
        assert (stored.options, stored.damage) == (options, "")


def test_names_that_are_no_options_stop_no_claim(store: Store) -> None:
    put(store, new(id="odd", task="shop.send", timeout=9.0, given=("timeout", "given", "none")))
    store.put_tasks([SEND]).result(10)
    [job] = claim(store)
    assert job.options == Options(retries=5, timeout=9.0)
