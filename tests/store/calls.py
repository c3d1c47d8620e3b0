"""Short ways to call a store in tests, with defaults for what a test is not about."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from conveyor.core.job import ErrorInfo, JobRecord, NewJob, Options, State, WhenFull
from conveyor.core.lifecycle import Failed, Outcome
from conveyor.store.messages import Accepted, Claimant, Hint, HintKind, Offered, Report, Want
from conveyor.store.protocol import Store

NUMBERS = itertools.count(1)
OPTION_NAMES = frozenset(Options.__struct_fields__)
BROKEN = Failed(ErrorInfo("ValueError", "broken", "Traceback …", ("Exception",)))


def new(**given: Any) -> NewJob:
    """Describe a job; names of options go into its options."""
    options = {name: given.pop(name) for name in list(given) if name in OPTION_NAMES}
    fields = {"id": f"job-{next(NUMBERS):06}", "task": "t", "queue": "q", **given}
    return NewJob(**fields, options=Options(**options)) if options else NewJob(**fields)


def put(
    store: Store, *jobs: NewJob, capacity: int | None = None, when_full: WhenFull = "wait"
) -> list[str]:
    """Enqueue, expecting that there is room; returns the ids."""
    answer = offer(store, *jobs, capacity=capacity, when_full=when_full)
    assert isinstance(answer, Accepted), answer
    return list(answer.ids)


def offer(
    store: Store, *jobs: NewJob, capacity: int | None = None, when_full: WhenFull = "wait"
) -> Accepted | Offered:
    """Enqueue and return the answer."""
    return store.insert(list(jobs) or [new()], capacity=capacity, when_full=when_full).result(60)


def claim(
    store: Store,
    limit: int = 1,
    *,
    queue: str = "q",
    worker: str = "w",
    labels: Sequence[str] = (),
    lease_for: float = 60.0,
    confirm_within: float | None = None,
) -> list[JobRecord]:
    """Claim from one queue."""
    claimant = Claimant(worker, lease_for, frozenset(labels), confirm_within)
    return list(store.claim([Want(queue, limit)], claimant, limit=limit).result(60).jobs)


def settle(store: Store, job: JobRecord, outcome: Outcome) -> bool:
    """Settle one job; returns whether it was accepted."""
    return job.id in store.settle([Report(job.id, job.lease, outcome)]).result(60).settled


def state(store: Store, job_id: str) -> State:
    """Return a job's state."""
    return store.get(job_id).result(60).state


def depth(store: Store, queue: str = "q") -> int:
    """Return how many jobs of a queue wait."""
    return next((each.depth for each in store.counts().result(60) if each.name == queue), 0)


def counted(store: Store) -> dict[str, dict[State, int]]:
    """Return the counts that the store keeps, by queue."""
    return {each.name: each.counts for each in store.counts().result(60)}


def hears(heard: Sequence[Hint], kind: HintKind, subject: str) -> bool:
    """Whether somebody claimant heard this knows that it may be about that subject."""
    return any(
        hint.kind == kind and (subject in hint.subjects or not hint.subjects) for hint in heard
    )


def data(value: object) -> Any:
    """Return plain data, for comparing."""
    return msgspec.to_builtins(value)
