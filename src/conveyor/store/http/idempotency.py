"""Calls that change something and can be repeated safely when their answer was lost."""

from __future__ import annotations

import msgspec

from ...core.job import JobRecord, State
from ...core.pending import Pending, failed, in_event_loop, ready
from ...errors import ConveyorError, InvalidTransitionError, PassingError, UnavailableError
from ..messages import Accepted, Offered
from .api import STORE_CALLS
from .blocking_client import BlockingClient
from .client import HttpClient
from .payloads import CancelBody, InsertAnswer, InsertBody
from .wire import decode_job


def send_insert(
    client: HttpClient, blocking: BlockingClient, queue: str, body: InsertBody
) -> Pending[Accepted | Offered]:
    """Enqueue. The body marks a repeated call, so that the server does not enqueue twice.

    Blocking code makes its first attempt through the blocking client, in its own thread.
    """
    if in_event_loop():
        return client.submit(send_insert_pooled(client, queue, body))
    try:
        answer = blocking.call(STORE_CALLS["insert"], {"queue": queue}, body)
        return ready(_insert_result(answer, client.url))
    except PassingError:
        return client.submit(send_insert_pooled(client, queue, _as_repeated(body)))
    except ConveyorError as error:
        return failed(error)


async def send_insert_pooled(
    client: HttpClient, queue: str, body: InsertBody
) -> Accepted | Offered:
    """Enqueue through the pooled client, repeating a call whose answer was lost."""
    answer = await client.call(
        STORE_CALLS["insert"], {"queue": queue}, body, repeat_with=lambda: _as_repeated(body)
    )
    return _insert_result(answer, client.url)


def send_cancel(client: HttpClient, job_id: str, body: CancelBody) -> Pending[JobRecord]:
    """Cancel a job. A repeated call may find that the first one has cancelled it already."""
    return client.submit(_send_cancel(client, job_id, body))


def _as_repeated(body: InsertBody) -> InsertBody:
    return msgspec.structs.replace(body, again=True)


def _insert_result(answer: InsertAnswer, url: str) -> Accepted | Offered:
    found = answer.accepted or answer.offered
    if found is None:
        raise UnavailableError(f"{url} sent an empty answer to an enqueue")
    return found


async def _send_cancel(client: HttpClient, job_id: str, body: CancelBody) -> JobRecord:
    path = {"job_id": job_id}
    repeats = 0

    def repeat() -> CancelBody:
        nonlocal repeats
        repeats += 1
        return body

    try:
        return decode_job(await client.call(STORE_CALLS["cancel"], path, body, repeat_with=repeat))
    except InvalidTransitionError:
        # The lost answer of an earlier attempt may have been that the job is cancelled.
        job = decode_job(await client.call(STORE_CALLS["get"], path)) if repeats else None
        if job is None or job.state is not State.CANCELLED:
            raise
        return job
