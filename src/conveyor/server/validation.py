"""Refuses requests whose parts are well-formed but contradictory, too large or meaningless."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from ..core import access, cron
from ..core.bounds import BOUNDS, checked_moment
from ..core.names import validate_name
from ..errors import UsageError
from ..store.http import payloads
from ..store.http.wire import SucceededView

# Stores keep integers in 64 bits.
MAX_INTEGER = 2**63 - 1
# JSON without so many digits in a row, and without such an exponent, has no larger number.
MANY_DIGITS, LARGE_EXPONENT = b"0" * 19, b"0e000"
READABLE = (
    "numbers in arguments, results and meta must be between -1.8e308 and 1.8e308, so that programs "
    "in every language can read them; send a larger one as a string"
)

_TOKEN_ID = re.compile(rf"[a-z0-9]{{{access.ID_LENGTH}}}")


_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")


def may_have_large_number(data: bytes) -> bool:
    """Whether JSON may have a number that a store cannot keep; True for some that have none.

    In time that is proportional to the size, whatever is in it.
    """
    digits = data.translate(_DIGITS, b"+")
    return MANY_DIGITS in digits or LARGE_EXPONENT in digits


def check_consistency(path: Mapping[str, str], body: Any) -> None:
    """Raise UsageError if the path and the body of a call contradict each other."""
    for part in ("queue", "worker"):
        if part in path:
            validate_name(path[part])
    match body:
        case payloads.ClaimBody():
            for want in body.wants:
                validate_name(want.queue)
                if want.limit < 0:
                    raise UsageError(f"the limit of a queue must be 0 or more, got {want.limit}")
        case payloads.BeatBody():
            _check_same("worker", path["worker"], body.info.id)
        case payloads.PutScheduleBody():
            _check_same("schedule", path["name"], body.schedule.name)
            cron.parse(body.schedule.cron, body.schedule.timezone)
        case payloads.AddTokenBody():
            _check_same("token", path["token_id"], body.token.id)
            _check_token_times(body.token)
            if not _TOKEN_ID.fullmatch(body.token.id):
                raise UsageError(
                    f"the id of a token must be {access.ID_LENGTH} lowercase letters and digits, "
                    f"got {body.token.id[:100]!r}"
                )
        case _:
            pass


def check_numbers(value: Any) -> None:
    """Raise UsageError for a number that a store cannot keep."""
    match value:
        case int():
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise UsageError(f"integers must fit into 64 bits, got {str(value)[:40]}")
        case float():
            if not math.isfinite(value):
                raise UsageError(f"numbers must be finite, got {value}")
        case SucceededView() if len(bytes(value.result)) > BOUNDS["result"].limit:
            return  # it fails its attempt, whatever is in it
        case msgspec.Struct():
            for field in value.__struct_fields__:
                check_numbers(getattr(value, field))
        case list() | tuple() | frozenset():
            for each in cast("list[Any]", value):
                check_numbers(each)
        case msgspec.Raw():
            _check_users_json(bytes(value))
        case dict():
            _check_users_numbers(cast("dict[str, Any]", value))
        case _:
            return


def _check_users_json(data: bytes) -> None:
    """Raise UsageError for arguments or a result that not every program could read."""
    if not may_have_large_number(data):
        return
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise UsageError(f"{error}: {READABLE}") from error
    _check_users_numbers(value)


def _check_users_numbers(value: Any) -> None:
    match value:
        case int():
            if abs(value) > sys.float_info.max:
                raise UsageError(f"an integer is out of range: {READABLE}")
        case list():
            for each in cast("list[Any]", value):
                _check_users_numbers(each)
        case dict():
            for each in cast("dict[str, Any]", value).values():
                _check_users_numbers(each)
        case _:
            return


def _check_token_times(token: access.Token) -> None:
    checked_moment(token.created_at, "created_at")
    for end in (token.expires_at, token.revoked_at):
        if end is not None:
            checked_moment(end, "the end of a token")


def _check_same(what: str, in_path: str, in_body: str) -> None:
    if in_path != in_body:
        raise UsageError(f"the path names {what} {in_path!r}, but the body {in_body!r}")
