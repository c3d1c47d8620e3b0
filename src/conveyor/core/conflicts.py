"""What a call does to the job that holds its unique key: one pure decision for every store."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from .error_info import bounded_error
from .job import FINAL, RUNNING, ErrorInfo, JobRecord, NewJob, State
from .lifecycle import Transition, first_state


@dataclass(frozen=True, slots=True)
class Keep:
    """The holder stays as it is. `again`: it took this very call over before."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """The holder runs, so the call becomes a job of its own, which takes over the key."""


@dataclass(frozen=True, slots=True)
class Alter:
    """The waiting holder becomes `after`. `is_replaced`: with the call's arguments and options."""

    after: JobRecord
    is_replaced: bool


def meet(holder: JobRecord, new: NewJob, now: float) -> Keep | Follow | Alter:
    """Decide what becomes of the holder of a key, and of a call with the same key."""
    wish = new.options.on_conflict
    if holder.options.replaced_by == new.id:
        return Keep(again=True)
    if wish == "keep" or holder.damage or holder.is_final:
        return Keep()
    if holder.state is RUNNING:
        return Keep() if wish == "join" else Follow()
    if wish == "join":
        after = _hastened(holder, new, now)
        return Keep() if after == holder else Alter(after, is_replaced=False)
    after = msgspec.structs.replace(
        holder,
        args=new.args,
        priority=new.priority,
        options=msgspec.structs.replace(new.options, replaced_by=new.id),
    )
    if wish == "postpone":
        after = _at(after, _postponed(holder, new, now), now)
    return Alter(after, is_replaced=True)


def merge(first: NewJob, new: NewJob, now: float) -> tuple[NewJob, bool]:
    """Return a job that is about to be added as a later call of the same key leaves it.

    The second value says whether it has that call's arguments and options.
    """
    state, run_at = first_state(first, now)
    holder = JobRecord(
        seq=0,
        id=first.id,
        task=first.task,
        queue=first.queue,
        args=first.args,
        state=state,
        priority=first.priority,
        run_at=run_at,
        enqueued_at=now,
        options=first.options,
    )
    met = meet(holder, new, now)
    if not isinstance(met, Alter):
        return first, isinstance(met, Keep) and met.again
    merged = msgspec.structs.replace(
        first,
        args=met.after.args,
        priority=met.after.priority,
        run_at=met.after.run_at,
        delay=0.0,
        options=met.after.options,
        callbacks=new.callbacks if met.is_replaced else first.callbacks,
    )
    return merged, met.is_replaced


def needs_key(job: JobRecord, move: Transition) -> bool:
    """Whether a running job would wait again, for which it must still hold its unique key."""
    return job.options.key is not None and move.state not in FINAL


def supersede(job: JobRecord, move: Transition) -> Transition:
    """Return what becomes of a running job instead that has lost its key to a later call."""
    after = f", after {move.error}" if move.error is not None else ""
    why = f"not run again{after}: a later call has taken over its key {job.options.key!r}"
    return msgspec.structs.replace(
        move, state=State.CANCELLED, delay=None, error=bounded_error(ErrorInfo("Superseded", why))
    )


def _hastened(holder: JobRecord, new: NewJob, now: float) -> JobRecord:
    """Return a waiting job that starts no later than a call which joins it would have started."""
    after = msgspec.structs.replace(holder, priority=max(holder.priority, new.priority))
    if holder.state is not State.SCHEDULED:  # a retry keeps its delay
        return after
    return _at(after, min(holder.run_at, first_state(new, now)[1]), now)


def _postponed(holder: JobRecord, new: NewJob, now: float) -> float:
    """Return when a postponed job starts: as the call says, within the limit since it was added."""
    wanted, limit = first_state(new, now)[1], new.options.postpone_limit
    return wanted if limit is None else min(wanted, holder.enqueued_at + limit)


def _at(job: JobRecord, run_at: float, now: float) -> JobRecord:
    if job.state not in (State.SCHEDULED, State.AVAILABLE):
        # The delay before a retry is never cut short.
        return msgspec.structs.replace(job, run_at=max(job.run_at, run_at))
    state = State.SCHEDULED if run_at > now else State.AVAILABLE
    return msgspec.structs.replace(job, state=state, run_at=run_at)
