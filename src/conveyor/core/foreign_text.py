"""Makes text safe to show that others wrote: names, errors and output of jobs and machines.

Such text may contain escape sequences that change a terminal's title or clipboard, line breaks
that forge rows of a table or lines of a log, and bidi controls that reorder what is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from unicodedata import category

# Controls, bidi and other format characters, bytes that were not UTF-8, line and paragraph breaks.
UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks that are shown as nothing: a name of them alone would look like no name.
INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Joiners: invisible, but part of how emoji and several scripts are written.
JOINERS = frozenset("\u200c\u200d")
# Marks that are drawn over the letter before them. No script stacks more; more cover other lines.
MARKS = frozenset({"Mn", "Me"})
MOST_MARKS = 6

# What may have to be escaped: most text has nothing of it, and is looked at only by this.
_OTHER_THAN_ASCII = re.compile(r"[^ -~]+")
_OTHER_IN_A_BLOCK = re.compile(r"[^ -~\n\t]+")


def escape_line(text: str) -> str:
    r"""Return text as one line: control characters as \n, \x1b or \u202e, all else unchanged."""
    return _escape_runs(_OTHER_THAN_ASCII, text, _as_in_python)


def escape_block(text: str) -> str:
    """Return text as lines: like `escape_line`, but line breaks and tabs stay."""
    return _escape_runs(_OTHER_IN_A_BLOCK, text.replace("\r\n", "\n"), _as_in_python)


def escape_json(document: str) -> str:
    r"""Return a JSON document with what could do harm as \u202e: it means the same."""
    return _escape_runs(_OTHER_THAN_ASCII, document, _as_in_json)


def _escape_runs(runs: re.Pattern[str], text: str, show: Callable[[str], str]) -> str:
    if _is_plain(text):
        return text
    return runs.sub(lambda run: _escape(run[0], show), text)


def _is_plain(text: str) -> bool:
    """Whether there is surely nothing to escape. Long texts have few different letters."""
    return text.isprintable() and not any(
        letter in INVISIBLE or category(letter) in MARKS for letter in set(text)
    )


def _escape(run: str, show: Callable[[str], str]) -> str:
    """Escape a run of characters that begins the text, or that ASCII comes before."""
    shown: list[str] = []
    marks, joinable = 0, False
    for letter in run:
        kind = category(letter)
        marks = marks + 1 if kind in MARKS else 0
        if letter in JOINERS:
            is_safe, joinable = joinable, False
        else:
            is_safe = kind not in UNSAFE and letter not in INVISIBLE and marks <= MOST_MARKS
            joinable = is_safe
        shown.append(letter if is_safe else show(letter))
    return "".join(shown)


def _as_in_python(letter: str) -> str:
    return ascii(letter)[1:-1]


def _as_in_json(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
