"""Where claims begin in their lanes, so that they do not walk what was deleted before them.

The index of `ready` keeps the entry of a claimed job until a vacuum that no transaction holds back.
A claim from the start of a lane walks them all. So while a lane has more jobs than are asked for, a
claim begins where the last one did. What comes before that with the same priority, such as a retry,
waits until the next look from the start: within a second, or at once when a claim gets less than it
asks for. A higher priority is always seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

# A place in a lane: rank, run_at and seq.
Place = tuple[int, float, int]

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
START: Place = (LOWEST, float("-inf"), 0)
# How many jobs of a lane are claimed here before it has a floor: what few leave costs nothing.
MANY = 100
# How often a lane is looked at from its start, in seconds, and the part of the time that this takes
# at most: one in so many.
LOOK_EVERY, LOOK_SHARE = 1.0, 20
# A claim can take long for other reasons: an outage, a lock, a stalled disk.
LOOK_LATEST = 10.0


class Floors:
    """The places from which this process claims. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._claimed: dict[int, int] = {}
        self._look_at: dict[int, float] = {}

    def usable(self, lanes: Iterable[int], now: float) -> frozenset[int]:
        """Return those of these lanes that need not be looked at from their start."""
        if not self._places:
            return frozenset()
        return frozenset(
            lane for lane in lanes if lane in self._places and now < self._look_at[lane]
        )

    def parts(self, lane: int, used: Collection[int]) -> list[tuple[Place, int]]:
        """Return the parts of a lane to claim from: from which place, and up to which rank."""
        place = self._places.get(lane, START) if lane in used else START
        if place[0] == LOWEST:
            return [(START, HIGHEST)]
        return [(START, place[0] - 1), (place, HIGHEST)]

    def note(
        self,
        claimed: Sequence[tuple[int, Place]],
        lanes: Iterable[int],
        used: Collection[int],
        *,
        full: bool,
        took: float,
        now: float,
    ) -> None:
        """Take note of a claim from `lanes` that used some floors and took so many seconds.

        `claimed`: the lane and place of each job, first ones first. `full`: as many as were asked
        for.
        """
        if not full:
            if self._places:
                for lane in lanes:
                    self._places.pop(lane, None)
            return
        firsts: dict[int, Place] = {}
        for lane, place in claimed:
            self._claimed[lane] = self._claimed.get(lane, 0) + 1
            # One of a higher priority lowers no floor.
            if lane not in firsts and (lane not in used or place >= self._places.get(lane, START)):
                firsts[lane] = place
        for lane, place in firsts.items():
            if self._claimed[lane] > MANY:
                # In this order: another thread takes a lane with a place for one with a time.
                if lane not in used:
                    wait = min(max(LOOK_EVERY, LOOK_SHARE * took), LOOK_LATEST)
                    self._look_at[lane] = now + wait
                self._places[lane] = place
