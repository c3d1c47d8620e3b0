"""The audit log entries of calls to the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from ..core.access import Action, Token, describe_rights
from ..store.http import payloads
from ..store.http.history_payloads import AddMarkBody
from ..store.http.inspection_payloads import ActBody, CapacityBody, Copied, CopyBody
from ..store.messages import Acted, Order
from .request import ApiRequest

# The audit log's names of the orders to a worker.
ORDER_NAMES: Mapping[Order, str] = {"work": "resume", "quiet": "quiet", "drain": "drain"}
# The answers that say that a condition did not hold, or that there was nothing to do.
NOTHING_DONE = frozenset({b"false", b"0"})

# Actions that a page repeats as long as it is open -> seconds for which the same action of a caller
# on the same subject is not recorded again.
REPEATED: Mapping[str, float] = {"stack": 600.0}
# How many of them are remembered.
MOST = 10_000


class RepeatedActions:
    """Remembers which of the repeated actions were recorded. `elapsed` is a monotonic clock."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._recorded: dict[tuple[str, str, str], float] = {}

    def is_due(self, line: Action) -> bool:
        """Whether a line is to be recorded; it is remembered then."""
        every = REPEATED.get(line.what)
        if every is None:
            return True
        key = line.who, line.what, line.subject
        at = self._elapsed()
        if at - self._recorded.get(key, float("-inf")) < every:
            return False
        if len(self._recorded) >= MOST:
            self._recorded.clear()
        self._recorded[key] = at
        return True


def audit_line(request: ApiRequest, answer: bytes) -> Action | None:
    """Return the line about a call that has been answered; None if it did nothing."""
    if not request.call.audit_name or answer in NOTHING_DONE:
        return None
    if isinstance(request.body, ActBody):
        return _step_line(request, request.body, answer)
    action, detail = _action_and_detail(request.call.audit_name, request.body, answer)
    line = action_of(request, action, detail)
    return msgspec.structs.replace(line, reason=getattr(request.body, "reason", ""))


def _step_line(request: ApiRequest, body: ActBody, answer: bytes) -> Action | None:
    """Return the line about one step of an action on a filter; None if it changed no job."""
    acted = msgspec.json.decode(answer, type=Acted)
    if not acted.changed:
        return None
    line = action_of(
        request, body.action, "forced" if body.force else "", body.filter.which().described()
    )
    return msgspec.structs.replace(line, reason=body.reason, count=acted.changed)


def action_of(request: ApiRequest, action: str, detail: str, subject: str | None = None) -> Action:
    """Return a line about an action of a call on what its path names, or on `subject`."""
    return Action(
        who=request.principal.name,
        where=request.principal.address,
        what=action,
        subject=next(iter(request.path.values()), "") if subject is None else subject,
        detail=detail,
    )


def _action_and_detail(action: str, body: payloads.Payload, answer: bytes) -> tuple[str, str]:
    match body:
        case payloads.PauseBody(paused=False):
            return f"resume {action.partition(' ')[2]}", ""
        case payloads.OrderBody(order=order):
            return f"{ORDER_NAMES[order]} worker", ""
        case _:
            return action, _detail(action, body, answer)


def _detail(action: str, body: payloads.Payload, answer: bytes) -> str:
    match body:
        case payloads.DismissQuery(force=True):
            return "forced"
        case payloads.CancelBody(reason=reason, force=force):
            return f"forced: {reason}" if force else reason
        case CapacityBody(capacity=capacity):
            return "unbounded" if capacity is None else str(capacity)
        case AddMarkBody(text=text):
            return text
        case payloads.AddTokenBody(token=token):
            return describe_rights(token)
        case payloads.TickBody(jobs=jobs):
            return f"{len(jobs)} jobs"
        case payloads.PruneBody():
            return f"{answer.decode()} jobs"
        case payloads.LimitBody():
            return f"{answer.decode()} files"
        case CopyBody():
            return f"as {msgspec.json.decode(answer, type=Copied).id}"
        case _ if action == "revoke token":
            return msgspec.json.decode(answer, type=Token).name
        case _:
            return ""
