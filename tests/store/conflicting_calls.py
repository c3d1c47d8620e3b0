"""Calls with one unique key, for the tests of what they do to its holder."""

from __future__ import annotations

from typing import Any

from calls import new

from conveyor.core.job import Callback, JobRecord, NewJob
from conveyor.store.protocol import Store

CHANGING = ("replace", "postpone")
EVERY = ("keep", "join", *CHANGING)
AFTER = Callback(on="finished", task="after", parameter="ended")
ALERT = Callback(on="discarded", task="alert", parameter="ended")


def get(store: Store, job_id: str) -> JobRecord:
    """Return a job."""
    return store.get(job_id).result(60)


def call(wish: str, **given: Any) -> NewJob:
    """Describe a job with the key of all of these calls."""
    return new(key="cat", on_conflict=wish, **given)


def starts_in(store: Store, job_id: str) -> float:
    """Return in how many seconds a job starts at the earliest."""
    return get(store, job_id).run_at - store.now()
