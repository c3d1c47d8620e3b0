"""What every store refuses at its door, because it could not be read back, shown or run."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import msgspec
import pytest
from calls import claim, new, put, settle, state

from conveyor.core.bounds import EARLIEST, LATEST, LONGEST
from conveyor.core.files import InputFile
from conveyor.core.job import Options, Progress, ScheduleInfo, State, TaskDefaults
from conveyor.core.lifecycle import Snoozed
from conveyor.core.retry import Exponential, Fixed, Steps
from conveyor.errors import UsageError
from conveyor.store.messages import Filter, Lease
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

DIGEST = "0123456789abcdef" * 4

UNSTORABLE: list[tuple[dict[str, Any], str]] = [
    ({"run_at": nan}, "run_at must be finite, got nan"),
    ({"run_at": inf}, "run_at must be finite, got inf"),
    ({"run_at": -1.0}, "run_at must be between 1970-01-01 and 9999-12-30"),
    ({"run_at": LATEST + 1}, "run_at must be between 1970-01-01 and 9999-12-30"),
    ({"delay": nan}, "delay must be finite, got nan"),
    ({"delay": -1.0}, "delay must be 0 or more seconds, got -1.0"),
    ({"delay": LONGEST + 1}, "delay must be at most 100 years"),
    ({"backoff": Fixed(inf)}, "backoff needs finite pauses"),
    ({"backoff": Fixed(True)}, "backoff needs finite pauses"),
    ({"backoff": Exponential(longest=inf)}, "backoff needs finite pauses"),
    ({"backoff": Steps((1.0, nan))}, "backoff needs finite pauses"),
    ({"backoff": Steps(())}, "backoff needs finite pauses"),
    ({"timeout": inf}, "timeout must be finite, got inf"),
    ({"grace": nan}, "grace must be finite, got nan"),
    ({"expires_at": nan}, "expires_at must be finite, got nan"),
    ({"expires_at": 1e300}, "expires_at must be between 1970-01-01"),
    ({"meta": {"a": nan}}, r"meta\['a'\] cannot be stored as JSON"),
    ({"meta": {1: "a"}}, r"meta\[1\] cannot be stored as JSON"),
]
# Input files, as a server or a database of somebody else could list them.
BAD_FILES: list[tuple[tuple[InputFile, ...], str]] = [
    ((InputFile(name="/etc/cron.d/x", digest=DIGEST, size=1),), "must be a relative path"),
    ((InputFile(name="../x", digest=DIGEST, size=1),), "must be a relative path"),
    ((InputFile(name="a/../../x", digest=DIGEST, size=1),), "must be a relative path"),
    ((InputFile(name="a\0b", digest=DIGEST, size=1),), "must be a relative path"),
    ((InputFile(name="a//b", digest=DIGEST, size=1),), "must be a relative path"),
    ((InputFile(name="", digest=DIGEST, size=1),), "must be a string of 1 to 200 characters"),
    ((InputFile(name="x" * 201, digest=DIGEST, size=1),), "must be a string of 1 to 200"),
    ((InputFile(name="ä" * 128, digest=DIGEST, size=1),), "can have at most 255 bytes"),
    ((InputFile(name="a", digest="../" * 21 + "x", size=1),), "is not a lowercase hexadecimal"),
    ((InputFile(name="a", digest=DIGEST, size=-1),), "can have 0 to 4,294,967,296 bytes, got -1"),
    ((InputFile(name="a", digest=DIGEST, size=1 << 40),), "can have 0 to 4,294,967,296 bytes"),
    ((InputFile(name="a", digest=DIGEST, size=1),) * 2, "cannot have the same name 'a'"),
    (
        tuple(InputFile(name=each, digest=DIGEST, size=1) for each in ("a/b", "a")),
        "'a' cannot be both a file and the directory of 'a/b'",
    ),
    ((InputFile(name="a", digest=DIGEST, size=1),) * 1001, "can have at most 1,000 files"),
]
UNSTORABLE += [({"files": files}, said) for files, said in BAD_FILES]
UNSTORABLE += [
    ({"artifacts": ("../*",)}, "must be a relative path"),
    ({"artifacts": ("/etc/*",)}, "must be a relative path"),
    ({"artifacts": ("a**",)}, "must stand alone"),
    ({"artifacts": tuple(map(str, range(1001)))}, "at most 1,000 patterns"),
    ({"key": ""}, "key: a name must be a string of 1 to 200 characters"),
    ({"requires": ("gpu", "")}, "label: a name must be a string of 1 to 200 characters"),
]
UNSTORABLE_JOBS = [
    (new(id="bad", task="mail", **given), rf"job bad \(mail\): .*{said}")
    for given, said in UNSTORABLE
]
UNSTORABLE_JOBS += [
    (new(**{what: name}), rf"{what}: a name must be a string of 1 to 200 characters")
    for what in ("id", "task", "queue")
    for name in ("", "x" * 201, "a\0b", "\udcff")
]


def test_a_job_that_could_not_be_read_back_is_refused_with_all_of_its_request(
    store: Store,
) -> None:
    for job, said in UNSTORABLE_JOBS:
        with pytest.raises(UsageError, match=said):
            store.insert([new(retries=1), job, new()]).result()
    assert store.find(Filter(), limit=9).result() == []


def test_a_schedule_does_not_tick_with_such_a_job_either(store: Store, clock: FakeClock) -> None:
    due = clock.now()
    store.put_schedule(schedule(due)).result()
    for job, said in UNSTORABLE_JOBS:
        with pytest.raises(UsageError, match=said):
            store.tick("nightly", due_at=due, next_at=due + 60, jobs=[job]).result()
    assert store.schedules().result() == [schedule(due)]
    assert store.find(Filter(), limit=9).result() == []


def test_a_schedule_whose_next_tick_no_calendar_has_is_refused(
    store: Store, clock: FakeClock
) -> None:
    said = "the next tick of schedule 'nightly' must be"
    due = clock.now()
    for next_at in (nan, inf, -1.0, 1e300):
        with pytest.raises(UsageError, match=said):
            store.put_schedule(schedule(next_at)).result()
    store.put_schedule(schedule(due)).result()
    for next_at in (nan, inf, -1.0, 1e300):
        with pytest.raises(UsageError, match=said):
            store.tick("nightly", due_at=due, next_at=next_at, jobs=[new()]).result()
    assert store.schedules().result() == [schedule(due)]


def test_a_schedule_does_not_tick_with_files(store: Store, clock: FakeClock) -> None:
    due = clock.now()
    store.put_schedule(schedule(due)).result()
    job = new(files=(InputFile(name="in.txt", digest=DIGEST, size=1),))
    with pytest.raises(UsageError, match="a scheduled job cannot have files"):
        store.tick("nightly", due_at=due, next_at=due + 60, jobs=[job]).result()
    assert store.find(Filter(), limit=9).result() == []


def test_a_schedule_without_a_name_is_refused(store: Store) -> None:
    for name in ("", "x" * 201, "a\0b"):
        with pytest.raises(UsageError, match="schedule: a name must be"):
            store.put_schedule(msgspec.structs.replace(schedule(1.0), name=name)).result()
    assert store.schedules().result() == []


def test_a_declaration_whose_jobs_could_not_be_stored_is_refused_with_all_others(
    store: Store,
) -> None:
    files = Options(files=(InputFile(name="in.txt", digest=DIGEST, size=1),))
    for declared, said in (
        (TaskDefaults(name="mail", options=Options(timeout=nan)), "timeout must be finite"),
        (TaskDefaults(name="mail", options=Options(artifacts=("../x",))), "relative path"),
        (TaskDefaults(name="mail", options=files), "a task cannot have files"),
        (TaskDefaults(name="mail", queue=""), "queue: a name must be"),
        (TaskDefaults(name=""), "task: a name must be"),
    ):
        with pytest.raises(UsageError, match=said):
            store.put_tasks([TaskDefaults(name="good"), declared]).result()
    assert store.task_defaults("good").result() is None


def test_progress_that_is_not_finite_is_refused_and_the_job_goes_on(store: Store) -> None:
    put(store)
    [job] = claim(store)
    lease = Lease(job.id, job.lease)
    for progress in (Progress(nan), Progress(inf), Progress(1.0, -inf)):
        with pytest.raises(UsageError, match=r"progress: (done|total) must be finite, got"):
            store.set_progress([(lease, progress)]).result()
    store.set_progress([(lease, Progress(1e300, 1e301))]).result()
    assert store.get(job.id).result().progress == Progress(1e300, 1e301)


def test_a_snooze_for_a_time_that_makes_no_sense_fails_the_attempt(store: Store) -> None:
    for delay in (nan, inf, -inf, LONGEST + 1, 1e300):
        [job_id] = put(store, new(retries=1))
        [job] = claim(store)
        assert settle(store, job, Snoozed(delay))
        failed = store.get(job_id).result()
        assert (failed.state, failed.attempt) == (State.RETRYABLE, 1)
        assert "UsageError: the delay of a Snooze must be" in (failed.error or "")


def test_a_snooze_into_the_past_is_due_at_once(store: Store, clock: FakeClock) -> None:
    [job_id] = put(store)
    [job] = claim(store)
    assert settle(store, job, Snoozed(-5.0))
    snoozed = store.get(job_id).result()
    assert (snoozed.state, snoozed.run_at) == (State.SCHEDULED, clock.now())


def test_the_first_and_the_last_moment_that_are_accepted_come_back_as_given(
    store: Store, clock: FakeClock
) -> None:
    first, last, delayed = put(
        store,
        new(run_at=EARLIEST, expires_at=LATEST),
        new(run_at=LATEST),
        new(delay=LONGEST, timeout=LONGEST),
    )
    assert state(store, first) is State.AVAILABLE
    assert store.get(last).result().run_at == LATEST
    assert store.get(delayed).result().run_at == clock.now() + LONGEST


def schedule(next_at: float) -> ScheduleInfo:
    return ScheduleInfo(
        name="nightly", cron="@daily", timezone="UTC", missed="once", next_at=next_at
    )
