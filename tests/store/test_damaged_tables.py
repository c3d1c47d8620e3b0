"""Damaged rows of workers, schedules, tokens, offers and the like: one damaged thing each."""

from __future__ import annotations

import msgspec
import pytest
from calls import BROKEN, claim, new, put, settle
from damageable import NOT_UTF8, TOO_DEEP, File

from conveyor.core.access import Action, Token
from conveyor.core.job import Options, OutputChunk, ScheduleInfo, TaskDefaults, WorkerInfo
from conveyor.errors import NotFoundError, UnavailableError
from conveyor.store.messages import Offered


def test_a_damaged_worker_is_listed_and_heals_with_its_next_beat(file: File) -> None:
    info = WorkerInfo(
        id="w", host="h", boot_id="b", pid=1, pid_started=1.0, started_at=1.0, slots=1,
        queues=("q",),
    )  # fmt: skip
    others = [msgspec.structs.replace(info, id=name) for name in ("v", "x")]
    for each in (info, *others):
        file.store.beat(each).result()
    damages = ("info = x'7b'", "beat_at = 9e999", "quiet = 7", "quiet = -1")
    for damage in (*damages, f"info = {TOO_DEEP}", "info = x'7b226964223a22ff227d'"):
        file.run(f"UPDATE worker SET {damage} WHERE id = 'w'")
        assert [each.id for each in file.store.workers().result()] == ["v", "w", "x"], damage
        put(file.store)
        assert len(claim(file.store)) == 1
        assert file.store.order("w", "work").result()
        assert file.store.beat(info).result() == "work"
    file.run(f"INSERT INTO worker (id, beat_at, info) VALUES ({NOT_UTF8}, 1, x'7b')")
    found = file.store.workers().result()
    assert [each.host for each in found] == ["(damaged row)", "h", "h", "h"]
    file.store.beat(info).result()
    assert file.store.workers().result()[2] == msgspec.structs.replace(
        info, beat_at=file.clock.now()
    )


SCHEDULE = ScheduleInfo(name="s", cron="@daily", timezone="UTC", missed="once", next_at=5.0)


@pytest.mark.parametrize(
    "damage",
    [
        "missed = 'never'",
        "next_at = 9e999",
        "last_at = 9e999",
        f"cron = {NOT_UTF8}",
        "timezone = 'Mars'",
        "cron = ''",
    ],
)
def test_a_damaged_schedule_is_listed_and_heals_when_it_is_declared(
    file: File, damage: str
) -> None:
    other = msgspec.structs.replace(SCHEDULE, name="t")
    for each in (SCHEDULE, other):
        file.store.put_schedule(each).result()
    file.run(f"UPDATE schedule SET {damage} WHERE name = 's'")
    listed = file.store.schedules().result()
    assert [each.name for each in listed] == ["s", "t"]
    assert listed[0].last_at in (None, 0.0)
    assert file.store.tick("t", due_at=5.0, next_at=6.0, jobs=[new()]).result()
    assert file.store.put_schedule(SCHEDULE).result().next_at == SCHEDULE.next_at
    healed = file.store.schedules().result()[0]
    # The time of the last tick stays as it was until the next one.
    assert msgspec.structs.replace(healed, last_at=None) == SCHEDULE


def test_a_damaged_token_allows_nothing_and_the_others_are_listed(file: File) -> None:
    for name, damage in (("abcdefga", "scopes = '['"), ("abcdefgb", "queues = 'x'")):
        token = Token(
            id=name, name="n", digest="d", scopes=frozenset({"admin"}), created_at=1.0,
        )  # fmt: skip
        file.store.add_token(token).result()
        file.run(f"UPDATE token SET {damage} WHERE id = '{name}'")
        assert file.store.token(name).result().scopes == frozenset()
    file.run("UPDATE token SET created_at = 9e999, expires_at = 9e999, revoked_at = 9e999")
    for each in file.store.tokens(limit=9).result():
        assert (each.created_at, each.expires_at, each.revoked_at) == (0.0, 0.0, 0.0)


