"""Prints the output of jobs: unchanged into a pipe or a file, and made safe on a terminal."""

from __future__ import annotations

import sys
from collections import defaultdict

from ...core.job import OutputChunk, Stream
from ...core.output_text import OutputText


class OutputPrinter:
    """Prints chunks of output to stdout or stderr, and flushes.

    On a terminal, only their text and its colours appear, unless they are to be `raw`.
    """

    def __init__(self, *, to_stderr: bool = False, raw: bool = False) -> None:
        self._out = sys.stderr if to_stderr else sys.stdout
        self._is_raw = raw or not self._out.isatty()
        # What begins in one stream of an attempt does not end in another.
        self._texts: dict[tuple[int, Stream], OutputText] = defaultdict(OutputText)

    def print(self, chunk: OutputChunk) -> None:
        """Print a chunk."""
        if self._is_raw:
            self._out.buffer.write(chunk.data)
            self._out.buffer.flush()
        else:
            self._write(self._texts[chunk.lease, chunk.stream].feed(chunk.data))

    def end(self) -> None:
        """Print what is left of unfinished characters and sequences: no more comes."""
        self._write("".join(text.feed(b"", final=True) for text in self._texts.values()))
        self._texts.clear()

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
