"""What a scaler stores after each cycle: its status for operators, its state for the next one."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..core.unreadable import UNREADABLE
from ..store.leadership import LARGEST_NOTE
from .plan import PoolCounts
from .state import ScalerState

# Bounds that keep the note small.
MAX_EVENTS, MAX_HELD = 50, 100

EventKind = Literal[
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


class ScalerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An action of the scaler on a pool, a machine or an agent, and its reason."""

    at: float
    did: EventKind
    subject: str
    why: str
    count: int = 1


class ScalerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the cycle at `at`; the next one follows `every` seconds later.

    `held` is what is needed but not done, with the limit. `blind` says why a provider is
    unreachable.
    """

    at: float
    every: float
    pools: tuple[PoolCounts, ...] = ()
    held: tuple[str, ...] = ()
    blind: dict[str, str] = {}
    events: tuple[ScalerEvent, ...] = ()


class ScalerNote(msgspec.Struct, frozen=True):
    """The contents of the note of the leadership."""

    status: ScalerStatus
    memory: ScalerState


def encode_note(note: ScalerNote) -> str:
    """Return a note as JSON.

    The histories of many thousand machines may exceed the limit of a note. They are left out then:
    the next leader learns them again, and keeps machines longer meanwhile.
    """
    text = msgspec.json.encode(note)
    if len(text) > LARGEST_NOTE:
        state = msgspec.structs.replace(note.memory, machines={})
        text = msgspec.json.encode(ScalerNote(note.status, state))
    return text.decode()


def decode_note(text: str) -> ScalerNote | None:
    """Return the contents of a note; None if it is empty or of an unknown version."""
    try:
        return msgspec.json.decode(text, type=ScalerNote)
    except UNREADABLE:
        return None
