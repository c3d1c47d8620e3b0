"""Which jobs an action on all jobs of a filter may change."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from ..errors import UsageError
from .job import FINAL, WAITING, State

BulkAction = Literal["cancel", "retry", "delete"]
BULK_ACTIONS: tuple[BulkAction, ...] = get_args(BulkAction)
# How many jobs one step changes, at most and by default.
MOST_PER_STEP, PER_STEP = 1000, 200
# A count ends here.
COUNTED = 10_000

_ALLOWED: dict[BulkAction, frozenset[State]] = {
    "cancel": WAITING | {State.RUNNING},
    "retry": FINAL | {State.RETRYABLE, State.SCHEDULED},
    "delete": FINAL,
}
_DEFAULT: dict[BulkAction, frozenset[State]] = {
    **_ALLOWED,
    "retry": frozenset({State.DISCARDED}),
}


def changeable_states(action: BulkAction, states: Collection[State]) -> frozenset[State]:
    """Return the states in which the action changes jobs, of those that a filter names.

    A filter without states selects all that the action can change; "retry" then selects discarded
    jobs only, because running completed ones again must be asked for. UsageError if the action can
    change none of the states.
    """
    if not states:
        return _DEFAULT[action]
    changeable = _ALLOWED[action].intersection(states)
    if not changeable:
        raise UsageError(
            f"{action} cannot change jobs that are {' or '.join(sorted(states))}; "
            f"choose from: {', '.join(sorted(_ALLOWED[action]))}"
        )
    return changeable
