"""Finds the endpoint for a path: one look-up for each segment, however many routes there are.

starlette tries its routes one after the other, with a regular expression each. A name in a path is
one segment and may contain any characters, percent-encoded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from ..errors import UsageError

# Answers a request. Its second argument has the names in the path, not yet decoded.
Endpoint = Callable[[Request, Mapping[str, str]], Awaitable[Response]]


class Route(NamedTuple):
    """The endpoints of a path by method, and the names in the path, not yet decoded."""

    endpoints: Mapping[str, Endpoint]
    names: Mapping[str, str]


class RouteTable:
    """A tree of path segments. A path may have names in braces, like /jobs/{job_id}."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Add an endpoint for a method and a path."""
        node = self._root
        names: list[str] = []
        for segment in path.split("/"):
            is_name = segment.startswith("{")
            if is_name:
                names.append(segment[1:-1])
            node = node.children.setdefault(None if is_name else segment, _Node())
        assert method not in node.endpoints, f"two calls are {method} {path}"
        assert node.names in ((), tuple(names)), f"{path} has other names elsewhere"
        node.endpoints[method] = endpoint
        node.names = tuple(names)

    def find(self, path: str) -> Route | None:
        """Return the route for a path that is still percent-encoded.

        Decoding it first would turn an encoded slash within a name into a separator.
        """
        node = self._root
        values: list[str] = []
        for segment in path.split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.children.get(None)
                if child is None:
                    return None
                values.append(segment)
            node = child
        if not node.endpoints:
            return None
        return Route(node.endpoints, dict(zip(node.names, values, strict=True)))


class _Node:
    """A segment: its children by their segment (None: any), and its endpoints by method."""

    def __init__(self) -> None:
        self.children: dict[str | None, _Node] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.names: tuple[str, ...] = ()


def decode_names(names: Mapping[str, str]) -> dict[str, str]:
    """Return the percent-decoded names in a path."""
    try:
        return {name: unquote(value, errors="strict") for name, value in names.items()}
    except UnicodeDecodeError as error:
        raise UsageError(f"a name in the path is not valid UTF-8: {error}") from error
