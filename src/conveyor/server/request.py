"""One call as it came in, and the rules by which the server answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from ..store.http.api import Call
from .auth import Caller


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the server asks of agents and grants to everybody. Durations are seconds."""

    lease_for: float = 60.0
    hold: float = 25.0
    beat: float = 15.0
    args_limit: int = 1 << 20
    body_limit: int = 64 << 20
    capacities: Mapping[str, int | None] = {}


class Asked(msgspec.Struct, frozen=True):
    """One call as it came in, read and allowed."""

    request: Request
    call: Call
    caller: Caller
    path: Mapping[str, str]
    body: Any
