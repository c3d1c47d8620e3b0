"""Refuses what a call cannot mean, though each of its parts is well formed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from ..client.options import name
from ..core import access
from ..errors import UsageError
from ..store.http import payloads

# What stores can keep: integers of 64 bits.
LARGEST = 2**63 - 1
# A text without so long a row of digits has no larger integer.
LONG = re.compile(rb"[0-9]{19}")
# The most bytes of what a worker says of itself, and of its labels, names and the like.
LONGEST_BEAT = 64 << 10
MANY = 1000

_TOKEN_ID = re.compile(rf"[a-z0-9]{{{access.ID_LENGTH}}}")


def check_sense(path: Mapping[str, str], body: Any) -> None:
    """Raise UsageError when the path and the body of a call contradict each other, or sense."""
    for part in ("queue", "worker"):
        if part in path:
            name(path[part])
    match body:
        case payloads.Claim():
            for want in body.wants:
                name(want.queue)
                if want.limit < 0:
                    raise UsageError(f"the limit {want.limit} of a want is below 0")
        case payloads.Beat():
            _same("worker", path["worker"], body.info.id)
            size = len(msgspec.json.encode(body.info))
            if size > LONGEST_BEAT:
                raise UsageError(
                    f"what the worker says of itself is {size:,} bytes, above {LONGEST_BEAT:,}"
                )
        case payloads.PutSchedule():
            _same("schedule", path["name"], body.schedule.name)
        case payloads.AddToken():
            _same("token", path["token_id"], body.token.id)
            if not _TOKEN_ID.fullmatch(body.token.id):
                raise UsageError(
                    f"the id of a token is {access.ID_LENGTH} lower-case letters and digits"
                )
        case _:
            pass


def check_numbers(value: Any) -> None:
    """Raise UsageError for a number that a store cannot keep."""
    match value:
        case bool() | str() | bytes() | None:
            return
        case int():
            if not -LARGEST <= value <= LARGEST:
                raise UsageError(f"the integer {str(value)[:40]} is beyond 64 bits")
        case float():
            if not math.isfinite(value):
                raise UsageError(f"{value} is no number that JSON knows")
        case msgspec.Struct():
            for field in value.__struct_fields__:
                check_numbers(getattr(value, field))
        case list() | tuple() | frozenset():
            for each in cast("list[Any]", value):
                check_numbers(each)
        case _:  # free data of users, which is kept as JSON
            return


def _same(what: str, there: str, here: str) -> None:
    if there != here:
        raise UsageError(f"the address names the {what} {there!r}, and the body {here!r}")
