"""The audit log entries of calls to the server."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.access import Action, describe_rights
from ..store.http import payloads
from ..store.messages import Order
from .request import ApiRequest

# The audit log's names of the orders to a worker.
ORDER_NAMES: Mapping[Order, str] = {"work": "resume", "quiet": "quiet", "drain": "drain"}


def audit_line(request: ApiRequest) -> Action:
    """Return the line about a call."""
    action, detail = _action_and_detail(request.call.audit_name, request.body)
    return Action(
        who=request.principal.name,
        where=request.principal.address,
        what=action,
        subject=next(iter(request.path.values()), ""),
        detail=detail,
    )


def _action_and_detail(action: str, body: payloads.Payload) -> tuple[str, str]:
    match body:
        case payloads.PauseBody(paused=False):
            return f"resume {action.partition(' ')[2]}", ""
        case payloads.OrderBody(order=order):
            return f"{ORDER_NAMES[order]} worker", ""
        case payloads.DismissQuery(force=True):
            return action, "forced"
        case payloads.CancelBody(reason=reason, force=force):
            return action, f"forced: {reason}" if force else reason
        case payloads.AddTokenBody(token=token):
            return action, describe_rights(token)
        case _:
            return action, ""
