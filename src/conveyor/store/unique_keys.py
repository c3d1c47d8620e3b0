"""Which jobs a unique key keeps out: one rule for every store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..core.conflicts import Alter, Follow, Keep, meet, merge
from ..core.job import Callback, JobRecord, NewJob
from ..errors import InvalidTransitionError
from .messages import Accepted


def unique_key(job: NewJob | JobRecord) -> str:
    """Return what no second job may share: the key, among the jobs of the task in its queue."""
    return f"{job.queue}\0{job.task}\0{job.options.key}"


class Holder(msgspec.Struct, frozen=True):
    """The job that holds a unique key. `job` is None if no call wants more than its id."""

    id: str
    job: JobRecord | None = None


@dataclass(slots=True)
class Rewritten:
    """A waiting job as it was, and as it is now; `callbacks` are its new ones, None for its own."""

    before: JobRecord
    after: JobRecord
    callbacks: tuple[Callback, ...] | None = None


@dataclass(slots=True)
class Admission:
    """What an enqueue does with respect to unique keys.

    `fresh` are the jobs to add, `followed` the running ones whose keys pass to some of those.
    """

    fresh: Sequence[NewJob]
    answer: Accepted
    rewritten: Sequence[Rewritten] = ()
    followed: Sequence[JobRecord] = ()

    @property
    def changes(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.fresh or self.rewritten or self.followed)


def admit_keys(
    jobs: Sequence[NewJob],
    holders: Mapping[str, Holder],
    now: float,
    *,
    passes_keys: bool = True,
) -> Admission:
    """Decide which jobs are new, and what becomes of the holders of the keys that are taken.

    Unless `passes_keys`, a job that follows a running one has no key.
    """
    ids: list[str] = []
    for new in jobs:  # hot path: mostly none has a key
        if new.options.key is not None:
            break
        ids.append(new.id)
    else:
        return Admission(jobs, Accepted(tuple(ids)))
    admitting = _Admitting(holders, now)
    for new in jobs:
        if new.options.key is None:
            admitting.add(new)
        else:
            admitting.add_keyed(new, unique_key(new))
    return admitting.admission(passes_keys=passes_keys)


class _Admitting:
    """The decisions about the jobs of one enqueue so far, in their order."""

    def __init__(self, holders: Mapping[str, Holder], now: float) -> None:
        self._holders = holders
        self._now = now
        self._fresh: list[NewJob] = []
        self._places: dict[str, int] = {}
        self._rewritten: dict[str, Rewritten] = {}
        self._followed: dict[str, JobRecord] = {}
        self._ids: list[str] = []
        self._existing: list[str] = []
        self._replaced: list[str] = []

    def add(self, new: NewJob) -> None:
        self._fresh.append(new)
        self._ids.append(new.id)

    def add_keyed(self, new: NewJob, key: str) -> None:
        place = self._places.get(key)
        if place is not None:  # by an earlier one of these
            merged, is_replaced = merge(self._fresh[place], new, self._now)
            self._fresh[place] = merged
            self._answer(merged.id, is_replaced=is_replaced)
            return
        holder = self._holders.get(key)
        if holder is not None and not self._follows(holder, new, key):
            return
        self._places[key] = len(self._fresh)
        self.add(new)

    def _follows(self, holder: Holder, new: NewJob, key: str) -> bool:
        known = self._rewritten.get(key)
        job = holder.job if known is None else known.after
        met = Keep() if job is None else meet(job, new, self._now)
        match met:
            case Follow():
                assert holder.job is not None, "what is not known is kept"
                self._followed[key] = holder.job
                return True
            case Alter(after, is_replaced):
                assert holder.job is not None, "what is not known is kept"
                before = known or Rewritten(holder.job, after)
                before.after = after
                before.callbacks = new.callbacks if is_replaced else before.callbacks
                self._rewritten[key] = before
                self._answer(holder.id, is_replaced=is_replaced)
            case Keep(again):
                self._answer(holder.id, is_replaced=again)
        return False

    def _answer(self, holder: str, *, is_replaced: bool) -> None:
        self._ids.append(holder)
        self._existing.append(holder)
        if is_replaced:
            self._replaced.append(holder)

    def admission(self, *, passes_keys: bool) -> Admission:
        if not passes_keys:
            for key in self._followed:
                place = self._places[key]
                self._fresh[place] = _without_key(self._fresh[place])
        replaced = tuple(dict.fromkeys(self._replaced))
        return Admission(
            self._fresh,
            Accepted(tuple(self._ids), tuple(self._existing), replaced=replaced),
            list(self._rewritten.values()),
            list(self._followed.values()) if passes_keys else [],
        )


def _without_key(new: NewJob) -> NewJob:
    options = msgspec.structs.replace(
        new.options, key=None, on_conflict="keep", postpone_limit=None
    )
    return msgspec.structs.replace(new, options=options)


def unique_keys(jobs: Sequence[NewJob]) -> dict[str, bool]:
    """Return the unique keys of the jobs that have one, and whether more than an id is needed."""
    keys: dict[str, bool] = {}
    for new in jobs:
        if new.options.key is not None:
            key = unique_key(new)
            keys[key] = keys.get(key, False) or new.options.on_conflict != "keep"
    return keys


def count_fresh(jobs: Sequence[NewJob], holders: Mapping[str, Holder], now: float) -> int:
    """Return how many of the jobs will be added: those that have no key, or whose key is free."""
    return len(admit_keys(jobs, holders, now).fresh)


def answer_again(
    jobs: Sequence[NewJob], stored: Collection[str], holders: Mapping[str, Holder]
) -> Accepted:
    """Return the answer to a request of which the jobs in `stored` were accepted before."""
    ids: list[str] = []
    existing: list[str] = []
    replaced: list[str] = []
    for new in jobs:
        is_stored = new.id in stored or new.options.key is None
        holder = None if is_stored else holders.get(unique_key(new))
        ids.append(holder.id if holder else new.id)
        if holder:
            existing.append(holder.id)
            if holder.job and holder.job.options.replaced_by == new.id:
                replaced.append(holder.id)
    return Accepted(tuple(ids), tuple(existing), replaced=tuple(replaced))


def key_taken(job: JobRecord, holder: str) -> InvalidTransitionError:
    """Return the error for a retry of a job whose key another job holds by now."""
    return InvalidTransitionError(
        f"job {job.id} cannot be retried: its key {job.options.key!r} now belongs to job {holder}"
    )
