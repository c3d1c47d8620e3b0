"""A damaged row of a lane, which is a queue with labels, costs no job."""

from __future__ import annotations

import pytest
from calls import claim, new, put
from damageable import NOT_UTF8, File

from conveyor.core.job import State


def states(file: File, *names: str) -> set[State]:
    return {file.store.get(name).result().state for name in names}


@pytest.mark.parametrize("requires", ["x''", "'[\"gp'", "7", f"{NOT_UTF8}"])
def test_a_lane_whose_labels_cannot_be_read_costs_no_job(file: File, requires: str) -> None:
    put(file.store, *(new(id=name, requires=("gpu",)) for name in ("1", "2", "3")), new(id="free"))
    file.run("PRAGMA writable_schema = ON")
    file.run("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'lane'")
    file.run("PRAGMA writable_schema = RESET")
    file.run(f"UPDATE lane SET requires = {requires} WHERE requires <> '[]'")
    file.plant({"1": "options = x'7b'", "3": "args = x'fffe'"})
    [finding, *_] = [each for each in file.store.check().result() if "labels" in each]
    assert "cannot be read" in finding
    # The first claim meets a damaged job, which does not tell the labels.
    assert [job.id for job in claim(file.store, limit=9)] == ["free"]
    assert states(file, "1", "2", "3") == {State.DISCARDED, State.AVAILABLE}
    loads = file.store.load(limit=9).result()
    assert [(load.requires, load.waiting) for load in loads if load.waiting] == [(("gpu",), 2)]
    assert claim(file.store, limit=9) == []
    put(file.store, new(id="4", requires=("gpu",)))
    assert [job.id for job in claim(file.store, limit=9, labels=["gpu"])] == ["2", "4"]
    assert states(file, "1", "3") == {State.DISCARDED}
    assert file.counts_are_true()
    assert claim(file.store, limit=9, labels=["gpu"]) == []


def test_a_job_whose_lane_is_unknown_can_be_cancelled_and_deleted(file: File) -> None:
    for name in ("waits", "runs", "is due"):
        put(file.store, new(id=name, delay=5.0 if name == "is due" else 0.0))
        if name == "runs":
            file.run("UPDATE job SET state = 'running', lease_until = 0, lease = 1")
    file.run("UPDATE job SET lane = 4711")
    file.clock.advance(6)
    file.store.stage(limit=9).result()
    assert claim(file.store, limit=9) == []
    file.store.rescue(limit=9).result()
    for name in ("waits", "runs", "is due"):
        assert "its lane is unknown" in file.store.get(name).result().damage
        if not file.store.get(name).result().is_final:
            file.store.cancel(name, reason="r").result()
        file.store.delete(name).result()
    assert [queue.name for queue in file.store.counts().result()] == ["q"]
