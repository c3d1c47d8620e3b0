"""What a scaler stores after each cycle: its status for operators, its state for the next one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from ..core.unreadable import UNREADABLE
from ..store.leadership import LARGEST_NOTE
from ..store.messages import Load
from .plan import PoolCounts
from .state import ScalerState

# Bounds that keep the note small. Events and tallies are those of a day, tallies one in 5 minutes.
MAX_EVENTS, MAX_HELD = 500, 100
KEPT, TALLY_EVERY = 86_400.0, 300.0
MAX_TALLIED_POOLS = 20

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


class ScalerTally(msgspec.Struct, frozen=True, kw_only=True):
    """The load and the machines at one moment, for a chart. Machines are by pool, the first 20.

    `machines` exist, `wanted` are needed.
    """

    at: float
    waiting: int
    running: int
    machines: dict[str, int] = {}
    wanted: dict[str, int] = {}


class ScalerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the cycle at `at`; the next one follows `every` seconds later.

    `held` is what is needed but not done, with the limit. `blind` says why a provider is
    unreachable. `events` and `tallies` are those of the last 24 hours, oldest first: at most 500
    events, and one tally in 5 minutes.
    """

    at: float
    every: float
    pools: tuple[PoolCounts, ...] = ()
    held: tuple[str, ...] = ()
    blind: dict[str, str] = {}
    events: tuple[ScalerEvent, ...] = ()
    tallies: tuple[ScalerTally, ...] = ()


class ScalerNote(msgspec.Struct, frozen=True):
    """The contents of the note of the leadership."""

    status: ScalerStatus
    memory: ScalerState


def tally_of(at: float, loads: Iterable[Load], pools: Sequence[PoolCounts]) -> ScalerTally:
    """Return the load and the machines of one cycle."""
    listed = list(loads)
    some = pools[:MAX_TALLIED_POOLS]
    return ScalerTally(
        at=at,
        waiting=sum(load.waiting for load in listed),
        running=sum(load.running for load in listed),
        machines={pool.pool: pool.have for pool in some},
        wanted={pool.pool: pool.wanted for pool in some},
    )


def add_tally(tallies: Sequence[ScalerTally], new: ScalerTally) -> tuple[ScalerTally, ...]:
    """Return the tallies of the last day; the new one replaces that of the same 5 minutes."""
    kept = [each for each in tallies if new.at - KEPT <= each.at <= new.at]
    if kept and kept[-1].at // TALLY_EVERY == new.at // TALLY_EVERY:
        kept.pop()
    return (*kept, new)


def add_events(
    events: Sequence[ScalerEvent], new: Sequence[ScalerEvent]
) -> tuple[ScalerEvent, ...]:
    """Return the events of the last day, at most `MAX_EVENTS`."""
    everything = (*events, *new)
    since = max((each.at for each in everything), default=0.0) - KEPT
    return tuple(each for each in everything if each.at >= since)[-MAX_EVENTS:]


def encode_note(note: ScalerNote) -> str:
    """Return a note as JSON.

    The histories of many thousand machines may exceed the limit of a note. Without the tallies, and
    only the last events, they may fit; else they are left out: the next leader learns them again,
    and keeps machines longer meanwhile.
    """
    text = msgspec.json.encode(note)
    if len(text) > LARGEST_NOTE:
        status = msgspec.structs.replace(note.status, tallies=(), events=note.status.events[-50:])
        note = ScalerNote(status, note.memory)
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
