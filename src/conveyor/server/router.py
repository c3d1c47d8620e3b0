"""Finds what a request is addressed to: a name in an address is one segment, whatever is in it.

One look for each segment, however many addresses there are; starlette's routes would be tried one
by one, with a regular expression each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from ..errors import UsageError

# What answers a request, with the names in its address as they were sent.
Endpoint = Callable[[Request, Mapping[str, str]], Awaitable[Response]]


class Found(NamedTuple):
    """What is at an address: endpoints by method, and the names in it as they were sent."""

    endpoints: Mapping[str, Endpoint]
    names: Mapping[str, str]


class Addresses:
    """Addresses with names in braces, like /jobs/{job_id}, and what is there."""

    def __init__(self) -> None:
        self._root = _Place()

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Have an endpoint answer one method at an address."""
        place = self._root
        names: list[str] = []
        for segment in path.split("/"):
            is_name = segment.startswith("{")
            if is_name:
                names.append(segment[1:-1])
            place = place.below.setdefault(None if is_name else segment, _Place())
        assert method not in place.endpoints, f"two calls are {method} {path}"
        assert place.names in ((), tuple(names)), f"{path} has other names elsewhere"
        place.endpoints[method] = endpoint
        place.names = tuple(names)

    def find(self, path: str) -> Found | None:
        """Return what is at an address. It is as it was sent: decoded, a slash in a name would be
        one between two.
        """
        place = self._root
        values: list[str] = []
        for segment in path.split("/"):
            below = place.below.get(segment)
            if below is None:
                below = place.below.get(None)
                if below is None:
                    return None
                values.append(segment)
            place = below
        if not place.endpoints:
            return None
        return Found(place.endpoints, dict(zip(place.names, values, strict=True)))


class _Place:
    """A segment of an address: what is below it, by segment or for any (None), and what is here."""

    def __init__(self) -> None:
        self.below: dict[str | None, _Place] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.names: tuple[str, ...] = ()


def decoded(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names in an address, decoded."""
    try:
        return {name: unquote(value, errors="strict") for name, value in names.items()}
    except UnicodeDecodeError as error:
        raise UsageError(f"a name in the address is no text in UTF-8: {error}") from error
