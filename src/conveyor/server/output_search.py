"""Searches captured output for a text, line by line."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Iterable

from ..core.job import OutputChunk, Stream
from ..store.http.inspection_payloads import FoundLine

# How many characters of a line are returned, and of how many it is searched as a whole.
SHOWN, LONGEST_LINE = 1000, 1 << 16
_UTF8 = getincrementaldecoder("utf-8")


class OutputSearch:
    """Finds the lines that have a text, whatever their case, in chunks that come in their order.

    A line may be divided between chunks of one stream. One that is very long is searched in parts.
    """

    def __init__(self, text: str) -> None:
        self._text = text.casefold()
        self._streams: dict[tuple[int, Stream], tuple[IncrementalDecoder, str]] = {}

    def feed(self, chunk: OutputChunk) -> list[FoundLine]:
        """Return the lines that end in a chunk and have the text."""
        key = chunk.lease, chunk.stream
        decoder, rest = self._streams.get(key) or (_UTF8(errors="backslashreplace"), "")
        *lines, rest = (rest + decoder.decode(chunk.data)).replace("\r\n", "\n").split("\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = ""
        self._streams[key] = decoder, rest
        return self._found(chunk, lines)

    def end(self, last: OutputChunk) -> list[FoundLine]:
        """Return the unfinished last lines that have the text."""
        found: list[FoundLine] = []
        for (lease, stream), (_, rest) in self._streams.items():
            chunk = OutputChunk(
                job_id=last.job_id,
                lease=lease,
                offset=0,
                stream=stream,
                at=last.at,
                data=b"",
                seq=last.seq,
            )
            found += self._found(chunk, [rest])
        return found

    def _found(self, chunk: OutputChunk, lines: Iterable[str]) -> list[FoundLine]:
        return [
            FoundLine(
                seq=chunk.seq,
                lease=chunk.lease,
                stream=chunk.stream,
                at=chunk.at,
                text=line[:SHOWN],
            )
            for line in lines
            if self._text in line.casefold()
        ]