def test_a_damaged_time_in_the_audit_log_hides_no_action(file: File) -> None:
    actions = [
        Action(who="ann", where="host", what="cancel", subject=job) for job in ("one", "two")
    ]
    file.behind.note_action(actions).result()
    file.run("UPDATE audit SET at = 9e999 WHERE subject = 'one'")
    found = {each.subject: each.at for each in file.store.actions(limit=9).result()}
    assert found == {"one": 0.0, "two": file.clock.now()}


def test_a_damaged_declaration_of_a_task_declares_nothing_until_it_is_repeated(file: File) -> None:
    declared = TaskDefaults(name="t", options=Options(retries=5))
    file.store.put_tasks([declared]).result()
    for damage in ("x'7b'", TOO_DEEP, "x'7b226e616d65223a22ff227d'"):
        file.run(f"UPDATE task SET defaults = {damage}")
        assert file.store.task_defaults("t").result() is None
    put(file.store, new(id="early", task="t", given=()))
    [job] = claim(file.store)
    assert (job.id, job.options.given) == ("early", ())
    file.store.put_tasks([declared]).result()
    assert file.store.task_defaults("t").result() == declared


@pytest.mark.parametrize("until", ["9e999", "1e300", "-9e999"])
def test_a_damaged_end_of_a_leadership_binds_nobody(file: File, until: str) -> None:
    assert file.store.lead("s", "one", hold=60).result().holder == "one"
    file.run(f"UPDATE leader SET until = {until}, since = 9e999")
    assert file.store.leader("s").result() is not None
    taken = file.store.lead("s", "two", hold=60).result()
    assert (taken.holder, taken.term) == ("two", 2)


@pytest.mark.parametrize("request_", ["x'5b'", TOO_DEEP.replace('{"deep":', "["), "x'5b22ff225d'"])
def test_a_damaged_offer_is_dropped_and_the_next_one_gets_the_room(
    file: File, request_: str
) -> None:
    put(file.store, new(id="first"), capacity=1)
    damaged = file.store.insert([new(id="lost")], capacity=1).result()
    other = file.store.insert([new(id="next")], capacity=1).result()
    assert isinstance(damaged, Offered)
    assert isinstance(other, Offered)
    file.run(f"UPDATE offer SET request = {request_} WHERE seq = {damaged.offer}")
    assert [job.id for job in claim(file.store, limit=9)] == ["first"]
    accepted = file.store.accepted(other.offer).result()
    assert accepted is not None
    assert accepted.ids == ("next",)
    with pytest.raises(NotFoundError):
        file.store.accepted(damaged.offer).result()
    assert file.store.stage(limit=9).result().moved == 0


def test_a_damaged_answer_to_an_offer_is_an_error_of_that_producer_alone(file: File) -> None:
    put(file.store, new(id="first"), capacity=1)
    offered = file.store.insert([new(id="next")], capacity=1).result()
    assert isinstance(offered, Offered)
    claim(file.store)
    file.run("UPDATE offer SET answer = x'5b'")
    with pytest.raises(UnavailableError):
        file.store.accepted(offered.offer).result()
    assert file.store.stage(limit=9).result().moved == 0


def test_damaged_entries_of_a_history_and_of_output_are_shown_as_such(file: File) -> None:
    put(file.store, new(id="job", retries=9))
    for _ in range(3):
        [job] = claim(file.store)
        chunk = OutputChunk(
            job_id="job", lease=job.lease, offset=0, stream="stdout", at=1.0, data=b"x"
        )
        file.store.write_output([chunk]).result()
        settle(file.store, job, BROKEN)
        file.clock.advance(3600)
        file.store.stage(limit=9).result()
    file.run(f"UPDATE attempt_error SET error = {TOO_DEEP} WHERE seq = 1")
    file.run("UPDATE attempt_error SET became = 'weird', at = 9e999 WHERE seq = 2")
    file.run(f"UPDATE output SET stream = {NOT_UTF8}, at = 9e999 WHERE seq = 1")
    types = [line.error.type for line in file.store.history("job").result()]
    assert types == ["CorruptStoreError", "CorruptStoreError", "ValueError"]
    streams = [chunk.stream for chunk in file.store.output("job", limit=9).result()]
    assert streams == ["mark", "stdout", "stdout"]
