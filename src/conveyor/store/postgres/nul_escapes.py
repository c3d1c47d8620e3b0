"""Texts in PostgreSQL, which has no character NUL: that one is written as an escape sequence."""

from __future__ import annotations

# "Substitute" in ASCII: hardly any text has it, and one that does has it escaped.
ESCAPE = "\x1a"


def escape(text: str) -> str:
    """Return a text as PostgreSQL can keep it."""
    if "\0" in text or ESCAPE in text:
        return text.replace(ESCAPE, ESCAPE + "1").replace("\0", ESCAPE + "0")
    return text


def unescape(text: str) -> str:
    """Return a text as it was before `escape`."""
    if ESCAPE in text:
        return text.replace(ESCAPE + "0", "\0").replace(ESCAPE + "1", ESCAPE)
    return text
