"""In a damaged file: a job whose row cannot be read still calls, and damage is reported."""

from __future__ import annotations

import msgspec
import pytest
from calls import BROKEN, claim, new, put, settle
from damageable import NOT_UTF8, File

from conveyor import EndedJob, State
from conveyor.core.callbacks import callback_id
from conveyor.core.job import Callback
from conveyor.core.lifecycle import Succeeded
from conveyor.store.messages import Filter

ALERT = Callback(on="discarded", task="alert", parameter="ended", queue="called")
AFTER = Callback(on="finished", task="after", parameter="ended", queue="called")
LATER = 86_400.0


@pytest.mark.parametrize(
    "damage",
    [
        "args = x'7b22'",
        "options = x'7b'",
        "checksum = 7",
        "task = 'u'",
        f"id = {NOT_UTF8}",
        "lane = 99",
    ],
)
def test_a_job_whose_row_is_damaged_calls_its_callbacks_when_it_is_discarded(
    file: File, damage: str
) -> None:
    put(file.store, new(id="a", callbacks=(ALERT, AFTER)))
    file.plant({"a": damage})
    claim(file.store)
    file.clock.advance(LATER)
    file.store.prune({}, limit=10).result()  # which looks for what no claim finds
    found = file.store.find(Filter(queue="called"), limit=9, include=["args"]).result()
    assert sorted(job.task for job in found) == ["after", "alert"]
    for job in found:
        [ended] = msgspec.json.decode(job.args, type=dict[str, EndedJob]).values()
        assert (ended.id, ended.task, ended.state) == ("a", "t", State.DISCARDED)
        assert ended.error is not None
        assert ended.error.type == "CorruptStoreError"


@pytest.mark.parametrize("damage", ["args = x'7b22'", "task = 'u'", "checksum = 7"])
@pytest.mark.parametrize("succeeds", [True, False])
def test_a_damaged_callback_is_a_damaged_job_and_keeps_no_job_from_ending(
    file: File, damage: str, succeeds: bool
) -> None:
    put(file.store, new(id="a", callbacks=(AFTER,)))
    [job] = claim(file.store)
    file.run(f"UPDATE callback SET {damage}")
    assert any("callback for job a (finished)" in each for each in file.store.check().result())
    assert settle(file.store, job, Succeeded() if succeeds else BROKEN)
    assert claim(file.store, queue="called") == []
    called = file.store.get(callback_id("a", "finished", 1)).result()
    assert called.state is State.DISCARDED
    assert file.counts_are_true()


def test_a_retry_leaves_a_damaged_callback_as_it_is(file: File) -> None:
    put(file.store, new(id="a", callbacks=(AFTER,)))
    file.run("UPDATE callback SET checksum = 7")
    [job] = claim(file.store)
    settle(file.store, job, BROKEN)
    file.store.retry("a").result()
    [job] = claim(file.store)
    assert settle(file.store, job, Succeeded())


def test_an_intact_callback_is_not_reported(file: File) -> None:
    put(file.store, new(id="a", callbacks=(ALERT, AFTER)))
    [job] = claim(file.store)
    settle(file.store, job, BROKEN)
    assert file.store.check().result() == []
