"""The labels of metrics: foreign names as they may be shown, and a bound on how many there are."""

from __future__ import annotations

from .foreign_text import escape_line

# Stands for all names beyond the bound.
OTHER = "(other)"


def label_value(name: str) -> str:
    """Return a foreign name as the value of a label: one line, and another one for each name.

    Two series of the same labels would make a scraper refuse all of them.
    """
    return escape_line(name.replace("\\", "\\\\"))


class BoundedNames:
    """The first names that come get a series each; all further ones share `OTHER`.

    A series costs memory in every Prometheus that reads it, for as long as that keeps data, so
    names that an application makes up must not make ever more of them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.beyond = 0

    def __call__(self, *names: str) -> tuple[str, ...]:
        """Return the names under which to count; `beyond` counts the calls that got `OTHER`."""
        known = self._known.get(names)
        if known is None:
            if len(self._known) >= self._most:
                self.beyond += 1
                return (OTHER,) * len(names)
            known = self._known[names] = names
        return known
