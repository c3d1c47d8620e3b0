"""One API call as the handlers receive it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from ..store.http.api import ApiCall
from .auth import Principal
from .body_room import BodySpace


class ApiRequest(msgspec.Struct, frozen=True):
    """One call: authenticated, decoded and authorized. `path` has the names in its address.

    `space` is the memory that its body takes, for handlers that read the body themselves.
    """

    http: Request
    call: ApiCall
    principal: Principal
    path: Mapping[str, str]
    body: Any
    space: BodySpace

    def arguments(self) -> dict[str, Any]:
        """Return the arguments for the method of the store that has the call's name."""
        arguments: dict[str, Any] = self.body.arguments(self.path)
        return arguments
