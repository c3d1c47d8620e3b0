"""Which jobs a queue accepts and which offers a claim can take: rules of every store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from ..core.capacity import Accept, Offer, Refuse, admit, is_rendezvous
from ..core.job import NO_OPTIONS, NewJob, Options, WhenFull
from ..core.labels import serves
from ..errors import BatchTooLargeError, DuplicateIdError, NotFoundError, QueueFullError

K = TypeVar("K")

# The options that decide where and until when a job waits, and what only its producer knows.
PLACING = (
    *("key", "key_until", "on_conflict", "postpone_limit", "replaced_by"),
    *("requires", "expires_at", "files", "trace"),
)
# By name; `given` is about options, and is none itself.
_DEFAULTS: dict[str, Any] = {
    name: value for name, value in msgspec.structs.asdict(NO_OPTIONS).items() if name != "given"
}


def admit_request(
    jobs: Sequence[NewJob],
    *,
    fresh: int,
    depth: int,
    available: int,
    offers: int,
    capacity: int | None,
    when_full: WhenFull,
) -> Accept | Offer:
    """Decide about a request of which `fresh` jobs have a free key, or raise QueueFullError."""
    # At a rendezvous jobs come one at a time, so a request of several never fits.
    several_at_rendezvous = is_rendezvous(capacity) and len(jobs) > 1
    decision = admit(
        size=len(jobs) if several_at_rendezvous else fresh,
        depth=depth,
        available=available,
        offers=offers,
        capacity=capacity,
        when_full=when_full,
    )
    if isinstance(decision, Refuse):
        kind = BatchTooLargeError if decision.hopeless else QueueFullError
        raise kind(jobs[0].queue, depth, capacity or 0, len(jobs))
    return decision


def check_ids(jobs: Iterable[NewJob], known: Collection[str]) -> None:
    """Raise DuplicateIdError for the first new job whose id is `known` or that comes twice."""
    seen = set(known)
    for new in jobs:
        if new.id in seen:
            raise DuplicateIdError(
                f"job {new.id!r} exists already: give each job an id of its own, or, if this "
                "repeats a request whose answer was lost, send it with again=true"
            )
        seen.add(new.id)


def rendezvous_offers(
    offers: Iterable[tuple[K, Sequence[NewJob]]], labels: frozenset[str]
) -> Iterator[tuple[K, Sequence[NewJob]]]:
    """Yield the offers whose job a claimant with these labels can run, in the given order.

    At a rendezvous jobs come one at a time. An offer of several is from before it became one.
    """
    for offer, jobs in offers:
        if len(jobs) == 1 and serves(labels, frozenset(jobs[0].options.requires)):
            yield offer, jobs


def given_options(options: Options) -> dict[str, Any]:
    """Return the options that differ from the general defaults, by name."""
    return {
        name: value
        for name, default in _DEFAULTS.items()
        if (value := getattr(options, name)) != default
    }


def with_declared(options: Options, declared: Options) -> Options:
    """Return the options of a job that is claimed first after its task was declared.

    What decided where and until when it waits stays as it is, and so does what it was given.
    """
    kept = {*PLACING, *(options.given or ())} & _DEFAULTS.keys()
    return lay_under(options, declared, kept)


def lay_under(options: Options, declared: Options, given: Iterable[str]) -> Options:
    """Return the declared options, except those that were `given`."""
    return msgspec.structs.replace(
        declared, given=None, **{name: getattr(options, name) for name in given}
    )


def no_job(job_id: str) -> NotFoundError:
    """Return the error for a job that is not in the store."""
    return NotFoundError(f"job {job_id!r} not found")


def no_queue(name: str) -> NotFoundError:
    """Return the error for a queue that was never used."""
    return NotFoundError(f"there is no queue {name!r}: no job was ever put into it")


def check_offer_kept(offer: str, until: float | None, now: float) -> None:
    """Raise NotFoundError for an offer that is not stored (`until` is None) or has timed out."""
    if until is None or until < now:
        raise NotFoundError(f"offer {offer} was collected, withdrawn or dropped for silence")
