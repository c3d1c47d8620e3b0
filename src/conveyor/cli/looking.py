"""Commands that look: ps, show, why."""

from __future__ import annotations

import click
import msgspec

from ..core.explain import explain, explain_offer
from ..core.job import JobRecord, QueueInfo, State
from ..errors import NotFoundError, UsageError
from ..store.messages import Filter
from ..store.protocol import Store
from .shared.common import (
    ago,
    as_data,
    find_job,
    json_option,
    moment,
    opened,
    print_json,
    print_table,
    say,
    url_option,
)

HEADINGS = ("ID", "STATE", "TASK", "QUEUE", "TRY", "AGE", "PROGRESS", "ERROR")
BRIEF = 60


@click.command("ps")
@click.option("--queue", help="Only this queue.")
@click.option("--task", help="Only this task.")
@click.option("--state", "states", multiple=True, help="Only this state; may be repeated.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True)
@click.option("--before", type=int, help="Page on: only jobs before this number.")
@json_option
@url_option
def ps_command(
    queue: str | None,
    task: str | None,
    states: tuple[str, ...],
    limit: int,
    before: int | None,
    as_json: bool,
    url: str | None,
) -> None:
    known = frozenset(_state(name) for name in states)
    which = Filter(queue=queue, task=task, states=known, before=before)
    with opened(url) as store:
        jobs = store.find(which, limit=limit).result()
    if as_json:
        print_json([as_data(job) for job in jobs])
        return
    print_table(HEADINGS, [_line(job) for job in jobs])
    if len(jobs) == limit:
        say(f"There may be more: --before {jobs[-1].seq}")


@click.command("show")
@click.argument("job_id")
@json_option
@url_option
def show_command(job_id: str, as_json: bool, url: str | None) -> None:
    with opened(url) as store:
        job = find_job(store, job_id)
        history = store.history(job.id).result()
    if as_json:
        print_json({**as_data(job), "history": msgspec.to_builtins(history)})
        return
    for name, value in _facts(job):
        click.echo(f"{name + ':':14} {value}")
    for line in history:
        click.echo(
            f"\nattempt {line.attempt}, {moment(line.at)}, {line.worker or 'no worker'}: "
            f"{line.error} -> {line.became}"
        )
        if line.error.traceback:
            click.echo(line.error.traceback.rstrip())


@click.command("why")
@click.argument("job_id")
@json_option
@url_option
def why_command(job_id: str, as_json: bool, url: str | None) -> None:
    with opened(url) as store:
        sentence = why(store, job_id)
    if as_json:
        print_json({"why": sentence})
    else:
        click.echo(sentence)


def why(store: Store, job_id: str) -> str:
    """Say why a job stands where it stands."""
    try:
        job = find_job(store, job_id)
    except NotFoundError:
        queue = store.offered(job_id).result()
        if queue is None:
            raise
        return explain_offer(queue)
    queues = {queue.name: queue for queue in store.counts().result()}
    empty = QueueInfo(name=job.queue, capacity=None, paused=False, counts={})
    return explain(
        job,
        queue=queues.get(job.queue, empty),
        ahead=store.ahead(job.id).result() if job.state is State.AVAILABLE else 0,
        workers=store.workers().result(),
        now=store.now(),
    )


def _state(name: str) -> State:
    try:
        return State(name)
    except ValueError:
        raise UsageError(f"there is no state {name!r}; there are {', '.join(State)}") from None


def _line(job: JobRecord) -> tuple[str, ...]:
    state: str = job.state
    error = (job.error or "-").splitlines()[0]
    if job.state is State.RUNNING and job.cancel_requested_at:
        state = f"cancelling {ago(job.cancel_requested_at)}"
        error = job.stopping[-1].text if job.stopping else "its worker has not answered yet"
    progress = job.progress
    done = "-"
    if progress is not None:
        done = f"{progress.done:g}" + (f"/{progress.total:g}" if progress.total else "")
    return (
        job.id,
        state,
        job.task,
        job.queue,
        str(job.attempt),
        ago(job.enqueued_at),
        done,
        error if len(error) <= BRIEF else error[: BRIEF - 1] + "…",
    )


def _facts(job: JobRecord) -> list[tuple[str, str]]:
    facts = [
        ("id", job.id),
        ("state", job.state),
        ("task", job.task),
        ("queue", job.queue),
        ("arguments", job.args.decode(errors="replace")),
        ("priority", str(job.priority)),
        ("attempt", f"{job.attempt} of {job.options.retries + 1}"),
        ("enqueued", moment(job.enqueued_at)),
        ("due", moment(job.run_at)),
        ("started", moment(job.started_at)),
        ("ended", moment(job.final_at)),
        ("worker", job.worker or "-"),
        ("options", msgspec.json.encode(job.options).decode()),
    ]
    if job.cancel_requested_at is not None:
        facts.append(("stop asked", moment(job.cancel_requested_at)))
    if job.cancel_forced:
        facts.append(("force", "its grace is not waited for"))
    facts += [("stopping", f"{moment(note.at)} {note.text}") for note in job.stopping]
    if job.progress is not None:
        facts.append(("progress", msgspec.json.encode(job.progress).decode()))
    if job.result is not None:
        facts.append(("result", job.result.decode(errors="replace")))
    if job.error is not None:
        facts.append(("error", job.error))
    return facts
