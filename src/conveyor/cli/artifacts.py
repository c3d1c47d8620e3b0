"""`conveyor artifacts`: lists or downloads the artifacts of a job."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..client.job_handle import Job
from ..core.codec import ResultCodec
from ..core.files import FileInfo
from ..errors import NotFoundError
from ..store.hint_waiters import HintWaiters
from .shared.artifact_download import download_artifacts
from .shared.options import job_id_argument, json_option, url_option
from .shared.output import print_json, print_table
from .shared.store_access import find_job, open_configured_store


@click.command("artifacts")
@job_id_argument
@click.argument("action", type=click.Choice(["list", "get"]), default="list")
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="File for a single name, otherwise a directory (default: the current one).",
)
@json_option
@url_option
def artifacts_command(
    job_id: str,
    action: str,
    names: tuple[str, ...],
    output: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    with open_configured_store(url) as store:
        found = find_job(store, job_id)
        job: Job[object] = Job(
            found.id, store=store, hint_waiters=HintWaiters(store), results=ResultCodec()
        )
        artifacts = job.artifacts()
        if action == "get":
            chosen = _named(artifacts, names, found.id)
            download_artifacts(job, chosen, output, one=len(names) == 1)
            return
    if as_json:
        print_json(artifacts)
        return
    rows = [(each.name, str(each.size), str(each.lease), each.digest) for each in artifacts]
    print_table(("NAME", "BYTES", "LEASE", "SHA-256"), rows)


def _named(artifacts: Sequence[FileInfo], names: Sequence[str], job_id: str) -> list[FileInfo]:
    """Return the artifacts with these names, or all if there are no names."""
    by_name = {each.name: each for each in artifacts}
    missing = [name for name in names if name not in by_name]
    if missing or not artifacts:
        known = ", ".join(by_name) or "none"
        which = f"artifact {missing[0]!r}" if missing else "artifacts"
        raise NotFoundError(f"job {job_id} has no {which}; available: {known}")
    return [by_name[name] for name in names] or list(artifacts)
