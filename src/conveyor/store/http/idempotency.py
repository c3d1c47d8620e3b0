"""Calls that change something and are made again when their answer was lost, without harm."""

from __future__ import annotations

import msgspec

from ...core.job import JobRecord, State
from ...core.pending import Pending, failed, in_event_loop, ready
from ...errors import ConveyorError, InvalidTransitionError, PassingError, UnavailableError
from ..messages import Accepted, Offered
from . import payloads
from .api import CALLS
from .blocking_client import Here
from .client import Line
from .wire import job_of


def insert(
    line: Line, here: Here, queue: str, body: payloads.Insert
) -> Pending[Accepted | Offered]:
    """Enqueue; the second time the server is told that it is the second.

    A blocking caller, who makes one call after the other, asks in its own thread the first time.
    """
    if in_event_loop():
        return line.start(insert_pooled(line, queue, body))
    try:
        return ready(_taken(here.ask(CALLS["insert"], {"queue": queue}, body), line.url))
    except PassingError:
        return line.start(insert_pooled(line, queue, _again(body)))
    except ConveyorError as error:
        return failed(error)


def cancel(line: Line, job_id: str, body: payloads.Cancel) -> Pending[JobRecord]:
    """Cancel; the second time it may be done already."""
    return line.start(_cancel(line, job_id, body))


async def insert_pooled(line: Line, queue: str, body: payloads.Insert) -> Accepted | Offered:
    """Enqueue through the pooled client, repeating a call whose answer was lost."""
    path = {"queue": queue}
    found = await line.ask(CALLS["insert"], path, body, again=lambda: _again(body))
    return _taken(found, line.url)


def _again(body: payloads.Insert) -> payloads.Insert:
    return msgspec.structs.replace(body, again=True)


def _taken(answer: payloads.InsertAnswer, url: str) -> Accepted | Offered:
    found = answer.accepted or answer.offered
    if found is None:
        raise UnavailableError(f"{url} gave no answer to an enqueue")
    return found


async def _cancel(line: Line, job_id: str, body: payloads.Cancel) -> JobRecord:
    path = {"job_id": job_id}
    repeated: list[payloads.Cancel] = []

    def again() -> payloads.Cancel:
        repeated.append(body)
        return body

    try:
        return job_of(await line.ask(CALLS["cancel"], path, body, again=again))
    except InvalidTransitionError:
        # The answer that was lost may have been that it is done.
        job = job_of(await line.ask(CALLS["get"], path)) if repeated else None
        if job is None or job.state is not State.CANCELLED:
            raise
        return job
