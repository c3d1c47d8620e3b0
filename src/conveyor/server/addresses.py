"""Finds what a request is addressed to: a name in an address is one segment, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import UsageError

Endpoint = Callable[[Request], Awaitable[Response]]


class Address(Route):
    """A route whose names may hold slashes, dots or nothing at all, as they come encoded."""

    def __init__(self, path: str, endpoint: Endpoint, method: str) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.methods = {method}
        self.path_regex = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]*)", path) + "$")


class Encoded:
    """Has addresses matched as they were sent: decoded, a slash in a name would be one between."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope.get("raw_path"):
            scope = {**scope, "path": scope["raw_path"].decode("ascii", "replace")}
        await self._app(scope, receive, send)


def names(found: Mapping[str, str]) -> dict[str, str]:
    """Return the names in an address, decoded."""
    try:
        return {name: unquote(value, errors="strict") for name, value in found.items()}
    except UnicodeDecodeError as error:
        raise UsageError(f"a name in the address is no text in UTF-8: {error}") from error


def methods(routes: Iterable[BaseRoute], path: str) -> str:
    """Return the methods that an address knows, as the header Allow has them."""
    known = {
        method
        for route in routes
        if isinstance(route, Route) and route.path_regex.match(path)
        for method in route.methods or ()
    }
    return ", ".join(sorted(known))
