"""Jobs with callbacks, and what their callbacks have enqueued, for tests of every store."""

from __future__ import annotations

import msgspec
from calls import claim, new, put

from conveyor import EndedJob, ErrorInfo, JobRecord
from conveyor.core.job import Callback
from conveyor.store.messages import Filter
from conveyor.store.protocol import Store

DAY = 86_400.0
CALLED = "called"
ALERT = Callback(on="discarded", task="alert", parameter="ended", queue=CALLED)
AFTER = Callback(on="finished", task="after", parameter="job", queue=CALLED, priority=3)
BOTH = (ALERT, AFTER)
ERROR = ErrorInfo("ValueError", "broken")


def calls(store: Store) -> list[JobRecord]:
    """Return the jobs that callbacks have enqueued, in the order of their tasks."""
    found = store.find(
        Filter(queue=CALLED), limit=100, include=("args", "options", "result")
    ).result(60)
    return sorted(found, key=lambda job: job.task)


def told(store: Store, task: str) -> EndedJob:
    """Return what the one callback of this task is told."""
    [job] = [each for each in calls(store) if each.task == task]
    [ended] = msgspec.json.decode(job.args, type=dict[str, EndedJob]).values()
    return ended


def tasks(store: Store) -> list[str]:
    return [job.task for job in calls(store)]


def claimed(store: Store, **given: object) -> JobRecord:
    put(store, new(callbacks=BOTH, **given))
    [job] = claim(store)
    return job
