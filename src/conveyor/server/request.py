"""One API call as the handlers receive it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from ..store.http.api import ApiCall
from .auth import Principal


class ApiRequest(msgspec.Struct, frozen=True):
    """One call: authenticated, decoded and authorized. `path` has the names in its address."""

    http: Request
    call: ApiCall
    principal: Principal
    path: Mapping[str, str]
    body: Any

    def arguments(self) -> dict[str, Any]:
        """Return the arguments for the method of the store that has the call's name."""
        arguments: dict[str, Any] = self.body.arguments(self.path)
        return arguments
