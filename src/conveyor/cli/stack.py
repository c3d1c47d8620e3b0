"""`conveyor stack`: shows where the code of a running job is, on whatever machine it runs."""

from __future__ import annotations

import time

import click

from ..core.duration import parse_duration
from ..core.stack import Frame, ProcessState, StackAnswer, StackDump
from ..errors import WaitTimeoutError
from ..store.protocol import Store
from .shared.audit_trail import audited
from .shared.options import job_id_argument, json_option, url_option
from .shared.output import print_json, print_line, print_table
from .shared.store_access import find_job, open_configured_store

# How often to look for the answer, in seconds.
POLL = 0.1


@click.command("stack")
@job_id_argument
@click.option(
    "--timeout",
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="How long the worker may take to answer.",
)
@json_option
@url_option
def stack_command(job_id: str, timeout: str, as_json: bool, url: str | None) -> None:
    seconds = parse_duration(timeout, name="--timeout")
    with open_configured_store(url) as store:
        found = find_job(store, job_id).id
        with audited(store) as record:
            store.request_stack(found).result()
            record("stack", found, "")
        dump = _wait_for_dump(store, found, seconds)
    if as_json:
        print_json(dump)
    else:
        _print_dump(dump)


def _wait_for_dump(store: Store, job_id: str, seconds: float) -> StackDump:
    deadline = time.monotonic() + seconds
    while True:
        answer: StackAnswer | None = store.stack(job_id).result(max(1.0, seconds))
        if answer is not None and answer.dump is not None:
            return answer.dump
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(
                f"the worker of job {job_id} did not answer within {seconds:g} s; it may be busy "
                "(raise --timeout), gone, or older than this command"
            )
        time.sleep(POLL)


def _print_dump(dump: StackDump) -> None:
    for frame in dump.frames:
        _print_frame(frame)
    if dump.processes:
        print_table(("pid", "parent", "state", "memory", "command"), _rows(dump.processes))
    if dump.note:
        print_line(f"({dump.note})")


def _print_frame(frame: Frame) -> None:
    print_line(f'File "{frame.file}", line {frame.line}, in {frame.function}')
    if frame.code:
        print_line(f"  {frame.code}")


def _rows(processes: tuple[ProcessState, ...]) -> list[tuple[str, ...]]:
    return [
        (
            str(each.pid),
            str(each.parent),
            each.state,
            f"{each.rss / (1 << 20):.1f} MiB",
            each.command,
        )
        for each in processes
    ]
