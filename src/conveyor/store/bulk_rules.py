"""What an action on all jobs of a filter will change: rules of every store."""

from __future__ import annotations

import msgspec

from ..core.bounds import LARGEST_INTEGER, checked_integer
from ..core.bulk import BULK_ACTIONS, MOST_PER_STEP, BulkAction, changeable_states
from ..core.job import State
from ..errors import UsageError
from .messages import Filter, JobCounts, Matched

# How long a text to be searched for in arguments can be, in characters.
LONGEST_TEXT = 200


def check_filter(which: Filter) -> None:
    """Raise UsageError for a filter that no job can match because of what it says."""
    if which.text is not None and not 0 < len(which.text) <= LONGEST_TEXT:
        raise UsageError(
            f"text must have 1 to {LONGEST_TEXT} characters, got {len(which.text):,}: search for a "
            "part of an argument, as it is in JSON"
        )


def narrowed(which: Filter, action: BulkAction, *, upto: int, limit: int) -> Filter:
    """Return the filter of one step of an action; UsageError if the action makes no sense."""
    if action not in BULK_ACTIONS:
        raise UsageError(f"unknown action {action!r}: choose from {', '.join(BULK_ACTIONS)}")
    for name, value, least, most in (
        ("limit", limit, 1, MOST_PER_STEP),
        ("upto", upto, 0, LARGEST_INTEGER - 1),
    ):
        try:
            checked_integer(value, least=least, most=most)
        except UsageError as error:
            raise UsageError(f"{name} {error}") from error
    before = upto + 1 if which.before is None else min(which.before, upto + 1)
    return msgspec.structs.replace(
        which,
        states=changeable_states(action, which.states),
        before=before,
        oldest_first=False,
    )


def matched(counts: JobCounts, which: Filter, action: BulkAction, *, upto: int) -> Matched:
    """Return what an action would change, by the counts of the filter's jobs."""
    changeable = changeable_states(action, which.states)
    states: dict[State, int] = {state: n for state, n in counts.counts.items() if n}
    return Matched(
        count=sum(states.values()),
        changeable=sum(n for state, n in states.items() if state in changeable),
        states=states,
        queues=counts.queues,
        is_capped=counts.is_capped,
        is_complete=counts.is_complete,
        upto=upto,
    )
