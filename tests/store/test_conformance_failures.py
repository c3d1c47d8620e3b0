"""What every store promises about failures that are alike, the audit, and the end of output."""

from __future__ import annotations

from typing import Any

import pytest
from calls import BROKEN, claim, new, put, settle
from failing import failed, run

from conveyor.core.access import Action, ActionFilter
from conveyor.core.job import ErrorInfo, OutputChunk, State
from conveyor.core.lifecycle import Cancelled, Crashed, Failed, Interrupted, Succeeded
from conveyor.errors import NotFoundError
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock


def test_failures_that_are_alike_are_one_group_with_its_counts(
    store: Store, clock: FakeClock
) -> None:
    begin = clock.now()
    first, second = run(store, failed("host 1"), failed("host 2", line=99))
    clock.advance(60)
    put(store, new(queue="r", task="u"))
    [job] = claim(store, queue="r", worker="far")
    settle(store, job, failed("host 3"))
    run(store, Failed(ErrorInfo("CommandFailed", "exit code 3", exit_code=3)), Succeeded())
    whole = store.failures().result()
    assert [group.count for group in whole.groups] == [3, 1]
    group = whole.groups[0]
    assert (group.type, group.message, group.jobs) == ("OSError", "host 3", 3)
    assert (group.first_at, group.last_at) == (begin, begin + 60)
    assert group.tasks == {"t": 2, "u": 1}
    assert group.queues == {"q": 2, "r": 1}
    assert group.became == {State.DISCARDED: 3}
    assert group.job_id == job.id
    assert (whole.attempts, whole.limit, whole.is_complete) == (4, 10_000, True)
    assert whole.since == begin
    assert not whole.more
    assert [g.count for g in store.failures(queue="r").result().groups] == [1]
    assert [g.count for g in store.failures(task="t", limit=1).result().groups] == [2]
    assert store.failures(limit=1).result().more
    one = store.failure(group.fingerprint).result()
    assert one.group == group
    assert one.error == failed("host 3").error
    assert [(each.job_id, each.worker, each.attempt) for each in one.newest] == [
        (job.id, "far", 1),
        (second, "w", 1),
        (first, "w", 1),
    ]
    assert store.failure(group.fingerprint, queue="q").result().group.count == 2
    with pytest.raises(NotFoundError, match="10,000"):
        store.failure(group.fingerprint, queue="nowhere").result()


def test_a_crash_is_a_failure_and_a_cancel_or_a_return_is_none(store: Store) -> None:
    [job_id] = put(store, new())
    for outcome in (Interrupted(), Crashed(ErrorInfo("WorkerLost", "it died")), Cancelled("r")):
        [job] = claim(store)
        settle(store, job, outcome)
    assert [group.type for group in store.failures().result().groups] == ["WorkerLost"]
    assert store.failures().result().attempts == 1
    store.delete(job_id).result()
    assert store.failures().result().groups == []


def test_the_history_of_a_job_names_the_lease_and_the_fingerprint(store: Store) -> None:
    put(store, new(retries=1))
    [job] = claim(store)
    settle(store, job, BROKEN)
    [entry] = store.history(job.id).result()
    assert (entry.lease, entry.started_at, entry.due_at) == (1, job.started_at, job.run_at)
    assert entry.fingerprint == store.failures().result().groups[0].fingerprint


# -- the audit and output --------------------------------------------------------------------------


def test_the_audit_is_filtered_and_has_reasons_and_counts(store: Store, clock: FakeClock) -> None:
    begin = clock.now()
    for who, what, subject in (("ann", "retry", "j"), ("bob", "retry", "k"), ("ann", "copy", "j")):
        line = Action(who=who, where="h", what=what, subject=subject, reason="why\n", count=3)
        store.note_action([line]).result()
        clock.advance(10)

    def listed(**given: Any) -> list[tuple[str, str]]:
        found = store.actions(limit=9, which=ActionFilter(**given)).result()
        return [(each.what, each.subject) for each in found]

    assert listed(what="retry") == [("retry", "k"), ("retry", "j")]
    assert listed(what="retry", subject="j") == [("retry", "j")]
    assert listed(since=begin + 10) == [("copy", "j"), ("retry", "k")]
    assert listed(since=begin + 10, until=begin + 20) == [("retry", "k")]
    newest = store.actions(limit=1).result()
    assert (newest[0].reason, newest[0].count, newest.more) == ("why ", 3, True)
    older = store.actions(limit=9, before=newest[0].seq, which=ActionFilter(what="retry")).result()
    assert [each.subject for each in older] == ["k", "j"]


def test_output_is_read_backwards_from_its_end(store: Store) -> None:
    put(store, new())
    [job] = claim(store)
    for number in range(5):
        chunk = OutputChunk(
            job_id=job.id, lease=1, offset=number, stream="stdout", at=1.0, data=b"%d" % number
        )
        store.write_output([chunk]).result()
    last = store.output(job.id, before=0, limit=2).result()
    assert ([chunk.data for chunk in last], last.more) == ([b"3", b"4"], True)
    middle = store.output(job.id, before=last[0].seq, limit=2).result()
    assert [chunk.data for chunk in middle] == [b"1", b"2"]
    first = store.output(job.id, before=middle[0].seq, limit=2).result()
    assert ([chunk.data for chunk in first], first.more) == ([b"0"], False)
    assert store.output(job.id, before=first[0].seq, limit=2).result() == []
