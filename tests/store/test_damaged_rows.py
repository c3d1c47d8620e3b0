"""A row that cannot be read is one damaged job, whatever is wrong with it, and nothing stops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from calls import BROKEN, claim, hears, new, put, settle
from damageable import NOT_UTF8, TOO_DEEP, File

from conveyor.client.job_handle import Job
from conveyor.core.codec import ResultCodec
from conveyor.core.job import DETAILS, ErrorInfo, Progress, State
from conveyor.core.lifecycle import Cancelled, Crashed, Interrupted, Outcome, Snoozed, Succeeded
from conveyor.errors import (
    CorruptStoreError,
    InvalidTransitionError,
    JobDiscardedError,
    NotFoundError,
)
from conveyor.maintenance.pruner import RETENTION
from conveyor.store.hint_waiters import HintWaiters
from conveyor.store.messages import Filter, Hint, Lease, Report
from conveyor.store.sql.operations.discards import SEARCHED_ROWS, first_searched
from conveyor.store.sql.rows import COLUMNS

# What is written into the columns of a job so that it cannot be read.
BEYOND_RETRY = {
    "arguments that are cut": "args = x'7b22'",
    "other arguments": "args = x'7b7d20'",
    "arguments that are not UTF-8": "args = x'fffe'",
    "options that are cut": "options = x'7b'",
    "options without a number": """options = CAST('{"backoff":{"seconds":null}}' AS BLOB)""",
    "empty options": "options = x''",
    "another task": "task = 'u'",
    "a task that is not UTF-8": f"task = {NOT_UTF8}",
    "a wrong checksum": "checksum = 7",
}
RETRYABLE = {
    "progress that is cut": "progress = x'7b'",
    "progress without a number": """progress = CAST('{"done":null}' AS BLOB)""",
    "progress that is nested too deeply": f"progress = {TOO_DEEP}",
    "progress that is not UTF-8": """progress = x'7b226d657373616765223a22ff227d'""",
    "steps that are no list": "stopping = x'31'",
    "a result without a checksum": "result = x'3433'",
    "a result that was not written": "result = x'3433', result_checksum = 7",
    "an infinite due time": "run_at = -9e999",
    "an infinite time of enqueueing": "enqueued_at = -9e999",
    "an infinite start": "started_at = 9e999",
    "an infinite wait for a version": "unsupported_since = 9e999",
    "an infinite request to cancel": "cancel_requested_at = -9e999",
}
DAMAGES = BEYOND_RETRY | RETRYABLE
# These leave jobs that can be read, and run.
HARMLESS = {
    "a due time that no calendar has": "run_at = -1e300",
    "a worker that is not UTF-8": f"worker = {NOT_UTF8}",
    "an error that is not UTF-8": f"error = {NOT_UTF8}",
    "the reason of a cancel that is not UTF-8": f"cancel_reason = {NOT_UTF8}",
    "the highest priority there is": "priority = 9223372036854775807",
    "a negative attempt": "attempt = -5",
}
GOOD = ["the first", *HARMLESS, "the last"]


def put_all(file: File, **given: Any) -> None:
    """Enqueue good jobs and those to be damaged, by what is wrong with them."""
    put(file.store, *(new(id=name, **given) for name in [*DAMAGES, *GOOD]))


def states(file: File, names: Iterable[str]) -> set[State]:
    return {file.store.get(name).result().state for name in names}


def damages_found(file: File) -> set[str]:
    return {
        job.id
        for job in file.store.find(Filter(), limit=99, include=DETAILS).result()
        if job.damage
    }


def test_a_damaged_job_is_listed_and_shown_with_what_is_wrong(file: File) -> None:
    put_all(file)
    file.plant(DAMAGES | HARMLESS)
    assert len(file.store.find(Filter(), limit=99, include=DETAILS).result()) == len(
        [*DAMAGES, *GOOD]
    )
    assert damages_found(file) == set(DAMAGES)
    for name in DAMAGES:
        job = file.store.get(name).result()
        assert job.damage, name
        msgspec.json.decode(job.args)
        msgspec.json.encode(job.to_dict())
        assert file.store.history(name).result() == file.store.files(name).result() == []
        assert file.store.output(name, limit=9).result() == []
        assert file.store.ahead(name).result() >= 0
    [load] = file.store.load(limit=9).result()
    assert load.oldest_at == 0.0
    findings = file.store.check().result()
    assert all(any(f"job {name} is" in each for each in findings) for name in DAMAGES)
    assert file.store.get("another task").result().task == "u"
    assert file.store.get("arguments that are cut").result().args == b'"{\\""'


@pytest.mark.parametrize("labels", [(), ("gpu",)])
def test_a_claim_discards_damaged_jobs_with_the_reason_and_gets_the_others(
    file: File, labels: Sequence[str]
) -> None:
    hints: list[Hint] = []
    file.behind.listen(["final"], hints.append)
    put_all(file)
    put(file.store, new(id="in another lane", requires=("gpu",)))
    file.plant(DAMAGES | HARMLESS)
    jobs = claim(file.store, limit=99, labels=labels)
    assert {job.id for job in jobs} == {*GOOD, *(["in another lane"] if labels else [])}
    assert states(file, DAMAGES) == {State.DISCARDED}
    for name in DAMAGES:
        [line] = file.store.history(name).result()
        assert (line.became, line.error.type) == (State.DISCARDED, "CorruptStoreError")
        assert "Enqueue the job again from its source" in line.error.message
        assert hears(hints, "final", name)
    assert all(settle(file.store, job, Succeeded()) for job in jobs)
    assert file.counts_are_true()


def test_damaged_jobs_can_be_cancelled_and_deleted(file: File) -> None:
    put_all(file)
    file.plant(DAMAGES)
    for name in DAMAGES:
        file.store.cancel(name, reason="bad").result()
        file.store.delete(name).result()
        with pytest.raises(NotFoundError):
            file.store.get(name).result()
    assert len(claim(file.store, limit=99)) == len(GOOD)
    assert file.store.check().result() == []


def test_a_retry_runs_a_damaged_job_again_if_what_was_enqueued_is_intact(file: File) -> None:
    put_all(file, retries=3, key_until="pruned")
    file.plant(DAMAGES)
    claim(file.store, limit=99)
    for name in BEYOND_RETRY:
        with pytest.raises(InvalidTransitionError, match="enqueue it again from its source"):
            file.store.retry(name).result()
    for name in RETRYABLE:
        retried = file.store.retry(name).result()
        assert (retried.state, retried.damage, retried.run_at) == (
            State.AVAILABLE,
            "",
            file.clock.now(),
        )
    jobs = claim(file.store, limit=99)
    assert [job.id for job in jobs] == list(RETRYABLE)
    assert all(job.options.retries == 3 and job.enqueued_at == file.clock.now() for job in jobs)
    assert all(settle(file.store, job, Succeeded()) for job in jobs)
    assert damages_found(file) == set(BEYOND_RETRY)
    assert file.counts_are_true()


def test_a_retry_of_many_jobs_leaves_damaged_ones_as_they_are(file: File) -> None:
    put_all(file, retries=0)
    file.plant(DAMAGES)
    assert {job.id for job in claim(file.store, limit=99)} == set(GOOD)
    before = file.store.find(Filter(), limit=99, include=DETAILS).result()
    discarded = Filter(states=frozenset({State.DISCARDED}))
    upto = file.store.match(discarded, "retry").result().upto
    step = file.store.act(discarded, upto=upto, action="retry", reason="again").result()
    assert (step.changed, step.refused) == (0, len(DAMAGES))
    assert "retry it by itself" in step.problems[0]
    assert file.store.find(Filter(), limit=99, include=DETAILS).result() == before


@pytest.mark.parametrize(
    "outcome", [BROKEN, Interrupted(), Snoozed(5.0), Crashed(ErrorInfo("E", ""))]
)
def test_a_job_that_is_damaged_while_it_runs_is_discarded_when_it_comes_back(
    file: File, outcome: Outcome
) -> None:
    put_all(file, retries=3)
    jobs = claim(file.store, limit=99)
    file.plant(DAMAGES | HARMLESS)
    leases = [Lease(job.id, job.lease) for job in jobs]
    for renewals in (
        file.store.extend(leases, lease_for=60).result(),
        file.store.set_progress([(lease, Progress(1)) for lease in leases[-3:]]).result(),
        file.store.set_stopping([(lease, []) for lease in leases[-3:]]).result(),
    ):
        assert "lost" not in {each.verdict for each in renewals}
    settled = file.store.settle([Report(job.id, job.lease, outcome) for job in jobs]).result()
    assert len(settled.settled) == len(jobs)
    assert states(file, DAMAGES) <= {State.DISCARDED, State.CANCELLED}
    assert states(file, GOOD).isdisjoint({State.DISCARDED, State.RUNNING})
    assert file.counts_are_true()


def test_a_job_that_is_damaged_while_it_runs_is_cancelled_if_its_code_was_stopped(
    file: File,
) -> None:
    put_all(file, retries=3)
    jobs = claim(file.store, limit=99)
    for job in jobs:
        file.store.cancel(job.id, reason="r").result()
    file.plant(DAMAGES)
    assert all(settle(file.store, job, Cancelled("r")) for job in jobs)
    assert states(file, [*DAMAGES, *GOOD]) == {State.CANCELLED}
    assert file.counts_are_true()


def test_a_job_that_is_damaged_while_it_runs_keeps_its_success(file: File) -> None:
    put_all(file)
    jobs = claim(file.store, limit=99)
    file.plant(DAMAGES)
    assert all(settle(file.store, job, Succeeded(b"42")) for job in jobs)
    assert states(file, DAMAGES) == {State.COMPLETED}
    assert file.store.get("another task").result().result == b"42"
    assert file.counts_are_true()


def test_jobs_of_a_dead_worker_come_back_even_if_some_of_them_are_damaged(file: File) -> None:
    put_all(file)
    put(file.store, new(id="no lease"), new(id="for ever"), new(id="since ever"))
    claim(file.store, limit=99)
    leases = {
        "no lease": "lease_until = NULL",
        "since ever": "lease_until = -9e999",
        "for ever": "lease_until = 9e999",
    }
    file.plant(DAMAGES | leases)
    file.clock.advance(61)
    lost = file.store.rescue(limit=99).result()
    assert set(lost) == {*DAMAGES, *GOOD, "no lease", "since ever"}
    assert file.store.rescue(dead=["w"], limit=99).result() == ["for ever"]
    assert states(file, DAMAGES) <= {State.DISCARDED, State.CANCELLED}
    assert states(file, [*GOOD, "no lease"]) == {State.AVAILABLE}
    assert file.counts_are_true()


def test_damaged_jobs_become_due_expire_and_are_pruned(file: File) -> None:
    put_all(file, delay=5.0)
    file.plant(DAMAGES | HARMLESS)
    file.clock.advance(6)
    assert file.store.stage(limit=99).result().moved == len([*DAMAGES, *GOOD])
    assert len(claim(file.store, limit=99)) == len(GOOD)
    put(file.store, new(id="expires", expires_at=file.clock.now() + 5, delay=60))
    file.plant({"expires": "options = x'7b'"})
    file.clock.advance(6)
    file.store.stage(limit=99).result()
    assert states(file, ["expires"]) == {State.DISCARDED}
    file.clock.advance(RETENTION[State.DISCARDED] + 1)
    assert file.store.prune(RETENTION, limit=99).result() == len(DAMAGES) + 1
    assert file.counts_are_true()


def test_a_damaged_job_makes_room_in_a_full_queue_like_any_other(file: File) -> None:
    for name, values in DAMAGES.items():
        put(file.store, new(id=name), capacity=1, when_full="drop_oldest")
        file.plant({name: values})
    put(file.store, new(id="next"), capacity=1, when_full="drop_oldest")
    assert states(file, DAMAGES) == {State.DISCARDED}
    assert [job.id for job in claim(file.store, limit=9)] == ["next"]
    assert file.counts_are_true()


def test_the_result_of_a_damaged_job_is_an_error_that_says_so(file: File) -> None:
    put(file.store, new(id="discarded"), new(id="completed"))
    file.plant({"discarded": "options = x'7b'"})
    [job] = claim(file.store, limit=9)
    assert settle(file.store, job, Succeeded(b"42"))
    file.plant({"completed": "result = x'3433'"})
    hint_waiters = HintWaiters(file.store)
    handles: dict[str, Job[Any]] = {
        name: Job(name, store=file.store, hint_waiters=hint_waiters, results=ResultCodec())
        for name in ("discarded", "completed")
    }
    with pytest.raises(JobDiscardedError, match="options"):
        handles["discarded"].result(30)
    with pytest.raises(CorruptStoreError, match="its result is not what was written"):
        handles["completed"].result(30)
    hint_waiters.close()


@pytest.mark.parametrize("before", [State.AVAILABLE, State.COMPLETED])
def test_a_job_in_an_unknown_state_can_be_cancelled_retried_and_deleted(
    file: File, before: State
) -> None:
    for name in ("cancelled", "retried", "deleted"):
        put(file.store, new(id=name))
    if before is State.COMPLETED:
        assert all(settle(file.store, job, Succeeded()) for job in claim(file.store, limit=9))
    file.run("UPDATE job SET state = 'weird'")
    assert claim(file.store, limit=9) == []
    assert {job.damage for job in file.store.find(Filter(), limit=9, include=DETAILS).result()} == {
        "its state cannot be read: 'weird' is no state"
    }
    assert file.store.cancel("cancelled", reason="r").result().state is State.CANCELLED
    assert file.store.retry("retried").result().state is State.AVAILABLE
    file.store.delete("deleted").result()
    assert [job.id for job in claim(file.store, limit=9)] == ["retried"]
    assert file.store.check().result() == []


@pytest.mark.parametrize("damage", ["state = 'weird'", "state = ''", "lane = 4711"])
def test_a_job_that_nothing_finds_is_discarded_with_the_reason_when_jobs_are_pruned(
    file: File, damage: str
) -> None:
    hints: list[Hint] = []
    file.behind.listen(["final"], hints.append)
    put(file.store, new(id="completed"), new(id="runs"))
    completed, _ = claim(file.store, limit=2)
    assert settle(file.store, completed, Succeeded())
    put(file.store, new(id="waits"), new(id="due later", delay=5), new(id="good"))
    put(file.store, new(id="alone", queue="other"))
    file.run(f"UPDATE job SET {damage} WHERE id <> 'good'")
    file.store.prune(RETENTION, limit=99).result()
    file.clock.advance(61)
    file.store.stage(limit=99).result()
    file.store.rescue(limit=99).result()
    file.store.prune(RETENTION, limit=99).result()
    found = ["runs", "waits", "due later", "alone"]
    assert states(file, found) == {State.DISCARDED}
    for name in found:
        [line] = file.store.history(name).result()
        assert (line.became, line.error.type) == (State.DISCARDED, "CorruptStoreError")
        assert "its state" in line.error.message or "its lane" in line.error.message
        assert hears(hints, "final", name)
    assert [queue.depth for queue in file.store.counts().result()] == [0, 1]
    assert [job.id for job in claim(file.store, limit=9)] == ["good"]
    # The ended job whose lane is unknown stays counted where it was, until it is pruned.
    assert file.counts_are_true() or "lane" in damage
    file.clock.advance(RETENTION[State.DISCARDED] + 1)
    assert file.store.prune(RETENTION, limit=99).result() == 5
    assert file.counts_are_true()


def test_every_row_of_a_large_store_is_searched_with_the_same_probability() -> None:
    assert first_searched(7, 7, 0.9) == 7
    assert first_searched(7, 7 + SEARCHED_ROWS - 1, 0.999) == 7
    low, high = 1, 10 * SEARCHED_ROWS
    firsts = [first_searched(low, high, drawn / 1000) for drawn in range(1000)]
    assert firsts == sorted(firsts)
    assert firsts[0] == low
    assert high - 60 <= firsts[-1] <= high
    for row in (low, high // 2, high):
        searched = sum(first <= row < first + SEARCHED_ROWS for first in firsts)
        assert searched == pytest.approx(1000 / 11, abs=2)


def test_a_search_ends_at_a_number_of_rows_and_after_large_arguments(file: File) -> None:
    for _ in range(20):
        put(file.store, new(args=b'{"a":"' + b"x" * 900_000 + b'"}'))
    file.run("UPDATE job SET state = 'weird'")
    file.store.prune(RETENTION, limit=99).result()
    assert sum(queue.counts[State.DISCARDED] for queue in file.store.counts().result()) == 18


NUMERIC = {
    "checksum", "priority", "run_at", "enqueued_at", "attempt", "lease", "crashes", "lease_until",
    "cancel_requested_at", "started_at", "unsupported_since", "final_at", "cancel_forced",
    "result_checksum",
}  # fmt: skip
TEXTS = {"task", "state", "worker", "error"}


def test_a_value_of_another_type_in_any_column_is_one_damaged_job(file: File) -> None:
    columns = [name for name in COLUMNS["job"] if name not in ("seq", "id", "lane")]
    put(file.store, *(new(id=name) for name in columns), new(id="good"), new(id="id"))
    put(file.store, new(id="in another lane", requires=("gpu",)))
    # SQLite itself would refuse such a value; a damaged page can hold it.
    file.run("PRAGMA writable_schema = ON")
    file.run("UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'job'")
    file.run("PRAGMA writable_schema = RESET")
    for name in columns:
        value = "'text'" if name in NUMERIC else "x'37'" if name in TEXTS else "7"
        file.run(f"UPDATE job SET {name} = {value} WHERE id = '{name}'")
    file.run("UPDATE job SET id = x'37' WHERE id = 'id'")
    found = file.store.find(Filter(), limit=99, include=DETAILS).result()
    nameless = f"#{len(columns) + 2}"
    assert {job.id for job in found if job.damage} == {*columns, nameless}
    claimed = {job.id for job in claim(file.store, limit=99, labels=["gpu"])}
    assert claimed == {"good", "in another lane"}
    for name in columns:
        if not file.store.get(name).result().is_final:
            file.store.cancel(name, reason="r").result()
        file.store.delete(name).result()
