"""What a scaler writes down after each look: for the next one, and for whoever asks."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..store.leadership import LARGEST_NOTE
from .plan import Tally
from .state import Memory

# What is kept, so that a note stays small: the last events, and so much of what was held.
EVENTS, HELD = 50, 100

Did = Literal[
    "start",
    "start_failed",
    "drain",
    "drain_refused",
    "stop",
    "stopped",
    "stop_failed",
    "stop_refused",
    "forget",
    "forget_refused",
    "left",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the scaler did, to a pool, a machine or an agent, and why."""

    at: float
    did: Did
    subject: str
    why: str
    count: int = 1


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How all stands after a look at `at`. `held` is what was wanted and not done, with the reason.

    `blind` are providers that could not be asked, and why. The next look is `every` seconds later.
    """

    at: float
    every: float
    pools: tuple[Tally, ...] = ()
    held: tuple[str, ...] = ()
    blind: dict[str, str] = {}
    events: tuple[Event, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """What stands in the note of the leadership."""

    status: Status
    memory: Memory


def write_note(note: Note) -> str:
    """Return a note as text.

    What is known of each of many thousand machines may be too much for one: it is left out then,
    and whoever takes over has to learn it anew, which lets machines stand longer.
    """
    text = msgspec.json.encode(note)
    if len(text) > LARGEST_NOTE:
        memory = msgspec.structs.replace(note.memory, machines={})
        text = msgspec.json.encode(Note(note.status, memory))
    return text.decode()


def read_note(text: str) -> Note | None:
    """Return what a text says; None when it is of no version that is known, or there is none."""
    try:
        return msgspec.json.decode(text, type=Note)
    except msgspec.MsgspecError:
        return None
