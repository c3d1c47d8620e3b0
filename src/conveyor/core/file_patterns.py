"""Patterns of file names, matched component by component and without backtracking.

All patterns advance together, as an automaton: a step costs the same however many `**` came before.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

# The number of a pattern, and the position in it that the next component must match.
Place = tuple[int, int]
Places = frozenset[Place]

ANY_DEPTH = "**"
MAX_STEPS = 1000


class FilePatterns:
    """Patterns like those of `artifacts=`; `**` matches any number of directories."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = tuple(patterns)
        self._parts = tuple(_split(each) for each in patterns)
        self._steps: dict[Places, _Step] = {}
        starts = (self._reached(number, 0) for number, parts in enumerate(self._parts) if parts)
        self.start: Places = frozenset[Place]().union(*starts)

    def step(self, places: Places, component: str, *, through_link: bool = False) -> Places:
        """Return the places after one more component; none if no pattern can match.

        `**` does not go `through_link`, that is into a directory that is a link.
        """
        found = self._step(places).after(component)
        return found if through_link else found | self._step(places).stays

    def matched(self, places: Places) -> list[str]:
        """Return the patterns that match what has led to these places."""
        ends = (number for number, position in places if position == len(self._parts[number]))
        return [self._patterns[number] for number in ends]

    def names(self, places: Places) -> frozenset[str] | None:
        """Return the only components that can follow; None if others can, too."""
        return self._step(places).names

    def matches(self, name: str) -> bool:
        """Whether a file's name matches any of the patterns."""
        places = self.start
        for component in name.split("/"):
            places = self.step(places, component)
        return bool(self.matched(places))

    def _step(self, places: Places) -> _Step:
        known = self._steps.get(places)
        if known is None:
            if len(self._steps) >= MAX_STEPS:
                self._steps.clear()
            known = self._steps[places] = self._make_step(places)
        return known

    def _make_step(self, places: Places) -> _Step:
        step = _Step()
        for number, position in places:
            parts = self._parts[number]
            if position == len(parts):
                continue
            part, reached = parts[position], self._reached(number, position + 1)
            if part == ANY_DEPTH:
                step.stays |= self._reached(number, position)
            elif _is_wildcard(part):
                step.wildcards.append((re.compile(fnmatch.translate(part)).match, reached))
            else:
                step.literals[part] = step.literals.get(part, frozenset()) | reached
        return step

    def _reached(self, number: int, position: int) -> Places:
        """Return a position, and the next one if a `**` there may match no directory."""
        parts = self._parts[number]
        if position < len(parts) and parts[position] == ANY_DEPTH:
            return frozenset([(number, position), (number, position + 1)])
        return frozenset([(number, position)])


class _Step:
    """Where the places of one directory can go."""

    __slots__ = ("literals", "stays", "wildcards")

    def __init__(self) -> None:
        self.stays: Places = frozenset()
        self.literals: dict[str, Places] = {}
        self.wildcards: list[tuple[Callable[[str], object], Places]] = []

    @property
    def names(self) -> frozenset[str] | None:
        return None if self.stays or self.wildcards else frozenset(self.literals)

    def after(self, component: str) -> Places:
        found = self.literals.get(component, frozenset[Place]())
        for match, reached in self.wildcards:
            if match(component):
                found |= reached
        return found


def _split(pattern: str) -> tuple[str, ...]:
    """Return the components, with one `**` for several; none if only directories can match."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if part != ANY_DEPTH or parts[-1:] != [ANY_DEPTH]:
            parts.append(part)
    return () if parts[-1] == ANY_DEPTH else tuple(parts)


def _is_wildcard(part: str) -> bool:
    return any(sign in part for sign in "*?[")
