"""Who leads: one rule over the last record of a leadership."""

from __future__ import annotations

from ..errors import UsageError
from .messages import LONGEST_HOLD, Leader

LONGEST_NAME = 200
LARGEST_NOTE = 1 << 20
NOBODY = ""


def lead(
    before: Leader | None, name: str, holder: str, *, hold: float, note: str | None, now: float
) -> Leader:
    """Return the leadership after a holder asked for it; UsageError for invalid arguments.

    Term 0 means that nobody has ever led.
    """
    _check(name, holder, hold, note)
    last = before or Leader(name, NOBODY, until=0.0, since=0.0, term=0)
    is_free, is_own = not now < last.until <= now + LONGEST_HOLD, last.holder == holder
    if (is_free and hold == 0) or not (is_free or is_own):
        return last
    return Leader(
        name,
        holder,
        until=now + hold,
        since=last.since if is_own else now,
        term=last.term if is_own else last.term + 1,
        note=last.note if note is None else note,
    )


def _check(name: str, holder: str, hold: float, note: str | None) -> None:
    for what, text in (("a leadership", name), ("its holder", holder)):
        if not 0 < len(text) <= LONGEST_NAME or not _is_utf8(text):
            raise UsageError(
                f"the name of {what} must have 1 to {LONGEST_NAME} characters, "
                f"got {text[:LONGEST_NAME]!r}"
            )
    if not 0 <= hold <= LONGEST_HOLD:
        raise UsageError(
            f"hold must be from 0 seconds (to give it up) to {LONGEST_HOLD:.0f}, got {hold!r}"
        )
    if note is not None:
        _check_note(note)


def _check_note(note: str) -> None:
    if not _is_utf8(note):
        raise UsageError("the note of a leader must be valid UTF-8, without surrogates")
    size = len(note.encode())
    if size > LARGEST_NOTE:
        raise UsageError(f"the note of a leader has {size:,} bytes; the limit is {LARGEST_NOTE:,}")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
