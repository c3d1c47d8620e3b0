"""Makes the output of a job safe to show on a terminal: its colours stay, and nothing else."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder

from .foreign_text import escape_block

UTF8 = getincrementaldecoder("utf-8")
RESET = "\x1b[0m"
# Select Graphic Rendition, the only sequences that stay: they change how the text after them looks.
COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,60}m)")
RESETS = frozenset({"\x1b[m", "\x1b[0m", "\x1b[00m"})
# Of the colours since the last reset, so many are repeated with the next chunk.
MOST_COLOURS = 8
# How a text may end whose next characters decide what it means: an unfinished colour or line break.
UNFINISHED = re.compile(r"(\x1b(\[[0-9;:]{0,60})?|\r)\Z")


class OutputText:
    """Decodes one stream of a job's output, chunk by chunk, as text for a terminal.

    A chunk may end within a character or a sequence; what is unfinished waits for the next one.
    A carriage return becomes a line break, so that no line overwrites another.
    """

    def __init__(self) -> None:
        self._decoder = UTF8(errors="backslashreplace")
        self._unfinished = ""
        self._colours: list[str] = []

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return the text of a chunk, with what was left of the one before.

        It ends without colours, because a text of others may follow, and the next begins with them.
        """
        text = self._unfinished + self._decoder.decode(data, final)
        end = None if final else UNFINISHED.search(text)
        self._unfinished = end[0] if end else ""
        parts = COLOUR.split(text.removesuffix(self._unfinished))
        if not any(parts):
            return ""
        shown = "".join([*self._colours, *map(self._show, parts)])
        return shown + RESET if COLOUR.search(shown) else shown

    def _show(self, part: str) -> str:
        if not COLOUR.fullmatch(part):
            return escape_block(part.replace("\r\n", "\n").replace("\r", "\n"))
        self._colours = [] if part in RESETS else [*self._colours, part][-MOST_COLOURS:]
        return part
