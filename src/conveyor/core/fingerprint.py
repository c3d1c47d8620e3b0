"""Which failures are alike: a short name of an error, made of its class and where it was raised.

The name does not change when lines are inserted above the failing one, nor with the numbers, ids
and quoted texts in a message.
"""

from __future__ import annotations

import re
from hashlib import sha256

from .job import ErrorInfo, State

LENGTH = 12
# Of a traceback the innermost frames of the application's own code count, at most so many.
FRAMES = 5
_MESSAGE_LENGTH = 200
_FRAME = re.compile(r'^  File "([^"\n]*)", line \d+, in (.+)$', re.MULTILINE)
# What follows begins the traceback of the exception that was raised last.
_CHAINED = re.compile(
    r"^(?:During handling of the above exception|The above exception was the direct cause)[^\n]*$",
    re.MULTILINE,
)
_FOLDER = re.compile(r"[/\\]")
_NOT_OWN = re.compile(
    r"(^<)|[/\\](?:site-packages|dist-packages)[/\\]|[/\\]lib[/\\]python3[^/\\]*[/\\]"
)
# What differs between two messages of one kind, in the order in which it is replaced.
_VARIABLE = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "'…'"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "#"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "#"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b"), "#"),
    (re.compile(r"\d+"), "#"),
)


def fingerprint(error: ErrorInfo) -> str:
    """Return the fingerprint of an error, in `LENGTH` hexadecimal digits.

    It is made of the class and of the functions of the application's own code in the traceback, or
    of the class and the message without what varies if there are none.
    """
    frames = own_frames(error.traceback)
    parts = [error.type, *(frames or [normalized(error.message)])]
    return sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:LENGTH]


def failure_fingerprint(became: State, error: ErrorInfo) -> str | None:
    """Return the fingerprint of an attempt that did not succeed; None if it is no failure."""
    return None if became is State.CANCELLED else fingerprint(error)


def own_frames(traceback: str) -> list[str]:
    """Return "file:function" of the innermost frames outside of libraries, repeated ones once."""
    last = _CHAINED.split(traceback)[-1]
    found: list[str] = []
    for path, function in _FRAME.findall(last):
        if _NOT_OWN.search(path):
            continue
        frame = f"{_FOLDER.split(path)[-1]}:{function}"
        if not found or found[-1] != frame:
            found.append(frame)
    return found[-FRAMES:]


def normalized(message: str) -> str:
    """Return the first line of a message without what varies: numbers, ids and quoted texts."""
    line = message.strip().partition("\n")[0][:_MESSAGE_LENGTH]
    for pattern, replacement in _VARIABLE:
        line = pattern.sub(replacement, line)
    return line
