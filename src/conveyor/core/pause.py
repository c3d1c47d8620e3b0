"""Since when, by whom and why a queue or a schedule is paused."""

from __future__ import annotations

import msgspec

from .bounds import cut

# How much of a name is kept.
NAME_LENGTH = 200


class Pause(msgspec.Struct, frozen=True):
    """A pause: since when (Unix seconds), by whom and why. All empty if there is none."""

    paused_at: float | None = None
    paused_by: str = ""
    pause_reason: str = ""


NOT_PAUSED = Pause()


def pause(before: Pause, *, paused: bool, reason: str, by: str, now: float) -> Pause:
    """Return the pause after an order to pause or to resume.

    A second order to pause says by whom and why from then on; since when stays.
    """
    if not paused:
        return NOT_PAUSED
    return Pause(
        paused_at=now if before.paused_at is None else before.paused_at,
        paused_by=by[:NAME_LENGTH],
        pause_reason=cut("reason", reason),
    )
