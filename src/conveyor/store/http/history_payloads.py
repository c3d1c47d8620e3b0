"""Requests of the HTTP API about the history, and of the system at a glance."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ...core.bounds import BOUNDS
from ..protocol_history import LEAST_MINUTES, MOST_MINUTES_SHOWN, MOST_QUEUES_SHOWN
from .payloads import Name, Payload


class QueueHistoryQuery(Payload, frozen=True):
    """Which queue (default: all together), from when to when, and the length of a step in seconds.

    The default is the last hour. `step` is a multiple of 60; 1,500 steps at most.
    """

    queue: Name | None = None
    since: float | None = None
    until: float | None = None
    step: float = 60.0


class OverviewQuery(Payload, frozen=True):
    """How many minutes of history, and how many queues to list at most."""

    minutes: Annotated[int, Meta(ge=LEAST_MINUTES, le=MOST_MINUTES_SHOWN)] = 60
    queues: Annotated[int, Meta(ge=0, le=MOST_QUEUES_SHOWN)] = 50


class AddMarkBody(Payload, frozen=True):
    """What to note, in one line. `who` notes it, unless the request has a token."""

    text: Annotated[str, Meta(min_length=1, max_length=BOUNDS["mark"].limit)]
    who: Annotated[str, Meta(max_length=200)] = ""
