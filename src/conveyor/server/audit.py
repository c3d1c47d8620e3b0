"""What the audit says of a call that an operator made."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.access import Action, rights
from ..store.http import payloads
from ..store.messages import Order
from .request import Asked

# What the audit calls an order to a worker.
ORDERED: Mapping[Order, str] = {"work": "resume", "quiet": "quiet", "drain": "drain"}


def action_of(asked: Asked) -> Action:
    """Return the line of the audit about a call."""
    what, detail = _described(asked.call.audited, asked.body)
    return Action(
        who=asked.caller.who,
        where=asked.caller.where,
        what=what,
        subject=next(iter(asked.path.values()), ""),
        detail=detail,
    )


def _described(action: str, body: payloads.Body) -> tuple[str, str]:
    """Return what the audit calls an action, and what it says of it."""
    match body:
        case payloads.Paused(paused=False):
            return f"resume {action.partition(' ')[2]}", ""
        case payloads.Ordered(order=order):
            return f"{ORDERED[order]} worker", ""
        case payloads.DismissQuery(force=True):
            return action, "forced"
        case payloads.Cancel(reason=reason, force=force):
            return action, f"forced: {reason}" if force else reason
        case payloads.AddToken(token=token):
            return action, rights(token)
        case _:
            return action, ""
