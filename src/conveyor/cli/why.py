"""`conveyor why`: explains the state of a job in one sentence."""

from __future__ import annotations

import click

from ..core.explain import explain, explain_offer
from ..core.job import QueueInfo, State
from ..errors import NotFoundError
from ..store.protocol import Store
from .shared.options import job_id_argument, json_option, url_option
from .shared.output import print_json, print_line
from .shared.store_access import find_job, find_workers, open_configured_store


@click.command("why")
@job_id_argument
@json_option
@url_option
def why_command(job_id: str, as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        sentence = explain_job(store, job_id)
    if as_json:
        print_json({"why": sentence})
    else:
        print_line(sentence)


def explain_job(store: Store, job_id: str) -> str:
    """Explain the state of a job, or of a request that still waits for room in its queue."""
    try:
        job = find_job(store, job_id)
    except NotFoundError:
        queue = store.offered(job_id).result()
        if queue is None:
            raise
        return explain_offer(queue)
    # The queue of a damaged job may be unknown, and does not matter.
    unknown = QueueInfo(name=job.queue, capacity=None, paused=False, counts={})
    return explain(
        job,
        queue=unknown if job.damage else store.queue_info(job.queue).result(),
        ahead=store.ahead(job.id).result() if job.state is State.AVAILABLE else 0,
        workers=find_workers(store),
        now=store.now(),
    )
