"""The sentence that explains a job's state, divided into texts and the things that it names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Literal

import msgspec

PartKind = Literal["text", "queue", "worker", "job", "command"]


class SentencePart(msgspec.Struct, frozen=True):
    """A part of a sentence: text, or the mention of a queue, worker or job, or a command.

    All texts together are the sentence. `name` is that of the thing, or the command itself.
    """

    text: str
    kind: PartKind = "text"
    name: str = ""


def explain_parts(
    sentence: str, *, queues: Collection[str], workers: Collection[str]
) -> list[SentencePart]:
    """Return the parts of a sentence that may name some queues, workers and any job."""
    mentions: dict[str, tuple[PartKind, str]] = {
        **{worker: ("worker", worker) for worker in workers if worker},
        **{f"queue {queue!r}": ("queue", queue) for queue in queues},
        **{f"Queue {queue!r}": ("queue", queue) for queue in queues},
    }
    return list(_divide(sentence, mentions))


def _divide(sentence: str, mentions: dict[str, tuple[PartKind, str]]) -> Iterator[SentencePart]:
    # The longest first: the name of one worker can begin like that of another.
    known = "|".join(re.escape(each) for each in sorted(mentions, key=len, reverse=True))
    pattern = re.compile(
        r"(?P<command>`[^`]+`)|(?P<job>\b[Jj]ob (?=[^\s,;:.]*\d)[^\s,;:.()]+)"
        + (rf"|(?<!\w)(?P<known>{known})(?!\w)" if known else "")
    )
    end = 0
    for found in pattern.finditer(sentence):
        if found.start() > end:
            yield SentencePart(sentence[end : found.start()])
        text, end = found[0], found.end()
        match found.lastgroup:
            case "command":
                yield SentencePart(text, "command", text[1:-1])
            case "job":
                yield SentencePart(text, "job", text.partition(" ")[2])
            case _:
                kind, name = mentions[text]
                yield SentencePart(text, kind, name)
    if end < len(sentence):
        yield SentencePart(sentence[end:])
