"""What a client believes of an answer: no more than it asked for, and no time without an end.

A server may lie, or be something else. Files have checks of their own, see wire.py.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from ...core.bounds import checked_moment, checked_number, cut
from ...core.names import NAME_LIMIT
from ...core.page import Page
from ...errors import UsageError
from ..messages import Renewal
from . import payloads
from .api_call import ApiCall
from .payloads import PAGE, Payload, ServerTerms
from .wire import ExchangedView

# The terms that an agent accepts, in seconds: it neither sleeps for years nor asks without a pause.
LEAST_TERM, LONGEST_TERM = 0.1, 7 * 86_400.0


def checked_answer(body: Payload | None, answer: Any) -> Any:
    """Return the answer to a request as it may be used; UsageError if no server may send it.

    Without the request's body, it is not known how much was asked for.
    """
    match answer:
        case ServerTerms():
            _check_terms(answer)
        case ExchangedView() if body is not None:
            _check_claimed(body, answer)
        case payloads.InsertAnswer():
            _check_inserted(body, answer)
        case list():
            return _checked_list(body, cast("list[Any]", answer))
        case _:
            pass
    return answer


def page_of(
    call: ApiCall, body: Payload | None, answer: list[Any], cursor: str | None
) -> Page[Any]:
    """Return one page of a list. Only a search can end in a page without entries that goes on.

    It goes on only where it gets on: who reads page after page must come to an end.
    """
    if call.is_search and cursor is not None and cursor.isdecimal() and len(cursor) < 20:
        place = int(cursor)
        if answer or _gets_on(body, place):
            return Page(answer, more=True, next=place)
    return Page(answer, more=cursor is not None and bool(answer))


def _gets_on(body: Payload | None, place: int) -> bool:
    """Whether a search that stopped at `place` has looked at anything."""
    if getattr(body, "order", "newest") == "oldest":
        return place > (getattr(body, "after", None) or 0)
    before: int | None = getattr(body, "before", None)
    return before is None or place < before


def _check_terms(terms: ServerTerms) -> None:
    checked_moment(terms.now, "the server's time")
    for name in ("lease_for", "hold", "beat"):
        value = checked_number(getattr(terms, name), name)
        if not LEAST_TERM <= value <= LONGEST_TERM:
            raise UsageError(
                f"{name} must be {LEAST_TERM} to {LONGEST_TERM:,.0f} seconds, got {value:g}"
            )
    for name in ("version", "token"):
        if len(getattr(terms, name) or "") > NAME_LIMIT:
            raise UsageError(f"{name} has more than {NAME_LIMIT} characters")


def _check_claimed(body: Payload, answer: ExchangedView) -> None:
    most = min(body.limit, PAGE) if isinstance(body, payloads.ClaimBody) and body.wants else 0
    _check_count(len(answer.jobs), most, "jobs")
    reports = body.reports if isinstance(body, payloads.ExchangeBody | payloads.SettleBody) else ()
    _check_count(len(answer.settled), len(reports), "settled reports")
    _check_count(len(answer.became), len(reports), "states of reports")


def _check_inserted(body: Payload | None, answer: payloads.InsertAnswer) -> None:
    accepted = answer.accepted
    if accepted is None or not isinstance(body, payloads.InsertBody):
        return
    if len(accepted.ids) != len(body.jobs):
        raise UsageError(f"{len(accepted.ids):,} ids for {len(body.jobs):,} jobs")
    _check_count(len(accepted.existing), len(body.jobs), "existing jobs")
    if any(len(each) > NAME_LIMIT for each in accepted.ids):
        raise UsageError(f"an id has more than {NAME_LIMIT} characters")


def _checked_list(body: Payload | None, answer: list[Any]) -> list[Any]:
    most = _most(body)
    if most is not None:
        _check_count(len(answer), most, "entries")
    if answer and isinstance(answer[0], Renewal):
        return [_bounded(each) for each in answer]
    return answer


def _most(body: Payload | None) -> int | None:
    """Return how many entries a request asks for; None if it does not say."""
    match body:
        case payloads.ExtendBody():
            return len(body.leases)
        case payloads.WriteOutputBody():
            return len(body.chunks)
        case payloads.SetProgressBody() | payloads.SetStoppingBody():
            return len(body.reports)
        case payloads.RescueBody():
            return None
        case _:
            return getattr(body, "limit", None)


def _bounded(renewal: Renewal) -> Renewal:
    reason = cut("reason", renewal.reason)
    if reason is renewal.reason:
        return renewal
    return msgspec.structs.replace(renewal, reason=reason)


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise UsageError(f"{count:,} {what}, and at most {most:,} were asked for")
